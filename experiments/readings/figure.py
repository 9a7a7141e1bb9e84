"""Price of every variant over the price of the defaults, a dot a dataset."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments import style
from experiments.readings.table import overall


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the PNG."""
    means = dict(results["mean_price_in_d"])
    default = means.pop("default")
    lines = np.arange(len(means))[::-1]
    with style.figure(path, 11, 0.62 * len(means) + 2) as figure:
        axes = figure.subplots()
        axes.axvline(1, color=style.REFERENCE, linewidth=1)
        for number, dataset in enumerate(results["dimension"]):
            ratios = [by_dataset[dataset] / default[dataset] for by_dataset in means.values()]
            marker = style.MARKERS[number % len(style.MARKERS)]
            axes.plot(ratios, lines, marker, color="#9A9A9A", markersize=8, label=dataset)
        base = overall(list(default.values()))
        mean = [overall(list(by_dataset.values())) / base for by_dataset in means.values()]
        axes.plot(mean, lines, "|", color=style.colour("zosah"), markersize=26, markeredgewidth=4)
        axes.set(xscale="log", xlabel="values needed / values needed by the defaults")
        axes.set_yticks(lines, list(means))
        style.plain_ticks(axes.xaxis)
        axes.set_title("What the paper's readings cost (bar: geometric mean)")
        axes.legend(fontsize=11, loc="center left", bbox_to_anchor=(1, 0.5))
