"""What noise changes of a run: how long its probes and steps are, and which point it hands back.

How far apart values should be taken, so that noise matters little, and the model's own error no
more, follows from third derivatives, which nobody knows. So the lengths are chosen as for four
times the noise in the first half of the budget, and as for the noise itself in the second. The
steps of the library's own choice of method are whole at first, and damped to a quarter.

The smallest of n values with noise sigma lies about sigma sqrt(2 log n) below its point's own, and
the last point carries the noise of the last step. So a share of the budget is kept for fresh values
of four points: the last, the one with the smallest value, and in each half a mean of the points
stood at.
"""

import os
import jax

from zosah_jax.params import Params

_SHARE = 0.05  # of the budget, for the last looks
_MOST_LOOKS = 8
_DECAY = 3  # the mean is over about the last quarter of the steps
_LONG = float(os.environ.get("CN", "4"))  # factor on the noise by which the first half chooses its lengths
_HALF = float(os.environ.get("PH", "0.5"))
_WHOLE_STEPS = 0.1  # share of the budget before steps are damped
_LEAST_SHARE = float(os.environ.get("LEAST", "0.25"))  # of a step


def half(spent: int, budget: int) -> int:
    """Which half of the budget is being spent, 0 or 1."""
    return int(spent >= _HALF * budget)


def noise_for_lengths(noise: float, half: int) -> float:
    """Noise level by which a method should choose its lengths in a half of the budget."""
    return noise if half else _LONG * noise


def step_share(spent: int, budget: int) -> float:
    """Share of a step that is taken, 1/k in the long run, but never less than a quarter.

    Newton steps of single pairs of coordinates, all taken at once, overshoot where the pairs are
    coupled. Without noise the fit comes to see that; under noise it cannot.
    """
    return max(_LEAST_SHARE, min(1.0, _WHOLE_STEPS * budget / spent))


def num_candidates(noise: float) -> int:
    """How many points may be the result."""
    return 4 if noise else 1


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
    return between(mean, params, (_DECAY + 1) / (step + _DECAY))


def between(start: Params, end: Params, share: float) -> Params:
    """The point a share of the way from one to another."""
    return jax.tree.map(lambda a, b: a + b.dtype.type(share) * (b - a), start, end)
