"""What the gaps come to: ratios to the best peer, and the tables of them."""

import math
from typing import Any

import numpy as np

from experiments.benchmarks.cutest_noise.solvers import DEFAULT, OURS
from experiments.common import style, table
from experiments.common.cutest_problems import GROUPS, group

Found = dict[str, Any]


# --- what it comes to -----------------------------------------------------------------------------

CHOSEN_ON = (
    *("BARD", "BEALE", "BIGGS6", "BOX3", "ENGVAL2", "HELIX", "KOWOSB", "OSBORNEB", "TRIGON1"),
    *("HART6", "PALMER2", "QINGB", "BROYDN3DLS", "DIXMAANE1"),
)
"""Problems of CUTEst on which settings of `noisy_regression` were chosen."""


def gap_of(results: Found, problem: Found, level: int, solver: str) -> float | None:
    """Median gap of a solver on a problem, by the place of the level; None: not run."""
    return problem["gaps"][level][results["solvers"].index(solver)]


def best_peer(results: Found, problem: Found, level: int) -> tuple[float, str] | None:
    """The smallest gap of a peer on a problem, and whose it is."""
    gaps = [
        (gap, solver)
        for solver in results["solvers"]
        if solver not in OURS and (gap := gap_of(results, problem, level, solver)) is not None
    ]
    return min(gaps, default=None)


def ratios(results: Found, found: list[Found], level: int, solver: str) -> dict[str, float]:
    """A solver's gap over the best peer's, by name of the problems that it was run on."""
    each = {}
    for problem in found:
        gap, best = gap_of(results, problem, level, solver), best_peer(results, problem, level)
        if gap is not None and best is not None:
            each[problem["name"]] = gap / best[0]
    return each


# --- its tables -----------------------------------------------------------------------------------


def tables(results: Found) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    found = {}
    for level, size in enumerate(results["levels"]):
        found[f"ratios_{told(size)}"] = _ratios(results, level)
        found[f"gaps_{told(size)}"] = _gaps(results, level)
        found[f"behind_{told(size)}"] = _behind(results, level)
    return {
        **found,
        "worse": _worse(results),
        **({"left_out": _reasons(results["left_out"])} if results["left_out"] else {}),
        **({"errors": _raised(results["errors"])} if results["errors"] else {}),
    }


def told(level: float) -> str:
    """A level in words."""
    return f"{level:.0e}".replace("e-0", "e-")


def name_of(solver: str) -> str:
    """A solver in figures and tables."""
    if solver == DEFAULT:
        return "the default"
    return f"the default, {solver}" if solver in OURS and solver != "zosah" else _peer(solver)


def _title(results: Found, key: str) -> str:
    """A group's title, with the largest number of parameters that there is."""
    kind, least, _, usual = GROUPS[key]
    there = max(problem["dimension"] for problem in results["problems"])
    return f"{kind}, d = {least} - {there}" if 5 < least <= there else usual


def _peer(solver: str) -> str:
    return style.label(solver) if solver == "zosah" else solver


_FAR = 100
"""A ratio, or one over it, beyond which a problem counts no more in the second mean."""


def _ratios(results: Found, level: int) -> str:
    """This library's solvers over the best peer of each problem, by group."""
    everything = results["problems"]
    groups = [(_title(results, key), group(results, key)) for key in GROUPS]
    others = [one for one in everything if one["name"] not in CHOSEN_ON]
    groups += [("all", everything), ("all that no setting was chosen on", others)]
    ours = [solver for solver in results["solvers"] if solver in OURS]
    rows = []
    for title, found in groups:
        cells = []
        for solver in ours:
            each = list(ratios(results, found, level, solver).values())
            mean = table.geometric_mean(each) if each else math.nan
            cells.append(f"{mean:.3f}" if each else "")
            if solver == DEFAULT:
                limited = np.clip(each, 1 / _FAR, _FAR)
                cells.append(f"{table.geometric_mean(limited):.3f}" if each else "")
                cells.append(f"{np.median(each):.3f}" if each else "")
                cells.append(f"{sum(ratio < 1 for ratio in each)} of {len(each)}")
        if found:
            rows.append([title, *cells])
    header = [f"gap over the best peer's, noise {told(results['levels'][level])}"]
    for solver in ours:
        header.append(f"{name_of(solver)}: geometric mean")
        if solver == DEFAULT:
            header += [f"the same, no ratio beyond {_FAR:g}", "median", "below 1 on"]
    return table.markdown(header, rows)


def _gaps(results: Found, level: int) -> str:
    """Every solver's own gaps by group: geometric means, and how often it is the best of all."""
    keys = [key for key in GROUPS if group(results, key)]
    rows = []
    for solver in results["solvers"]:
        cells = []
        for key in keys:
            found = group(results, key)
            each = [gap for p in found if (gap := gap_of(results, p, level, solver)) is not None]
            part = f" (of {len(each)})" if 0 < len(each) < len(found) else ""
            cells.append(f"{table.geometric_mean(each):.2e}{part}" if each else "")
        rows.append([name_of(solver), *cells, str(_times_best(results, level, solver))])
    header = [
        f"geometric mean of the gap, noise {told(results['levels'][level])}",
        *(f"{_title(results, key)}: {len(group(results, key))}" for key in keys),
        "smallest of all on",
    ]
    return table.markdown(header, rows)


def _times_best(results: Found, level: int, solver: str) -> int:
    place = results["solvers"].index(solver)
    return sum(
        row[place] is not None and row[place] <= min(gap for gap in row if gap is not None)
        for row in (problem["gaps"][level] for problem in results["problems"])
    )


_WORST = 12


def _behind(results: Found, level: int) -> str:
    """The problems on which the default is furthest behind the best peer."""
    rows = []
    if DEFAULT in results["solvers"]:
        by_name = {problem["name"]: problem for problem in results["problems"]}
        each = ratios(results, results["problems"], level, DEFAULT)
        for name in sorted(each, key=lambda name: -each[name])[:_WORST]:
            problem, best = by_name[name], best_peer(results, by_name[name], level)
            if each[name] > 1 and best is not None:
                rows.append(
                    [
                        name,
                        problem["kind"],
                        str(problem["dimension"]),
                        f"{gap_of(results, problem, level, DEFAULT):.1e}",
                        f"{best[0]:.1e} {name_of(best[1])}",
                        f"{each[name]:.3g}",
                    ]
                )
    header = [f"furthest behind, noise {told(results['levels'][level])}", "kind", "d"]
    return table.markdown([*header, "the default's gap", "the best peer's", "ratio"], rows)


def _worse(results: Found) -> str:
    """Runs of the default that end above the start."""
    rows = []
    for level, size in enumerate(results["levels"]):
        for problem in results["problems"]:
            each = problem["seeds"][level] if problem["seeds"] else []
            if any(gap > 1 for gap in each):
                told_gaps = ", ".join(f"{gap:.1e}" for gap in each)
                rows.append([problem["name"], str(problem["dimension"]), told(size), told_gaps])
    return table.markdown(
        ["a run of the default ends above the start", "d", "noise", "gaps by seed"], rows
    )


def _reasons(left_out: dict[str, str]) -> str:
    by_reason: dict[str, list[str]] = {}
    for name, why in left_out.items():
        by_reason.setdefault(why, []).append(name)
    rows = [[why, ", ".join(names)] for why, names in by_reason.items()]
    return table.markdown(["left out", "problems"], rows)


def _raised(errors: dict[str, list[str]]) -> str:
    """Runs that ended by an error; what they had found counts."""
    rows = [[name_of(solver), ", ".join(of)] for solver, of in errors.items()]
    return table.markdown(["ended by an error", "problems"], rows)
