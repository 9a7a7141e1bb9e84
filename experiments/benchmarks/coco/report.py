"""What the results come to: tables, and the figure."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.coco.solvers import DEFAULT, OURS
from experiments.common import style, table
from zosah_jax.methods import METHODS

# --- its tables -----------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    return {"areas": _areas(results), "functions": _functions(results), "lost": _lost(results)}


def name_of(solver: str) -> str:
    """A solver in figures and tables."""
    if solver == DEFAULT:
        return "the default"
    return style.label(solver) if solver in METHODS else solver


def mean_area(found: dict[str, Any]) -> float:
    """Area of a setting in a dimension, over all functions and instances."""
    return float(np.mean([area for row in found["areas"].values() for area in known(row)]))


def area_on(found: dict[str, Any], function: int) -> float:
    """Area of a setting in a dimension on a function, over its instances."""
    return float(np.mean(known(found["areas"][str(function)])))


def known(row: list[float | None]) -> list[float]:
    """Areas of the instances that were run; null stands for one that was not."""
    return [area for area in row if area is not None]


def best_setting(results: dict[str, Any], solver: str, d: int) -> str:
    """The setting of a solver with the largest area in a dimension."""
    settings = results["solvers"][solver]
    return max(settings, key=lambda setting: mean_area(settings[setting][str(d)]))


def best_of(results: dict[str, Any], solver: str, d: int) -> dict[str, Any]:
    """What that setting found."""
    return results["solvers"][solver][best_setting(results, solver, d)][str(d)]


def ours(results: dict[str, Any]) -> list[str]:
    """The library's own, the default first where it took part."""
    return [solver for solver in OURS if solver in results["solvers"]]


def peers(results: dict[str, Any]) -> list[str]:
    """All solvers but ours."""
    return [solver for solver in results["solvers"] if solver not in OURS]


def best_peer(results: dict[str, Any], d: int) -> str:
    """The peer with the largest area in a dimension."""
    return max(peers(results), key=lambda peer: mean_area(best_of(results, peer, d)))


def _areas(results: dict[str, Any]) -> str:
    dimensions = results["dimensions"]
    rows = [
        [name_of(solver), *(f"{mean_area(best_of(results, solver, d)):.3f}" for d in dimensions)]
        for solver in results["solvers"]
    ]
    for own in ours(results):
        over = [
            mean_area(best_of(results, own, d))
            / mean_area(best_of(results, best_peer(results, d), d))
            for d in dimensions
        ]
        rows.append([f"{name_of(own)} over the best peer", *(f"{ratio:.2f}" for ratio in over)])
    rows.append(["the best peer", *(_with_setting(results, d) for d in dimensions)])
    found = [results["solvers"][s] for s in results["solvers"]]
    if all(
        about["ecdf"] is not None for of in found for by in of.values() for about in by.values()
    ):
        rows += [
            [f"{name_of(own)}: the ratio from d values on",
             *(_late(results, own, d) for d in dimensions)]
            for own in ours(results)
        ]  # fmt: skip
        rows += [
            [
                f"{name_of(solver)}: runs to 1e-8",
                *(_met(best_of(results, solver, d)) for d in dimensions),
            ]
            for solver in results["solvers"]
        ]
    return table.markdown(["area under the ECDF", *(f"d = {d}" for d in dimensions)], rows)


def _met(found: dict[str, Any]) -> str:
    """How many runs met all targets; of how many, where some were not run."""
    rows = found["areas"].values()
    runs, all_runs = sum(len(known(row)) for row in rows), sum(map(len, rows))
    return f"{found['all_targets_met']}" + (f" of {runs}" if runs < all_runs else "")


def _with_setting(results: dict[str, Any], d: int) -> str:
    peer = best_peer(results, d)
    return f"{peer} ({best_setting(results, peer, d)})"


def _late(results: dict[str, Any], own: str, d: int) -> str:
    """The ratio of areas that begin at d values."""
    largest = max(best_of(results, peer, d)["area_from_d"] for peer in peers(results))
    return f"{best_of(results, own, d)['area_from_d'] / largest:.2f}"


def _functions(results: dict[str, Any]) -> str:
    """By function and dimension: our area, and that of the peer that is best on the function."""
    own, rows = ours(results)[0], []
    for f in results["functions"]:
        cells = []
        for d in results["dimensions"]:
            mine = area_on(best_of(results, own, d), f)
            theirs = {peer: area_on(best_of(results, peer, d), f) for peer in peers(results)}
            best = max(theirs, key=lambda peer: theirs[peer])
            text = f"{mine:.2f} / {theirs[best]:.2f} {best}"
            cells.append(f"**{text}**" if mine >= theirs[best] else text)
        rows.append([f"f{f} {NAMES[f]}", *cells])
    header = [f"d = {d}" for d in results["dimensions"]]
    return table.markdown([f"area: {name_of(own)} / best peer on the function", *header], rows)


def _lost(results: dict[str, Any]) -> str:
    """What each function adds to our area less that of the best peer of the dimension."""
    own, rows = ours(results)[0], []
    for f in results["functions"]:
        cells = []
        for d in results["dimensions"]:
            peer = best_of(results, best_peer(results, d), d)
            gap = area_on(best_of(results, own, d), f) - area_on(peer, f)
            cells.append(f"{gap / len(results['functions']):+.4f}")
        rows.append([f"f{f} {NAMES[f]}", *cells])
    header = [f"d = {d}, over {best_peer(results, d)}" for d in results["dimensions"]]
    return table.markdown(["share of the function in the difference of areas", *header], rows)


NAMES = {
    1: "sphere",
    2: "ellipsoid, separable",
    3: "Rastrigin, separable",
    4: "Bueche-Rastrigin",
    5: "linear slope",
    6: "attractive sector",
    7: "step ellipsoid",
    8: "Rosenbrock",
    9: "Rosenbrock, rotated",
    10: "ellipsoid",
    11: "discus",
    12: "bent cigar",
    13: "sharp ridge",
    14: "different powers",
    15: "Rastrigin",
    16: "Weierstrass",
    17: "Schaffer F7",
    18: "Schaffer F7, ill-conditioned",
    19: "Griewank-Rosenbrock",
    20: "Schwefel",
    21: "Gallagher, 101 peaks",
    22: "Gallagher, 21 peaks",
    23: "Katsuura",
    24: "Lunacek bi-Rastrigin",
}


# --- its figure -----------------------------------------------------------------------------------

_COLUMNS = 3
_TICKS = (0.1, 1, 10, 100)
_COLOURS = {
    DEFAULT: style.series(0),
    "L-BFGS-B": style.REFERENCE,
    "COBYQA": "#0072B2",
    "CMA-ES": "#009E73",
}
_LINES = {"L-BFGS-B": "--", "COBYQA": "-.", "CMA-ES": ":"}


def draw(results: dict[str, Any], path: Path) -> None:
    """ECDFs: parts of all (function, instance, target) met against values, by dimension."""
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
        figure.legend(*handles, loc="outside upper center", ncols=5)


def _look(solver: str) -> dict[str, Any]:
    own = solver in OURS
    return {
        "color": style.colour(solver) if solver in METHODS else _COLOURS[solver],
        "linestyle": "-" if own else _LINES[solver],
        "linewidth": 3.0 if own else 2.0,
        "label": name_of(solver),
        "zorder": 3 if own else 2,
    }
