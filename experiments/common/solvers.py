"""SciPy's minimisers, NLopt's, CMA-ES and Py-BOBYQA, each wrapped once: every value is counted."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import jax
import numpy as np
import scipy.optimize

from experiments.common.curves import Curve

ENDLESS = 10**9
"""A limit that no run meets before its budget."""
RAISED = (ValueError, ArithmeticError, np.linalg.LinAlgError, AssertionError, RuntimeError)
"""What solvers raise where values are not finite, or too flat for them."""


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
) -> np.ndarray | None:
    """A run of `scipy.optimize.minimize` from values alone, until it converges or cannot go on.

    Gradients, where the method wants them, are SciPy's forward differences; their values count.

    Returns:
        Its result, if it could go on.
    """
    with np.errstate(all="ignore"), suppress(np.linalg.LinAlgError, ArithmeticError):
        return scipy.optimize.minimize(fun, x0, method=method, bounds=bounds, options=options).x
    return None


def run_cma(
    ask_all: Callable[[list[np.ndarray]], list[float]],
    x0: np.ndarray,
    spread: float,
    seed: int,
    *,
    goes_on: bool = False,
    told: Callable[[np.ndarray], object] | None = None,
    **options: Any,
) -> int:
    """A run of CMA-ES (pycma), until it converges.

    Args:
        ask_all: points -> values.
        x0: where to start.
        spread: first standard deviation, the same in all coordinates.
        seed: of its draws, positive (0 would be the clock).
        goes_on: whether it goes on where it has converged.
        told: called with the mean of its distribution after every generation.
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
        if told is not None:
            told(strategy.result.xfavorite)
    return strategy.popsize


def spread_of(x0: np.ndarray) -> float:
    """A first standard deviation of CMA-ES that is known from the start alone."""
    return 0.3 * (float(np.sqrt(np.mean(x0**2))) or 1.0)


def cma_bounds(bounds: tuple[np.ndarray, np.ndarray] | None) -> dict[str, Any]:
    """Bounds, infinite where there is none, as pycma's option."""
    if bounds is None:
        return {}
    sides = [[float(side) if np.isfinite(side) else None for side in of] for of in bounds]
    return {"bounds": sides}


def run_nlopt(
    fun: Callable[[np.ndarray], float],
    x0: np.ndarray,
    algorithm: str,
    lower: np.ndarray,
    upper: np.ndarray,
    xtol_rel: float = 0.0,
    maxeval: int = 0,
) -> np.ndarray | None:
    """A run of a method of NLopt's, until it converges, cannot go on, or `fun` is `Over`.

    Args:
        fun: objective.
        x0: where to start.
        algorithm: NLopt's name, as "LN_BOBYQA".
        lower: bounds; infinite where there is none.
        upper: the same.
        xtol_rel: tolerance of x; NLopt's default is none.
        maxeval: most values; 0: no limit.

    Returns:
        Its result, if it ended of itself.
    """
    import nlopt

    def asked(x: np.ndarray, _: np.ndarray) -> float:
        try:
            return fun(x)
        except Over:
            raise nlopt.ForcedStop from None

    solver = nlopt.opt(getattr(nlopt, algorithm), len(x0))
    solver.set_lower_bounds(lower)
    solver.set_upper_bounds(upper)
    solver.set_min_objective(asked)
    solver.set_xtol_rel(xtol_rel)
    solver.set_maxeval(maxeval)
    with suppress(nlopt.ForcedStop, nlopt.RoundoffLimited):
        return solver.optimize(x0)
    return None


def run_pybobyqa(
    fun: Callable[[np.ndarray], float],
    x0: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray] | None = None,
    **options: Any,
) -> np.ndarray | None:
    """A run of Py-BOBYQA, its first radius such that it fits into the box.

    Args:
        fun: objective.
        x0: where to start.
        bounds: lower and upper; infinite where there is none.
        **options: Py-BOBYQA's.

    Returns:
        Its result, if it has one.
    """
    import pybobyqa

    if bounds is not None:
        widest = 0.49 * float(np.min(bounds[1] - bounds[0]))  # it refuses more
        usual = 0.1 * max(float(np.max(np.abs(x0))), 1.0)
        options["bounds"] = tuple(np.clip(bounds, -1e20, 1e20))
        options["rhobeg"] = min(usual, widest)
    return pybobyqa.solve(fun, x0, do_logging=False, **options).x


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


def descended(fun: Callable[[Any], Any], x0: np.ndarray) -> float:
    """Where BFGS ends with exact gradients: the optimum, or a minimum nearby."""
    both = jax.jit(jax.value_and_grad(fun))

    def pair(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = both(x)
        return float(value), np.asarray(slope)

    options = {"gtol": 1e-12, "maxiter": 20_000}
    return float(scipy.optimize.minimize(pair, x0, jac=True, method="BFGS", options=options).fun)
