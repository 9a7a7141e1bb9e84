"""The measurement: options of ZO-SAH that the paper leaves open, against its method."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments import sweeps
from experiments.ablations.run import data_sets
from experiments.comparison.run import NOT_REACHED, mean_price
from experiments.curves import Curve, best_after
from experiments.sweeps import Constructor, Task

FRACTIONS = (0.9, 0.99, 0.999)
"""Parts of the gap whose prices are averaged."""

FLOORS = (0.03, 0.1, 0.3)
"""Values of kappa that every s chooses from."""

THRESHOLD = 3.0
"""Condition of the fitted blocks up to which the fit is switched off."""

ONLINE = {"every period": None, "online": THRESHOLD, "hardly ever": 1e30}
"""When there are fresh samples: always, by the condition, one period in nine."""

_POINTS = 40  # of a kept curve


def measure(
    *,
    dataset: Iterable[str],
    data_dir: Path | None,
    rows: int,
    dimension: int,
    conditions: tuple[float, ...],
    hessian_dims: tuple[int, ...],
    tuning_seed: int,
    seeds: tuple[int, ...],
    budget: int,
) -> dict[str, Any]:
    """Answer the three questions.

    Args:
        dataset: names.
        data_dir: where LIBSVM files lie.
        rows: most rows of each.
        dimension: of the quadratics.
        conditions: of the quadratics.
        hessian_dims: values of s.
        tuning_seed: for the eigenvalue floor of every s.
        seeds: that are reported.
        budget: values of a run, in units of d.

    Returns:
        For JSON: prices by question, problem and setting, a list over seeds.
    """
    data = data_sets(dataset, rows, data_dir)
    blocks = {size: sweeps.hidden_blocks(size, dimension) for size in (2, 4)}
    hard = [sweeps.dense(c, dimension) for c in conditions if c in (10.0, 100.0, 1e3)]
    families = [[*hard, blocks[4][0]], *([task] for task in data)]
    total = len(hessian_dims) * len(families) + len(ONLINE) * (1 + len(data)) + 6 + 2 * len(data)
    with tqdm(total=total) as bar:

        def run(family: list[Task], constructor: Constructor, over: Any, **sweep: Any) -> Any:
            bar.set_description(family[0].name)
            found = sweeps.sweep(family, constructor, over, budget, **sweep)
            bar.update()
            return found

        larger = _larger(families, hessian_dims, tuning_seed, seeds, budget, run)
        online = _online(
            [[sweeps.dense(c, dimension) for c in conditions], *([task] for task in data)],
            seeds,
            budget,
            run,
        )
        chosen = _chosen(blocks, data, dimension, seeds, budget, run)
    return {
        "seeds": list(seeds),
        "budget_in_d": budget,
        "fractions": FRACTIONS,
        "not_reached_counts_as": NOT_REACHED * budget,
        "conditions": list(conditions),
        "larger": larger,
        "online": online,
        "chosen": chosen,
    }


def subspace_dim(s: int, d: int) -> int:
    """The multiple of s that is nearest to 24, or to d where that is less."""
    return max(s, min(s * round(24 / s), d - d % s))


def _larger(
    families: list[list[Task]],
    hessian_dims: tuple[int, ...],
    tuning_seed: int,
    seeds: tuple[int, ...],
    budget: int,
    run: Any,
) -> dict[str, Any]:
    """Question (a): prices of every s, its eigenvalue floor chosen on a seed of its own."""
    found: dict[str, Any] = {}
    for family in families:
        for s in hessian_dims:
            make = sweeps.make(hessian_dim=s, subspace_dim=subspace_dim(s, family[0].dimension))
            over = (tuning_seed, *seeds)
            runs = run(family, make, over, option="eigenvalue_floor", values=FLOORS)
            for task, by_floor in zip(family, runs, strict=True):
                tuning = [_price(task, curves[0], budget) for curves in by_floor]
                best = int(np.argmin(tuning))
                found.setdefault(task.name, {})[str(s)] = {
                    "eigenvalue_floor": FLOORS[best],
                    "prices": [_price(task, c, budget) for c in by_floor[best][1:]],
                    "at_0.03": [_price(task, c, budget) for c in by_floor[0][1:]],
                }
    return found


def _online(
    families: list[list[Task]], seeds: tuple[int, ...], budget: int, run: Any
) -> dict[str, Any]:
    """Question (b): prices with fresh samples always, by the condition, and hardly ever."""
    found: dict[str, Any] = {}
    for family in families:
        for name, isotropy in ONLINE.items():
            runs = run(family, sweeps.make(isotropy=isotropy), seeds)
            for task, (curves,) in zip(family, runs, strict=True):
                prices = [_price(task, curve, budget) for curve in curves]
                found.setdefault(task.name, {})[name] = prices
    return found


def _chosen(
    blocks: dict[int, tuple[Task, np.ndarray]],
    data: list[Task],
    dimension: int,
    seeds: tuple[int, ...],
    budget: int,
    run: Any,
) -> dict[str, Any]:
    """Question (c): prices and curves with random, learnt and known groups."""
    cases = [(task, size, groups) for size, (task, groups) in blocks.items()]
    cases += [(task, 2, None) for task in data]
    found: dict[str, Any] = {}
    for task, size, groups in cases:
        common = {"hessian_dim": size, "subspace_dim": subspace_dim(size, task.dimension)}
        ways: dict[str, Any] = {"random": "random", "learnt": "learnt"}
        if groups is not None:
            ways["known"] = tuple(map(tuple, groups.tolist()))
        found[task.name] = {"at_in_d": _places(budget).tolist(), "ways": {}}
        for name, pairing in ways.items():
            ((curves,),) = run([task], sweeps.make(pairing=pairing, **common), seeds)
            found[task.name]["ways"][name] = {
                "prices": [_price(task, curve, budget) for curve in curves],
                "left": [_left(task, curve, budget) for curve in curves],
            }
    return found


def _places(budget: int) -> np.ndarray:
    return np.round(np.geomspace(1, budget, _POINTS), 3)


def _left(task: Task, curve: Curve, budget: int) -> list[float]:
    """Part of the gap that is left after so many values."""
    best = best_after(curve, np.floor(_places(budget) * task.dimension))
    left = (np.minimum(best, task.start) - task.optimum) / (task.start - task.optimum)
    return [float(f"{part:.4g}") for part in np.maximum(left, 0)]


def _price(task: Task, curve: Curve, budget: int) -> float:
    return round(mean_price(task, curve, budget * task.dimension, FRACTIONS), 3)
