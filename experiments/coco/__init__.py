"""The BBOB suite of COCO: ECDFs of ZO-PQN, L-BFGS-B, COBYQA and CMA-ES, with restarts."""
