"""SciPy's minimisers as references, every value counted: what a user would pick instead."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import numpy as np
import scipy.optimize

from experiments.curves import Curve


class _BudgetSpent(Exception):
    pass


def scipy_curve(
    fun: Callable[[np.ndarray], Any],
    x0: np.ndarray,
    method: str,
    budget: int,
    bounds: Any = None,
    **options: Any,
) -> Curve:
    """Curve of a run of `scipy.optimize.minimize` from values alone.

    Gradients, where the method wants them, are SciPy's forward differences; their values count.

    Args:
        fun: objective.
        x0: where to start.
        method: SciPy's name of it.
        budget: most values.
        bounds: SciPy's, or None.
        **options: options of the method.

    Returns:
        The best of all values, differences included, after each of them.
    """
    values: list[float] = []

    def counted(x: np.ndarray) -> float:
        if len(values) == budget:
            raise _BudgetSpent
        values.append(float(fun(x)))
        return values[-1]

    with suppress(_BudgetSpent):  # not every method has an option for it
        scipy.optimize.minimize(counted, x0, method=method, bounds=bounds, options=options)
    return Curve(np.arange(1, len(values) + 1), np.minimum.accumulate(values))


def cma_curve(
    fun: Callable[[np.ndarray], Any],
    x0: np.ndarray,
    spread: float,
    budget: int,
    seed: int,
    bounds: tuple[float, float] | None = None,
    ask_all: Callable[..., Iterable[Any]] = map,
) -> Curve:
    """Curve of a run of CMA-ES (pycma, its defaults).

    Args:
        fun: objective.
        x0: where to start.
        spread: first standard deviation, the same in all coordinates.
        budget: most values.
        seed: of its draws.
        bounds: of all coordinates, or None.
        ask_all: `map`, or an executor's.

    Returns:
        The best of all values after each batch.
    """
    import cma

    options = {"seed": seed + 1, "verbose": -9, "bounds": list(bounds) if bounds else None}
    strategy = cma.CMAEvolutionStrategy(x0, spread, options)  # a seed of 0 would be the clock
    spent, best = [0], [np.inf]
    while spent[-1] < budget:
        points = strategy.ask()
        values = list(ask_all(fun, points[: budget - spent[-1]]))
        spent.append(spent[-1] + len(values))
        best.append(min(best[-1], *values))
        if len(values) == len(points):
            strategy.tell(points, values)
    return Curve(np.array(spent[1:]), np.array(best[1:]))
