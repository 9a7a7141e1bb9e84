"""ZO-PQN against what a user would pick instead, and our other methods, tuned (45 min)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from experiments import experiment
from experiments.benchmarks.fewer_values.peers import fewest, gradient_peers, valley_peers
from experiments.common import records, style, table
from experiments.common.curves import curve_of, median
from experiments.common.datasets import BUILT_IN, LIBSVM
from experiments.common.errors import InputError
from experiments.common.problems import Task, away_from_zero, logistic, valley
from experiments.common.tuning import (
    LEARNING_RATES,
    PUBLISHED,
    TUNING_SEED,
    Entry,
    Plan,
    compare,
    entry_name,
)
from zosah_jax import Result, methods, minimize
from zosah_jax.method import Method

# MeZO's runs are RSPG's here; ZOHA and DeepZero take 1.2 to 5 times the values of the best one and
# more everywhere (`comparison`).
CONTENDERS = tuple(name for name in PUBLISHED if name not in ("mezo", "zoha", "deepzero"))
"""The methods of the library that may be the best of the others."""


@dataclass(frozen=True)
class Config(experiment.Config):
    """ZO-PQN and SciPy's minimisers, every value counted, in float64."""

    datasets: tuple[str, ...] = (*LIBSVM, *BUILT_IN)
    """Data of the logistic regressions."""
    rows: int = 4_000
    """Most rows of a dataset."""
    regularisation: float = 1e-4
    """Weight lambda of lambda / 2 |w|^2."""
    fractions: tuple[float, ...] = (0.9, 0.97, 0.99, 0.999)
    """Parts of the gap from w = 0 to the optimum to close."""
    budget: int = 40
    """Most values of a run on data, in units of d."""
    rosenbrock: tuple[int, ...] = (2, 10, 100)
    """Dimensions of Rosenbrock's function, chained, each from (-1.2, 1, -1.2, ...) and from 0."""
    quadratics: int = 2
    """Random quadratics of dimension 100 and condition 1e4."""
    valley_budget: int = 1_000
    """Most values of a run on those, in units of d."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of ZO-PQN, of CMA-ES and of the library's other methods."""
    methods: tuple[str, ...] = CONTENDERS
    """The library's other methods, by name; each gets its best learning rate of the grid."""
    learning_rates: tuple[float, ...] = LEARNING_RATES
    """That grid, as in `comparison`."""
    tuning_seed: int = TUNING_SEED
    """Seed on which it is searched, none of those reported."""
    workers: int = 2
    """Methods of the library that are run at a time."""
    only: tuple[str, ...] | None = None
    """Parts to run anew: zopqn, peers (SciPy and CMA-ES), methods (the library's others). The rest
    is what `experiments/fewer_values` keeps. None: all are run."""
    data_dir: Path | None = None
    """Folder of LIBSVM files. None: where ZOSAH_DATA says, else fetched."""


# --- the measurement ------------------------------------------------------------------------------

PARTS = ("zopqn", "peers", "methods")
"""What can be run alone: ZO-PQN, SciPy's and pycma's methods, and this library's others."""

# under which name each part's results are kept
_DATA_FIELDS = {"zopqn": ["zopqn"], "peers": ["lbfgsb"], "methods": ["methods"]}
_VALLEY_FIELDS = {"zopqn": ["zopqn", "default"], "peers": ["peers"]}


def measure(config: Config) -> dict[str, Any]:
    """Values needed, by problem and method; parts that are not run anew are the kept ones."""
    experiment.check_names("methods", config.methods, PUBLISHED)
    experiment.check_tuning_seed(config.tuning_seed, config.seeds)
    experiment.check_names("only", config.only or (), PARTS)
    parts, fractions = config.only or PARTS, config.fractions
    with jax.enable_x64(True):
        tasks = [
            logistic(name, config.rows, config.data_dir, config.regularisation)
            for name in config.datasets
        ]
        valleys = [valley for d in config.rosenbrock for valley in rosenbrocks(d)]
        goals = [1e-8] * len(valleys)
        valleys += [quadratic(number) for number in range(config.quadratics)]
        goals += [1e-8 * valley.start for valley in valleys[len(goals) :]]
        data = {task.name: _about(task, config.budget) for task in tasks}
        long = {
            v.name: {"dimension": v.dimension, "budget_in_d": config.valley_budget} for v in valleys
        }
        kept = records.kept("fewer_values") if config.only else None
        for name, found in [*data.items(), *long.items()]:
            found |= _taken(name, found, name in data, fractions, parts, kept)
        if "methods" in parts:
            plan = Plan(
                config.methods,
                config.learning_rates,
                config.tuning_seed,
                config.seeds,
                config.budget,
                config.workers,
            )
            for task, entries in zip(tasks, compare(tasks, plan).values(), strict=True):
                data[task.name]["methods"] = [_entry(task, e, fractions) for e in entries]
        with tqdm(total=len(tasks) + len(valleys)) as bar:
            for task in tasks:
                bar.set_description(task.name)
                data[task.name] |= _on_data(task, config, parts)
                bar.update()
            for valley, goal in zip(valleys, goals, strict=True):
                bar.set_description(valley.name)
                long[valley.name] |= _on_valley(valley, goal, config, parts)
                bar.update()
    named = [{"name": name, **found} for name, found in long.items()]
    return {"fractions": list(fractions), "data": data, "valleys": named}


def rosenbrocks(d: int) -> list[Task]:
    """Rosenbrock's function in d dimensions from (-1.2, 1, -1.2, ...) and from 0.

    From the first, for d > 2, some descend to the local minimum near (-1, 1, ..., 1).
    """
    first = valley(d)
    name = f"Rosenbrock, d = {d}, from"
    return [
        replace(first, name=f"{name} (-1.2, 1, ..)"),
        replace(first, name=f"{name} 0", x0=np.zeros(d), start=float(d - 1)),
    ]


def quadratic(number: int, d: int = 100) -> Task:
    """A quadratic of condition 1e4 in a random orthonormal basis, from 0."""
    return away_from_zero(f"quadratic {number}, d = {d}", number, d, 1e4)


def _taken(
    name: str,
    about: dict[str, Any],
    is_data: bool,
    fractions: tuple[float, ...],
    parts: Iterable[str],
    kept: dict[str, Any] | None,
) -> dict[str, Any]:
    """What is kept of the parts that are not run, if it is of the very problem."""
    fields = _DATA_FIELDS if is_data else _VALLEY_FIELDS
    wanted = [name for part, names in fields.items() if part not in parts for name in names]
    if not wanted:
        return {}
    kept = kept or {"fractions": [], "data": {}, "valleys": []}
    found = kept["data"].get(name, {}) if is_data else _by_name(kept["valleys"], name)
    same = all(found.get(key) == value for key, value in about.items())
    same = same and (not is_data or kept["fractions"] == list(fractions))
    if not same or any(field not in found for field in wanted):
        raise InputError(
            f"only: wanted the kept results of {name}, the same problem and budget, which are not "
            "there: run without it first."
        )
    return {field: found[field] for field in wanted}


def _by_name(found: Iterable[dict[str, Any]], name: str) -> dict[str, Any]:
    return next((one for one in found if one["name"] == name), {})


def _about(task: Task, budget: int) -> dict[str, Any]:
    """What a kept problem is known by."""
    return {
        "dimension": task.dimension,
        "rows": task.rows,
        "start": round(task.start, 6),
        "optimum": round(task.optimum, 6),
        "budget_in_d": budget,
    }


def _entry(task: Task, entry: Entry, fractions: tuple[float, ...]) -> dict[str, Any]:
    """What is kept of an entry of the comparison."""
    about = {key: entry.get(key) for key in ("method", "setting", "learning_rate", "options")}
    return about | {"values": task.prices(entry["curves"], fractions)}


def _on_data(task: Task, config: Config, parts: Iterable[str]) -> dict[str, Any]:
    """Values to close each part of the gap, by every seed and by L-BFGS-B at its best."""
    most = config.budget * task.dimension
    found: dict[str, Any] = {}
    if "zopqn" in parts:
        # one after another: its stages differ from lane to lane
        ours = [curve_of(_run(task, methods.zopqn(), most, None, seed)) for seed in config.seeds]
        found["zopqn"] = task.prices(ours, config.fractions)
    if "peers" in parts:
        fun = task.objective()
        theirs = [peer(fun, task.x0, most) for peer in gradient_peers()["L-BFGS-B"]]
        targets = [task.target(fraction) for fraction in config.fractions]
        found["lbfgsb"] = [fewest(theirs, target) for target in targets]
    return found


def _on_valley(valley: Task, goal: float, config: Config, parts: Iterable[str]) -> dict[str, Any]:
    """Values to come to the goal, by every seed and by each peer at its best."""
    found: dict[str, Any] = {}
    budget = config.valley_budget * valley.dimension
    if "zopqn" in parts:
        for name, method in (("zopqn", methods.zopqn()), ("default", None)):
            runs = [_run(valley, method, budget, goal, seed) for seed in config.seeds]
            found[name] = [int(out.num_evaluations) if out.success else None for out in runs]
    if "peers" in parts:
        found["peers"] = valley_peers(valley, budget, goal, config.seeds)
    return found


def _run(task: Task, method: Method | None, budget: int, target: float | None, seed: int) -> Result:
    """A run of a method with its defaults, or of the default of `minimize`."""
    x0 = jnp.asarray(task.x0)
    return minimize(
        lambda x: task.fun(x, task.data), x0, method, budget=budget, target=target, key=seed
    )


# --- its tables -----------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    return {"data": _data(results), "methods": _methods(results), "valleys": _valleys(results)}


def ratios(found: dict[str, Any]) -> list[float]:
    """Median values of ZO-PQN over those of L-BFGS-B, or over all that it was given."""
    most = found["budget_in_d"] * found["dimension"]
    return [
        median(ours) / (most if theirs is None else theirs)
        for ours, theirs in zip(found["zopqn"], found["lbfgsb"], strict=True)
    ]


def _data(results: dict[str, Any]) -> str:
    parts = [f"{100 * fraction:g} %" for fraction in results["fractions"]]
    header = ["values / d to close", "d", *parts, *(f"ratio at {part}" for part in parts)]
    rows = []
    for name, found in results["data"].items():
        d = found["dimension"]
        both = [
            f"{_per(median(ours), d)} / {_per(theirs, d)}"
            for ours, theirs in zip(found["zopqn"], found["lbfgsb"], strict=True)
        ]
        rows.append([name, str(d), *both, *map(_ratio, ratios(found))])
    every = np.array([ratios(found) for found in results["data"].values()])
    means = [_ratio(table.geometric_mean(column)) for column in every.T]
    worst = [_ratio(value) for value in every.max(axis=0)]
    blank = [""] * (1 + len(parts))
    return table.markdown(header, [*rows, ["mean", *blank, *means], ["worst", *blank, *worst]])


def best_method(found: dict[str, Any], number: int) -> dict[str, Any]:
    """The library's other method, at any of its settings, with the least median at a part."""
    return min(found["methods"], key=lambda entry: median(entry["values"][number]))


def over_methods(results: dict[str, Any]) -> dict[str, list[float]]:
    """Median values of ZO-PQN over those of the best other method, by set, at each part.

    Where no other method gets there, it counts as all that it was given: the ratio is at most that.
    """
    return {
        name: [
            median(found["zopqn"][number])
            / min(
                median(best_method(found, number)["values"][number]),
                found["budget_in_d"] * found["dimension"],
            )
            for number in range(len(results["fractions"]))
        ]
        for name, found in results["data"].items()
    }


def _methods(results: dict[str, Any]) -> str:
    parts = [f"{100 * fraction:g} %" for fraction in results["fractions"]]
    header = ["values / d to close", *parts, *(f"ratio at {part}" for part in parts)]
    found_ratios = over_methods(results)
    rows = []
    for name, found in results["data"].items():
        cells, quotients = [], []
        for number, ratio in enumerate(found_ratios[name]):
            best = best_method(found, number)
            theirs = median(best["values"][number])
            there = np.isfinite(theirs)
            who = f" {entry_name(best)}" if there else ""
            d = found["dimension"]
            cells.append(f"{_per(median(found['zopqn'][number]), d)} / {_per(theirs, d)}{who}")
            quotients.append(_ratio(ratio) if there or not np.isfinite(ratio) else f"< {ratio:.2f}")
        rows.append([name, *cells, *quotients])
    every = np.array(list(found_ratios.values()))
    blank = [""] * len(parts)
    means = [_ratio(table.geometric_mean(column)) for column in every.T]
    worst = [_ratio(value) for value in every.max(axis=0)]
    return table.markdown(header, [*rows, ["mean", *blank, *means], ["worst", *blank, *worst]])


def _valleys(results: dict[str, Any]) -> str:
    names = list(dict.fromkeys(name for v in results["valleys"] for name in v["peers"]))
    header = ["values to 1e-8", "ZO-PQN", "min - max", *names, "over the best", "over L-BFGS-B"]
    header += ["the default", "over the best"]
    rows = []
    for found in results["valleys"]:
        ours, peers = median(found["zopqn"]), found["peers"]
        there = [v for v in found["zopqn"] if v is not None]
        span = f"{min(there):,} - {max(there):,}" if there else "-"
        missed = len(found["zopqn"]) - len(there)
        span += f", {missed} elsewhere" if missed and there else ""
        best = min((v for v in peers.values() if v is not None), default=np.inf)
        lbfgsb = np.inf if peers["L-BFGS-B"] is None else peers["L-BFGS-B"]
        row = [found["name"], _number(ours), span, *(_number(peers.get(name)) for name in names)]
        default = median(found["default"])
        row += [_ratio(ours / best), _ratio(ours / lbfgsb), _number(default)]
        rows.append([*row, _ratio(default / best)])
    return table.markdown(header, rows)


def _number(value: float | None) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value:,.0f}"


def _per(value: float | None, d: int) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value / d:.1f}"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "-"


def spread(values: Sequence[int | None], d: int) -> tuple[float, float]:
    """Smallest and largest over seeds, in units of d; infinite where one was not reached."""
    every = [np.inf if v is None else v / d for v in values]
    return min(every), max(every)


# --- its figure -----------------------------------------------------------------------------------

_OTHER: dict[str, Any] = {"color": style.colour("zosah"), "markerfacecolor": "white"}


def draw(results: dict[str, Any], path: Path) -> None:
    """Values needed on each dataset: ZO-PQN (its spread), L-BFGS-B, the best other method."""
    parts, data = results["fractions"], results["data"]
    with style.figure(path, 13.6, 4.8) as figure:
        panels = np.atleast_1d(figure.subplots(1, len(parts), sharey=True))
        places = np.arange(len(data))
        for number, (axes, part) in enumerate(zip(panels, parts, strict=True)):
            for place, found in zip(places, data.values(), strict=True):
                d, theirs = found["dimension"], found["lbfgsb"][number]
                low, high = spread(found["zopqn"][number], d)
                middle = median(found["zopqn"][number]) / d
                colour = style.colour("zopqn")
                axes.plot([low, high], [place, place], color=colour, linewidth=3, alpha=0.5)
                axes.plot(middle, place, "o", color=colour)
                if theirs is not None:
                    axes.plot(theirs / d, place, "s", color=style.REFERENCE)
                other = median(best_method(found, number)["values"][number])
                if np.isfinite(other):
                    axes.plot(other / d, place, "D", **_OTHER)
            axes.set(title=f"{100 * part:g} % of the gap closed", xlabel="values / d")
            axes.set(xscale="log", yticks=places, yticklabels=list(data))
            style.plain_ticks(axes.xaxis)
        panels[0].plot([], [], "o-", color=style.colour("zopqn"), label="ZO-PQN, over seeds")
        panels[0].plot([], [], "s", color=style.REFERENCE, label="SciPy L-BFGS-B, at its best")
        panels[0].plot([], [], "D", **_OTHER, label="the library's best other method, tuned")
        figure.legend(loc="outside lower center", ncols=3)


EXPERIMENT = experiment.Experiment("fewer_values", Config, measure, tables, draw)
