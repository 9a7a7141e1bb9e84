"""ECDFs: parts of all (function, instance, target) met against values spent, by dimension."""

from pathlib import Path
from typing import Any

from experiments import style
from experiments.coco.table import OURS, best_of, name_of

_COLUMNS = 3
_TICKS = (0.1, 1, 10, 100)
_COLOURS = {"L-BFGS-B": style.REFERENCE, "COBYQA": "#0072B2", "CMA-ES": "#009E73"}
_LINES = {"L-BFGS-B": "--", "COBYQA": "-.", "CMA-ES": ":"}


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the PNG."""
    dimensions = results["dimensions"]
    columns = min(_COLUMNS, len(dimensions))
    rows = -(-len(dimensions) // columns)
    with style.figure(path, 4.3 * columns + 0.6, 3.5 * rows + 1.0) as figure:
        panels = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
        for axes, d in zip(panels, dimensions, strict=False):
            for solver in results["solvers"]:
                ecdf = best_of(results, solver, d)["ecdf"]
                if ecdf is not None:
                    axes.plot(results["ecdf_at_in_d"], ecdf, **_look(solver))
            axes.set(title=f"d = {d}", xscale="log", ylim=(0, 1))
            axes.set_xticks(_TICKS, list(map(str, _TICKS)))
            axes.set_xticks([], minor=True)
            axes.set_xlim(1 / d, results["budget_in_d"])
        for axes in panels[len(dimensions) :]:
            axes.set_axis_off()
        figure.supxlabel("values / d", fontsize=13)
        figure.supylabel("targets met", fontsize=13)
        handles = figure.axes[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside upper center", ncols=4)


def _look(solver: str) -> dict[str, Any]:
    ours = solver == OURS
    return {
        "color": style.colour(solver) if ours else _COLOURS[solver],
        "linestyle": "-" if ours else _LINES[solver],
        "linewidth": 3.0 if ours else 2.0,
        "label": name_of(solver),
        "zorder": 3 if ours else 2,
    }
