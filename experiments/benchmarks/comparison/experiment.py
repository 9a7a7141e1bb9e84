"""Every published method on logistic regression, with equal tuning (about 10 min)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from experiments import experiment
from experiments.common import datasets, style, table
from experiments.common.curves import median, values_to_reach
from experiments.common.problems import FRACTIONS, LIBSVM, Task, at_hand, logistic, reference
from experiments.common.tuning import (
    LEARNING_RATES,
    PUBLISHED,
    TUNING_SEED,
    Entry,
    Plan,
    compare,
    entry_name,
)
from zosah_jax.methods import METHODS


@dataclass(frozen=True)
class Config(experiment.Config):
    """Every method of the library on regularised logistic regression, with equal tuning."""

    dataset: tuple[str, ...] | None = None
    """Datasets by name. None: a1a, a7a, a9a, mushrooms, phishing and splice where their files are
    at hand, else breast_cancer and digits, which come with scikit-learn."""
    data_dir: Path | None = None
    """Folder of LIBSVM files; else the environment variable ZOSAH_DATA."""
    rows: int = 2_000
    """Most rows of a dataset, drawn with a fixed seed."""
    regularisation: float = 1e-4
    """Lambda, the weight of |w|^2 / 2."""
    methods: tuple[str, ...] = PUBLISHED
    """Methods by name. zopqn, the project's own, has `fewer_values`."""
    learning_rates: tuple[float, ...] = LEARNING_RATES
    """The common grid from which each method gets its best."""
    tuning_seed: int = TUNING_SEED
    """Seed on which it is searched, none of those reported."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds that are reported."""
    budget: int = 50
    """Values of the objective that a run may spend, in units of the dimension d."""
    workers: int = 2
    """Methods that are run at a time."""
    x64: bool = True
    """Whether to compute in float64."""


# --- the measurement ------------------------------------------------------------------------------

VALUE = 0.5
"""Value of the objective whose price is reported too."""

_POINTS = 24  # of a kept curve


def names(dataset: tuple[str, ...] | None, data_dir: Path | None) -> list[str]:
    """The data sets asked for; by default the files at hand, and what is built in without any."""
    if dataset is not None:
        return list(dataset)
    return at_hand(LIBSVM, data_dir) or list(datasets.BUILT_IN)


def measure(config: Config) -> dict[str, Any]:
    """Tune every method on one seed, and run it on others, on every data set."""
    experiment.check_names("methods", config.methods, METHODS)
    experiment.check_tuning_seed(config.tuning_seed, config.seeds)
    plan = Plan(
        config.methods,
        config.learning_rates,
        config.tuning_seed,
        config.seeds,
        config.budget,
        config.workers,
    )
    with jax.enable_x64(config.x64):
        tasks = [
            logistic(name, config.rows, config.data_dir, config.regularisation)
            for name in names(config.dataset, config.data_dir)
        ]
        entries = compare(tasks, plan)
        for task in tasks:
            curve = reference(task, config.budget * task.dimension)
            about = {"method": "L-BFGS-B", "setting": "reference", "learning_rate": None}
            entries[task.name].append(about | {"curves": [curve]})
    return {
        "seeds": list(config.seeds),
        "tuning_seed": config.tuning_seed,
        "budget_in_d": config.budget,
        "fractions": FRACTIONS,
        "value": VALUE,
        "datasets": {task.name: _about(task, entries[task.name], config.budget) for task in tasks},
    }


def _about(task: Task, entries: list[Entry], budget: int) -> dict[str, Any]:
    places = np.round(np.geomspace(0.5, budget, _POINTS), 2)  # in units of d
    return {
        "rows": task.rows,
        "dimension": task.dimension,
        "start": task.start,
        "optimum": task.optimum,
        "curve_at_in_d": places.tolist(),
        "entries": [_summary(task, entry, places, budget) for entry in entries],
    }


def _summary(task: Task, entry: Entry, places: np.ndarray, budget: int) -> dict[str, Any]:
    """An entry with what its runs reached instead of their curves."""
    about = {key: value for key, value in entry.items() if key != "curves"}
    curves, end = entry["curves"], np.array(budget * task.dimension)
    closed = [task.gap_closed(curve, np.floor(places * task.dimension)) for curve in curves]
    to_value = [values_to_reach(curve, VALUE) for curve in curves]
    return about | {
        "values_to_reach": [*task.prices(curves, FRACTIONS), to_value],
        "gap_closed": [round(float(task.gap_closed(curve, end)), 6) for curve in curves],
        "curve": np.round(np.median(closed, axis=0), 4).tolist(),
    }


# --- its tables -----------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    parts = [_of_dataset(name, found, results) for name, found in results["datasets"].items()]
    return {
        "claim": _claims(results, "tuned"),
        "pairs": _pairs(results),
        "simple": _claims(results, "simple"),
        "table": "\n\n".join(parts),
    }


def summary(results: dict[str, Any]) -> str:
    """Every method's price of 97 % on every data set, tuned."""
    found = results["datasets"]
    header = ["values / d to close 97 %, tuned (median)", *found]
    lines: dict[str, list[str]] = {}
    for name in found:
        d = found[name]["dimension"]
        for entry in found[name]["entries"]:
            if entry["setting"] != "documented":
                at = results["fractions"].index(0.97)
                price = median(entry["values_to_reach"][at])
                lines.setdefault(entry_name(entry), []).append(table.per_d(price, d))
    return table.markdown(header, [[name, *cells] for name, cells in lines.items()])


def entry_label(entry: Entry) -> str:
    """Name of an entry, with its learning rate and how that was chosen."""
    if entry["method"] not in METHODS:
        return entry_name(entry)
    options = entry.get("options", {})
    name = style.label(entry["method"]) + (", no check" if entry["setting"] == "unchecked" else "")
    m = f", m {options['subspace_dim']}" if "subspace_dim" in options else ""
    how = {"simple": "tuned with m", "unchecked": "tuned"}.get(entry["setting"], entry["setting"])
    edge = ", edge" if entry.get("at_edge") else ""
    return f"{name}, {entry['learning_rate']:g}{m} ({how}{edge})"


def _goals(results: dict[str, Any]) -> list[str]:
    return [*(f"{100 * part:g} %" for part in results["fractions"]), f"f < {results['value']:g}"]


def _of_dataset(name: str, found: dict[str, Any], results: dict[str, Any]) -> str:
    d = found["dimension"]
    title = f"**{name}**: {found['rows']:,} rows, d = {d}, optimum {found['optimum']:.4f}"
    header = ["method, learning rate", *_goals(results), "closed"]
    rows = [
        [
            entry_label(entry),
            *(table.price_per_d(reached, d) for reached in entry["values_to_reach"]),
            f"{100 * float(np.mean(entry['gap_closed'])):.2f} %",
        ]
        for entry in found["entries"]
    ]
    return f"{title}\n\n{table.markdown(header, rows)}"


def _claims(results: dict[str, Any], setting: str) -> str:
    """The best other method's median price over ZO-SAH's, and which method it is."""
    goals = _goals(results)
    header = ["best other / ZO-SAH", *goals]
    rows = []
    for name, found in results["datasets"].items():
        tuned = [e for e in found["entries"] if e["setting"] in ("tuned", "unchecked")]
        ours = [e for e in found["entries"] if (e["method"], e["setting"]) == ("zosah", setting)]
        others = [e for e in tuned if e["method"] != "zosah"]
        if ours and others:
            rows.append([name, *(_duel(ours[0], others, n) for n in range(len(goals)))])
    return table.markdown(header, rows) if rows else ""


def _pairs(results: dict[str, Any]) -> str:
    """On how many data sets ZO-SAH's median price is less than each other method's."""
    wins: dict[str, list[list[bool]]] = {}
    if not all(_has(found, "zosah") for found in results["datasets"].values()):
        return ""
    for found in results["datasets"].values():
        ours = [median(reached) for reached in _of(found, "zosah")["values_to_reach"]]
        for entry in found["entries"]:
            if entry["method"] != "zosah" and entry["setting"] != "documented":
                theirs = [median(reached) for reached in entry["values_to_reach"]]
                ahead = [mine < other for mine, other in zip(ours, theirs, strict=True)]
                wins.setdefault(entry_name(entry), []).append(ahead)
    header = [f"ZO-SAH ahead, of {len(results['datasets'])} sets", *_goals(results)]
    rows = [[name, *map(str, np.sum(ahead, axis=0))] for name, ahead in wins.items()]
    return table.markdown(header, rows)


def _has(found: dict[str, Any], method: str) -> bool:
    return any((e["method"], e["setting"]) == (method, "tuned") for e in found["entries"])


def _of(found: dict[str, Any], method: str) -> Entry:
    return next(e for e in found["entries"] if (e["method"], e["setting"]) == (method, "tuned"))


def _duel(ours: Entry, others: list[Entry], goal: int) -> str:
    mine = median(ours["values_to_reach"][goal])
    best = min(others, key=lambda entry: median(entry["values_to_reach"][goal]))
    theirs = median(best["values_to_reach"][goal])
    if np.isinf(mine):
        return "neither" if np.isinf(theirs) else f"{entry_name(best)} alone"
    if np.isinf(theirs):
        return "**ZO-SAH alone**"
    text = f"{theirs / mine:.2f} ({entry_name(best)})"
    return f"**{text}**" if theirs > mine else text


# --- its figure -----------------------------------------------------------------------------------

_COLUMNS = 3
_COLOURS = 96
_LEFT = 3e-3  # of the gap, at the figure's edge
_TICKS = (1, 0.5, 0.1, 0.03, 0.01)


def draw(results: dict[str, Any], path: Path) -> None:
    """Gap closed against values spent: every method tuned, one panel a data set."""
    found = results["datasets"]
    columns = min(_COLUMNS, len(found))
    rows = -(-len(found) // columns)
    with style.figure(path, 4.0 * columns + 0.6, 3.3 * rows + 1.0) as figure:
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
        for panel, (name, dataset) in zip(panels, found.items(), strict=False):
            _panel(panel, name, dataset)
        for panel in panels[len(found) :]:
            panel.set_axis_off()
        first = figure.axes[0]
        figure.supylabel("gap to the optimum closed, median", fontsize=13)
        figure.supxlabel("function values spent / d", fontsize=13)
        figure.legend(
            *first.get_legend_handles_labels(), loc="outside upper center", ncols=6, fontsize=11
        )
    with Image.open(path) as drawn:  # six panels of many lines: a quarter of the bytes
        drawn.convert("RGB").quantize(_COLOURS).save(path, optimize=True)


def _panel(axes: Axes, name: str, dataset: dict[str, Any]) -> None:
    places = dataset["curve_at_in_d"]
    for entry in dataset["entries"]:
        if entry["setting"] not in ("tuned", "unchecked", "reference"):
            continue
        left = np.maximum(1 - np.array(entry["curve"]), 1e-9)
        axes.plot(places, left, **_look(entry))
    style.gap_axes(axes, places, _LEFT, _TICKS)
    axes.set_title(f"{name.replace('_', ' ')}, d = {dataset['dimension']}")


def _look(entry: dict[str, Any]) -> dict[str, Any]:
    method = entry["method"]
    if method not in METHODS:
        return {"color": style.REFERENCE, "linestyle": ":", "label": entry_name(entry)}
    ours = method == "zosah"
    return {
        "color": style.colour(method),
        "label": entry_name(entry),
        "linewidth": 3.0 if ours else 1.6,
        # MeZO's line is under RSPG's
        "linestyle": "--" if method == "rspg" or entry["setting"] == "unchecked" else "-",
        "zorder": 3 if ours else 2.5 if method == "rspg" else 2,
    }


EXPERIMENT = experiment.Experiment("comparison", Config, measure, tables, draw, summary=summary)
