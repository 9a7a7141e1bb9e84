"""SciPy's minimisers and pycma's CMA-ES, each wrapped once: every value is counted."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import numpy as np
import scipy.optimize

from experiments.common.curves import Curve

ENDLESS = 10**9
"""A limit that no run meets before its budget."""


class Over(Exception):
    """The budget is spent, or nothing is left to reach."""


class Counted:
    """An objective that keeps its values and ends the run by `Over` instead of exceeding a budget.

    Args:
        fun: objective.
        budget: most values.
        ask_all: `map`, or an executor's.

    Attributes:
        values: all so far.
        best: the smallest of them, and its point.
    """

    def __init__(
        self, fun: Callable[[Any], Any], budget: int, ask_all: Callable[..., Iterable[Any]] = map
    ) -> None:
        self._fun, self._budget, self._ask_all = fun, budget, ask_all
        self.values: list[float] = []
        self.best: tuple[float, np.ndarray] = (np.inf, np.empty(0))

    def __call__(self, x: np.ndarray) -> float:
        """The value at a point."""
        return self.all([x])[0]

    def all(self, points: list[np.ndarray]) -> list[float]:
        """The values at several points, as far as the budget goes."""
        left = self._budget - len(self.values)
        new = [float(value) for value in self._ask_all(self._fun, points[:left])]
        for value, point in zip(new, points, strict=False):
            if value < self.best[0]:
                self.best = value, np.array(point)
        self.values += new
        if len(points) > left:
            raise Over
        return new

    @property
    def curve(self) -> Curve:
        """The best of all values, differences included, after each of them."""
        return Curve(np.arange(1, len(self.values) + 1), np.minimum.accumulate(self.values))


def run_scipy(
    fun: Callable[[Any], float], x0: np.ndarray, method: str, bounds: Any = None, **options: Any
) -> None:
    """A run of `scipy.optimize.minimize` from values alone, until it converges or cannot go on.

    Gradients, where the method wants them, are SciPy's forward differences; their values count.
    """
    with np.errstate(all="ignore"), suppress(np.linalg.LinAlgError, ArithmeticError):
        scipy.optimize.minimize(fun, x0, method=method, bounds=bounds, options=options)


def run_cma(
    ask_all: Callable[[list[np.ndarray]], list[float]],
    x0: np.ndarray,
    spread: float,
    seed: int,
    *,
    goes_on: bool = False,
    **options: Any,
) -> int:
    """A run of CMA-ES (pycma), until it converges.

    Args:
        ask_all: points -> values.
        x0: where to start.
        spread: first standard deviation, the same in all coordinates.
        seed: of its draws, positive (0 would be the clock).
        goes_on: whether it goes on where it has converged.
        **options: pycma's.

    Returns:
        The size of its population.
    """
    import cma

    options = {"seed": seed, "verbose": -9, "maxfevals": ENDLESS, **options}
    strategy = cma.CMAEvolutionStrategy(x0, spread, options)
    while goes_on or not strategy.stop():
        points = strategy.ask()
        strategy.tell(points, ask_all(points))
    return strategy.popsize


def scipy_curve(
    fun: Callable[[np.ndarray], Any],
    x0: np.ndarray,
    method: str,
    budget: int,
    bounds: Any = None,
    **options: Any,
) -> Curve:
    """Curve of a method of SciPy's within a budget (not every method has an option for it)."""
    counted = Counted(fun, budget)
    with suppress(Over):
        run_scipy(counted, x0, method, bounds, **options)
    return counted.curve


def cma_curve(counted: Counted, x0: np.ndarray, spread: float, seed: int, **options: Any) -> Curve:
    """Curve of CMA-ES within a budget, with pycma's defaults but for the options."""
    with suppress(Over):
        run_cma(counted.all, x0, spread, seed + 1, **options)
    return counted.curve
