"""The residuals themselves told to the solver, in place of their sum of squares."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
import scipy.optimize
from tqdm import tqdm

from experiments.common.curves import Curve, best_after
from experiments.common.residual_solvers import Recorded, dfols, scipy_least_squares
from experiments.examples.reaction_kinetics.problem import Calibration, calibration
from zosah_jax import AskTell, Host, least_squares, methods

OURS = "least_squares"
EXACT = "least_squares, noise=0"
_STEP = 1e-4  # of SciPy's differences, in decades: the integrator is exact to 1e-6
PEERS = {"DFO-LS": dfols(), "SciPy trf": scipy_least_squares("trf", diff_step=_STEP)}
METHODS = (OURS, EXACT, *PEERS)
WITHIN = (0.02, 0.001)
"""Parts of the smallest misfit above it that are to be reached."""
FAULT_WITHIN = 0.05
_NOISE = 0.01
_FAILING, _MISSING = 0.2, 0.05  # parts of the simulations, and of the single residuals
_POINTS = 60  # of a kept curve
_WARM = 3  # steps whose own work is not timed
Box = tuple[float, float]


@dataclass(frozen=True)
class Task:
    """A problem, its first guess within the bounds, and the smallest misfit there."""

    seed: int
    misfit: Calibration
    guess: np.ndarray
    box: Box
    smallest: float

    def residuals(self, x: np.ndarray) -> np.ndarray:
        """Shape (304,); NaN where the integrator gave up."""
        with suppress(ArithmeticError):
            return self.misfit.residuals(x)
        return np.full(self.misfit.measured.size, np.nan)


def tasks(seeds: Iterable[int], error: float, doubt: float, box: Box) -> list[Task]:
    """The problems of the seeds, with smallest misfits by SciPy's trf with central differences."""
    found = []
    for seed in tqdm(seeds, desc="smallest misfits"):
        misfit, guess = calibration(seed, error, doubt)
        guess = np.clip(guess, *box)
        task = Task(seed, misfit, guess, box, np.nan)
        tight = {"bounds": box, "xtol": 1e-10, "ftol": 1e-10, "gtol": 1e-10}
        first = scipy.optimize.least_squares(
            task.residuals, guess, diff_step=1e-4, max_nfev=40, **tight
        )
        last = scipy.optimize.least_squares(
            task.residuals, first.x, jac="3-point", diff_step=1e-3, max_nfev=20, **tight
        )
        found.append(Task(seed, misfit, guess, box, float(2 * last.cost)))
    return found


def measure(tasks: list[Task], budget: int, sleep: float) -> dict[str, Any]:
    """Every part, by its name."""
    return {
        "smallest": [task.smallest for task in tasks],
        **_runs(tasks, budget),
        "faults": {
            name: [_under(fault, task, budget) for task in tqdm(tasks, desc=name)]
            for name, fault in FAULTS.items()
        },
        "workers": _workers(tasks, budget, sleep),
        "own_work": _own_work(tasks[0]),
    }


# --- simulations to the optimum -------------------------------------------------------------------


def _runs(tasks: list[Task], budget: int) -> dict[str, Any]:
    at = np.unique(np.geomspace(1, budget, _POINTS).round().astype(int))
    needed: dict[str, list[list[int | None]]] = {name: [] for name in METHODS}
    curves: dict[str, list[np.ndarray]] = {name: [] for name in METHODS}
    for task in tqdm(tasks, desc="vectors"):
        for name in METHODS:
            recorded = Recorded(task.residuals, budget)
            if name in (OURS, EXACT):
                least_squares(
                    recorded,
                    task.guess,
                    budget=budget,
                    bounds=task.box,
                    noise=0.0 if name == EXACT else None,
                    host=Host(retries=0),
                )
            else:
                PEERS[name](recorded, task.guess.copy(), task.box)
            levels = [(1 + part) * task.smallest for part in WITHIN]
            needed[name].append([recorded.first_within(level) for level in levels])
            best = np.minimum.accumulate(recorded.sums)
            curves[name].append(best_after(Curve(np.arange(1, len(best) + 1), best), at))
    return {
        "needed": needed,
        "spent": at.tolist(),
        "median_curves": {name: np.median(of, axis=0).tolist() for name, of in curves.items()},
    }


# --- faults ---------------------------------------------------------------------------------------

Fault = Callable[[np.ndarray, np.random.Generator], np.ndarray | None]


def _fails(residuals: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    return None if rng.random() < _FAILING else residuals


FAULTS: dict[str, Fault] = {
    "none": lambda r, rng: r,
    "noise, 0.01 of a measurement's error": lambda r, rng: (
        r + _NOISE / np.sqrt(r.size) * rng.normal(size=r.size)
    ),
    "noise, 1 % of each residual": lambda r, rng: r * (1 + _NOISE * rng.normal(size=r.size)),
    "20 % of simulations fail": _fails,
    "5 % of residuals are NaN": lambda r, rng: np.where(rng.random(r.size) < _MISSING, np.nan, r),
}
"""What becomes of residuals, None where the simulation fails; x0 always comes."""


def _under(fault: Fault, task: Task, budget: int) -> int | None:
    """Simulations until the point handed back is truly within 5 % of the smallest misfit."""
    rng = np.random.default_rng(task.seed)
    solver = AskTell(task.guess, methods.least_squares(), bounds=task.box)
    level = (1 + FAULT_WITHIN) * task.smallest
    while solver.num_evaluations + solver.num_points <= budget and not solver.converged:
        begun = solver.num_evaluations > 0
        clean = [task.residuals(x) for x in solver.ask()]
        told = [fault(r, rng) for r in clean]
        solver.tell([r if t is None and not begun else t for r, t in zip(clean, told, strict=True)])
        here = task.residuals(np.asarray(solver.params))
        if here @ here <= level:
            return solver.num_evaluations
    return None


# --- times ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slow:
    """Residuals of a simulator that takes its time; a class, so that processes can be sent it."""

    task: Task
    seconds: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The residuals."""
        time.sleep(self.seconds)
        return self.task.residuals(x)


def _workers(tasks: list[Task], budget: int, sleep: float) -> dict[str, Any]:
    """Seconds and simulations to within 2 %, by one process and by two that are warm."""
    found: dict[str, Any] = {"sleep": sleep, "seconds": [], "simulations": []}
    context = get_context("spawn")
    with ProcessPoolExecutor(1, context) as one, ProcessPoolExecutor(2, context) as two:
        for pool in (one, two):  # processes begin, the solver is compiled
            list(pool.map(Slow(tasks[0], 1.0), [tasks[0].guess] * 2))
            _timed(tasks[0], pool, budget, 0.0)
        for task in tqdm(tasks, desc="one and two workers"):
            both = [_timed(task, pool, budget, sleep) for pool in (one, two)]
            found["seconds"].append([seconds for seconds, _ in both])
            found["simulations"].append([number for _, number in both])
    return found


def _timed(task: Task, pool: Executor, budget: int, sleep: float) -> tuple[float | None, int]:
    began = time.perf_counter()
    run = least_squares(
        Slow(task, sleep),
        task.guess,
        budget=budget,
        bounds=task.box,
        target=(1 + WITHIN[0]) * task.smallest,
        host=Host(executor=pool, retries=0),
    )
    seconds = time.perf_counter() - began
    return seconds if run.success else None, int(run.num_evaluations)


def _own_work(task: Task) -> dict[str, Any]:
    """Median milliseconds of ask and tell in a step."""
    solver = AskTell(task.guess, methods.least_squares(noise=0.0), bounds=task.box)
    spent = []
    while not solver.converged and solver.num_evaluations < 100:
        began = time.perf_counter()
        points = solver.ask()
        asked = time.perf_counter() - began
        values = [task.residuals(x) for x in points]
        began = time.perf_counter()
        solver.tell(values)
        if len(points) == 1:
            spent.append(asked + time.perf_counter() - began)
    return {
        "dimension": task.guess.size,
        "residuals": task.misfit.measured.size,
        "steps": len(spent) - _WARM,
        "milliseconds": 1e3 * float(np.median(spent[_WARM:])),
    }
