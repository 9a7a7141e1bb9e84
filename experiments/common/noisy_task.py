"""A problem whose values have noise, and what a point of it is truly worth."""

from typing import Any, NamedTuple

import numpy as np

from experiments.common.cutest_problems import Problem
from experiments.common.solvers import Counted

LEAST, MOST = 1e-12, 1e12
"""Parts of the gap between which a run's is kept; one that is not finite counts as `MOST`."""

_STREAM = 16  # of the noise, which is no solver's


class Task(NamedTuple):
    """A noisy problem.

    Attributes:
        problem: the objective without noise.
        start: its value at x0.
        optimum: the smallest value known.
        level: the noise's standard deviation, in units of start - optimum.
        budget: most values.
        seed: of the noise and of what a solver draws.
    """

    problem: Problem
    start: float
    optimum: float
    level: float
    budget: int
    seed: int

    @property
    def noise(self) -> float:
        """Standard deviation of the noise of a value."""
        return self.level * (self.start - self.optimum)

    def inside(self, x: Any) -> np.ndarray:
        """A point, projected on the bounds."""
        return np.clip(np.asarray(x, float), self.problem.lower, self.problem.upper)

    def noisy(self) -> Counted:
        """Its values with noise, counted."""
        draws = np.random.default_rng((_STREAM, self.seed))
        return Counted(
            lambda x: self.problem.fun(self.inside(x)) + self.noise * draws.standard_normal(),
            self.budget,
        )

    def gap(self, x: Any) -> float:
        """Part of the gap between start and optimum that is left at a point, without noise."""
        left = (self.problem.fun(self.inside(x)) - self.optimum) / (self.start - self.optimum)
        return float(np.clip(left, LEAST, MOST)) if np.isfinite(left) else MOST
