"""The measurement: every method, on a common grid of learning rates, over seeds."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments.curves import Curve, values_to_reach
from experiments.logistic_regression.problem import (
    Problem,
    gap_closed,
    prepare,
    reference,
    run,
    target,
)
from zosah_jax import METHODS

FRACTIONS = (0.9, 0.97, 0.99, 0.999)
"""Parts of the gap whose price is reported."""

COMPARED = ("zosah", "rspg")
"""Methods that are run, by name."""

RECOMMENDED = {"zosah": 1.0}
"""Learning rates that the library's documentation recommends, and that need no tuning."""

_POINTS = 60  # of a kept curve

Runs = dict[tuple[str, float], list[Curve]]  # (method, learning rate) -> a curve a seed


def measure(
    *,
    dataset: Iterable[str],
    rows: int,
    data_dir: Path | None,
    regularisation: float,
    learning_rates: tuple[float, ...],
    seeds: tuple[int, ...],
    budget: int,
) -> dict[str, Any]:
    """Run the methods on every dataset.

    Args:
        dataset: names.
        rows: most rows of each.
        data_dir: where LIBSVM files lie.
        regularisation: lambda.
        learning_rates: the common grid.
        seeds: of the methods.
        budget: values, in units of d.

    Returns:
        For JSON: what every method reached, by dataset.
    """
    problems = [prepare(name, rows, data_dir, regularisation) for name in dataset]
    settings = _settings(learning_rates)
    total = len(problems) * (len(settings) * len(seeds) + 1)
    with tqdm(total=total, unit="run") as bar:
        found = {
            p.name: _compare(p, settings, learning_rates, seeds, budget, bar) for p in problems
        }
    return {"seeds": list(seeds), "budget_in_d": budget, "fractions": FRACTIONS, "datasets": found}


def _settings(learning_rates: tuple[float, ...]) -> list[tuple[str, float]]:
    """Every method at every learning rate of the grid, and at the one recommended for it."""
    return [
        (method, rate)
        for method in COMPARED
        for rate in sorted({*learning_rates, RECOMMENDED.get(method, learning_rates[0])})
    ]


def _compare(
    problem: Problem,
    settings: list[tuple[str, float]],
    learning_rates: tuple[float, ...],
    seeds: tuple[int, ...],
    budget: int,
    bar: tqdm,
) -> dict[str, Any]:
    """All runs on one dataset, and what they say."""
    values, runs = budget * problem.dimension, {}
    for method, rate in settings:
        bar.set_description(f"{method} on {problem.name}")
        runs[method, rate] = []
        for seed in seeds:
            runs[method, rate].append(run(problem, METHODS[method], rate, seed, values))
            bar.update()
    bar.set_description(f"L-BFGS-B on {problem.name}")
    scipy_run = reference(problem, values)
    bar.update()
    return {
        "rows": len(problem.margins),
        "dimension": problem.dimension,
        "start": problem.start,
        "optimum": problem.optimum,
        "curve_at_in_d": _places(budget).tolist(),
        "entries": _entries(problem, runs, scipy_run, learning_rates, budget),
        "learning_rates": _mean_gap_closed(problem, runs, values),
        "default_against_rspg": _duel(problem, runs, values),
    }


def _entries(
    problem: Problem,
    runs: Runs,
    scipy_run: Curve,
    learning_rates: tuple[float, ...],
    budget: int,
) -> list[dict[str, Any]]:
    """One entry a line of the table: recommended settings, tuned methods, the reference."""
    entries = []
    for method, rate in RECOMMENDED.items():
        about = {"method": method, "setting": "default", "learning_rate": rate}
        entries.append(about | _summary(problem, runs[method, rate], budget))
    for method in COMPARED:
        rate = best_rate(problem, runs, method, learning_rates, budget * problem.dimension)
        edge = len(learning_rates) > 1 and rate in (min(learning_rates), max(learning_rates))
        about = {"method": method, "setting": "tuned", "learning_rate": rate, "at_edge": edge}
        entries.append(about | _summary(problem, runs[method, rate], budget))
    about = {"method": "L-BFGS-B", "setting": "reference", "learning_rate": None}
    return [*entries, about | _summary(problem, [scipy_run], budget)]


def best_rate(
    problem: Problem, runs: Runs, method: str, learning_rates: tuple[float, ...], values: int
) -> float:
    """Learning rate of the grid with the best mean over seeds after all values."""
    return max(learning_rates, key=lambda r: _final(problem, runs[method, r], values).mean())


def _final(problem: Problem, curves: list[Curve], values: int) -> np.ndarray:
    """Gap closed after all values, a number a seed."""
    return np.array([gap_closed(problem, curve, np.array(values)) for curve in curves])


def _places(budget: int) -> np.ndarray:
    """Values, in units of d, at which a curve is kept."""
    return np.round(np.geomspace(0.25, budget, _POINTS), 3)


def _summary(problem: Problem, curves: list[Curve], budget: int) -> dict[str, Any]:
    """What the runs of one setting reached."""
    places = np.floor(_places(budget) * problem.dimension)
    closed = np.array([gap_closed(problem, curve, places) for curve in curves])
    reached = [
        [values_to_reach(curve, target(problem, fraction)) for curve in curves]
        for fraction in FRACTIONS
    ]
    return {
        "values_to_close": reached,
        "gap_closed": _final(problem, curves, budget * problem.dimension).tolist(),
        "curve": {
            name: np.round(statistic(closed, axis=0), 5).tolist()
            for name, statistic in (("median", np.median), ("min", np.min), ("max", np.max))
        },
    }


def _mean_gap_closed(problem: Problem, runs: Runs, values: int) -> dict[str, dict[str, float]]:
    """What every learning rate of the grid led to: method -> rate -> mean gap closed."""
    found: dict[str, dict[str, float]] = {}
    for (method, rate), curves in runs.items():
        mean = float(_final(problem, curves, values).mean())
        found.setdefault(method, {})[f"{rate:g}"] = mean
    return found


def _duel(problem: Problem, runs: Runs, values: int) -> dict[str, Any]:
    """ZO-SAH as it comes against RSPG at the learning rate that is best for each seed alone."""
    ours = _final(problem, runs["zosah", RECOMMENDED["zosah"]], values)
    theirs = {
        rate: _final(problem, curves, values) for (m, rate), curves in runs.items() if m == "rspg"
    }
    rates, finals = list(theirs), np.stack(list(theirs.values()))
    return {
        "zosah": ours.tolist(),
        "rspg": finals.max(axis=0).tolist(),
        "rspg_learning_rates": [rates[i] for i in finals.argmax(axis=0)],
        "seeds_ahead": int(np.sum(ours > finals.max(axis=0))),
    }
