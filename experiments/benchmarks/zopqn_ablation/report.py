"""Tables and figure of the ablation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from experiments.benchmarks.zopqn_ablation.mechanisms import MECHANISMS
from experiments.benchmarks.zopqn_ablation.problems import GROUPS
from experiments.common import style, table

MAIN = ("data", "valleys", "classics")
"""Groups that decide; the small problems are for the record, as the default is another there."""
CONTROL = "nothing, another order of coordinates"
"""What chance alone makes: the same method with its coordinates in another order."""

Found = dict[str, Any]
"""Ratios of one variant: by group and seed, and by problem."""


def ratio(found: Found, group: str) -> float:
    """Geometric mean over the seeds; infinite where no run of the group came to a goal."""
    ratios = [r for r in found["groups"][group] if r is not None]
    return table.geometric_mean(ratios) if ratios else np.inf


def most(found: Found) -> float:
    """The largest ratio of the groups that decide, or of all there are."""
    groups = [group for group in MAIN if group in found["groups"]] or list(found["groups"])
    return max(ratio(found, group) for group in groups)


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    return {
        "ratios": _ratios(results),
        "goals": _by_goal(results),
        "sets": _by_set(results),
        "together": _together(results),
        "again": _again(results),
        "problems": _problems(results),
        "where": _where(results),
    }


def _groups(results: dict[str, Any]) -> list[str]:
    there = {problem["group"] for problem in results["problems"]}
    return [group for group in GROUPS if group in there]


def _cells(found: Found, groups: Sequence[str]) -> list[str]:
    cells = []
    for group in groups:
        ratios = [r for r in found["groups"][group] if r is not None]
        cells.append(table.ranged(ratios, ratio(found, group), 2) if ratios else "-")
    return cells


def ranked(results: dict[str, Any]) -> list[str]:
    """Mechanisms, what saves most first."""
    singly = results["singly"]
    return sorted((n for n in singly if n != CONTROL), key=lambda n: -most(singly[n]))


def _ratios(results: dict[str, Any]) -> str:
    groups, singly = _groups(results), results["singly"]
    header = ["values without it / with it", *groups, "not reached"]
    rows = [
        [name, *_cells(singly[name], groups), str(singly[name]["missed"])]
        for name in [*ranked(results), CONTROL]
    ]
    missed = sum(v is None for p in results["problems"] for of in p["values"] for v in of)
    return table.markdown(header, [*rows, ["all on", *["1"] * len(groups), str(missed)]])


def _paying(results: dict[str, Any]) -> list[str]:
    return [n for n in ranked(results) if n not in results["together"]["little"]]


def _plain(ratios: Sequence[float | None]) -> list[str]:
    return ["-" if ratio is None else f"{ratio:.2f}" for ratio in ratios]


def _by_goal(results: dict[str, Any]) -> str:
    """Ratios of what pays at each goal, over problems and seeds."""
    groups = [group for group in MAIN if group in _groups(results)]
    header = ["values without it / with it"]
    for group in groups:
        parts = [f"{100 * part:g} %" for part in results["fractions"]]
        left = [f"{gap:g} left" for gap in results["gaps"]]
        header += [f"{group}, {goal}" for goal in (parts if group == "data" else left)]
    rows = [
        [name, *(cell for g in groups for cell in _plain(results["singly"][name]["goals"][g]))]
        for name in _paying(results)
    ]
    return table.markdown(header, rows) if rows else "Nothing pays."


def _by_set(results: dict[str, Any]) -> str:
    """Ratios of what pays on each set of data, over goals and seeds."""
    places = [n for n, problem in enumerate(results["problems"]) if problem["group"] == "data"]
    header = ["values without it / with it", *(results["problems"][n]["name"] for n in places)]
    rows = [
        [name, *_plain([results["singly"][name]["problems"][n] for n in places])]
        for name in _paying(results)
    ]
    return table.markdown(header, rows) if rows else "Nothing pays."


def _together(results: dict[str, Any]) -> str:
    groups, found = _groups(results), results["together"]
    rows = []
    if found["whole"]:
        title = f"all {len(found['little'])} that save too little, at once"
        rows.append([title, *_cells(found["whole"], groups), ""])
    for step in found["steps"]:
        rows.append([f"... {step['name']}", *_cells(step, groups), "off" if step["off"] else "on"])
    if found["final"]:
        title = f"**the {len(found['off'])} that stay off, at once**"
        rows.append([title, *_cells(found["final"], groups), ""])
    header = ["values without these / with all", *groups, "stays"]
    return table.markdown(header, rows) if rows else "None saves too little."


def _again(results: dict[str, Any]) -> str:
    """What is left on: its ratios in the method without all the rest."""
    groups, found = _groups(results), results["again"]
    names = sorted(found, key=lambda name: -most(found[name]))
    rows = [[name, *_cells(found[name], groups)] for name in names]
    header = ["in the lean method: values without it / with it", *groups]
    return table.markdown(header, rows) if rows else "Nothing is left on."


def _problems(results: dict[str, Any]) -> str:
    header = ["values / d, all on (median)", "d", "to each goal", "the library / the reference"]
    rows = []
    for problem in results["problems"]:
        d, values = problem["dimension"], problem["values"]
        middle = [
            np.median([np.inf if v is None else v for v in at]) for at in zip(*values, strict=True)
        ]
        both = [
            theirs / of[-1]
            for theirs, of in zip(problem["library"], values, strict=False)
            if theirs and of[-1]
        ]
        quotient = f"{table.geometric_mean(both):.2f}" if both else "-"
        rows.append(
            [problem["name"], str(d), " / ".join(table.per_d(v, d) for v in middle), quotient]
        )
    return table.markdown(header, rows)


def _where(results: dict[str, Any]) -> str:
    rows = [
        [name, MECHANISMS[name].off, f"`{MECHANISMS[name].where}`"]
        for name in MECHANISMS
        if name in results["singly"]
    ]
    return table.markdown(["mechanism", "without it", "in `zosah_jax/methods/zopqn`"], rows)


# --- the figure -----------------------------------------------------------------------------------

# ratios at the edges, of the right panel too; what lies beyond is drawn there
_LEAST, _MOST, _NEAR = 0.8, 4.0, 1.3

_SILENT = 0.012  # from 1, in every group: not drawn but counted


def draw(results: dict[str, Any], path: Path) -> None:
    """Ratios by mechanism and group: on the left what pays, on the right what saves too little."""
    singly, little = results["singly"], set(results["together"]["little"])
    names = ranked(results)
    groups = _groups(results)
    silent = {n for n in little if all(abs(ratio(singly[n], g) - 1) < _SILENT for g in groups)}
    sides = [[n for n in names if n not in little], [n for n in names if n in little - silent]]
    height = 1.6 + 0.25 * max(map(len, sides))
    with style.figure(path, 12.4, height) as figure:
        panels = figure.subplots(1, 2)
        titles = ("What pays", f"Too little; {len(silent)} more at 1")
        for axes, side, title in zip(panels, sides, titles, strict=True):
            _dots(axes, side, singly, groups, _MOST if axes is panels[0] else _NEAR)
            axes.set_title(title)
            axes.set_xlabel("values without it / with it")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(handles))


def _dots(
    axes: Axes, names: list[str], singly: dict[str, Found], groups: list[str], edge: float
) -> None:
    for number, group in enumerate(groups):
        colour, shift = style.series(number), (number - (len(groups) - 1) / 2) * 0.16
        for place, name in enumerate(names):
            ratios = [r for r in singly[name]["groups"][group] if r is not None]
            if not ratios:
                continue
            low, high = np.clip([min(ratios), max(ratios)], _LEAST, edge)
            middle = float(np.clip(ratio(singly[name], group), _LEAST, edge))
            axes.plot([low, high], [place + shift] * 2, color=colour, alpha=0.45, linewidth=1.5)
            marker = ">" if middle == edge else style.MARKERS[number]
            axes.plot(middle, place + shift, marker, color=colour, markersize=5)
        axes.plot([], [], style.MARKERS[number], color=colour, label=group)
    axes.axvline(1, color=style.REFERENCE, linewidth=1)
    axes.axvspan(_LEAST, 1.05, color="#F0F0F0", zorder=0)
    axes.set(xscale="log", xlim=(_LEAST * 0.98, edge * 1.03))
    axes.set_yticks(range(len(names)), names, fontsize=11)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    ticks = [tick for tick in (0.8, 0.9, 1, 1.1, 1.2, 1.5, 2, 3, 4) if tick <= edge]
    ticks = [tick for tick in ticks if tick not in (0.9, 1.1)] if edge == _MOST else ticks
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
