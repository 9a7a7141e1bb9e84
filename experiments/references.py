"""SciPy's minimisers as references, every value counted: what a user would pick instead."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import scipy.optimize

from experiments.curves import Curve


class _BudgetSpent(Exception):
    pass


def scipy_curve(
    fun: Callable[[np.ndarray], Any], x0: np.ndarray, method: str, budget: int, **options: Any
) -> Curve:
    """Curve of a run of `scipy.optimize.minimize` from values alone.

    Gradients, where the method wants them, are SciPy's forward differences; their values count.

    Args:
        fun: objective.
        x0: where to start.
        method: SciPy's name of it.
        budget: most values.
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
        scipy.optimize.minimize(counted, x0, method=method, options=options)
    return Curve(np.arange(1, len(values) + 1), np.minimum.accumulate(values))
