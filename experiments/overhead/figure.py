"""Time a value by each evaluator, in units of a forward pass."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments import style


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the PNG."""
    costs = results["cost_of_a_value"]
    names = list(next(iter(costs.values()))["ratios"])
    groups = np.arange(len(costs))
    with style.figure(path, 12.5, 5.6) as figure:
        axes = figure.subplots()
        axes.axhline(1, color=style.REFERENCE, linewidth=1)
        for number, name in enumerate(names):
            heights = [found["ratios"][name] for found in costs.values()]
            at = groups + 0.16 * (number - (len(names) - 1) / 2)
            marker, shade = style.MARKERS[number % len(style.MARKERS)], _shade(name, number, names)
            axes.plot(at, heights, marker, markersize=11, label=name, color=shade)
            for x, height in zip(at, heights, strict=True):
                axes.annotate(
                    f"{height:.2g}",
                    (x, height),
                    xytext=(0, 9),
                    textcoords="offset points",
                    ha="center",
                    fontsize=11,
                )
        axes.set(yscale="log", ylabel="time a value / jitted forward pass")
        axes.set_xticks(groups, [objective.replace(", ", "\n") for objective in costs])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(visible=False, axis="x")
        ratio = results["step"]["ratio"]
        axes.set_title(f"What a value costs (a step of ZO-SAH: {ratio:.2f} times its values)")
        axes.legend(ncols=len(names), fontsize=11, loc="upper left")
        axes.margins(y=0.2)


def _shade(name: str, number: int, names: list[str]) -> Any:
    """Grey by size of the chunk, the library's default in colour."""
    return style.colour("zosah") if name == "automatic" else str(0.75 - 0.6 * number / len(names))
