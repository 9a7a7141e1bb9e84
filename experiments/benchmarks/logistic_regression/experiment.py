"""The main job: ZO-SAH and RSPG on real data, side by side (1 - 2 min)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes
from tqdm import tqdm

from experiments import experiment
from experiments.common import style, table
from experiments.common.curves import Curve
from experiments.common.problems import Task, logistic, reference
from experiments.common.sweeps import constructor, lanes
from zosah_jax.methods import METHODS

FRACTIONS = (0.9, 0.97, 0.99, 0.999)
"""Parts of the gap whose price is reported."""

COMPARED = ("zosah", "rspg")
"""Methods that are run, by name: kept to two minutes. All of them: `comparison`."""

RECOMMENDED = {"zosah": 1.0}
"""Learning rates that the library's documentation recommends, and that need no tuning."""

_POINTS = 60  # of a kept curve

Runs = dict[tuple[str, float], list[Curve]]  # (method, learning rate) -> a curve a seed


@dataclass(frozen=True)
class Config(experiment.Config):
    """ZO-SAH and RSPG on regularised logistic regression, side by side.

    Known datasets: breast_cancer and digits (they come with scikit-learn); a1a, a7a, a9a,
    mushrooms, phishing and splice (LIBSVM files).
    """

    dataset: tuple[str, ...] = ("breast_cancer", "digits")
    """Datasets by name."""
    data_dir: Path | None = None
    """Folder of LIBSVM files; else the environment variable ZOSAH_DATA, else they are fetched."""
    rows: int = 4_000
    """Most rows of a dataset, drawn with a fixed seed."""
    regularisation: float = 1e-4
    """Lambda, the weight of |w|^2 / 2."""
    learning_rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    """The common grid from which each method gets its best."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of the methods."""
    budget: int = 50
    """Values of the objective that a run may spend, in units of the dimension d."""
    x64: bool = True
    """Whether to compute in float64."""


# --- the measurement ------------------------------------------------------------------------------


def measure(config: Config) -> dict[str, Any]:
    """Run the methods at every learning rate on every dataset."""
    with jax.enable_x64(config.x64):
        tasks = [
            logistic(name, config.rows, config.data_dir, config.regularisation)
            for name in config.dataset
        ]
        with tqdm(total=len(tasks) * (len(COMPARED) + 1)) as bar:
            found = {task.name: _on_dataset(task, config, bar) for task in tasks}
    return {
        "seeds": list(config.seeds),
        "budget_in_d": config.budget,
        "fractions": FRACTIONS,
        "datasets": found,
    }


def _on_dataset(task: Task, config: Config, bar: tqdm) -> dict[str, Any]:
    """All runs on one dataset, and what they say."""
    values = config.budget * task.dimension
    runs: Runs = {}
    for method in COMPARED:
        bar.set_description(f"{method} on {task.name}")
        runs |= _runs(task, method, config)
        bar.update()
    bar.set_description(f"L-BFGS-B on {task.name}")
    scipy_run = reference(task, values)
    bar.update()
    return {
        "rows": task.rows,
        "dimension": task.dimension,
        "start": task.start,
        "optimum": task.optimum,
        "curve_at_in_d": _places(config.budget).tolist(),
        "entries": _entries(task, runs, scipy_run, config),
        "learning_rates": _mean_gap_closed(task, runs, values),
        "default_against_rspg": _duel(task, runs, values),
    }


def _runs(task: Task, method: str, config: Config) -> Runs:
    """Every learning rate of the grid, and the one recommended, with every seed."""
    rates = sorted({*config.learning_rates, RECOMMENDED.get(method, config.learning_rates[0])})
    pairs = [(rate, seed) for rate in rates for seed in config.seeds]
    curves = lanes(
        task,
        constructor(method),
        [seed for _, seed in pairs],
        config.budget * task.dimension,
        "learning_rate",
        [rate for rate, _ in pairs],
    )
    found: Runs = {(method, rate): [] for rate in rates}
    for (rate, _), curve in zip(pairs, curves, strict=True):
        found[method, rate].append(curve)
    return found


def _entries(task: Task, runs: Runs, scipy_run: Curve, config: Config) -> list[dict[str, Any]]:
    """One entry a line of the table: recommended settings, tuned methods, the reference."""
    rates, entries = config.learning_rates, []
    for method, rate in RECOMMENDED.items():
        about = {"method": method, "setting": "default", "learning_rate": rate}
        entries.append(about | _summary(task, runs[method, rate], config.budget))
    for method in COMPARED:
        values = config.budget * task.dimension
        rate = max(rates, key=lambda r: _final(task, runs[method, r], values).mean())
        edge = len(rates) > 1 and rate in (min(rates), max(rates))
        about = {"method": method, "setting": "tuned", "learning_rate": rate, "at_edge": edge}
        entries.append(about | _summary(task, runs[method, rate], config.budget))
    about = {"method": "L-BFGS-B", "setting": "reference", "learning_rate": None}
    return [*entries, about | _summary(task, [scipy_run], config.budget)]


def _final(task: Task, curves: list[Curve], values: int) -> np.ndarray:
    """Gap closed after all values, a number a seed."""
    return np.array([task.gap_closed(curve, np.array(values)) for curve in curves])


def _places(budget: int) -> np.ndarray:
    """Values, in units of d, at which a curve is kept."""
    return np.round(np.geomspace(0.25, budget, _POINTS), 3)


def _summary(task: Task, curves: list[Curve], budget: int) -> dict[str, Any]:
    """What the runs of one setting reached."""
    places = np.floor(_places(budget) * task.dimension)
    closed = np.array([task.gap_closed(curve, places) for curve in curves])
    statistics = {"median": np.median, "min": np.min, "max": np.max}
    return {
        "values_to_close": task.prices(curves, FRACTIONS),
        "gap_closed": _final(task, curves, budget * task.dimension).tolist(),
        "curve": {
            name: np.round(statistic(closed, axis=0), 5).tolist()
            for name, statistic in statistics.items()
        },
    }


def _mean_gap_closed(task: Task, runs: Runs, values: int) -> dict[str, dict[str, float]]:
    """What every learning rate of the grid led to: method -> rate -> mean gap closed."""
    found: dict[str, dict[str, float]] = {}
    for (method, rate), curves in runs.items():
        found.setdefault(method, {})[f"{rate:g}"] = float(_final(task, curves, values).mean())
    return found


def _duel(task: Task, runs: Runs, values: int) -> dict[str, Any]:
    """ZO-SAH as it comes against RSPG at the learning rate that is best for each seed alone."""
    ours = _final(task, runs["zosah", RECOMMENDED["zosah"]], values)
    theirs = {rate: _final(task, runs[m, rate], values) for m, rate in runs if m == "rspg"}
    rates, finals = list(theirs), np.stack(list(theirs.values()))
    return {
        "zosah": ours.tolist(),
        "rspg": finals.max(axis=0).tolist(),
        "rspg_learning_rates": [rates[i] for i in finals.argmax(axis=0)],
        "seeds_ahead": int(np.sum(ours > finals.max(axis=0))),
    }


# --- its tables -----------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    parts = [_of_dataset(name, found, results) for name, found in results["datasets"].items()]
    return {"table": "\n\n".join(parts), "duel": _duels(results)}


def _of_dataset(name: str, found: dict[str, Any], results: dict[str, Any]) -> str:
    d = found["dimension"]
    title = f"**{name}**: {found['rows']} rows, d = {d}"
    header = ["values / d to close", *(f"{100 * f:g} %" for f in results["fractions"]), "closed"]
    rows = [
        [
            entry_label(entry),
            *(table.price_per_d(reached, d) for reached in entry["values_to_close"]),
            _percent(float(np.mean(entry["gap_closed"]))),
        ]
        for entry in found["entries"]
    ]
    return f"{title}\n\n{table.markdown(header, rows)}"


def entry_label(entry: dict[str, Any]) -> str:
    """Name of an entry, with its learning rate and how that was chosen."""
    if entry["method"] not in METHODS:
        return f"{entry['method']} (SciPy, finite differences)"
    how = entry["setting"] + (", edge of the grid" if entry.get("at_edge") else "")
    return f"{style.label(entry['method'])}, learning rate {entry['learning_rate']:g} ({how})"


def _percent(part: float) -> str:
    return f"{100 * part:.3f} %"


def _duels(results: dict[str, Any]) -> str:
    """Gap closed, seed by seed."""
    header = ["gap closed, seed", *map(str, results["seeds"]), "ahead"]
    rows = []
    for name, found in results["datasets"].items():
        duel = found["default_against_rspg"]
        ahead = f"{duel['seeds_ahead']} of {len(results['seeds'])}"
        rows.append([f"{name}: ZO-SAH, default", *map(_percent, duel["zosah"]), ahead])
        rspg = [
            f"{_percent(part)} ({rate:g})"
            for part, rate in zip(duel["rspg"], duel["rspg_learning_rates"], strict=True)
        ]
        rows.append([f"{name}: RSPG, its best learning rate for the seed", *rspg, ""])
    return table.markdown(header, rows)


# --- its figure -----------------------------------------------------------------------------------

_LEFT = 3e-4  # of the gap, at the figure's edge
_TICKS = (1, 0.5, 0.1, 0.03, 0.01, 0.001)


def draw(results: dict[str, Any], path: Path) -> None:
    """Gap closed against values spent, one panel a dataset."""
    found = results["datasets"]
    with style.figure(path, 6.6 * len(found) + 0.4, 5.6) as figure:
        panels = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
        for panel, (name, dataset) in zip(panels, found.items(), strict=True):
            _panel(panel, name, dataset)
        panels[0].set_ylabel("gap to the optimum closed")


def _panel(axes: Axes, name: str, dataset: dict[str, Any]) -> None:
    places = dataset["curve_at_in_d"]
    for entry in _distinct(dataset["entries"]):
        look = _look(entry)
        left = {k: np.maximum(1 - np.array(v), 1e-9) for k, v in entry["curve"].items()}
        axes.step(places, left["median"], where="post", label=entry_label(entry), **look)
        if len(entry["gap_closed"]) > 1:
            band = {"step": "post", "color": look["color"], "alpha": 0.18, "linewidth": 0}
            axes.fill_between(places, left["min"], left["max"], **band)
    style.gap_axes(axes, places, _LEFT, _TICKS)
    axes.set_title(f"{name.replace('_', ' ')}, d = {dataset['dimension']}")
    axes.set_xlabel("function values spent / d")
    axes.legend(loc="upper left", fontsize=11)


def _distinct(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries without tuned ones whose best learning rate is the default one: same runs."""
    defaults = {(e["method"], e["learning_rate"]) for e in entries if e["setting"] == "default"}
    return [
        e
        for e in entries
        if e["setting"] != "tuned" or (e["method"], e["learning_rate"]) not in defaults
    ]


def _look(entry: dict[str, Any]) -> dict[str, Any]:
    """Colour by method; dashed where no tuning was needed."""
    if entry["method"] not in METHODS:
        return {"color": style.REFERENCE, "linestyle": ":"}
    return {
        "color": style.colour(entry["method"]),
        "linestyle": "-" if entry["setting"] == "default" else "--",
    }


EXPERIMENT = experiment.Experiment("logistic_regression", Config, measure, tables, draw)
