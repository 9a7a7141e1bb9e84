"""Networks trained by forward passes, each example with noise of its own (20 - 30 min)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments import experiment
from experiments.common import style, table
from experiments.examples.forward_training.tasks import TASKS, load
from experiments.examples.forward_training.training import VARIANTS, reached, train


@dataclass(frozen=True)
class Config(experiment.Config):
    """Estimates of `zosah_jax.forward` and Adam, on digits, MNIST and CIFAR-10."""

    tasks: tuple[str, ...] = ("digits", "mnist", "mnist_sign", "cifar10")
    """Networks on data sets: digits, mnist, mnist_sign, cifar10."""
    variants: tuple[str, ...] = tuple(VARIANTS)
    """Ways to estimate the gradient."""
    passes: int | None = None
    """Forward passes of the batch; None for what each task has (240 to 20,000)."""
    points: int = 40
    """How often a run is looked at; on digits every step is."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of first weights, batches and noise; on CIFAR-10 the first two."""
    feedback_rate: float = 1e-2
    """Rate at which feedback learns, at first; it falls to zero as the learning rate does."""
    data_dir: Path | None = None
    """Folder with MNIST's four files (or mnist/ with them) and CIFAR-10. None: ZOSAH_DATA."""


# --- the measurement ------------------------------------------------------------------------------


def measure(config: Config) -> dict[str, Any]:
    """Every variant on every task."""
    experiment.check_names("tasks", config.tasks, TASKS)
    experiment.check_names("variants", config.variants, VARIANTS)
    found = {}
    for name in config.tasks:
        task, data = TASKS[name], load(TASKS[name].dataset, config.data_dir)
        passes = config.passes or task.passes
        points = max(1, passes // 5) if task.batch is None else config.points
        seeds = config.seeds[:2] if name == "cifar10" else config.seeds
        runs: dict[str, list[Any]] = {}
        for variant in tqdm(config.variants, desc=name):
            runs[variant] = [
                train(task, variant, data, seed, passes, points, config.feedback_rate)
                for seed in seeds
            ]
        found[name] = {
            "network": task.network,
            "images": [len(data.y), len(data.y_test)],
            "batch": task.batch or len(data.y),
            "passes": passes,
            "goals": task.goals,
            "runs": runs,
        }
    return {"tasks": found}


# --- its tables -----------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> dict[str, str]:
    """A table a task."""
    return {"table": "\n\n".join(map(_table, results["tasks"], results["tasks"].values()))}


def _table(name: str, found: dict[str, Any]) -> str:
    goals, passes = found["goals"], found["passes"]
    early = passes // 5
    header = [
        "estimate",
        *(f"passes to {goal:.0%}" for goal in goals),
        f"accuracy after {early:,}",
        f"after {passes:,}",
    ]
    rows = []
    for variant, runs in found["runs"].items():
        cells = [_median([reached(run, goal) for run in runs]) for goal in goals]
        for spent in (early, passes):
            cells.append(table.mean([100 * _accuracy(run, spent) for run in runs], 2, " %"))
        rows.append([VARIANTS[variant].label, *cells])
    title = (
        f"**{name}**: {found['network']}; {found['images'][0]:,} images, batches of "
        f"{found['batch']:,}; {len(next(iter(found['runs'].values())))} seeds"
    )
    return f"{title}\n\n{table.markdown(header, rows)}"


def _median(prices: list[int | None]) -> str:
    value = float(np.median([np.inf if price is None else price for price in prices]))
    return "-" if np.isinf(value) else f"{value:,.0f}"


def _accuracy(run: dict[str, list[float]], spent: float) -> float:
    """Test accuracy at the last look before so many passes were spent."""
    looked = [a for p, a in zip(run["passes"], run["accuracy"], strict=True) if p <= spent + 3]
    return looked[-1] if looked else 0.0


# --- its figure -----------------------------------------------------------------------------------


def draw(results: dict[str, Any], path: Path) -> None:
    """Test accuracy against passes, the median of the seeds, a panel a task."""
    tasks = results["tasks"]
    with style.figure(path, 6.6 * len(tasks), 5.4) as figure:
        panels = figure.subplots(1, len(tasks), squeeze=False)[0]
        for axes, (name, found) in zip(panels, tasks.items(), strict=True):
            for number, variant in enumerate(VARIANTS):
                runs = found["runs"].get(variant)
                if runs is None:
                    continue
                last = variant == "backpropagation"
                axes.plot(
                    runs[0]["passes"],
                    100 * np.median([run["accuracy"] for run in runs], axis=0),
                    color=style.REFERENCE if last else style.series(number),
                    linestyle="--" if last else "-",
                    label=VARIANTS[variant].label,
                )
            axes.set(xlabel="forward passes of the batch", ylabel="test accuracy, %")
            axes.set_title(name)
        panels[0].legend(loc="lower right")


EXPERIMENT = experiment.Experiment(
    "forward_training", Config, measure, tables, draw, packages=("scikit-learn",)
)
