"""Values needed on each dataset, ZO-PQN (its spread over seeds) and L-BFGS-B."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments import style
from experiments.curves import median
from experiments.fewer_values.table import spread


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
            axes.set(title=f"{100 * part:g} % of the gap closed", xlabel="values / d")
            axes.set(xscale="log", yticks=places, yticklabels=list(data))
            style.plain_ticks(axes.xaxis)
        panels[0].plot([], [], "o-", color=style.colour("zopqn"), label="ZO-PQN, over seeds")
        panels[0].plot([], [], "s", color=style.REFERENCE, label="SciPy L-BFGS-B, at its best")
        figure.legend(loc="outside lower center", ncols=2)
