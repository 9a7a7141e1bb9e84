"""Peers that take residuals: SciPy's least_squares and DFO-LS, every evaluation counted."""

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import scipy.optimize

from experiments.common.solvers import ENDLESS, Over

Residuals = Callable[[np.ndarray], np.ndarray]
Solver = Callable[["Recorded", np.ndarray, Any], None]
"""Runs on a recorded function from a start, within (lower, upper) or None, until it ends."""


class Recorded:
    """Residuals whose evaluations are counted; `Over` ends a run that would exceed its budget.

    Args:
        fun: residuals, shape (k,).
        budget: most evaluations.
        done: (best point so far, sum of squares there) -> whether the problem is solved.
        goes_on: whether the run goes on when it is.

    Attributes:
        budget: as given.
        sums: sums of squares so far, infinite where a residual is not finite.
        best: the smallest of them, and its point.
        solved_after: evaluations after which the best point first solved the problem; None before.
    """

    def __init__(
        self,
        fun: Residuals,
        budget: int,
        done: Callable[[np.ndarray, float], bool] = lambda point, total: False,
        *,
        goes_on: bool = False,
    ) -> None:
        self._fun, self.budget, self._done, self._goes_on = fun, budget, done, goes_on
        self.sums: list[float] = []
        self.best: tuple[float, np.ndarray] = (np.inf, np.empty(0))
        self.solved_after: int | None = None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The residuals at a point."""
        if len(self.sums) >= self.budget:
            raise Over
        residuals = np.asarray(self._fun(x), float)
        with np.errstate(over="ignore"):
            total = float(residuals @ residuals) if np.isfinite(residuals).all() else np.inf
        self.sums.append(total)
        if total < self.best[0]:
            self.best = total, np.array(x)
            if self.solved_after is None and self._done(self.best[1], total):
                self.solved_after = len(self.sums)
                if not self._goes_on:
                    raise Over
        return residuals

    def first_within(self, level: float) -> int | None:
        """Evaluations after which the sum of squares was first at most `level`."""
        return next((n for n, total in enumerate(self.sums, 1) if total <= level), None)


def scipy_least_squares(method: str, **options: Any) -> Solver:
    """SciPy's, with differences, whose evaluations count."""

    def solve(fun: Recorded, x0: np.ndarray, bounds: Any) -> None:
        box = {} if bounds is None else {"bounds": bounds}
        # what it raises where residuals are not finite ends a run as convergence does
        with np.errstate(all="ignore"), suppress(Over, ValueError, np.linalg.LinAlgError):
            scipy.optimize.least_squares(fun, x0, method=method, max_nfev=ENDLESS, **box, **options)

    return solve


def dfols(**options: Any) -> Solver:
    """DFO-LS (Cartis, Fiala, Marteau, Roberts, 2019), with its defaults but for the options."""
    import dfols as package

    def solve(fun: Recorded, x0: np.ndarray, bounds: Any) -> None:
        most = fun.budget + 1  # it makes room for so many
        box = None if bounds is None else tuple(np.broadcast_to(b, x0.shape) for b in bounds)
        with _silence(), np.errstate(all="ignore"), suppress(*_ENDS):
            package.solve(fun, x0, bounds=box, maxfun=most, do_logging=False, **options)

    return solve


_ENDS = (Over, ValueError, OverflowError, np.linalg.LinAlgError, AssertionError)
"""How runs of DFO-LS end: the budget, or what it raises where residuals are not finite."""

TIGHT_DFOLS: dict[str, Any] = {
    "rhoend": 1e-14,
    "user_params": {
        "model.abs_tol": 1e-300,
        "model.rel_tol": 0.0,
        "slow.max_slow_iters": 10**6,
    },
}
"""Options with which DFO-LS goes on as long as it can."""
TIGHT_SCIPY: dict[str, Any] = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15}
"""Tolerances of SciPy's that do not stop a run early."""


@contextmanager
def _silence() -> Iterator[None]:
    """Without what LAPACK prints past Python, and without warnings."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    level = logging.root.manager.disable
    try:
        for number in (1, 2):
            os.dup2(nowhere, number)
        logging.disable(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        for number, old in zip((1, 2), kept, strict=True):
            os.dup2(old, number)
            os.close(old)
        os.close(nowhere)
