"""The methods with equal tuning: as many runs for each, on a seed that is not reported."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from experiments.common.curves import Curve
from experiments.common.problems import FRACTIONS, Task
from experiments.common.style import label
from experiments.common.sweeps import Constructor, constructor, lanes
from zosah_jax.methods import METHODS

DOCUMENTED = {"zosah": 1.0, "zoha": 1.0, "zo_rsn": 0.1, "deepzero": 0.1, "mezo": 1e-6}
"""Learning rates that the methods' own documentation names; the others' names none."""

_OWN = {"zopqn", "quadratic_regression", "noisy_regression", "noisy_descent", "block_newton"}
_MEASURED_ELSEWHERE = _OWN | {"eggroll", "lozo", "zo_muon", "zovh"}
PUBLISHED = tuple(name for name in METHODS if name not in _MEASURED_ELSEWHERE)
"""The methods of the papers; the project's own is compared in `fewer_values`."""

LEARNING_RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""The common grid from which each method gets its best."""

TUNING_SEED = 1_000
"""Seed on which it is searched, none of those reported."""

SIMPLE_SUBSPACE_DIMS = (8, 32)
"""Values of ZO-SAH's m that are tried beside its default."""

SIMPLE_LEARNING_RATES = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Learning rates that are tried with each of them: as many runs as the common grid."""

Entry = dict[str, Any]
"""A line of the comparison: method, setting, learning rate, options, tuning, curves."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A method with options and the learning rates to choose from.

    Attributes:
        method: by name.
        options: of its constructor.
        learning_rates: the grid.
    """

    method: str
    options: dict[str, Any]
    learning_rates: tuple[float, ...]

    @property
    def constructor(self) -> Constructor:
        """The method with its options."""
        return constructor(self.method, **self.options)


@dataclass(frozen=True, eq=False)
class Entrant:
    """A line of the table: the best of its candidates on the tuning seed is what is reported.

    Attributes:
        method: by name.
        setting: "tuned": the learning rate alone. "simple": ZO-SAH's m too. "unchecked": ZOHA
            without its descent check.
        candidates: what is tried.
    """

    method: str
    setting: str
    candidates: tuple[Candidate, ...]


def entrants(
    methods: tuple[str, ...], learning_rates: tuple[float, ...], dimension: int
) -> list[Entrant]:
    """Every method with the common grid; ZO-SAH and ZOHA another time, with as many runs."""
    even = dimension - dimension % 2  # no subspace is larger
    found = []
    for name in methods:
        found.append(Entrant(name, "tuned", (Candidate(name, {}, learning_rates),)))
        if name == "zosah":
            wider = tuple(
                Candidate(name, {"subspace_dim": min(m, even)}, SIMPLE_LEARNING_RATES)
                for m in SIMPLE_SUBSPACE_DIMS
            )
            found.append(Entrant(name, "simple", wider))
        if name == "zoha":
            free = Candidate(name, {"descent_check": 0}, learning_rates)
            found.append(Entrant(name, "unchecked", (free,)))
    return found


def entry_name(entry: Entry) -> str:
    """Name of an entry, without its learning rate."""
    if entry["method"] not in METHODS:
        return f"{entry['method']} (SciPy)"
    more = {"simple": ", m tuned too", "unchecked": ", no check"}
    return label(entry["method"]) + more.get(entry["setting"], "")


@dataclass(frozen=True)
class Plan:
    """How methods are tuned and run.

    Attributes:
        methods: by name.
        learning_rates: the common grid.
        tuning_seed: on which it is searched.
        seeds: that are reported.
        budget: values of a run, in units of d.
        workers: methods that are run at a time, in threads.
    """

    methods: tuple[str, ...]
    learning_rates: tuple[float, ...]
    tuning_seed: int
    seeds: tuple[int, ...]
    budget: int
    workers: int


def compare(tasks: Sequence[Task], plan: Plan) -> dict[str, list[Entry]]:
    """Tune every method on one seed by its mean price of `FRACTIONS`, and run it on others.

    Returns:
        The entries of each problem, by its name, each with a curve a seed under `curves`.
    """
    asked = [entrants(plan.methods, plan.learning_rates, task.dimension) for task in tasks]
    exact = bool(jax.config.read("jax_enable_x64"))
    jobs = [pair for alike in zip(*asked, strict=True) for pair in zip(alike, tasks, strict=True)]
    with (
        tqdm(total=len(jobs), unit="method") as bar,
        ThreadPoolExecutor(max_workers=plan.workers) as pool,
    ):

        def work(job: tuple[Entrant, Task]) -> list[Entry]:
            with jax.enable_x64(exact):  # of this thread
                entries = _entries(*job, plan)
            bar.update()
            return entries

        done = list(pool.map(work, jobs))
    found: dict[str, list[Entry]] = {task.name: [] for task in tasks}
    for (_, task), entries in zip(jobs, done, strict=True):
        found[task.name] += entries
    return found


def _entries(entrant: Entrant, task: Task, plan: Plan) -> list[Entry]:
    """The tuned entry, after the documented one where there is one."""
    scores = {candidate: _scores(candidate, task, plan) for candidate in entrant.candidates}
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
        "tuning": [_tuning(candidate, found) for candidate, found in scores.items()],
        "curves": _runs(best, task, rate, plan),
    }
    documented = DOCUMENTED.get(entrant.method)
    if entrant.setting != "tuned" or documented is None:
        return [about]
    first = {"method": entrant.method, "setting": "documented", "learning_rate": documented}
    return [first | {"curves": _runs(best, task, documented, plan)}, about]


def _tuning(candidate: Candidate, scores: list[tuple[float, float]]) -> dict[str, Any]:
    """What each learning rate came to."""
    prices = [round(price, 2) for price, _ in scores]
    rates = map("{:g}".format, candidate.learning_rates)
    return {"options": candidate.options, "price": dict(zip(rates, prices, strict=True))}


def _runs(candidate: Candidate, task: Task, rate: float, plan: Plan) -> list[Curve]:
    values, rates = plan.budget * task.dimension, [rate] * len(plan.seeds)
    return lanes(task, candidate.constructor, plan.seeds, values, "learning_rate", rates)


def _scores(candidate: Candidate, task: Task, plan: Plan) -> list[tuple[float, float]]:
    """Of every learning rate: its mean price in d, and what is left of the gap; less is better.

    As many rates at a time as there are seeds to report, so that both compile together.
    """
    grid, number = candidate.learning_rates, len(plan.seeds)
    values = plan.budget * task.dimension
    padded = np.resize(grid, -(-len(grid) // number) * number)
    curves = []
    for rates in padded.reshape(-1, number):
        seeds = [plan.tuning_seed] * number
        curves += lanes(task, candidate.constructor, seeds, values, "learning_rate", list(rates))
    return [
        (task.mean_price(c, values, FRACTIONS), 1 - float(task.gap_closed(c, np.array(values))))
        for c in curves[: len(grid)]
    ]
