"""ZO-PQN, L-BFGS-B and BFGS on the classic test functions of smooth optimisation."""
