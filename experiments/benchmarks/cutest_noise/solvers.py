"""The solvers, each on one noisy problem until it converges or has spent its budget."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from experiments.common.cutest_problems import Problem
from experiments.common.noisy_task import Task
from experiments.common.solvers import (
    ENDLESS,
    RAISED,
    Counted,
    Over,
    cma_bounds,
    run_cma,
    run_nlopt,
    run_pybobyqa,
    run_scipy,
    spread_of,
)
from zosah_jax import Host, minimize
from zosah_jax.methods import METHODS

DEFAULT, ESTIMATED = "default", "noise estimated"
OURS = (DEFAULT, ESTIMATED, "zosah")


class Solver(NamedTuple):
    """How a solver is run.

    Attributes:
        solve: (objective, task) -> the points that it hands back, if it came to hand back one.
        bounded: whether it takes bounds.
        smallest: fewest parameters that it takes.
        largest: most parameters that it is given.
    """

    solve: Callable[[Counted, Task], list[Any]]
    bounded: bool = True
    smallest: int = 1
    largest: int = ENDLESS

    def takes(self, problem: Problem) -> bool:
        """Whether it is run on a problem."""
        free = problem.bounds is None
        return self.smallest <= problem.dimension <= self.largest and (self.bounded or free)


# --- this library's -------------------------------------------------------------------------------


def _ours(method: str | None, given: bool, counted: Counted, task: Task) -> list[Any]:
    found = minimize(
        counted,
        task.problem.x0,
        None if method is None else METHODS[method](),
        budget=task.budget,
        bounds=task.problem.bounds,
        noise=task.noise if given else "estimate",
        key=task.seed,
        host=Host(retries=0),
    )
    return [found.params]


# --- the peers ------------------------------------------------------------------------------------


def _scipy(method: str, limit: str, wide: bool, counted: Counted, task: Task) -> list[Any]:
    sides = task.problem.bounds
    bounds = sides and list(zip(*sides, strict=True))
    options: dict[str, Any] = {limit: task.budget}
    if wide:  # differences in which noise and curvature have about the same share
        options["eps"] = np.sqrt(task.level) * spread_of(task.problem.x0) / 0.3
    return [run_scipy(counted, task.problem.x0, method, bounds, **options)]


def _nlopt(algorithm: str, counted: Counted, task: Task) -> list[Any]:
    lower, upper = task.problem.lower, task.problem.upper
    most = task.budget
    return [run_nlopt(counted, task.problem.x0, algorithm, lower, upper, maxeval=most)]


def _cma(counted: Counted, task: Task) -> list[Any]:
    means: list[np.ndarray] = []
    x0, bounds = task.problem.x0, cma_bounds(task.problem.bounds)
    with suppress(Over):
        run_cma(counted.all, x0, spread_of(x0), task.seed + 1, told=means.append, **bounds)
    return means[-1:]


def _pybobyqa(counted: Counted, task: Task) -> list[Any]:
    options: dict[str, Any] = {"user_params": {"noise.additive_noise_level": task.noise}}
    options |= {"objfun_has_noise": True, "maxfun": task.budget}
    with _numpy_seeded(task.seed):
        return [run_pybobyqa(counted, task.problem.x0, task.problem.bounds, **options)]


@contextmanager
def _numpy_seeded(seed: int) -> Iterator[None]:
    """NumPy's global generator, from which Py-BOBYQA draws, seeded within."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


# --- all ------------------------------------------------------------------------------------------

SOLVERS: dict[str, Solver] = {
    DEFAULT: Solver(partial(_ours, None, True)),
    ESTIMATED: Solver(partial(_ours, None, False), largest=12),
    "zosah": Solver(partial(_ours, "zosah", True), smallest=2),
    "CMA-ES": Solver(_cma, smallest=2),
    "BOBYQA": Solver(partial(_nlopt, "LN_BOBYQA")),
    "NEWUOA": Solver(partial(_nlopt, "LN_NEWUOA"), bounded=False, smallest=2),
    "COBYQA": Solver(partial(_scipy, "COBYQA", "maxfev", False), largest=20),
    "Nelder-Mead": Solver(partial(_scipy, "Nelder-Mead", "maxfev", False)),
    "L-BFGS-B": Solver(partial(_scipy, "L-BFGS-B", "maxfun", False)),
    "L-BFGS-B, wide": Solver(partial(_scipy, "L-BFGS-B", "maxfun", True)),
    "Py-BOBYQA": Solver(_pybobyqa, largest=10),
}
"""All by name, with their own tolerances."""


class Run(NamedTuple):
    """What a solver came to.

    Attributes:
        gap: part of the gap that is left at the point that counts.
        error: what ended it, if it raised.
    """

    gap: float
    error: str | None = None


def run(name: str, task: Task) -> Run | None:
    """A run of a solver; None where it is given no such problem.

    This library's counts by the point that it hands back, a peer by that or by the point of its
    smallest noisy value, whichever is better.
    """
    solver = SOLVERS[name]
    if not solver.takes(task.problem):
        return None
    counted, points, error = task.noisy(), [], None
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            points = solver.solve(counted, task)
        except Over:
            pass
        except RAISED as raised:
            error = f"{type(raised).__name__}: {raised}".splitlines()[0][:80]
        points = [point for point in points if point is not None]
        if name not in OURS or not points:
            points.append(counted.best[1] if counted.best[1].size else task.problem.x0)
        return Run(min(task.gap(point) for point in points), error)
