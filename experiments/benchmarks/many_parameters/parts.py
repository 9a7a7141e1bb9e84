"""What is run on each kind of problem, and what is kept of it."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.benchmarks.many_parameters import problems, runs
from experiments.benchmarks.many_parameters.problems import SPECTRA, Box
from experiments.common.curves import Curve
from experiments.common.problems import Task, at_hand
from experiments.common.problems import logistic as from_file

BEFORE = "zosah"
"""What `minimize` took for more than 256 parameters before `block_newton`."""
IN_BLOCKS = "zopqn"
"""This library's dense solver, which here works in blocks of 256."""

_DRAWN = 40  # points of a curve that is kept for the figure
_OF_DRAWN = {("log, turned", 1_000), ("power, turned", 1_000), ("sparse", 1_000), ("TRIDIA", 1_000)}


@dataclass(frozen=True)
class Effort:
    """How long and how often is run.

    Attributes:
        budget: most values, in units of d, of `block_newton`.
        other_budget: the same of the library's other methods.
        peer_budget: the same of L-BFGS-B.
        seeds: of `block_newton`; the others get the first.
        large: d from which only the first seed is run, up to the last goal but one.
    """

    budget: int
    other_budget: int
    peer_budget: int
    seeds: tuple[int, ...]
    large: int


Runner = Callable[[Task, str, int, float, int], Curve]


def quadratics(dimensions: Sequence[int], left: Sequence[float], effort: Effort) -> list[Any]:
    """Spectra, turned or along the axes."""
    tasks = [
        problems.quadratic(spectrum, turned, d)
        for d in dimensions
        for spectrum in SPECTRA
        for turned in (True, False)
    ]
    return [_compared(task, left, effort, (BEFORE,), runs.traced) for task in tqdm(tasks)]


def logistic(
    sparse: Sequence[tuple[int, int]],
    dense: Sequence[tuple[int, int]],
    dataset: Sequence[str],
    data_dir: Path | None,
    left: Sequence[float],
    effort: Effort,
) -> dict[str, Any]:
    """Sets that are made, by their d and rows, and those that are at hand."""
    there = at_hand(dataset, data_dir)
    missing = [name for name in dataset if name not in there]
    if missing:
        print(f"{', '.join(missing)}: left out, no such file at hand.", file=sys.stderr)
    makers: list[Callable[[], Task]] = [
        *(lambda size=size: problems.sparse_logistic(*size) for size in sparse),
        *(lambda size=size: problems.dense_logistic(*size) for size in dense),
        *(lambda name=name: from_file(name, 4_000, data_dir) for name in there),
    ]
    found = []
    for make in tqdm(makers):  # one after another: they are large
        task = make()
        others = (BEFORE,) if task.dimension >= effort.large else (BEFORE, IN_BLOCKS)
        one = _compared(task, left, effort, others, runs.traced)
        found.append({**one, "rows": task.rows})
    return {"missing": missing, "sets": found}


def classics(
    names: Sequence[str], dimensions: Sequence[int], left: Sequence[float], effort: Effort
) -> list[Any]:
    """Classic functions from their usual starts."""
    tasks = [problems.classic(name, d) for d in dimensions for name in names]
    return [_compared(task, left, effort, (BEFORE,), _by_host) for task in tqdm(tasks)]


def bounds(d: int, rows: int, left: Sequence[float], effort: Effort) -> list[Any]:
    """Problems whose bounds are active at the optimum."""
    found = []
    for task, box, active in tqdm(problems.bounded(d, rows)):
        one = _compared(task, left, effort, (BEFORE,), _by_host, box)
        found.append({**one, "active": active})
    return found


def _by_host(
    task: Task, name: str, budget: int, target: float, seed: int, box: Box | None = None
) -> Curve:
    return runs.by_host(task, runs.method(name), budget, target, seed, box)


def _compared(
    task: Task,
    left: Sequence[float],
    effort: Effort,
    others: Sequence[str],
    run: Callable[..., Curve],
    box: Box | None = None,
) -> dict[str, Any]:
    """Values to leave so much of the gap: the library's by seed, L-BFGS-B's at its best."""
    d, is_large = task.dimension, task.dimension >= effort.large
    goals = [task.target(1 - part) for part in (left[:-1] if is_large else left)]
    seeds = effort.seeds[:1] if is_large else effort.seeds
    rest = () if box is None else (box,)
    plan = [(runs.OURS, seeds, effort.budget)]
    plan += [(name, seeds[:1], effort.other_budget) for name in others]
    curves = {
        name: [run(task, name, most * d, goals[-1], seed, *rest) for seed in chosen]
        for name, chosen, most in plan
    }
    theirs = runs.peers(task, effort.peer_budget * d, goals[-1], box)
    values: dict[str, Any] = {name: runs.needed(of, goals) for name, of in curves.items()}
    values[runs.PEER] = [[v] for v in runs.fewest(theirs, goals)]
    found = {
        "name": task.name,
        "dimension": d,
        "start": task.start,
        "optimum": task.optimum,
        "values": values,
    }
    if (task.name, d) in _OF_DRAWN:
        drawn = {name: of[0] for name, of in curves.items()} | {runs.PEER: theirs[0]}
        found["curves"] = {n: runs.thinned(task, curve, _DRAWN) for n, curve in drawn.items()}
    return found
