"""The solvers, each on one problem until it converges, or has spent its budget (`Over`)."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from experiments.common.cutest_problems import Problem
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
from zosah_jax import AskTell
from zosah_jax.methods import METHODS

DEFAULT = "default"
OURS = (DEFAULT, "quadratic_regression", "zopqn")
_KEY = 0
_CMA_SEED = 1


class Solver(NamedTuple):
    """How a solver is run.

    Attributes:
        solve: (objective, problem, budget); asks values until it converges or is `Over`.
        bounded: whether it takes bounds.
        smallest: fewest parameters that it takes.
        largest: most parameters that it is given.
        short_from: parameters from which on it is given `SHORT` (d + 1) values.
    """

    solve: Callable[[Counted, Problem, int], None]
    bounded: bool = True
    smallest: int = 1
    largest: int = ENDLESS
    short_from: int = ENDLESS

    def takes(self, problem: Problem) -> bool:
        """Whether it is run on a problem."""
        free = problem.bounds is None
        return self.smallest <= problem.dimension <= self.largest and (self.bounded or free)


SHORT = 30
"""Most values, in units of d + 1, of a solver whose own work is too slow for more."""


# --- this library's -------------------------------------------------------------------------------


def ask_tell(problem: Problem, name: str) -> AskTell:
    """A run of a method of the library, or of its default, by ask and tell."""
    method = None if name == DEFAULT else METHODS[name]()
    return AskTell(problem.x0, method, bounds=problem.bounds, key=_KEY)


def chosen(problem: Problem) -> str:
    """The method that the library takes where none is named."""
    method = ask_tell(problem, DEFAULT).method
    return next(name for name, kind in METHODS.items() if type(method) is kind)


def _ours(name: str, counted: Counted, problem: Problem, budget: int) -> None:
    run = ask_tell(problem, name)
    while not run.converged:
        run.tell(counted.all(run.ask()))


# --- the peers ------------------------------------------------------------------------------------


def _scipy(
    method: str, options: dict[str, Any], counted: Counted, problem: Problem, budget: int
) -> None:
    bounds = problem.bounds and list(zip(*problem.bounds, strict=True))
    run_scipy(counted, problem.x0, method, bounds, **options)


def _nlopt(algorithm: str, counted: Counted, problem: Problem, budget: int) -> None:
    run_nlopt(counted, problem.x0, algorithm, problem.lower, problem.upper, xtol_rel=1e-14)


def _cma(counted: Counted, problem: Problem, budget: int) -> None:
    options: dict[str, Any] = {"tolfun": 0, "tolx": 1e-15, "tolfunhist": 0}
    options |= cma_bounds(problem.bounds)
    run_cma(counted.all, problem.x0, spread_of(problem.x0), _CMA_SEED, **options)


def _pybobyqa(counted: Counted, problem: Problem, budget: int) -> None:
    options: dict[str, Any] = {"user_params": {"slow.max_slow_iters": ENDLESS}, "rhoend": 1e-13}
    run_pybobyqa(counted, problem.x0, problem.bounds, maxfun=budget, **options)


# --- all ------------------------------------------------------------------------------------------

_LBFGSB: dict[str, Any] = {
    "ftol": 1e-16,
    "gtol": 1e-12,
    "maxls": 40,
    "maxfun": ENDLESS,
    "maxiter": ENDLESS,
}
_COBYQA: dict[str, Any] = {"maxfev": ENDLESS, "maxiter": ENDLESS, "final_tr_radius": 1e-14}

# NLopt's NEWUOA for bounds (LN_NEWUOA_BOUND) does not always return, so NEWUOA gets none.
SOLVERS: dict[str, Solver] = {
    **{name: Solver(partial(_ours, name)) for name in OURS},
    "BFGS": Solver(partial(_scipy, "BFGS", {"gtol": 1e-12, "maxiter": ENDLESS}), bounded=False),
    "L-BFGS-B": Solver(partial(_scipy, "L-BFGS-B", _LBFGSB)),
    "COBYQA": Solver(partial(_scipy, "COBYQA", _COBYQA), short_from=40),
    "NEWUOA": Solver(partial(_nlopt, "LN_NEWUOA"), bounded=False, smallest=2),
    "BOBYQA": Solver(partial(_nlopt, "LN_BOBYQA")),
    "CMA-ES": Solver(_cma, smallest=2),
    "Py-BOBYQA": Solver(_pybobyqa, largest=12),
}
"""All by name, each with tolerances that do not stop it early."""


class Run(NamedTuple):
    """What a solver found.

    Attributes:
        best: smallest value so far after each value, shape (n,); inf where none was finite.
        error: what ended it, if it raised.
    """

    best: np.ndarray
    error: str | None = None


def run(name: str, problem: Problem, budget: int) -> Run | None:
    """A run of a solver; None where it is given no such problem.

    Args:
        name: of the solver.
        problem: what it minimises; points are projected on its bounds.
        budget: most values, in units of d + 1.
    """
    solver = SOLVERS[name]
    if not solver.takes(problem):
        return None
    short = problem.dimension >= solver.short_from
    most = (min(budget, SHORT) if short else budget) * (problem.dimension + 1)
    counted = Counted(
        lambda x: problem.fun(np.clip(np.asarray(x, float), problem.lower, problem.upper)), most
    )
    error = None
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            solver.solve(counted, problem, most)
        except Over:
            pass
        except RAISED as raised:
            error = f"{type(raised).__name__}: {raised}".splitlines()[0][:80]
    values = np.array(counted.values, float)
    values = np.where(np.isfinite(values), values, np.inf)
    return Run(np.minimum.accumulate(values), error)
