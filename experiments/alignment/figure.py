"""Alignment along the run, kind by kind, and the effective dimension."""

from pathlib import Path
from typing import Any

from experiments import style
from experiments.alignment.run import KINDS
from experiments.alignment.table import over_seeds

_COLOURS = dict(zip(KINDS, ("#D55E00", "#0072B2", "#009E73", "#7F5AA8"), strict=True))


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the PNG."""
    steps, m = results["step"], results["subspace_dim"]
    names = {
        "coordinates": f"{m} coordinates",
        "pairs": "pairs of coordinates",
        "blocks": "blocks (layers)",
        "dense directions": f"{m} dense directions",
    }
    with style.figure(path, 16, 4.6) as figure:
        *panels, last = figure.subplots(1, 5)
        top = max(max(run[kind]["mean"]) for run in results["runs"] for kind in KINDS)
        top = max(top, *(over_seeds(results, kind, "high").max() for kind in KINDS))
        for kind, axes in zip(KINDS, panels, strict=True):
            colour = _COLOURS[kind]
            low, high = (over_seeds(results, kind, part) for part in ("low", "high"))
            axes.axhline(1, color=style.REFERENCE, linewidth=1)
            axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
            for run in results["runs"]:
                axes.plot(steps, run[kind]["mean"], color=colour, linewidth=1.6)
            axes.set_title(names[kind], fontsize=13)
            axes.set(xlabel="step", yscale="log", ylim=(0.05, 1.5 * top))
            axes.set_xticks([steps[0], steps[-1]])
            style.plain_ticks(axes.yaxis)
        panels[0].set_ylabel("alignment (1: as at random)")
        for run in results["runs"]:
            last.plot(steps, run["effective_dimension"], color=style.REFERENCE, linewidth=1.6)
        last.set_title("tr(H) / |H|", fontsize=13)
        last.set(xlabel="step", xticks=[steps[0], steps[-1]])
        last.set_ylim(bottom=0)
