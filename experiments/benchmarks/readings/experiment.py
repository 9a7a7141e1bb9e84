"""What each open point of the paper changes (2 min; 5 - 9 min with LIBSVM files)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from experiments import experiment
from experiments.common import style, table
from experiments.common.curves import median
from experiments.common.problems import FRACTIONS, NOT_REACHED, at_hand, logistic
from experiments.common.sweeps import constructor, lanes
from experiments.common.table import geometric_mean
from zosah_jax.methods.zosah.reading import Reading


@dataclass(frozen=True)
class Config(experiment.Config):
    """ZO-SAH's defaults against the paper's reading of each open point, one at a time."""

    dataset: tuple[str, ...] = ("breast_cancer", "digits")
    """Datasets by name."""
    data_dir: Path | None = None
    """Folder of LIBSVM files (else ZOSAH_DATA): a9a, mushrooms, phishing and splice are added."""
    rows: int = 4_000
    """Most rows of a dataset, drawn with a fixed seed."""
    regularisation: float = 1e-4
    """Lambda, the weight of |w|^2 / 2."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the method."""
    budget: int = 50
    """Values of the objective that a run may spend, in units of the dimension d."""


# --- the measurement ------------------------------------------------------------------------------

ADDED = ("a9a", "mushrooms", "phishing", "splice")
"""LIBSVM files that are added where they are at hand."""

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "period=20": {"period": 20},
    "eigenvalue_floor=0.1, floor='paper'": {
        "eigenvalue_floor": 0.1,
        "reading": Reading(floor="paper"),
    },
    "cached='paper'": {"reading": Reading(cached="paper")},
    "fit='paper'": {"reading": Reading(fit="paper")},
    "prior='paper', ridge=1e-06": {"ridge": 1e-6, "reading": Reading(prior="paper")},
    "grid='paper'": {"reading": Reading(grid="paper")},
    "reading='paper'": {"reading": "paper"},
}
"""Options by name: none, the paper's reading of each open point alone, and all of it."""


def measure(config: Config) -> dict[str, Any]:
    """Run every variant on every dataset."""
    names = list(dict.fromkeys([*config.dataset, *at_hand(ADDED, config.data_dir)]))
    prices: dict[str, dict[str, Any]] = {name: {} for name in VARIANTS}
    dimensions = {}
    with jax.enable_x64(True), tqdm(total=len(VARIANTS) * len(names)) as bar:
        for name in names:
            task = logistic(name, config.rows, config.data_dir, config.regularisation)
            dimensions[name] = task.dimension
            for variant, options in VARIANTS.items():
                bar.set_description(f"{variant} on {name}")
                method = constructor("zosah", 1.0, **options)
                curves = lanes(task, method, config.seeds, config.budget * task.dimension)
                prices[variant][name] = [
                    [None if v is None else v / task.dimension for v in of]
                    for of in task.prices(curves, FRACTIONS)
                ]
                bar.update()
    missed = NOT_REACHED * config.budget
    return {
        "seeds": list(config.seeds),
        "budget_in_d": config.budget,
        "fractions": FRACTIONS,
        "not_reached_counts_as": missed,
        "dimension": dimensions,
        "prices_in_d": prices,
        "mean_price_in_d": {
            variant: {name: _mean(entry, missed) for name, entry in by.items()}
            for variant, by in prices.items()
        },
    }


def _mean(prices: list[list[float | None]], missed: float) -> float:
    """Geometric mean over parts and seeds."""
    return geometric_mean([missed if price is None else price for of in prices for price in of])


# --- its tables -----------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    return {"table": summary(results), "prices": _prices(results)}


def summary(results: dict[str, Any]) -> str:
    """Mean price of every variant on every dataset, and over all datasets."""
    means = results["mean_price_in_d"]
    header = ["mean values / d to close 90, 97, 99 %", *results["dimension"], "all"]
    return table.markdown(
        header, [[name, *_cells(by_dataset)] for name, by_dataset in means.items()]
    )


def _cells(by_dataset: dict[str, float]) -> list[str]:
    prices = list(by_dataset.values())
    return [f"{price:.1f}" for price in [*prices, geometric_mean(prices)]]


def _prices(results: dict[str, Any]) -> str:
    """Median prices of each part of the gap."""
    parts = " / ".join(f"{100 * f:g}" for f in results["fractions"])
    header = [f"median values / d to close {parts} %", *results["dimension"]]
    rows = [
        [name, *(" / ".join(_median(p) for p in prices) for prices in by_dataset.values())]
        for name, by_dataset in results["prices_in_d"].items()
    ]
    return table.markdown(header, rows)


def _median(prices: list[float | None]) -> str:
    """Median over seeds; a dash if it was not reached."""
    price = median(prices)
    return f"{price:.1f}" if np.isfinite(price) else "-"


# --- its figure -----------------------------------------------------------------------------------


def draw(results: dict[str, Any], path: Path) -> None:
    """Price of every variant over the price of the defaults, a dot a dataset."""
    means = dict(results["mean_price_in_d"])
    default = means.pop("default")
    lines = np.arange(len(means))[::-1]
    with style.figure(path, 11, 0.62 * len(means) + 2) as figure:
        axes = figure.subplots()
        axes.axvline(1, color=style.REFERENCE, linewidth=1)
        for number, dataset in enumerate(results["dimension"]):
            ratios = [by_dataset[dataset] / default[dataset] for by_dataset in means.values()]
            marker = style.MARKERS[number % len(style.MARKERS)]
            axes.plot(ratios, lines, marker, color="#9A9A9A", markersize=8, label=dataset)
        base = geometric_mean(list(default.values()))
        mean = [geometric_mean(list(by_dataset.values())) / base for by_dataset in means.values()]
        axes.plot(mean, lines, "|", color=style.colour("zosah"), markersize=26, markeredgewidth=4)
        axes.set(xscale="log", xlabel="values needed / values needed by the defaults")
        axes.set_yticks(lines, list(means))
        style.plain_ticks(axes.xaxis)
        axes.set_title("What the paper's readings cost (bar: geometric mean)")
        axes.legend(fontsize=11, loc="center left", bbox_to_anchor=(1, 0.5))


EXPERIMENT = experiment.Experiment("readings", Config, measure, tables, draw, summary=summary)
