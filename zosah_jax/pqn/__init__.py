"""ZO-PQN: a probabilistic quasi-Newton trust-region method, from function values alone."""
