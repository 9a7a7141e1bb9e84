"""What a noisy run hands back: not the point with the luckiest value.

The smallest of n values with noise sigma lies about sigma sqrt(2 log n) below its point's own, and
the last point carries the noise of the last step. So a share of the budget is kept for fresh values
of three points: the last, the one with the smallest value, and a mean of the points stood at.
"""

import jax

from zosah_jax.params import Params

_SHARE = 0.05  # of the budget, for the last looks
_MOST_LOOKS = 8
_DECAY = 3  # the mean is over about the last quarter of the steps


def num_candidates(noise: float) -> int:
    """How many points may be the result."""
    return 3 if noise else 1


def num_looks(noise: float, budget: int) -> int:
    """Fresh values of each candidate."""
    if not noise:
        return 1
    return max(1, min(_MOST_LOOKS, int(_SHARE * budget / num_candidates(noise))))


def averaged(mean: Params, params: Params, step: int) -> Params:
    """The mean of the points stood at, with the point after `step` >= 1 steps taken in.

    Polynomial-decay averaging: the mean moves by (c + 1) / (step + c) of the way to the new point.

    References:
        Shamir, Zhang, `Stochastic Gradient Descent for Non-smooth Optimization: Convergence Results
        and Optimal Averaging Schemes <https://arxiv.org/abs/1212.1824>`_, 2013, section 4.
    """
    share = (_DECAY + 1) / (step + _DECAY)
    return jax.tree.map(lambda m, x: m + x.dtype.type(share) * (x - m), mean, params)
