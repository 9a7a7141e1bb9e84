"""ZO-SAH by what spans its subspaces, and the peers of 2022 to 2026 tuned alike, on networks."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments import experiment
from experiments.benchmarks.subspaces.entries import ENTRIES, PLANS
from experiments.benchmarks.subspaces.runs import compare, price
from experiments.common import style, table


@dataclass(frozen=True)
class Config(experiment.Config):
    """ZO-SAH in each basis and its peers, tuned alike, on networks.

    What is done is kept entry by entry: stopped, the command goes on where it was.
    """

    tasks: tuple[str, ...] = ("digits", "mnist", "cifar10")
    """digits (a convolutional network), mnist (a perceptron), cifar10 (ResNet-8)."""
    only: tuple[str, ...] | None = None
    """Entries by name. None: all."""
    seconds: float = 3_600.0
    """Time for all that is not there yet."""
    data_dir: Path | None = None
    """Folder with MNIST and CIFAR-10. None: the environment variable ZOSAH_DATA."""
    checkpoints: Path | None = None
    """Folder of entries as they are done, and of files of such from other machines. None:
    runs/subspaces."""


# --- the measurement ------------------------------------------------------------------------------


def measure(config: Config) -> dict[str, Any]:
    """Run what is not kept yet; put it together with what is."""
    experiment.check_names("tasks", config.tasks, PLANS)
    experiment.check_names("only", config.only or (), ENTRIES)
    folder = config.checkpoints or Path("runs") / "subspaces"
    own = folder / "entries.json"
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*.json")):
        found |= json.loads(path.read_text())
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text(json.dumps(found, indent=1) + "\n")
    with tqdm(total=sum(len(PLANS[task].entries) for task in config.tasks), unit="entry") as bar:

        def tell(text: str) -> None:
            bar.set_description(text.strip()[:60])
            bar.update(not text.startswith(" "))

        only = config.only or ()
        found = compare(config.tasks, config.data_dir, own, config.seconds, tell, only)
    places = _places(config.tasks)
    return {
        "plans": {task: PLANS[task]._asdict() for task in config.tasks},
        "entries": {place: _brief(place, found[place]) for place in places if place in found},
    }


def _brief(place: str, entry: dict[str, Any]) -> dict[str, Any]:
    """What is reported of an entry: prices, the end, and the middle seed's way."""
    plan, history = PLANS[place.split("/")[0]], entry["history"]
    losses = np.array(history["loss"], float)
    losses[~(losses <= _DIVERGED)] = np.nan
    middle = [None if np.isnan(loss) else float(loss) for loss in np.median(losses, axis=1)]
    return {key: part for key, part in entry.items() if key != "history"} | {
        "prices": [price(entry, goal, None) for goal in plan.accuracies]
        + [price(entry, None, level) for level in plan.losses],
        "end": {key: history[key][-1] for key in ("spent", "loss", "accuracy")},
        "cut": history.get("cut", False),
        "way": {"spent": [int(np.median(row)) for row in history["spent"]], "loss": middle},
    }


def _places(tasks: tuple[str, ...]) -> list[str]:
    return [f"{task}/{name}" for task in tasks for name in PLANS[task].entries]


_DIVERGED = 100.0  # a training loss that no network of these has while it learns


# --- its tables -----------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    return {task: _table(results, task) for task in results["plans"]}


def _table(results: dict[str, Any], task: str) -> str:
    plan = results["plans"][task]
    goals = [f"values to {goal:.0%}" for goal in plan["accuracies"]]
    goals += [f"values to loss {level:g}" for level in plan["losses"]]
    rows, places = [], {}
    for place, entry in results["entries"].items():
        if place.split("/")[0] != task:
            continue
        where = f"{entry['device']}, jax {entry['versions']['jax']}"
        mark = "*" * places.setdefault(where, len(places))
        cells = [_reached(values) for values in entry["prices"]]
        rows.append(
            [
                f"{entry['label']}, {_described(entry)}{mark}",
                *cells,
                f"{entry['end']['spent'][0]:,}{', cut' if entry['cut'] else ''}",
                *_at_the_end(entry["end"]),
            ]
        )
    if not rows:
        return "Not run yet."
    header = [*goals, "values", "training loss", "test accuracy"]
    named = "; ".join(f"{'*' * n + ': ' if n else ''}{where}" for where, n in places.items())
    return f"On {named}:\n\n{table.markdown([task, *header], rows)}"


def _at_the_end(end: dict[str, Any]) -> tuple[str, str]:
    """Loss and accuracy, unless a run diverged; an accuracy that was not measured is a dash."""
    losses, right = end["loss"], end["accuracy"]
    lost = sum(loss is None or loss > _DIVERGED for loss in losses)
    if lost:
        return f"diverged ({lost}/{len(losses)})", "-"
    accuracy = "-" if None in right else table.mean([_percent(part) for part in right], 1, " %")
    return table.mean(losses, 3), accuracy


def _reached(values: list[int | None]) -> str:
    """Median (smallest - largest), or how many seeds got there if not all did."""
    there = [value for value in values if value is not None]
    if len(there) < len(values):
        return f"- ({len(there)}/{len(values)})"
    return f"{np.median(there):,.0f} ({min(there):,} - {max(there):,})"


def _percent(part: float | None) -> float | None:
    return None if part is None else 100 * part


def _described(entry: dict[str, Any]) -> str:
    chosen = {"learning rate": entry["learning_rate"], **entry["options"]}
    told = (f"{name.replace('_', ' ')} {value}" for name, value in chosen.items())
    return ", ".join(one for one in told if not one.startswith(("basis", "period")))


# --- its figure -----------------------------------------------------------------------------------


def draw(results: dict[str, Any], path: Path) -> None:
    """The middle seed's training loss against values, a panel a task."""
    tasks = list(results["plans"])
    with style.figure(path, 4.5 * len(tasks), 4.6) as figure:
        panels = np.atleast_1d(np.asarray(figure.subplots(1, len(tasks))))
        for task, axes in zip(tasks, panels, strict=True):
            for place, entry in results["entries"].items():
                if place.split("/")[0] != task:
                    continue
                number = list(ENTRIES).index(place.split("/")[1])
                axes.plot(
                    entry["way"]["spent"],
                    np.array(entry["way"]["loss"], float),
                    label=entry["label"],
                    color=style.series(number),
                    linestyle="-" if number < _BASES else "--",
                    linewidth=2.6 if number < _BASES else 1.6,
                )
            axes.set(yscale="log", xlabel="function values spent", ylabel="training loss")
            style.plain_ticks(axes.yaxis)
            axes.set_title(task)
        lines = {}
        for axes in panels:  # an entry may take part in one task alone
            handles, labels = axes.get_legend_handles_labels()
            lines |= dict(zip(labels, handles, strict=True))
        figure.legend(lines.values(), lines, loc="outside lower center", ncols=6, fontsize=10)
        figure.suptitle("Networks by values alone: ZO-SAH at learning rate 1, the others tuned")


_BASES = 3  # entries that are ZO-SAH's

EXPERIMENT = experiment.Experiment(
    "subspaces", Config, measure, tables, draw, packages=("flax", "scikit-learn")
)
