"""The measurement: ZO-SAH's defaults with one number changed at a time, and without its fit."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments import datasets, sweeps
from experiments.comparison.run import FRACTIONS, NOT_REACHED, mean_price
from experiments.curves import Curve
from experiments.sweeps import Constructor, Task

FLOORS = (0.01, 0.03, 0.1, 0.2, 0.5)
"""Values of kappa."""

PERIODS = (5, 10, 20, 50, 100)
"""Values of T."""

PARTS = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Values of m, in units of d, to the nearest even number."""


RATES = (0.1, 0.3, 1.0)
"""Learning rates that second differences choose from, with hindsight."""


def tasks(dataset: Iterable[str], rows: int, data_dir: Path | None) -> list[Task]:
    """Rosenbrock's function, the datasets, and the network."""
    return [sweeps.valley(), *data_sets(dataset, rows, data_dir), sweeps.network(rows)]


def data_sets(dataset: Iterable[str], rows: int, data_dir: Path | None) -> list[Task]:
    """Logistic regression on the datasets; a1a, where the file is at hand, for digits."""
    names = ["a1a" if n == "digits" and datasets.find("a1a", data_dir) else n for n in dataset]
    return [sweeps.logistic(name, rows, data_dir) for name in names]


def subspace_dims(d: int) -> list[int]:
    """What the parts of d are."""
    return [max(2, min(2 * round(part * d / 2), d - d % 2)) for part in PARTS]


def measure(
    *,
    dataset: Iterable[str],
    rows: int,
    data_dir: Path | None,
    seeds: tuple[int, ...],
    budget: int,
) -> dict[str, Any]:
    """Run every setting on every problem.

    Args:
        dataset: names.
        rows: most rows of each.
        data_dir: where LIBSVM files lie, if they are to be used.
        seeds: of the methods.
        budget: values, in units of d.

    Returns:
        For JSON: mean prices of closing the gap, a list over seeds, by problem and setting.
    """
    found: dict[str, Any] = {}
    with tqdm(total=13 * (2 + len(list(dataset)))) as bar:
        for task in tasks(dataset, rows, data_dir):
            bar.set_description(task.name)
            found[task.name] = {"dimension": task.dimension} | _on(task, seeds, budget, bar)
    return {
        "seeds": list(seeds),
        "budget_in_d": budget,
        "fractions": FRACTIONS,
        "not_reached_counts_as": NOT_REACHED * budget,
        "problems": found,
    }


def _on(task: Task, seeds: tuple[int, ...], budget: int, bar: tqdm) -> dict[str, Any]:
    run = partial(sweeps.sweep, [task], seeds=seeds, budget=budget)

    def one(constructor: Constructor) -> list[Curve]:
        bar.update()
        return run(constructor)[0][0]

    dims = subspace_dims(task.dimension)
    floors = run(sweeps.make(), option="eigenvalue_floor", values=FLOORS)[0]
    bar.update()
    curves = {
        "subspace_dim": {str(m): one(sweeps.make(subspace_dim=m)) for m in dims},
        "eigenvalue_floor": dict(zip(map("{:g}".format, FLOORS), floors, strict=True)),
        "period": {str(T): one(sweeps.make(period=T)) for T in PERIODS},
    }
    found: dict[str, Any] = {
        name: {value: _prices(task, runs, budget) for value, runs in by.items()}
        for name, by in curves.items()
    }
    return found | _fit_against_none(task, curves["period"], run, budget, bar)


def _fit_against_none(
    task: Task, by_period: dict[str, list[Curve]], run: Any, budget: int, bar: tqdm
) -> dict[str, Any]:
    """The fit at learning rate 1, and second differences at the rate that is best for them."""
    prices, per_step, chosen = {}, {}, {}
    for T in (5, 20):
        ours, theirs = f"fitted, T = {T}", f"second differences, T = {T}"
        slower = run(sweeps.second_differences(T), option="learning_rate", values=RATES)[0]
        bar.update()
        tried = [_prices(task, curves, budget) for curves in slower]
        best = int(np.argmin(np.mean(np.log(tried), axis=1)))
        fitted = by_period[str(T)]
        prices |= {ours: _prices(task, fitted, budget), theirs: tried[best]}
        per_step |= {ours: _per_step(fitted), theirs: _per_step(slower[best])}
        chosen |= {ours: 1.0, theirs: RATES[best]}
    return {"fit": prices, "values_per_step": per_step, "learning_rate": chosen}


def _prices(task: Task, curves: list[Curve], budget: int) -> list[float]:
    return [_price(task, curve, budget) for curve in curves]


def _price(task: Task, curve: Curve, budget: int) -> float:
    return round(mean_price(task, curve, budget * task.dimension), 3)


def _per_step(curves: list[Curve]) -> float:
    """Mean number of values of a step."""
    return round(float(np.mean([curve.spent[-1] / len(curve.spent) for curve in curves])), 2)
