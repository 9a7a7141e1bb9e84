"""The solvers, each started again where it has converged, until the run is `Over`."""

from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from typing import Any

import cma
import numpy as np
import scipy.optimize

from experiments.coco.suite import Over, Problem
from zosah_jax import AskTell, zopqn

_ENDLESS = 10**9
_CMA_SEEDS = 10_007  # a prime, so that runs of neighbouring problems share none


@cache  # one object, so that the steps of a dimension compile once for all problems
def _method() -> Any:
    return zopqn()


class _Stall:
    """Whether the best value has stood still: by no more than rounding in 20 + 5 (d + 1) values."""

    def __init__(self, dimension: int) -> None:
        self._patience = 20 + 5 * (dimension + 1)
        self._best, self._since = np.inf, 0

    def after(self, values: list[float]) -> bool:
        best = min(values)
        least = 4 * np.finfo(float).eps * abs(self._best) if np.isfinite(self._best) else 0.0
        if best < self._best - least:
            self._best, self._since = best, 0
        else:
            self._since += len(values)
        return self._since >= self._patience


def _zopqn(problem: Problem) -> None:
    """ZO-PQN with its defaults, by ask and tell."""
    for number, start in enumerate(problem.starts()):
        solver, stall = AskTell(start, _method(), key=number), _Stall(problem.dimension)
        while True:
            values = [problem(x) for x in solver.ask()]
            solver.tell(values)
            if stall.after(values):
                break


def _scipy(method: str, options: dict[str, Any], problem: Problem) -> None:
    """A method of `scipy.optimize.minimize`; what it cannot differentiate or solve ends a start."""
    for start in problem.starts():
        before = problem.spent
        with np.errstate(all="ignore"), suppress(np.linalg.LinAlgError, ArithmeticError):
            scipy.optimize.minimize(problem, start, method=method, options=options)
        if problem.spent == before:
            raise RuntimeError(f"{method} asked no value from {start}")


def _cma(sigma: float, problem: Problem) -> None:
    """CMA-ES by pycma, its population doubled at every restart."""
    size = None
    for number, start in enumerate(problem.starts()):
        seed = 1 + number + _CMA_SEEDS * problem.instance
        options = {"verbose": -9, "seed": seed, "maxfevals": _ENDLESS}
        options |= {} if size is None else {"popsize": size}
        strategy = cma.CMAEvolutionStrategy(start, sigma, options)
        while not strategy.stop():
            points = strategy.ask()
            strategy.tell(points, [problem(x) for x in points])
        size = 2 * strategy.popsize


_MANY: dict[str, Any] = {"maxiter": _ENDLESS, "maxfun": _ENDLESS}
_TIGHT: dict[str, Any] = {**_MANY, "ftol": 1e-14, "gtol": 1e-10}

SOLVERS: dict[str, dict[str, Callable[[Problem], None]]] = {
    "zopqn": {"defaults": _zopqn},
    "L-BFGS-B": {
        "defaults": partial(_scipy, "L-BFGS-B", _MANY),
        "tight": partial(_scipy, "L-BFGS-B", _TIGHT),
        "tight, eps 1e-7": partial(_scipy, "L-BFGS-B", {**_TIGHT, "eps": 1e-7}),
    },
    "COBYQA": {
        "defaults": partial(_scipy, "COBYQA", {"maxiter": _ENDLESS, "maxfev": _ENDLESS}),
        "final radius 1e-9": partial(
            _scipy, "COBYQA", {"maxiter": _ENDLESS, "maxfev": _ENDLESS, "final_tr_radius": 1e-9}
        ),
    },
    "CMA-ES": {"sigma 2": partial(_cma, 2.0), "sigma 1": partial(_cma, 1.0)},
}
"""Solvers by name, with each of their settings; the best in a dimension is what counts there."""


def run(
    solver: str, setting: str, function: int, dimension: int, instance: int, budget: int
) -> np.ndarray:
    """Values at the first hit of each target, inf where it was not, shape (targets,)."""
    problem = Problem(function, dimension, instance, budget)
    with suppress(Over):
        SOLVERS[solver][setting](problem)
    return problem.hits
