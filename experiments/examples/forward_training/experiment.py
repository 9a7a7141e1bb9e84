"""Networks trained by forward passes, each example with noise of its own (15 - 25 min)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from experiments import experiment
from experiments.common import records, style, table
from experiments.common.errors import InputError
from experiments.common.forward_cost import LABELS, costs
from experiments.common.forward_runs import VARIANTS, reached, train
from experiments.common.forward_tasks import TASKS, load

_LIMITS = {"digits": (60, 100), "mnist": (80, 100), "mnist_sign": (60, 100)}


@dataclass(frozen=True)
class Config(experiment.Config):
    """Estimates of `zosah_jax.forward` and Adam, on digits, MNIST and CIFAR-10."""

    tasks: tuple[str, ...] = tuple(TASKS)
    """Networks on data sets: digits, mnist, mnist_sign, cifar10, cifar10_deep."""
    variants: tuple[str, ...] | None = None
    """Ways to estimate the gradient; None for what each task has (2 to 7)."""
    passes: int | None = None
    """Forward passes of the batch; None for what each task has (240 to 4,000)."""
    points: int = 40
    """How often a run is looked at; on digits every step is."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of first weights, batches and noise; on MNIST the first two, on CIFAR-10 the first."""
    feedback_rate: float = 1e-2
    """Rate at which feedback learns, at first; it falls to zero as the learning rate does."""
    repeats: int = 15
    """Timings of each estimate and of a forward pass."""
    only: Literal["cost"] | None = None
    """cost: what an estimate takes is measured anew, and the runs are the kept ones."""
    data_dir: Path | None = None
    """Folder with MNIST's four files (or mnist/ with them) and CIFAR-10. None: ZOSAH_DATA."""


# --- the measurement ------------------------------------------------------------------------------


def measure(config: Config) -> dict[str, Any]:
    """Every variant on every task."""
    experiment.check_names("tasks", config.tasks, TASKS)
    experiment.check_names("variants", config.variants or (), VARIANTS)
    found, kept = {}, _kept(config)
    for name in config.tasks:
        task, data = TASKS[name], load(TASKS[name].dataset, config.data_dir)
        if kept is not None:
            found[name] = {**kept[name], "cost": costs(task, data, config.repeats)}
            continue
        passes = config.passes or task.passes
        points = max(1, passes // 5) if task.batch is None else config.points
        seeds = config.seeds[: task.seeds]
        cost = costs(task, data, config.repeats)
        runs: dict[str, list[Any]] = {}
        for variant in tqdm(config.variants or task.variants, desc=name):
            runs[variant] = train(task, variant, data, seeds, passes, points, config.feedback_rate)
        found[name] = {
            "network": task.network,
            "images": [len(data.y), len(data.y_test)],
            "batch": task.batch or len(data.y),
            "passes": passes,
            "goals": task.goals,
            "cost": cost,
            "runs": runs,
        }
    return {"tasks": found}


def _kept(config: Config) -> dict[str, Any] | None:
    """The kept runs, where only the costs are measured."""
    if config.only is None:
        return None
    results = records.kept("forward_training") or {"tasks": {}}
    missing = [name for name in config.tasks if name not in results["tasks"]]
    if missing:
        raise InputError(f"only: got {config.only}, wanted kept runs of {', '.join(missing)}.")
    return results["tasks"]


# --- its tables -----------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> dict[str, str]:
    """A table a task, and one of costs."""
    tasks = results["tasks"]
    return {"table": "\n\n".join(map(_table, tasks, tasks.values())), "cost": _costs(tasks)}


def _table(name: str, found: dict[str, Any]) -> str:
    goals, passes = found["goals"], found["passes"]
    early = passes // 5
    header = [
        "estimate",
        *(f"passes to {goal:.0%}" for goal in goals),
        f"accuracy after {early:,}",
        f"after {passes:,}",
        "seconds a run",
    ]
    rows = []
    for variant, runs in found["runs"].items():
        cells = [_median([reached(run, goal) for run in runs]) for goal in goals]
        for spent in (early, passes):
            cells.append(table.mean([100 * _accuracy(run, spent) for run in runs], 2, " %"))
        seconds = float(np.median([run["seconds"] for run in runs]))
        rows.append([VARIANTS[variant].label, *cells, f"{seconds:,.1f}"])
    number = len(next(iter(found["runs"].values())))
    title = (
        f"**{name}**: {found['network']}; {found['images'][0]:,} images, batches of "
        f"{found['batch']:,}; {number} seed{'s' if number > 1 else ''}"
    )
    return f"{title}\n\n{table.markdown(header, rows)}"


def _median(prices: list[int | None]) -> str:
    value = float(np.median([np.inf if price is None else price for price in prices]))
    return "-" if np.isinf(value) else f"{value:,.0f}"


def _accuracy(run: dict[str, Any], spent: float) -> float:
    """Test accuracy at the last look before so many passes were spent."""
    looked = [a for p, a in zip(run["passes"], run["accuracy"], strict=True) if p <= spent + 3]
    return looked[-1] if looked else 0.0


def _costs(tasks: dict[str, Any]) -> str:
    rows = []
    for name, found in tasks.items():
        for estimate, label in LABELS.items():
            cost = found["cost"][estimate]
            middle, low, high = cost["time"]
            memory = "{:.1f} ({:.1f})".format(*cost["memory"])
            rows.append([f"{name}: {label}", f"{middle:.1f} ({low:.1f} - {high:.1f})", memory])
    return table.markdown(["over a forward pass", "time", "memory"], rows)


# --- its figure -----------------------------------------------------------------------------------


def draw(results: dict[str, Any], path: Path) -> None:
    """Test accuracy against passes, the median of the seeds, a panel a task."""
    tasks = results["tasks"]
    columns = min(3, len(tasks) + 1)  # one more panel, for the legend
    rows = -(-(len(tasks) + 1) // columns)
    with style.figure(path, 4.2 * columns, 3.2 * rows) as figure:
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        lines: dict[str, Any] = {}
        for axes, (name, found) in zip(panels, tasks.items(), strict=False):
            for number, variant in enumerate(VARIANTS):
                runs = found["runs"].get(variant)
                if runs is None:
                    continue
                last = variant == "backpropagation"
                (lines[variant],) = axes.plot(
                    runs[0]["passes"],
                    100 * np.median([run["accuracy"] for run in runs], axis=0),
                    color=style.REFERENCE if last else style.series(number),
                    linestyle="--" if last else "-",
                )
            axes.set(xlabel="forward passes of the batch", ylabel="test accuracy, %")
            axes.set_ylim(*_LIMITS.get(name, (20, 70)))
            axes.set_title(name)
        for axes in panels[len(tasks) :]:
            axes.set_axis_off()
        labels = [VARIANTS[variant].label.replace(" (", "\n(") for variant in lines]
        panels[-1].legend(lines.values(), labels, loc="center")


EXPERIMENT = experiment.Experiment(
    "forward_training", Config, measure, tables, draw, packages=("scikit-learn",)
)
