"""Data profiles: part of the runs that came within a part of the gap, against values spent."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments import style
from experiments.classics.run import OURS, PEERS

_TICKS = (1, 10, 100)
_DASHES = {"L-BFGS-B": "--", "BFGS": ":"}


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the PNG."""
    gaps, d = results["gaps"], results["dimension"]
    runs = [run["values"] for of in results["functions"].values() for run in of]
    with style.figure(path, 3.6 * len(gaps) + 0.6, 4.4) as figure:
        panels = figure.subplots(1, len(gaps), sharey=True, squeeze=False)[0]
        for number, (axes, gap) in enumerate(zip(panels, gaps, strict=True)):
            for name in (OURS, *PEERS):
                there = sorted(v for run in runs if (v := run[name][number]) is not None)
                part = np.arange(1, len(there) + 1) / len(runs)
                axes.step(np.array(there) / d, part, where="post", **_look(name))
            axes.set(title=f"{gap:g} of the gap left", xscale="log", ylim=(0, 1))
            axes.set_xticks(_TICKS, list(map(str, _TICKS)))
            axes.set_xticks([], minor=True)
            axes.set_xlim(0.5, results["budget_in_d"])
        figure.supxlabel("values / d", fontsize=13)
        figure.supylabel("runs", fontsize=13)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)


def _look(name: str) -> dict[str, Any]:
    if name == OURS:
        return {"color": style.colour(name), "linewidth": 3.0, "label": style.label(name)}
    return {"color": style.REFERENCE, "linestyle": _DASHES[name], "label": name}
