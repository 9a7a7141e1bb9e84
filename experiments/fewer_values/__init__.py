"""Values that ZO-PQN needs against SciPy's minimisers: what a user would pick instead."""
