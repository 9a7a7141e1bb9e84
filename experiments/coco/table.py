"""The results as Markdown tables."""

from typing import Any

import numpy as np

from experiments.records import markdown
from experiments.style import label
from zosah_jax import METHODS

OURS = "zopqn"


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    return {"areas": _areas(results), "functions": _functions(results), "lost": _lost(results)}


def name_of(solver: str) -> str:
    """A solver in figures and tables."""
    return label(solver) if solver in METHODS else solver


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


def peers(results: dict[str, Any]) -> list[str]:
    """All solvers but ours."""
    return [solver for solver in results["solvers"] if solver != OURS]


def best_peer(results: dict[str, Any], d: int) -> str:
    """The peer with the largest area in a dimension."""
    return max(peers(results), key=lambda peer: mean_area(best_of(results, peer, d)))


def _areas(results: dict[str, Any]) -> str:
    dimensions = results["dimensions"]
    rows = [
        [name_of(solver), *(f"{mean_area(best_of(results, solver, d)):.3f}" for d in dimensions)]
        for solver in results["solvers"]
    ]
    over = [
        mean_area(best_of(results, OURS, d)) / mean_area(best_of(results, best_peer(results, d), d))
        for d in dimensions
    ]
    rows.append(["ZO-PQN over the best peer", *(f"{ratio:.2f}" for ratio in over)])
    rows.append(["the best peer", *(_with_setting(results, d) for d in dimensions)])
    found = [results["solvers"][s] for s in results["solvers"]]
    if all(
        about["ecdf"] is not None for of in found for by in of.values() for about in by.values()
    ):
        rows.append(["the ratio from d values on", *(_late(results, d) for d in dimensions)])
        rows += [
            [
                f"{name_of(solver)}: runs to 1e-8",
                *(_met(best_of(results, solver, d)) for d in dimensions),
            ]
            for solver in results["solvers"]
        ]
    return markdown(["area under the ECDF", *(f"d = {d}" for d in dimensions)], rows)


def _met(found: dict[str, Any]) -> str:
    """How many runs met all targets; of how many, where some were not run."""
    rows = found["areas"].values()
    runs, all_runs = sum(len(known(row)) for row in rows), sum(map(len, rows))
    return f"{found['all_targets_met']}" + (f" of {runs}" if runs < all_runs else "")


def _with_setting(results: dict[str, Any], d: int) -> str:
    peer = best_peer(results, d)
    return f"{peer} ({best_setting(results, peer, d)})"


def _late(results: dict[str, Any], d: int) -> str:
    """The ratio of areas that begin at d values."""
    largest = max(best_of(results, peer, d)["area_from_d"] for peer in peers(results))
    return f"{best_of(results, OURS, d)['area_from_d'] / largest:.2f}"


def _functions(results: dict[str, Any]) -> str:
    """By function and dimension: our area over that of the best peer of the dimension."""
    rows = []
    for f in results["functions"]:
        cells = []
        for d in results["dimensions"]:
            ours = area_on(best_of(results, OURS, d), f)
            theirs = {peer: area_on(best_of(results, peer, d), f) for peer in peers(results)}
            best = max(theirs, key=lambda peer: theirs[peer])
            text = f"{ours:.2f} / {theirs[best]:.2f} {best}"
            cells.append(f"**{text}**" if ours >= theirs[best] else text)
        rows.append([f"f{f} {NAMES[f]}", *cells])
    header = [f"d = {d}" for d in results["dimensions"]]
    return markdown(["area: ZO-PQN / best peer on the function", *header], rows)


def _lost(results: dict[str, Any]) -> str:
    """What each function adds to our area less that of the best peer of the dimension."""
    rows = []
    for f in results["functions"]:
        cells = []
        for d in results["dimensions"]:
            peer = best_of(results, best_peer(results, d), d)
            ours = best_of(results, OURS, d)
            gap = area_on(ours, f) - area_on(peer, f)
            cells.append(f"{gap / len(results['functions']):+.4f}")
        rows.append([f"f{f} {NAMES[f]}", *cells])
    header = [f"d = {d}, over {best_peer(results, d)}" for d in results["dimensions"]]
    return markdown(["share of the function in the difference of areas", *header], rows)


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
