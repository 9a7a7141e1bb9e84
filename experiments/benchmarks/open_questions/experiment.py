"""What the paper leaves open: larger Hessians, isotropy seen online, chosen pairs (8 min)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.axes import Axes
from tqdm import tqdm

from experiments import experiment
from experiments.benchmarks.open_questions.variants import zosah_variant
from experiments.common import style, sweeps, table
from experiments.common.curves import Curve
from experiments.common.problems import NOT_REACHED, Task, conditioned, hidden_blocks, two_sets
from experiments.common.table import geometric, geometric_mean


@dataclass(frozen=True)
class Config(experiment.Config):
    """(a) Hessians of s dimensions, (b) the fit switched off, (c) pairs that belong together."""

    dataset: tuple[str, ...] = ("breast_cancer", "digits")
    """Datasets by name; where the LIBSVM file is in the data folder, a1a stands for digits."""
    data_dir: Path | None = None
    """Folder of LIBSVM files (else ZOSAH_DATA)."""
    rows: int = 1_000
    """Most rows of a dataset, drawn with a fixed seed."""
    dimension: int = 48
    """Parameters of the quadratics, a multiple of 24."""
    conditions: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 100.0, 1e3, 1e4)
    """Conditions of the quadratics."""
    hessian_dims: tuple[int, ...] = (2, 3, 4, 6, 8)
    """Values of s."""
    tuning_seed: int = 9
    """Seed on which the eigenvalue floor of every s is chosen."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the method."""
    budget: int = 60
    """Values of the objective that a run may spend, in units of the dimension d."""


# --- the measurement ------------------------------------------------------------------------------

FRACTIONS = (0.9, 0.99, 0.999)
"""Parts of the gap whose prices are averaged."""

FLOORS = (0.03, 0.1, 0.3)
"""Values of kappa that every s chooses from."""

THRESHOLD = 3.0
"""Condition of the fitted blocks up to which the fit is switched off."""

ONLINE = {"every period": None, "online": THRESHOLD, "hardly ever": 1e30}
"""When there are fresh samples: always, by the condition, one period in nine."""

_POINTS = 40  # of a kept curve


@cache
def variant(**options: Any) -> Callable[..., Any]:
    """A variant at learning rate 1; the same object for the same options, to compile once."""
    return partial(zosah_variant, **options)


def measure(config: Config) -> dict[str, Any]:
    """Answer the three questions: prices by question, problem and setting, a list over seeds."""
    with jax.enable_x64(True):
        data = two_sets(config.dataset, config.rows, config.data_dir)
        quadratics = [conditioned(c, config.dimension) for c in config.conditions]
        blocks = {size: hidden_blocks(size, config.dimension) for size in (2, 4)}
        hard = [task for task in quadratics if task.name in LARGER_ON]
        families = [[*hard, blocks[4][0]], *([task] for task in data)]
        total = len(config.hessian_dims) * len(families)
        total += len(ONLINE) * (1 + len(data)) + 6 + 2 * len(data)
        with tqdm(total=total) as bar:

            def run(family: list[Task], seeds: Any = config.seeds, **options: Any) -> Any:
                bar.set_description(family[0].name)
                over = {key: options.pop(key) for key in ("option", "values") if key in options}
                method = variant(**options)
                found = sweeps.sweep(family, method, seeds, config.budget, **over)
                bar.update()
                return found

            larger = _larger(families, config, run)
            online = _online([quadratics, *([task] for task in data)], config, run)
            chosen = _chosen(blocks, data, config, run)
    return {
        "seeds": list(config.seeds),
        "budget_in_d": config.budget,
        "fractions": FRACTIONS,
        "not_reached_counts_as": NOT_REACHED * config.budget,
        "conditions": list(config.conditions),
        "larger": larger,
        "online": online,
        "chosen": chosen,
    }


LARGER_ON = ("condition 10", "condition 100", "condition 1000")
"""Quadratics of question (a)."""


def subspace_dim(s: int, d: int) -> int:
    """The multiple of s that is nearest to 24, or to d where that is less."""
    return max(s, min(s * round(24 / s), d - d % s))


def _larger(families: list[list[Task]], config: Config, run: Any) -> dict[str, Any]:
    """Question (a): prices of every s, its eigenvalue floor chosen on a seed of its own."""
    found: dict[str, Any] = {}
    seeds = (config.tuning_seed, *config.seeds)
    for family in families:
        for s in config.hessian_dims:
            m = subspace_dim(s, family[0].dimension)
            over = {"option": "eigenvalue_floor", "values": FLOORS}
            runs = run(family, seeds, hessian_dim=s, subspace_dim=m, **over)
            for task, by_floor in zip(family, runs, strict=True):
                prices = [task.mean_prices(c, config.budget, FRACTIONS) for c in by_floor]
                best = int(np.argmin([tuned for tuned, *_ in prices]))
                found.setdefault(task.name, {})[str(s)] = {
                    "eigenvalue_floor": FLOORS[best],
                    "prices": prices[best][1:],
                    "at_0.03": prices[0][1:],
                }
    return found


def _online(families: list[list[Task]], config: Config, run: Any) -> dict[str, Any]:
    """Question (b): prices with fresh samples always, by the condition, and hardly ever."""
    found: dict[str, Any] = {}
    for family in families:
        for name, isotropy in ONLINE.items():
            for task, (curves,) in zip(family, run(family, isotropy=isotropy), strict=True):
                prices = task.mean_prices(curves, config.budget, FRACTIONS)
                found.setdefault(task.name, {})[name] = prices
    return found


def _chosen(
    blocks: dict[int, tuple[Task, np.ndarray]], data: list[Task], config: Config, run: Any
) -> dict[str, Any]:
    """Question (c): prices and curves with random, learnt and known groups."""
    cases = [(task, size, groups) for size, (task, groups) in blocks.items()]
    cases += [(task, 2, None) for task in data]
    at = np.round(np.geomspace(1, config.budget, _POINTS), 3)
    found: dict[str, Any] = {}
    for task, size, groups in cases:
        m = subspace_dim(size, task.dimension)
        ways: dict[str, Any] = {"random": "random", "learnt": "learnt"}
        if groups is not None:
            ways["known"] = tuple(map(tuple, groups.tolist()))
        found[task.name] = {"at_in_d": at.tolist(), "ways": {}}
        for name, pairing in ways.items():
            ((curves,),) = run([task], pairing=pairing, hessian_dim=size, subspace_dim=m)
            found[task.name]["ways"][name] = {
                "prices": task.mean_prices(curves, config.budget, FRACTIONS),
                "left": [_left(task, curve, at) for curve in curves],
            }
    return found


def _left(task: Task, curve: Curve, at: np.ndarray) -> list[float]:
    """Part of the gap that is left after so many values."""
    left = 1 - task.gap_closed(curve, np.floor(at * task.dimension))
    return [float(f"{part:.4g}") for part in np.maximum(left, 0)]


# --- its tables -----------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    return {
        "larger": _larger_table(results["larger"]),
        "online": _online_table(results["online"]),
        "chosen": _chosen_table(results["chosen"]),
    }


def _larger_table(found: dict[str, Any]) -> str:
    sizes = list(next(iter(found.values())))
    rows = [
        [
            f"s = {s}",
            *(
                f"{geometric(by[s]['prices'])}, {by[s]['eigenvalue_floor']:g}"
                for by in found.values()
            ),
        ]
        for s in sizes
    ]
    return table.markdown(["price (range), kappa", *found], rows)


def _online_table(found: dict[str, Any]) -> str:
    ways = list(next(iter(found.values())))
    rows = [[name, *(geometric(by[way]) for way in ways)] for name, by in found.items()]
    return table.markdown(["fresh samples", *ways], rows)


def _chosen_table(found: dict[str, Any]) -> str:
    ways = ("random", "learnt", "known")
    rows = [
        [name, *(geometric(case["ways"][w]["prices"]) if w in case["ways"] else "" for w in ways)]
        for name, case in found.items()
    ]
    return table.markdown(["coordinates come together", *ways], rows)


# --- its figure -----------------------------------------------------------------------------------


def draw(results: dict[str, Any], path: Path) -> None:
    """A panel a question: price against s, against the condition, gap left against values."""
    with style.figure(path, 16, 5.2) as figure:
        first, second, third = figure.subplots(1, 3)
        larger(first, results["larger"])
        online(second, results["online"], results["conditions"])
        chosen(third, results["chosen"])


def larger(axes: Axes, found: dict[str, Any]) -> None:
    """Question (a): price of s over that of pairs, a line a problem."""
    sizes: list[int] = []
    for number, (name, by) in enumerate(found.items()):
        sizes = [int(s) for s in by]
        ratios = [
            geometric_mean(entry["prices"]) / geometric_mean(by["2"]["prices"])
            for entry in by.values()
        ]
        marker = style.MARKERS[number % len(style.MARKERS)]
        axes.plot(sizes, ratios, marker + "-", color=style.series(number), label=name)
    axes.axhline(1, color=style.REFERENCE, linewidth=1)
    axes.set(xlabel="s, dimension of a subspace", ylabel="values needed / with pairs", xticks=sizes)
    axes.set_ylim(0.6, None)
    axes.set_title("(a) Larger Hessians")
    axes.legend(fontsize=11, ncols=2, loc="lower center")


def online(axes: Axes, found: dict[str, Any], conditions: list[float]) -> None:
    """Question (b): price over that with fresh samples in every period, against the condition."""
    quadratics = [found[f"condition {c:g}"] for c in conditions]
    base = np.array([geometric_mean(by["every period"]) for by in quadratics])
    labels = {"online": "by the condition seen", "hardly ever": "one period in nine"}
    for number, (way, label) in enumerate(labels.items()):
        ratios = np.array([geometric_mean(by[way]) for by in quadratics]) / base
        axes.plot(
            conditions, ratios, style.MARKERS[number] + "-", color=style.series(number), label=label
        )
    axes.axhline(1, color=style.REFERENCE, linewidth=1)
    axes.set(
        xscale="log", xlabel="condition of the quadratic", ylabel="values needed / always fresh"
    )
    axes.set_title("(b) Fit switched off")
    axes.set_ylim(0.75, 1.05)
    axes.legend(fontsize=11, title="fresh samples")


def chosen(axes: Axes, found: dict[str, Any]) -> None:
    """Question (c): what is left of the gap, by how groups come together."""
    lines = {"blocks of 2": "-", "blocks of 4": "--"}
    for name, line in lines.items():
        case = found[name]
        for number, (way, runs) in enumerate(case["ways"].items()):
            left = np.median(np.maximum(runs["left"], 1e-12), axis=0)
            label = f"{way}" if line == "-" else None
            axes.plot(case["at_in_d"], left, line, color=style.series(number), label=label)
    axes.set(xlabel="values / d", ylabel="part of the gap left", yscale="log", ylim=(3e-6, 1.5))
    axes.set_title("(c) Chosen groups")
    axes.plot([], [], "-", color="#9A9A9A", label="hidden pairs")
    axes.plot([], [], "--", color="#9A9A9A", label="hidden fours")
    axes.legend(fontsize=11)


EXPERIMENT = experiment.Experiment("open_questions", Config, measure, tables, draw)
