"""What noise changes of a run: how long its probes and its steps are, and what it hands back.

How far apart values should be taken, so that their noise matters little and the model's own error
no more, follows from third derivatives, which nobody knows. So lengths are chosen as for four times
the noise in the first half of the budget, and as for the noise itself in the second.

The smallest of n values with noise sigma lies about sigma sqrt(2 log n) below its point's own, and
the last point carries the noise of the last step. So a share of the budget is kept for fresh values
of four points: the last, the one with the smallest value, and a mean of the points stood at in each
half.
"""

from dataclasses import dataclass

import jax

from zosah_jax.blackbox.ask_tell import AskTell
from zosah_jax.params import Params

_LONG = 4  # factor on the noise by which the first half chooses its lengths
_WHOLE_STEPS = 0.1  # share of the budget before steps are damped
_LEAST_SHARE = 0.25  # of a step
_CLEAR = 100  # a gain in units of the noise, above which steps are not damped
_PLAIN = 10  # and above which a single value tells candidates apart
_FOR_LOOKS = 0.05  # share of the budget
_MOST_LOOKS = 8
_DECAY = 3  # a mean is over about the last quarter of its steps


@dataclass
class NoisyCourse:
    """How far a run with noise has come; without noise, it does nothing.

    Attributes:
        means: of the points stood at in each half of the budget, the late ones weighing most.
        noise: standard deviation of a value.
        half: which half of the budget is being spent, 0 or 1.
        since: step before which that half began.
    """

    means: tuple[Params, Params]
    noise: float = 0.0
    half: int = 0
    since: int = 0

    def begin(self, solver: AskTell, noise: float) -> None:
        """Set the noise level, and with it the lengths of the first half."""
        self.noise = noise
        solver.set_noise(_LONG * noise)

    def go_on(
        self, solver: AskTell, before: Params, spent: int, budget: int, gain: float | None
    ) -> None:
        """After a step: damp it, take it into the mean, and see whether half is spent.

        Args:
            solver: the run.
            before: where it stood before the step.
            spent: values so far.
            budget: most of them.
            gain: what the step before brought; one that stands clear of the noise leaves this one
                whole. None: steps are not damped.
        """
        if not self.noise:
            return
        if gain is not None and not gain > _CLEAR * self.noise:
            solver.move_to(between(before, solver.params, step_share(spent, budget)))
        first, second = self.means
        if self.half:
            self.means = first, averaged(second, solver.params, solver.step - self.since)
            return
        self.means = averaged(first, solver.params, solver.step), second
        if 2 * spent >= budget:
            self.half, self.since = 1, solver.step
            self.means = self.means[0], solver.params
            solver.set_noise(self.noise)

    def candidates(self, solver: AskTell) -> list[Params]:
        """The points that may be the result; the last one comes first."""
        if not self.noise:
            return [solver.params]
        return [solver.params, solver.best_params, *self.means]

    def num_looks(self, budget: int, gain: float) -> int:
        """Fresh values of each candidate; one where a step's gain stands clear of the noise."""
        if gain > _PLAIN * self.noise or not self.noise:
            return 1
        return max(1, min(_MOST_LOOKS, int(_FOR_LOOKS * budget / 4)))

    def reserve(self, budget: int, gain: float) -> int:
        """Values that are kept for the end."""
        return self.num_looks(budget, gain) * (4 if self.noise else 1)


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
    return between(mean, params, (_DECAY + 1) / (step + _DECAY))


def between(start: Params, end: Params, share: float) -> Params:
    """The point a share of the way from one to another."""
    return jax.tree.map(lambda a, b: a + b.dtype.type(share) * (b - a), start, end)
