"""The measurement: ZO-SAH with one option after another set to the paper's reading."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments import datasets
from experiments.curves import values_to_reach
from experiments.logistic_regression.problem import Problem, prepare, run, target
from experiments.logistic_regression.run import RECOMMENDED
from zosah_jax import PAPER_READING, zosah

FRACTIONS = (0.9, 0.97, 0.99)
"""Parts of the gap whose prices are averaged."""

LIBSVM = ("a9a", "mushrooms", "phishing", "splice")
"""Files that are added where they are at hand."""

NOT_REACHED = 80.0
"""Price, in units of d, of what was not reached within the budget."""

_TOGETHER = {"eigenvalue_floor": "floor", "ridge": "prior"}  # numbers that belong to a reading


def variants() -> dict[str, dict[str, Any]]:
    """Options by name: none, the paper's reading of each open point alone, and all of it."""
    alone: dict[str, dict[str, Any]] = {}
    for option, value in PAPER_READING.items():
        alone.setdefault(_TOGETHER.get(option, option), {})[option] = value
    single = {_name(options): options for options in alone.values()}
    return {"default": {}, **single, "all of PAPER_READING": PAPER_READING}


def _name(options: dict[str, Any]) -> str:
    return ", ".join(f"{option}={value!r}" for option, value in sorted(options.items()))


def names(dataset: Iterable[str], data_dir: Path | None) -> list[str]:
    """The datasets asked for, and the LIBSVM files that are in the data folder, if there is one."""
    at_hand = [name for name in LIBSVM if datasets.find(name, data_dir)]
    return list(dict.fromkeys([*dataset, *at_hand]))


def measure(
    *,
    dataset: Iterable[str],
    rows: int,
    data_dir: Path | None,
    regularisation: float,
    seeds: tuple[int, ...],
    budget: int,
) -> dict[str, Any]:
    """Run every variant on every dataset.

    Args:
        dataset: names.
        rows: most rows of each.
        data_dir: where LIBSVM files lie, if they are to be used.
        regularisation: lambda.
        seeds: of the methods.
        budget: values, in units of d.

    Returns:
        For JSON: prices of closing the gap, by variant and dataset.
    """
    problems = [prepare(n, rows, data_dir, regularisation) for n in names(dataset, data_dir)]
    ways = variants()
    prices: dict[str, dict[str, Any]] = {}
    with tqdm(total=len(ways) * len(problems) * len(seeds), unit="run") as bar:
        for name, options in ways.items():
            constructor = partial(zosah, **options)
            prices[name] = {}
            for problem in problems:
                bar.set_description(f"{name} on {problem.name}")
                prices[name][problem.name] = _prices(problem, constructor, seeds, budget, bar)
    mean = {name: {p: _mean_price(entry) for p, entry in by.items()} for name, by in prices.items()}
    return {
        "seeds": list(seeds),
        "budget_in_d": budget,
        "fractions": FRACTIONS,
        "not_reached_counts_as": NOT_REACHED,
        "dimension": {problem.name: problem.dimension for problem in problems},
        "prices_in_d": prices,
        "mean_price_in_d": mean,
    }


def _prices(
    problem: Problem,
    constructor: Callable[..., Any],
    seeds: tuple[int, ...],
    budget: int,
    bar: tqdm,
) -> list[list[float | None]]:
    """Values, in units of d, to close each part of the gap: a list a part, a number a seed."""
    curves, d = [], problem.dimension
    for seed in seeds:
        curves.append(run(problem, constructor, RECOMMENDED["zosah"], seed, budget * d))
        bar.update()
    reached = [[values_to_reach(curve, target(problem, f)) for curve in curves] for f in FRACTIONS]
    return [[None if v is None else v / d for v in by_seed] for by_seed in reached]


def _mean_price(prices: list[list[float | None]]) -> float:
    """Geometric mean over parts and seeds."""
    flat = [NOT_REACHED if price is None else price for by_seed in prices for price in by_seed]
    return float(np.exp(np.mean(np.log(flat))))
