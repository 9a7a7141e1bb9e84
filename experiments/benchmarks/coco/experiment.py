"""The BBOB suite of COCO: ECDFs of the default, ZO-PQN and three peers, with restarts."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from experiments import experiment
from experiments.benchmarks.coco.report import draw, known, tables
from experiments.benchmarks.coco.solvers import OURS, SOLVERS, runs
from experiments.benchmarks.coco.suite import (
    DIMENSIONS,
    FUNCTIONS,
    JUDGED,
    TARGETS,
    area,
    bare_problem,
)
from experiments.common import records
from experiments.common.errors import InputError


@dataclass(frozen=True)
class Config(experiment.Config):
    """The default, ZO-PQN and peers on the BBOB suite, every value counted, in float64."""

    functions: tuple[int, ...] = JUDGED
    """Functions by number, 1 to 24."""
    dimensions: tuple[int, ...] = (2, 3, 5, 10, 20)
    """Dimensions d; the suite has 40, too."""
    instances: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Instances of each function: its shift, its rotation and its smallest value."""
    budget: int = 200
    """Most values of a run, in units of d."""
    solvers: tuple[str, ...] = tuple(SOLVERS)
    """Solvers that take part. COBYQA takes most of the time."""
    workers: int = 2
    """Processes that run at a time; 1: this one alone."""
    only: tuple[str, ...] | None = None
    """Of those, the ones to run anew; the others' results are those that `experiments/coco` keeps.
    None: all are run."""


# --- the measurement ------------------------------------------------------------------------------

_PLACES = 48  # of a kept ECDF

Job = tuple[str, int, tuple[int, ...]]  # solver, dimension, functions
Found = dict[str, Any]


def measure(config: Config) -> dict[str, Any]:
    """Every solver on every problem: areas under the ECDF, and the ECDF of each dimension."""
    bare_problem()
    solvers, only = config.solvers, config.only
    experiment.check_names("functions", config.functions, FUNCTIONS)
    experiment.check_names("dimensions", config.dimensions, DIMENSIONS)
    experiment.check_names("solvers", solvers, SOLVERS)
    experiment.check_names("only", only or (), solvers)
    if min(config.instances) < 1:
        raise InputError(f"instances: got {min(config.instances)}, wanted positive numbers.")
    if not set(OURS) & set(solvers) or set(solvers) <= set(OURS):
        wanted = " or ".join(OURS)
        raise InputError(f"solvers: got {', '.join(solvers)}, wanted {wanted}, and a peer.")
    fresh = only or solvers
    asked = {
        "functions": list(config.functions),
        "dimensions": list(config.dimensions),
        "instances": list(config.instances),
        "budget_in_d": config.budget,
        "ecdf_at_in_d": _places(config.budget).tolist(),
    }
    kept = records.kept("coco") if only else None
    old = {name: _taken(name, asked, kept) for name in solvers if name not in fresh}
    jobs = _jobs(fresh, config.functions, config.dimensions)
    new = _measured(jobs, config.instances, config.budget, config.workers)
    return {**asked, "solvers": {name: (old | new)[name] for name in solvers}}


def _places(budget: int) -> np.ndarray:
    """Values in units of d at which an ECDF is kept: from 0.05, a value at d = 20."""
    return np.round(np.geomspace(0.05, budget, _PLACES), 3)


def _jobs(
    solvers: Iterable[str], functions: tuple[int, ...], dimensions: tuple[int, ...]
) -> list[Job]:
    """The longest first; all functions of a method of ours in a dimension, which compiles once."""
    jobs = []
    for d in sorted(dimensions, reverse=True):
        for name in solvers:
            parts = [functions] if name in OURS else [(f,) for f in functions]
            jobs += [(name, d, part) for part in parts]
    return jobs


def _measured(
    jobs: list[Job], instances: tuple[int, ...], budget: int, workers: int
) -> dict[str, Any]:
    """By solver, setting and dimension: areas and ECDF."""
    hits: dict[tuple[str, str, int], dict[int, np.ndarray]] = {}
    total = sum(len(job[-1]) for job in jobs) * len(instances)
    with tqdm(total=total, unit="run") as bar:
        for (name, d, part), by_function in _answers(jobs, instances, budget, workers):
            for f, by_setting in by_function.items():
                for setting, found in by_setting.items():
                    hits.setdefault((name, setting, d), {})[f] = found
            bar.set_description(f"{name}, d = {d}")
            bar.update(len(part) * len(instances))
    summed: dict[str, Any] = {}
    for (name, setting, d), of in sorted(hits.items()):
        about = _summary({f: of[f] for f in sorted(of)}, d, budget)
        summed.setdefault(name, {}).setdefault(setting, {})[str(d)] = about
    return summed


def _answers(
    jobs: list[Job], instances: tuple[int, ...], budget: int, workers: int
) -> Iterator[tuple[Job, dict[int, dict[str, np.ndarray]]]]:
    """What each job found, as it comes."""
    if workers == 1:
        with threadpool_limits(1):
            yield from ((job, _work(job, instances, budget)) for job in jobs)
        return
    spawn = get_context("spawn")  # a fork would copy JAX's threads
    # One thread each: on matrices as small as these, more do nothing but wait for each other.
    with ProcessPoolExecutor(workers, spawn, threadpool_limits, (1,)) as pool:
        futures = {pool.submit(_work, job, instances, budget): job for job in jobs}
        yield from ((futures[future], future.result()) for future in as_completed(futures))


def _work(job: Job, instances: tuple[int, ...], budget: int) -> dict[int, dict[str, np.ndarray]]:
    """First hits by function and setting, shape (instances, targets)."""
    name, d, functions = job
    found = {}
    for f in functions:
        by_instance = [runs(name, f, d, instance, budget * d) for instance in instances]
        found[f] = {
            setting: np.stack([hits[setting] for hits in by_instance]) for setting in SOLVERS[name]
        }
    return found


def _summary(hits: dict[int, np.ndarray], d: int, budget: int) -> Found:
    every = np.stack(list(hits.values()))
    met = every[..., None] <= _places(budget) * d
    return {
        "areas": {str(f): area(of, budget * d).round(4).tolist() for f, of in hits.items()},
        "area_from_d": round(float(area(every, budget * d, begin=d).mean()), 4),
        "ecdf": met.mean(axis=(0, 1, 2)).round(4).tolist(),
        "all_targets_met": int(np.isfinite(every[..., -1]).sum()),
        "targets": len(TARGETS),
    }


def _taken(name: str, asked: dict[str, Any], kept: dict[str, Any] | None) -> dict[str, Any]:
    """What is kept of a solver, for the problems that are asked."""
    try:
        if kept is None or kept["budget_in_d"] != asked["budget_in_d"]:
            raise KeyError("budget")
        whole = all(
            sorted(kept[part]) == sorted(asked[part]) for part in ("functions", "instances")
        )
        columns = [kept["instances"].index(i) for i in asked["instances"]]
        found: dict[str, Any] = {}
        for setting in SOLVERS[name]:
            for d in map(str, asked["dimensions"]):
                about = dict(kept["solvers"][name][setting][d])
                areas = {str(f): about["areas"][str(f)] for f in asked["functions"]}
                about["areas"] = {f: [row[c] for c in columns] for f, row in areas.items()}
                if any(known(row) == [] for row in about["areas"].values()):
                    raise KeyError("runs")
                if not whole:  # these are of all
                    about |= {"area_from_d": None, "ecdf": None, "all_targets_met": None}
                found.setdefault(setting, {})[d] = about
    except (KeyError, ValueError) as error:
        raise InputError(
            f"only: wanted the kept results of {name} for these functions, dimensions, instances "
            "and this budget, which are not there: run without it first."
        ) from error
    return found


EXPERIMENT = experiment.Experiment(
    "coco", Config, measure, tables, draw, packages=("coco-experiment", "cma")
)
