"""The measurement: every method as documented and tuned, over seeds, on every data set."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from experiments import datasets
from experiments.comparison.lanes import run_lanes
from experiments.comparison.settings import DOCUMENTED, Candidate, Entrant, entrants
from experiments.curves import Curve, values_to_reach
from experiments.logistic_regression.problem import (
    Gap,
    Problem,
    gap_closed,
    prepare,
    reference,
    target,
)

FRACTIONS = (0.9, 0.97, 0.99)
"""Parts of the gap whose price is reported."""

VALUE = 0.5
"""Value of the objective whose price is reported too."""

LIBSVM = ("a1a", "a7a", "a9a", "mushrooms", "phishing", "splice")
"""The published comparison's data (a1a and a7a for its a5a)."""

NOT_REACHED = 1.6
"""What a target that was not reached counts as in tuning, in units of the budget."""

_POINTS = 24  # of a kept curve


def names(dataset: Iterable[str] | None, data_dir: Path | None) -> list[str]:
    """The data sets asked for; by default the files at hand, and what is built in without any."""
    if dataset is not None:
        return list(dataset)
    at_hand = [name for name in LIBSVM if datasets.find(name, data_dir)]
    return at_hand or list(datasets.BUILT_IN)


def measure(
    *,
    dataset: Iterable[str] | None,
    rows: int,
    data_dir: Path | None,
    regularisation: float,
    methods: tuple[str, ...],
    learning_rates: tuple[float, ...],
    tuning_seed: int,
    seeds: tuple[int, ...],
    budget: int,
    workers: int,
) -> dict[str, Any]:
    """Tune every method on one seed, and run it on others.

    Args:
        dataset: names, or None for what is at hand.
        rows: most rows of each.
        data_dir: where LIBSVM files lie.
        regularisation: lambda.
        methods: by name.
        learning_rates: the common grid.
        tuning_seed: on which it is searched.
        seeds: that are reported.
        budget: values of a run, in units of d.
        workers: methods that are run at a time, in threads.

    Returns:
        For JSON: what every method took, by data set.
    """
    problems = [prepare(n, rows, data_dir, regularisation) for n in names(dataset, data_dir)]
    entries = compare(problems, methods, learning_rates, tuning_seed, seeds, budget, workers)
    found = {p.name: _about(p, budget) for p in problems}
    for problem in problems:
        found[problem.name]["entries"] = [*entries[problem.name], _reference(problem, budget)]
    return {
        "seeds": list(seeds),
        "tuning_seed": tuning_seed,
        "budget_in_d": budget,
        "fractions": FRACTIONS,
        "value": VALUE,
        "datasets": found,
    }


def compare(
    problems: list[Problem],
    methods: tuple[str, ...],
    learning_rates: tuple[float, ...],
    tuning_seed: int,
    seeds: tuple[int, ...],
    budget: int,
    workers: int,
    fractions: tuple[float, ...] = FRACTIONS,
) -> dict[str, list[dict[str, Any]]]:
    """Tune every method on one seed by its mean price of `FRACTIONS`, and run it on others.

    Args:
        problems: what is minimised.
        methods: by name.
        learning_rates: the common grid.
        tuning_seed: on which it is searched.
        seeds: that are reported.
        budget: values of a run, in units of d.
        workers: methods that are run at a time, in threads.
        fractions: parts of the gap whose price is reported.

    Returns:
        The entries of each problem, by its name.
    """
    asked = [entrants(methods, learning_rates, p.dimension) for p in problems]
    exact = bool(jax.config.read("jax_enable_x64"))
    jobs = [
        pair for alike in zip(*asked, strict=True) for pair in zip(alike, problems, strict=True)
    ]
    with (
        tqdm(total=len(jobs), unit="method") as bar,
        ThreadPoolExecutor(max_workers=workers) as pool,
    ):

        def work(job: tuple[Entrant, Problem]) -> list[dict[str, Any]]:
            with jax.enable_x64(exact):  # of this thread
                lines = _lines(*job, tuning_seed, seeds, budget, fractions)
            bar.update()
            return lines

        done = list(pool.map(work, jobs))
    found: dict[str, list[dict[str, Any]]] = {problem.name: [] for problem in problems}
    for (_, problem), lines in zip(jobs, done, strict=True):
        found[problem.name] += lines
    return found


def _about(problem: Problem, budget: int) -> dict[str, Any]:
    return {
        "rows": len(problem.margins),
        "dimension": problem.dimension,
        "start": problem.start,
        "optimum": problem.optimum,
        "curve_at_in_d": _places(budget).tolist(),
    }


def _lines(
    entrant: Entrant,
    problem: Problem,
    tuning_seed: int,
    seeds: tuple[int, ...],
    budget: int,
    fractions: tuple[float, ...],
) -> list[dict[str, Any]]:
    """The tuned entry, after the documented one where there is one."""
    scores = {
        candidate: _scores(candidate, problem, tuning_seed, len(seeds), budget)
        for candidate in entrant.candidates
    }
    best, at = min(
        ((candidate, n) for candidate in scores for n in range(len(scores[candidate]))),
        key=lambda place: scores[place[0]][place[1]],
    )
    rate = best.learning_rates[at]
    about = {
        "method": entrant.method,
        "setting": entrant.setting,
        "learning_rate": rate,
        "options": best.options,
        "at_edge": len(best.learning_rates) > 1 and at in (0, len(best.learning_rates) - 1),
        "tuning": [
            {
                "options": candidate.options,
                "price": dict(zip(map("{:g}".format, candidate.learning_rates), row, strict=True)),
            }
            for candidate, row in (
                (candidate, [round(score[0], 2) for score in found])
                for candidate, found in scores.items()
            )
        ],
    }
    lines = [about | _runs(best, problem, rate, seeds, budget, fractions)]
    documented = DOCUMENTED.get(entrant.method)
    if entrant.setting == "tuned" and documented is not None:
        about = {"method": entrant.method, "setting": "documented", "learning_rate": documented}
        lines.insert(0, about | _runs(best, problem, documented, seeds, budget, fractions))
    return lines


def _runs(
    candidate: Candidate,
    problem: Problem,
    rate: float,
    seeds: tuple[int, ...],
    budget: int,
    fractions: tuple[float, ...],
) -> dict[str, Any]:
    values = budget * problem.dimension
    rates = np.full(len(seeds), rate)
    curves = run_lanes(problem, candidate.constructor, rates, np.array(seeds), values)
    return _summary(problem, curves, budget, fractions)


def _scores(
    candidate: Candidate, problem: Problem, seed: int, lanes: int, budget: int
) -> list[tuple[float, float]]:
    """Of every learning rate: its mean price in d, and what is left of the gap; less is better.

    As many rates at a time as there are seeds to report, so that both compile together.
    """
    grid, values = np.array(candidate.learning_rates), budget * problem.dimension
    padded = np.resize(grid, -(-len(grid) // lanes) * lanes)
    curves = []
    for rates in padded.reshape(-1, lanes):
        curves += run_lanes(problem, candidate.constructor, rates, np.full(lanes, seed), values)
    return [
        (mean_price(problem, curve, values), _left(problem, curve, values))
        for curve in curves[: len(grid)]
    ]


def mean_price(
    problem: Gap, curve: Curve, values: int, fractions: tuple[float, ...] = FRACTIONS
) -> float:
    """Geometric mean, over the parts of the gap, of the values to close them, in units of d."""
    reached = [values_to_reach(curve, target(problem, fraction)) for fraction in fractions]
    prices = [NOT_REACHED * values if price is None else price for price in reached]
    return float(np.exp(np.mean(np.log(prices))) / problem.dimension)


def _left(problem: Problem, curve: Curve, values: int) -> float:
    return 1 - float(gap_closed(problem, curve, np.array(values)))


def _places(budget: int) -> np.ndarray:
    """Values, in units of d, at which a curve is kept."""
    return np.round(np.geomspace(0.5, budget, _POINTS), 2)


def _summary(
    problem: Problem,
    curves: list[Curve],
    budget: int,
    fractions: tuple[float, ...] = FRACTIONS,
) -> dict[str, Any]:
    """What the runs of one entry reached."""
    places = np.floor(_places(budget) * problem.dimension)
    closed = np.array([gap_closed(problem, curve, places) for curve in curves])
    goals = [*(target(problem, fraction) for fraction in fractions), VALUE]
    return {
        "values_to_reach": [[values_to_reach(c, goal) for c in curves] for goal in goals],
        "gap_closed": [round(1 - _left(problem, c, budget * problem.dimension), 6) for c in curves],
        "curve": np.round(np.median(closed, axis=0), 4).tolist(),
    }


def _reference(problem: Problem, budget: int) -> dict[str, Any]:
    """SciPy's L-BFGS-B, its differences counted."""
    curve = reference(problem, budget * problem.dimension)
    about = {"method": "L-BFGS-B", "setting": "reference", "learning_rate": None}
    return about | _summary(problem, [curve], budget)
