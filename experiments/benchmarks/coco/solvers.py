"""The solvers, each started again where it has converged, until the run is `Over`."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmarks.coco.suite import Problem
from experiments.common.solvers import ENDLESS, Over, run_cma, run_scipy
from zosah_jax import AskTell
from zosah_jax.methods import METHODS

DEFAULT = "default"
OURS = (DEFAULT, "zopqn")
_CMA_SEEDS = 10_007  # a prime, so that runs of neighbouring problems share none


class Stall:
    """Whether the best value has stood still: by no more than rounding in 20 + 5 (d + 1) values."""

    def __init__(self, dimension: int) -> None:
        self._patience = 20 + 5 * (dimension + 1)
        self._best, self._since = np.inf, 0

    def after(self, values: list[float]) -> bool:
        """Whether it still stands so after these."""
        best = min(values)
        least = 4 * np.finfo(float).eps * abs(self._best) if np.isfinite(self._best) else 0.0
        if best < self._best - least:
            self._best, self._since = best, 0
        else:
            self._since += len(values)
        return self._since >= self._patience


def _ours(name: str, problem: Problem) -> None:
    """A method of the library, or the one that it takes itself, by ask and tell."""
    for number, start in enumerate(problem.starts()):
        method = None if name == DEFAULT else METHODS[name]()
        solver, stall = AskTell(start, method, key=number), Stall(problem.dimension)
        while not solver.converged:
            values = [problem(x) for x in solver.ask()]
            solver.tell(values)
            if stall.after(values):
                break


def _scipy(method: str, options: dict[str, Any], problem: Problem) -> None:
    """A method of `scipy.optimize.minimize`; what it cannot differentiate or solve ends a start."""
    for start in problem.starts():
        before = problem.spent
        run_scipy(problem, start, method, **options)
        if problem.spent == before:
            raise RuntimeError(f"{method} asked no value from {start}")


def _cma(sigma: float, problem: Problem) -> None:
    """CMA-ES by pycma, its population doubled at every restart."""
    larger: dict[str, Any] = {}
    for number, start in enumerate(problem.starts()):
        seed = 1 + number + _CMA_SEEDS * problem.instance
        size = run_cma(lambda points: [problem(x) for x in points], start, sigma, seed, **larger)
        larger = {"popsize": 2 * size}


class Setting(NamedTuple):
    """A solver's options.

    Attributes:
        run: asks values of a problem until it is `Over`.
        tolerances: whether only tolerances differ from the solver's first setting.
    """

    run: Callable[[Problem], None]
    tolerances: bool = False


_MANY: dict[str, Any] = {"maxiter": ENDLESS, "maxfun": ENDLESS}
_TIGHT: dict[str, Any] = {**_MANY, "ftol": 1e-14, "gtol": 1e-10}
_COBYQA: dict[str, Any] = {"maxiter": ENDLESS, "maxfev": ENDLESS}

SOLVERS: dict[str, dict[str, Setting]] = {
    **{name: {"defaults": Setting(partial(_ours, name))} for name in OURS},
    "L-BFGS-B": {
        "defaults": Setting(partial(_scipy, "L-BFGS-B", _MANY)),
        "tight": Setting(partial(_scipy, "L-BFGS-B", _TIGHT), tolerances=True),
        "tight, eps 1e-7": Setting(partial(_scipy, "L-BFGS-B", {**_TIGHT, "eps": 1e-7})),
    },
    "COBYQA": {
        "defaults": Setting(partial(_scipy, "COBYQA", _COBYQA)),
        "final radius 1e-9": Setting(
            partial(_scipy, "COBYQA", {**_COBYQA, "final_tr_radius": 1e-9}), tolerances=True
        ),
    },
    "CMA-ES": {"sigma 2": Setting(partial(_cma, 2.0)), "sigma 1": Setting(partial(_cma, 1.0))},
}
"""Solvers by name, with each of their settings; the best in a dimension is what counts there."""


def runs(
    solver: str, function: int, dimension: int, instance: int, budget: int
) -> dict[str, np.ndarray]:
    """Values at the first hit of each target, inf where it was not, by setting, shape (targets,).

    Where the first setting met all targets or spent its budget before it converged, its tolerances
    stopped nothing, and others need no run.
    """
    found: dict[str, np.ndarray] = {}
    converged = True
    for name, setting in SOLVERS[solver].items():
        if setting.tolerances and not converged:
            found[name] = next(iter(found.values()))
            continue
        problem = Problem(function, dimension, instance, budget)
        with suppress(Over):
            setting.run(problem)
        converged = problem.started > 1 if not found else converged
        found[name] = problem.hits
    return found
