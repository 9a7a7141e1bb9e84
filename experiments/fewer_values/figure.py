"""Values needed on each dataset: ZO-PQN (its spread), L-BFGS-B, the library's best other method."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments import style
from experiments.curves import median
from experiments.fewer_values.table import best_method, spread

_OTHER: dict[str, Any] = {"color": style.colour("zosah"), "markerfacecolor": "white"}


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the PNG."""
    parts, data = results["fractions"], results["data"]
    with style.figure(path, 13.6, 4.8) as figure:
        panels = np.atleast_1d(figure.subplots(1, len(parts), sharey=True))
        places = np.arange(len(data))
        for number, (axes, part) in enumerate(zip(panels, parts, strict=True)):
            for place, found in zip(places, data.values(), strict=True):
                d, theirs = found["dimension"], found["lbfgsb"][number]
                low, high = spread(found["zopqn"][number], d)
                middle = median(found["zopqn"][number]) / d
                colour = style.colour("zopqn")
                axes.plot([low, high], [place, place], color=colour, linewidth=3, alpha=0.5)
                axes.plot(middle, place, "o", color=colour)
                if theirs is not None:
                    axes.plot(theirs / d, place, "s", color=style.REFERENCE)
                other = median(best_method(found, number)["values"][number])
                if np.isfinite(other):
                    axes.plot(other / d, place, "D", **_OTHER)
            axes.set(title=f"{100 * part:g} % of the gap closed", xlabel="values / d")
            axes.set(xscale="log", yticks=places, yticklabels=list(data))
            style.plain_ticks(axes.xaxis)
        panels[0].plot([], [], "o-", color=style.colour("zopqn"), label="ZO-PQN, over seeds")
        panels[0].plot([], [], "s", color=style.REFERENCE, label="SciPy L-BFGS-B, at its best")
        panels[0].plot([], [], "D", **_OTHER, label="the library's best other method, tuned")
        figure.legend(loc="outside lower center", ncols=3)
