"""What noise changes of a run: how long its probes and its steps are, and what it hands back.

How far apart values should be taken, so that their noise matters little and the model's own error
no more, follows from third derivatives, which nobody knows. So lengths are chosen as for four times
the noise in the first half of the budget, and as for the noise itself in the second.

The smallest of n values with noise sigma lies about sigma sqrt(2 log n) below its point's own, and
the last point carries the noise of the last step. So a share of the budget is kept for fresh values
of four points: the last, the one with the smallest value, and a mean of the points stood at in each
half.

A method that counts with the noise itself needs none of this: its last point is the result, unless
a fresh value there says that it is far above that of the best point seen (`WeighedCourse`).
"""

import math

import jax
import numpy as np

from zosah_jax.faces.host.ask_tell import AskTell
from zosah_jax.faces.host.program import WHOLE, Damping
from zosah_jax.pytree import Params

_LONG = 4  # factor on the noise by which the first half chooses its lengths
_WHOLE_STEPS = 0.1  # share of the budget before steps are damped
_LEAST_SHARE = 0.25  # of a step
_CLEAR = 100  # a gain in units of the noise, above which steps are not damped
_PLAIN = 10  # and above which a single value tells candidates apart
_FOR_LOOKS = 0.05  # share of the budget
_MOST_LOOKS = 8
_DECAY = 3  # a mean is over about the last quarter of its steps
_CANDIDATES = 4
_FAR = 5  # standard deviations of a difference, beyond which a model's minimum is none


class NoisyCourse:
    """How far a run under noise has come.

    Args:
        solver: the run; its noise is set to that of the first half.
        noise: standard deviation of a value, above 0.
        budget: of the run, by which its halves go.

    Attributes:
        means: of the points stood at in each half of the budget, the late ones weighing most.
        gain: decrease of the value over the last step; NaN where it is not known.
    """

    def __init__(self, solver: AskTell, noise: float, budget: int) -> None:
        self._noise, self._budget = noise, budget
        self._half, self._since = 0, 0  # which half is being spent, and the step before it began
        self._value = math.nan  # where the run stood before the last step
        self.means = (solver.params, solver.params)
        self.gain = math.nan
        solver.noise = self._first_noise()

    def _first_noise(self) -> float:
        return _LONG * self._noise

    def damping(self, spent: int) -> Damping:
        """How much of the coming step is taken.

        Steps that noise makes are damped; one after a gain that stands clear of it is whole.

        Args:
            spent: values so far, those of the step included.
        """
        share = step_share(spent, self._budget)
        return WHOLE if share == 1 else Damping(share, self._value, _CLEAR * self._noise)

    def go_on(self, solver: AskTell, spent: int) -> None:
        """After a step: take the point into the mean, and see whether half is spent."""
        self.gain, self._value = self._value - solver.value, solver.value
        first, second = self.means
        if self._half:
            self.means = first, averaged(second, solver.params, solver.step - self._since)
            return
        self.means = averaged(first, solver.params, solver.step), second
        if 2 * spent >= self._budget:
            self._half, self._since = 1, solver.step
            self.means = self.means[0], solver.params
            solver.noise = self._noise

    def candidates(self, solver: AskTell) -> list[Params]:
        """The points that may be the result; the last one comes first."""
        return [solver.params, solver.best_params, *self.means]

    def winner(self, means: list[float], looks: int) -> int:
        """Which of the candidates is the result, by the means of their fresh values."""
        del looks
        return int(np.nanargmin(means))

    def num_kept(self) -> int:
        """Values that are kept for the end."""
        return _CANDIDATES * self.num_looks()

    def num_looks(self) -> int:
        """Fresh values of each candidate; one where a step's gain stands clear of the noise."""
        if self.gain > _PLAIN * self._noise:
            return 1
        share = int(_FOR_LOOKS * self._budget / _CANDIDATES)
        return max(1, min(_MOST_LOOKS, share))


class WeighedCourse(NoisyCourse):
    """That of a method that counts with the noise itself: steps are whole, lengths are its own."""

    def _first_noise(self) -> float:
        return self._noise

    def damping(self, spent: int) -> Damping:
        """None."""
        del spent
        return WHOLE

    def go_on(self, solver: AskTell, spent: int) -> None:
        """Nothing to do."""

    def candidates(self, solver: AskTell) -> list[Params]:
        """The last point, and the best."""
        return [solver.params, solver.best_params]

    def winner(self, means: list[float], looks: int) -> int:
        """The last, unless it lies far above the best: its model knows more than a few values."""
        error = self._noise * (2 / looks) ** 0.5
        return int(not means[0] <= means[1] + _FAR * error) if np.isfinite(means[1]) else 0

    def num_kept(self) -> int:
        """A value of each."""
        return 2

    def num_looks(self) -> int:
        """One."""
        return 1


def step_share(spent: int, budget: int) -> float:
    """Share of a step that is taken: all of it at first, then as 1/k, and at least a quarter.

    Newton steps of single pairs of coordinates, taken all at once, overshoot where the pairs are
    coupled; without noise the fit comes to see that, under noise it cannot. And the noise of the
    steps adds up in proportion to their share.
    """
    return max(_LEAST_SHARE, min(1.0, _WHOLE_STEPS * budget / spent))


def averaged(mean: Params, params: Params, step: int) -> Params:
    """The mean of the points stood at, with the point after `step` >= 1 steps taken in.

    Polynomial-decay averaging: the mean moves by (c + 1) / (step + c) of the way to the new point.

    References:
        Shamir, Zhang, `Stochastic Gradient Descent for Non-smooth Optimization: Convergence Results
        and Optimal Averaging Schemes <https://arxiv.org/abs/1212.1824>`_, 2013, section 4.
    """
    share = (_DECAY + 1) / (step + _DECAY)
    return jax.tree.map(lambda a, b: a + b.dtype.type(share) * (b - a), mean, params)
