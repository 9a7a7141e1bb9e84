"""Noise on some hundred parameters: the default beside ZO-SAH, CMA-ES and SPSA (20 min)."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from experiments import experiment
from experiments.benchmarks.many_noisy.problems import NAMES, problem
from experiments.common import style, table
from experiments.common.cutest_problems import Problem, in_float64
from experiments.common.noisy_task import Task
from experiments.common.patches import Patch, patched
from experiments.common.solvers import ENDLESS, Over, cma_bounds, run_cma, spread_of
from zosah_jax import AskTell
from zosah_jax.methods import METHODS

noisy_descent = import_module("zosah_jax.methods.noisy_descent")  # the module, not the method
DEFAULT = "default"
_DENSE = 100  # d up to which `noisy_regression` takes part: its own work grows with d^3

# --- the solvers ----------------------------------------------------------------------------------

Runs = list[float]  # the gap that is left at each budget


class _At:
    """The gap at the point where a solver stands, when each budget is spent."""

    def __init__(self, task: Task, budgets: list[int]) -> None:
        self.task, self.left, self.gaps = task, list(budgets), list[float]()

    def __call__(self, spent: int, x: Any) -> None:
        while self.left and spent >= self.left[0]:
            self.gaps.append(self.task.gap(x))
            self.left.pop(0)


def _ours(make: Callable[[], Any], task: Task, at: _At) -> None:
    counted, problem = task.noisy(), task.problem
    solver = AskTell(problem.x0, make(), bounds=problem.bounds, noise=task.noise, key=task.seed)
    while at.left and not solver.converged:
        solver.tell(counted.all(solver.ask()))
        at(len(counted.values), solver.params)
    at(at.left[-1] if at.left else 0, solver.params)


def _cma(task: Task, at: _At) -> None:
    counted, problem = task.noisy(), task.problem
    options: dict[str, Any] = {"CMA_diagonal": True, "tolflatfitness": ENDLESS}

    def told(mean: Any) -> None:
        at(len(counted.values), mean)
        if not at.left:
            raise Over

    with suppress(Over):
        run_cma(
            counted.all,
            problem.x0,
            spread_of(problem.x0),
            task.seed + 1,
            goes_on=True,
            told=told,
            **options,
            **cma_bounds(problem.bounds),
        )


GAINS = tuple(np.geomspace(1e-8, 1e1, 10).tolist())
_SMOOTHING = 0.1  # the first radius, of parameters of size 1
_LOST = 1e6  # a run with a parameter beyond has diverged
_STREAM = 17  # of the directions, which is not that of the noise


def _spsa(gain: float, task: Task, at: _At) -> None:
    """Spall's SPSA with his exponents and A a twentieth of its steps."""
    counted, draw = task.noisy(), np.random.default_rng((_STREAM, task.seed))
    x, budget, k = task.problem.x0.copy(), at.left[-1], 0
    offset = budget / 40
    while at.left and np.abs(x).max() < _LOST:
        k += 1
        radius = _SMOOTHING / k**0.101
        signs = draw.choice([-1.0, 1.0], len(x))
        forth, back = counted.all([x + radius * signs, x - radius * signs])
        rate = gain * ((1 + offset) / (k + offset)) ** 0.602
        x = task.inside(x - rate * (forth - back) / (2 * radius) * signs)
        at(len(counted.values), x)
    at(budget, x if np.all(np.isfinite(x)) else np.full_like(x, _LOST))


SOLVERS: dict[str, tuple[Callable[..., None], ...]] = {
    DEFAULT: (partial(_ours, lambda: None),),
    "zosah": (partial(_ours, METHODS["zosah"]),),
    "noisy_regression": (partial(_ours, METHODS["noisy_regression"]),),
    "CMA-ES": (_cma,),
    "SPSA": tuple(partial(_spsa, gain) for gain in GAINS),
}
"""By name: each way to run it; of several, the one counts that is best in hindsight."""


def _no_room(state: Any, bounds: Any) -> None:
    """Coordinates at bounds move as far as all others."""
    del state, bounds


CHANGES: dict[str, tuple[Patch, ...]] = {
    "the gain knows no noise": ((noisy_descent, "_LEAST", 1e9),),
    "f rises by 0.3 deviations at the radius": ((noisy_descent, "_RISE", 0.3),),
    "by 30": ((noisy_descent, "_RISE", 30.0),),
    "the slope is averaged over 20 steps, however noisy": ((noisy_descent, "_LONGER", 0.0),),
    "the curvature is of the last steps": ((noisy_descent, "_MEMORY", 2.0),),
    "coordinates at bounds move as far as others": ((noisy_descent, "_room", _no_room),),
}
"""By name; none is the default."""


@dataclass(frozen=True)
class Config(experiment.Config):
    """The true gap that is left where each solver stands, its noise given, in float64."""

    names: tuple[str, ...] = NAMES
    """Problems by name."""
    dimensions: tuple[int, ...] = (100, 300, 1_000)
    """Their d."""
    levels: tuple[float, ...] = (1e-3, 1e-1)
    """Standard deviations of the noise, in units of f(x0) - f*."""
    budgets: tuple[int, ...] = (5, 20)
    """Values after which the gap is taken, in units of d."""
    seeds: tuple[int, ...] = (0, 1)
    """Seeds of the noise, and of what a solver draws."""
    ablation_dimension: int = 300
    """d of the ablation."""
    workers: int = 2
    """Processes that run at a time; 1: this one alone."""


# --- the measurement ------------------------------------------------------------------------------


def measure(config: Config) -> dict[str, Any]:
    """Gaps by solver, and by change; each by problem, level, and seed, at every budget."""
    experiment.check_names("names", config.names, NAMES)
    jobs = [(name, d) for d in sorted(config.dimensions, reverse=True) for name in config.names]
    work = partial(_of_problem, config)
    with tqdm(total=len(jobs) + len(config.names), unit="problem") as bar:
        found = _mapped(work, jobs, config.workers, bar)
        changed = _mapped(partial(_changed, config), list(config.names), config.workers, bar)
    return {
        "names": list(config.names),
        "dimensions": list(config.dimensions),
        "levels": list(config.levels),
        "budgets": list(config.budgets),
        "seeds": list(config.seeds),
        "gaps": {str(d): _by_problem(jobs, found, d) for d in config.dimensions},
        "ablation_dimension": config.ablation_dimension,
        "ablation": dict(zip(config.names, changed, strict=True)),
    }


def _by_problem(jobs: list[Any], found: list[Any], d: int) -> dict[str, Any]:
    return {name: one for (name, size), one in zip(jobs, found, strict=True) if size == d}


def _mapped(work: Any, jobs: list[Any], workers: int, bar: Any) -> list[Any]:
    def noted(one: Any) -> Any:
        bar.update()
        return one

    if workers == 1:
        with threadpool_limits(1):
            return [noted(work(job)) for job in jobs]
    spawn = get_context("spawn")  # a fork would copy JAX's threads
    with ProcessPoolExecutor(workers, spawn, threadpool_limits, (1,)) as pool:
        return [noted(one) for one in pool.map(work, jobs)]


def _of_problem(config: Config, job: tuple[str, int]) -> dict[str, Any]:
    """By solver: of each way, level and seed the gaps."""
    name, d = job
    with in_float64():
        found = problem(name, d)
        return {
            solver: [_gaps(way, found, config) for way in ways]
            for solver, ways in SOLVERS.items()
            if solver != "noisy_regression" or d <= _DENSE
        }


def _changed(config: Config, name: str) -> dict[str, Any]:
    with in_float64():
        bench, found = problem(name, config.ablation_dimension), {}
        for change, patches in {"nothing": (), **CHANGES}.items():
            with patched(patches, METHODS["noisy_descent"]) as method:
                found[change] = _gaps(partial(_ours, method), bench, config)
    return found


def _gaps(
    way: Callable[..., None], bench: tuple[Problem, float, float], config: Config
) -> list[list[Runs]]:
    """By level, then seed."""
    found: list[list[Runs]] = []
    for level in config.levels:
        found.append([])
        for seed in config.seeds:
            task = Task(*bench, level, ENDLESS, seed)
            at = _At(task, [budget * task.problem.dimension for budget in config.budgets])
            with np.errstate(all="ignore"):
                way(task, at)
            found[-1].append([float(f"{gap:.3g}") for gap in at.gaps])
    return found


# --- its tables -----------------------------------------------------------------------------------


def mean_gaps(ways: Any) -> np.ndarray:
    """Geometric means over seeds, of the best way in hindsight; shape (levels, budgets)."""
    logs = np.log(np.array(ways, float))  # ways, levels, seeds, budgets
    return np.exp(logs.mean(axis=2).min(axis=0))


def over_problems(results: dict[str, Any], d: int, solver: str) -> np.ndarray:
    """Geometric means over the problems, shape (levels, budgets)."""
    each = [mean_gaps(one[solver]) for one in results["gaps"][str(d)].values()]
    return np.exp(np.log(each).mean(axis=0))


def name_of(solver: str) -> str:
    """A solver in figures and tables."""
    own = {DEFAULT: "the default", "noisy_regression": "noisy regression", "zosah": "ZO-SAH"}
    return own.get(solver, solver)


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    return {"gaps": _table(results), "problems": _problems(results), "ablation": _ablation(results)}


def _columns(results: dict[str, Any]) -> list[tuple[int, int]]:
    return [(i, k) for i in range(len(results["levels"])) for k in range(len(results["budgets"]))]


def _header(results: dict[str, Any]) -> list[str]:
    levels, budgets = results["levels"], results["budgets"]
    return [f"noise {levels[i]:g}, {budgets[k]} d" for i, k in _columns(results)]


def _table(results: dict[str, Any]) -> str:
    rows = []
    for d in results["dimensions"]:
        taking_part = next(iter(results["gaps"][str(d)].values()))
        for solver in taking_part:
            means = over_problems(results, d, solver)
            rows.append(
                [str(d), name_of(solver), *(f"{means[at]:.3g}" for at in _columns(results))]
            )
    return table.markdown(["d", "gap left, geometric mean", *_header(results)], rows)


def _problems(results: dict[str, Any]) -> str:
    """The default over the better of CMA-ES and SPSA, by problem."""
    rows = []
    for d in results["dimensions"]:
        for name, one in results["gaps"][str(d)].items():
            ours, peers = mean_gaps(one[DEFAULT]), [mean_gaps(one[s]) for s in ("CMA-ES", "SPSA")]
            ratio = ours / np.minimum(*peers)
            rows.append([str(d), name, *(f"{ratio[at]:.2f}" for at in _columns(results))])
    return table.markdown(["d", "the default over the better peer", *_header(results)], rows)


def _ablation(results: dict[str, Any]) -> str:
    each = results["ablation"]
    plain = {name: mean_gaps([one["nothing"]]) for name, one in each.items()}
    rows = []
    for change in CHANGES:
        logs = [np.log(mean_gaps([one[change]]) / plain[name]) for name, one in each.items()]
        bounded = [log for log, name in zip(logs, each, strict=True) if name.endswith("bounds")]
        mean = np.exp(np.mean(bounded if "bounds" in change and bounded else logs, axis=0))
        rows.append([change, *(f"{mean[at]:.2f}" for at in _columns(results))])
    return table.markdown(["changed: gap over that without", *_header(results)], rows)


# --- its figure -----------------------------------------------------------------------------------


def draw(results: dict[str, Any], path: Path) -> None:
    """Gaps left at the largest budget, by dimension."""
    with style.figure(path, 9.5, 4.2) as figure:
        panels = figure.subplots(1, len(results["levels"]), sharey=True, squeeze=False)[0]
        for number, (axes, level) in enumerate(zip(panels, results["levels"], strict=True)):
            for place, solver in enumerate(SOLVERS):
                sizes = [d for d in results["dimensions"] if _took_part(results, d, solver)]
                means = [over_problems(results, d, solver)[number, -1] for d in sizes]
                axes.plot(sizes, means, "o-", color=style.series(place), label=name_of(solver))
            axes.set(xscale="log", yscale="log", xlabel="parameters", title=f"noise {level:g}")
            axes.set_xticks(results["dimensions"], list(map(str, results["dimensions"])))
            axes.set_xticks([], minor=True)
        panels[0].set_ylabel(f"gap left after {results['budgets'][-1]} d values")
        handles = panels[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper center", ncols=5)


def _took_part(results: dict[str, Any], d: int, solver: str) -> bool:
    return all(solver in one for one in results["gaps"][str(d)].values())


EXPERIMENT = experiment.Experiment("many_noisy", Config, measure, tables, draw, packages=("cma",))
