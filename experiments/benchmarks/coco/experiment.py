"""The BBOB suite of COCO: ECDFs of the default, ZO-PQN and three peers, with restarts."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from experiments import experiment
from experiments.benchmarks.coco.solvers import DEFAULT, OURS, SOLVERS, runs
from experiments.benchmarks.coco.suite import (
    DIMENSIONS,
    FUNCTIONS,
    JUDGED,
    TARGETS,
    area,
    bare_problem,
)
from experiments.common import records, style, table
from experiments.common.errors import InputError
from zosah_jax.methods import METHODS


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


# --- its tables -----------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    return {"areas": _areas(results), "functions": _functions(results), "lost": _lost(results)}


def name_of(solver: str) -> str:
    """A solver in figures and tables."""
    if solver == DEFAULT:
        return "the default"
    return style.label(solver) if solver in METHODS else solver


def mean_area(found: dict[str, Any]) -> float:
    """Area of a setting in a dimension, over all functions and instances."""
    return float(np.mean([area for row in found["areas"].values() for area in known(row)]))


def area_on(found: dict[str, Any], function: int) -> float:
    """Area of a setting in a dimension on a function, over its instances."""
    return float(np.mean(known(found["areas"][str(function)])))


def known(row: list[float | None]) -> list[float]:
    """Areas of the instances that were run; null stands for one that was not."""
    return [area for area in row if area is not None]


def best_setting(results: dict[str, Any], solver: str, d: int) -> str:
    """The setting of a solver with the largest area in a dimension."""
    settings = results["solvers"][solver]
    return max(settings, key=lambda setting: mean_area(settings[setting][str(d)]))


def best_of(results: dict[str, Any], solver: str, d: int) -> dict[str, Any]:
    """What that setting found."""
    return results["solvers"][solver][best_setting(results, solver, d)][str(d)]


def ours(results: dict[str, Any]) -> list[str]:
    """The library's own, the default first where it took part."""
    return [solver for solver in OURS if solver in results["solvers"]]


def peers(results: dict[str, Any]) -> list[str]:
    """All solvers but ours."""
    return [solver for solver in results["solvers"] if solver not in OURS]


def best_peer(results: dict[str, Any], d: int) -> str:
    """The peer with the largest area in a dimension."""
    return max(peers(results), key=lambda peer: mean_area(best_of(results, peer, d)))


def _areas(results: dict[str, Any]) -> str:
    dimensions = results["dimensions"]
    rows = [
        [name_of(solver), *(f"{mean_area(best_of(results, solver, d)):.3f}" for d in dimensions)]
        for solver in results["solvers"]
    ]
    for own in ours(results):
        over = [
            mean_area(best_of(results, own, d))
            / mean_area(best_of(results, best_peer(results, d), d))
            for d in dimensions
        ]
        rows.append([f"{name_of(own)} over the best peer", *(f"{ratio:.2f}" for ratio in over)])
    rows.append(["the best peer", *(_with_setting(results, d) for d in dimensions)])
    found = [results["solvers"][s] for s in results["solvers"]]
    if all(
        about["ecdf"] is not None for of in found for by in of.values() for about in by.values()
    ):
        rows += [
            [f"{name_of(own)}: the ratio from d values on",
             *(_late(results, own, d) for d in dimensions)]
            for own in ours(results)
        ]  # fmt: skip
        rows += [
            [
                f"{name_of(solver)}: runs to 1e-8",
                *(_met(best_of(results, solver, d)) for d in dimensions),
            ]
            for solver in results["solvers"]
        ]
    return table.markdown(["area under the ECDF", *(f"d = {d}" for d in dimensions)], rows)


def _met(found: dict[str, Any]) -> str:
    """How many runs met all targets; of how many, where some were not run."""
    rows = found["areas"].values()
    runs, all_runs = sum(len(known(row)) for row in rows), sum(map(len, rows))
    return f"{found['all_targets_met']}" + (f" of {runs}" if runs < all_runs else "")


def _with_setting(results: dict[str, Any], d: int) -> str:
    peer = best_peer(results, d)
    return f"{peer} ({best_setting(results, peer, d)})"


def _late(results: dict[str, Any], own: str, d: int) -> str:
    """The ratio of areas that begin at d values."""
    largest = max(best_of(results, peer, d)["area_from_d"] for peer in peers(results))
    return f"{best_of(results, own, d)['area_from_d'] / largest:.2f}"


def _functions(results: dict[str, Any]) -> str:
    """By function and dimension: our area, and that of the peer that is best on the function."""
    own, rows = ours(results)[0], []
    for f in results["functions"]:
        cells = []
        for d in results["dimensions"]:
            mine = area_on(best_of(results, own, d), f)
            theirs = {peer: area_on(best_of(results, peer, d), f) for peer in peers(results)}
            best = max(theirs, key=lambda peer: theirs[peer])
            text = f"{mine:.2f} / {theirs[best]:.2f} {best}"
            cells.append(f"**{text}**" if mine >= theirs[best] else text)
        rows.append([f"f{f} {NAMES[f]}", *cells])
    header = [f"d = {d}" for d in results["dimensions"]]
    return table.markdown([f"area: {name_of(own)} / best peer on the function", *header], rows)


def _lost(results: dict[str, Any]) -> str:
    """What each function adds to our area less that of the best peer of the dimension."""
    own, rows = ours(results)[0], []
    for f in results["functions"]:
        cells = []
        for d in results["dimensions"]:
            peer = best_of(results, best_peer(results, d), d)
            gap = area_on(best_of(results, own, d), f) - area_on(peer, f)
            cells.append(f"{gap / len(results['functions']):+.4f}")
        rows.append([f"f{f} {NAMES[f]}", *cells])
    header = [f"d = {d}, over {best_peer(results, d)}" for d in results["dimensions"]]
    return table.markdown(["share of the function in the difference of areas", *header], rows)


NAMES = {
    1: "sphere",
    2: "ellipsoid, separable",
    3: "Rastrigin, separable",
    4: "Bueche-Rastrigin",
    5: "linear slope",
    6: "attractive sector",
    7: "step ellipsoid",
    8: "Rosenbrock",
    9: "Rosenbrock, rotated",
    10: "ellipsoid",
    11: "discus",
    12: "bent cigar",
    13: "sharp ridge",
    14: "different powers",
    15: "Rastrigin",
    16: "Weierstrass",
    17: "Schaffer F7",
    18: "Schaffer F7, ill-conditioned",
    19: "Griewank-Rosenbrock",
    20: "Schwefel",
    21: "Gallagher, 101 peaks",
    22: "Gallagher, 21 peaks",
    23: "Katsuura",
    24: "Lunacek bi-Rastrigin",
}


# --- its figure -----------------------------------------------------------------------------------

_COLUMNS = 3
_TICKS = (0.1, 1, 10, 100)
_COLOURS = {
    DEFAULT: style.series(0),
    "L-BFGS-B": style.REFERENCE,
    "COBYQA": "#0072B2",
    "CMA-ES": "#009E73",
}
_LINES = {"L-BFGS-B": "--", "COBYQA": "-.", "CMA-ES": ":"}


def draw(results: dict[str, Any], path: Path) -> None:
    """ECDFs: parts of all (function, instance, target) met against values, by dimension."""
    dimensions = results["dimensions"]
    columns = min(_COLUMNS, len(dimensions))
    rows = -(-len(dimensions) // columns)
    with style.figure(path, 4.3 * columns + 0.6, 3.5 * rows + 1.0) as figure:
        panels = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
        for axes, d in zip(panels, dimensions, strict=False):
            for solver in results["solvers"]:
                ecdf = best_of(results, solver, d)["ecdf"]
                if ecdf is not None:
                    axes.plot(results["ecdf_at_in_d"], ecdf, **_look(solver))
            axes.set(title=f"d = {d}", xscale="log", ylim=(0, 1))
            axes.set_xticks(_TICKS, list(map(str, _TICKS)))
            axes.set_xticks([], minor=True)
            axes.set_xlim(1 / d, results["budget_in_d"])
        for axes in panels[len(dimensions) :]:
            axes.set_axis_off()
        figure.supxlabel("values / d", fontsize=13)
        figure.supylabel("targets met", fontsize=13)
        handles = figure.axes[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper center", ncols=5)


def _look(solver: str) -> dict[str, Any]:
    own = solver in OURS
    return {
        "color": style.colour(solver) if solver in METHODS else _COLOURS[solver],
        "linestyle": "-" if own else _LINES[solver],
        "linewidth": 3.0 if own else 2.0,
        "label": name_of(solver),
        "zorder": 3 if own else 2,
    }


EXPERIMENT = experiment.Experiment(
    "coco", Config, measure, tables, draw, packages=("coco-experiment", "cma")
)
