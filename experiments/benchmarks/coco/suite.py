"""Problems of the BBOB suite, with every value counted and every target's first hit noted."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from experiments.common.errors import InputError
from experiments.common.solvers import Over

TARGETS = 10.0 ** np.linspace(2, -8, 51)
"""Distances of f to its smallest value, as COCO's own figures take them."""

FUNCTIONS = range(1, 25)
"""Numbers of all functions of the suite."""

DIMENSIONS = (2, 3, 5, 10, 20, 40)
"""Dimensions of the suite."""

JUDGED = (1, 2, *range(5, 15))
"""Numbers of the functions that are unimodal, or nearly: 1, 2 and 5 to 14."""

SIDE = 5.0
"""Starts are within [-SIDE, SIDE] in every coordinate; values may be asked anywhere."""


class Problem:
    """A function of the suite, callable; ends the run by `Over`.

    Args:
        function: 1 to 24.
        dimension: d; the suite has 2, 3, 5, 10, 20 and 40.
        instance: number of its shift, rotation and smallest value, from 1.
        budget: most values.

    Attributes:
        spent: values asked.
        hits: values asked when each of `TARGETS` was first met; inf where it was not.
        started: how often the solver started; more than once where it has converged.
    """

    def __init__(self, function: int, dimension: int, instance: int, budget: int) -> None:
        self.function, self.dimension, self.instance = function, dimension, instance
        self.budget = budget
        self._fun = bare_problem()("bbob", function, dimension, instance)
        self._goals = self._fun.best_value() + TARGETS
        self._met = 0  # targets are met in their order
        self.spent = self.started = 0
        self.hits = np.full(len(TARGETS), np.inf)

    def __call__(self, x: np.ndarray) -> float:
        """The value at x, shape (d,).

        Raises:
            Over: instead of a value beyond the budget, or after the last target was met.
        """
        if self.spent == self.budget or self._met == len(TARGETS):
            raise Over
        self.spent += 1
        value = self._fun(x)
        while self._met < len(TARGETS) and value <= self._goals[self._met]:
            self.hits[self._met] = self.spent
            self._met += 1
        return value

    def starts(self) -> Iterator[np.ndarray]:
        """Where to start, and to start again: as COCO's `initial_solution_proposal` prescribes.

        First the middle of the box, then draws, the same for every solver: of each coordinate the
        mean of two uniform ones.
        """
        self.started = 1
        yield np.zeros(self.dimension)
        rng = np.random.default_rng([self.function, self.dimension, self.instance])
        while True:
            self.started += 1
            yield rng.triangular(-SIDE, 0.0, SIDE, self.dimension)


def bare_problem() -> Any:
    """COCO's class of a problem.

    Raises:
        InputError: COCO is not installed.
    """
    try:
        from cocoex import BareProblem
    except ImportError as error:
        raise InputError(
            "coco: wanted coco-experiment, which is not installed: "
            "pip install 'zosah_jax[experiments]'."
        ) from error
    return BareProblem


def area(hits: np.ndarray, budget: int, begin: int = 1) -> np.ndarray:
    """Area under the ECDF of log(values) from `begin` values to the budget, in parts of it.

    Args:
        hits: values at the first hit of each target, shape (..., targets).
        budget: values at the right edge.
        begin: values at the left edge.

    Returns:
        Between 0 (nothing hit) and 1 (all hit at the left edge), shape (...).
    """
    late = np.clip(hits, begin, budget)
    return np.mean(np.log(budget / late), axis=-1) / math.log(budget / begin)
