"""ZO-PQN, this library's own solver: a probabilistic quasi-Newton trust-region method.

`zopqn.py` is the method and its stages; `measure.py` and `trial.py` what they ask and make of it;
`policy.py` what comes next; `plan.py` the planned step; `model.py` and `secants.py` the two models
of f; `trust_region.py` the step within a ball; `state.py` the state.
"""
