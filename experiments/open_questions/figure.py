"""A panel a question: price against s, against the condition, and gap left against values."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from experiments import style
from experiments.ablations.table import price


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the PNG."""
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
        ratios = [price(entry["prices"]) / price(by["2"]["prices"]) for entry in by.values()]
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
    base = np.array([price(by["every period"]) for by in quadratics])
    labels = {"online": "by the condition seen", "hardly ever": "one period in nine"}
    for number, (way, label) in enumerate(labels.items()):
        ratios = np.array([price(by[way]) for by in quadratics]) / base
        axes.plot(
            conditions, ratios, style.MARKERS[number] + "-", color=style.series(number), label=label
        )
    axes.axhline(1, color=style.REFERENCE, linewidth=1)
    axes.set(
        xscale="log",
        xlabel="condition of the quadratic",
        ylabel="values needed / always fresh",
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
