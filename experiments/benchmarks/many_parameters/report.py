"""Tables and the figure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.many_parameters.ablation import CHANGES
from experiments.benchmarks.many_parameters.parts import BEFORE, IN_BLOCKS
from experiments.benchmarks.many_parameters.runs import OURS, PEER
from experiments.common import style, table
from experiments.common.curves import median
from experiments.common.problems import NOT_REACHED

Found = dict[str, Any]

_ORDER = (OURS, PEER, BEFORE, IN_BLOCKS)
_AT_MOST = 0.5  # of L-BFGS-B's values: what was asked for
_OWN_AT_MOST = 0.05  # of a value of 4,000 x d


def tables(results: Found) -> dict[str, str]:
    """Tables by the name of their markers in the README; of the parts that were run."""
    makers = {
        "targets": _targets,
        "quadratics": _quadratics,
        "logistic": _logistic,
        "classics": _classics,
        "bounds": _bounds,
        "costs": _costs,
        "ablation": _ablation,
    }
    return {name: make(results) for name, make in makers.items()}


# --- ratios ---------------------------------------------------------------------------------------


def ratios(one: Found, budgets: Sequence[int]) -> list[float]:
    """Median values over L-BFGS-B's at each goal; NaN where neither gets there.

    What the library did not reach counts as 1.6 times its budget, and what L-BFGS-B did not as all
    that it was given: the ratio is at most that.
    """
    ours, theirs = (budget * one["dimension"] for budget in budgets)
    found = []
    for mine, (peer,) in zip(one["values"][OURS], one["values"][PEER], strict=True):
        middle = median(mine)
        if np.isinf(middle) and peer is None:
            found.append(np.nan)
            continue
        needed = NOT_REACHED * ours if np.isinf(middle) else middle
        found.append(needed / (theirs if peer is None else peer))
    return found


def _mean(of: Sequence[Found], results: Found, goal: int) -> float:
    """Geometric mean of the ratios at a goal."""
    every = [r[goal] for one in of if len(r := ratios(one, results["budgets"])) > goal]
    there = [ratio for ratio in every if np.isfinite(ratio)]
    return table.geometric_mean(there) if there else np.nan


def _number(value: float, digits: int = 2) -> str:
    return "-" if not np.isfinite(value) else f"{value:.{digits}f}"


# --- tables of values -----------------------------------------------------------------------------


def _compared(
    of: Sequence[Found],
    results: Found,
    goals: Sequence[str],
    middle: str,
    extra: tuple[str, str] | None = None,
) -> str:
    """A row a problem: values / d by every method at each goal, and the ratios; then their mean.

    `extra` is the header of one more column and the field that it shows.
    """
    names = [name for name in _ORDER if any(name in one["values"] for one in of)]
    label = " / ".join(name if name == PEER else _label(name) for name in names)
    added = [] if extra is None else [extra[0]]
    header = [label, "d", *added, *goals, *(f"ratio, {goal}" for goal in goals)]
    rows = []
    for one in of:
        cells = []
        for goal in range(len(goals)):
            asked = goal < len(one["values"][OURS])
            cells.append(_cell(one, names, goal) if asked else "")
        found = [_ratio(one, n, r) for n, r in enumerate(ratios(one, results["budgets"]))]
        found += [""] * (len(goals) - len(found))
        more = [] if extra is None else [f"{one[extra[1]]:,}"]
        rows.append([one["name"], f"{one['dimension']:,}", *more, *cells, *found])
    means = [_number(_mean(of, results, goal)) for goal in range(len(goals))]
    rows.append([middle, "", *("" for _ in added), *("" for _ in goals), *means])
    return table.markdown(header, rows)


def _cell(one: Found, names: Sequence[str], goal: int) -> str:
    """Medians / d, and the range over seeds of ours."""
    d, told = one["dimension"], []
    for name in names:
        if name not in one["values"]:
            continue
        values = one["values"][name][goal]
        middle = table.per_d(median(values), d)
        there = [v for v in values if v is not None]
        if name == OURS and len(there) == len(values) > 1:
            middle += f" ({min(there) / d:.1f} - {max(there) / d:.1f})"
        told.append(middle)
    return " / ".join(told)


def _ratio(one: Found, goal: int, ratio: float) -> str:
    bound = one["values"][PEER][goal][0] is None and np.isfinite(ratio)
    return ("<= " if bound else "") + _number(ratio)


def _label(name: str) -> str:
    return "`block_newton`" if name == OURS else style.label(name)


def _parts(results: Found) -> list[str]:
    return [f"{100 * fraction:g} %" for fraction in results["fractions"]]


def _gaps(results: Found) -> list[str]:
    return [f"{gap:g} left" for gap in results["gaps"]]


def _quadratics(results: Found) -> str:
    return _compared(results["quadratics"], results, _parts(results), "mean")


def _logistic(results: Found) -> str:
    sets = results["logistic"]["sets"]
    return _compared(sets, results, _parts(results), "mean", ("rows", "rows"))


def _classics(results: Found) -> str:
    return _compared(results["classics"], results, _gaps(results), "mean")


def _bounds(results: Found) -> str:
    of = ("at a bound", "active")
    return _compared(results["bounds"], results, _parts(results), "mean", of)


# --- other tables ---------------------------------------------------------------------------------


def _targets(results: Found) -> str:
    """What was asked for, and what was found."""
    goal = results["fractions"].index(max(f for f in results["fractions"] if f <= 0.99))
    quadratics = results["quadratics"]
    sets = [one for one in results["logistic"]["sets"] if one["dimension"] >= 300]
    sets = sets or results["logistic"]["sets"]
    part = f"{100 * results['fractions'][goal]:g} %"
    rows = [_target(f"values to {part}, quadratics", quadratics, results, [goal])]
    every = list(range(goal + 1))
    named = f"{100 * results['fractions'][0]:g} to {part}"
    rows.append(_target(f"values to {named}, logistic sets of 300 to 5,000", sets, results, every))
    own = {one["dimension"]: _own(one) for one in results["costs"]}
    named_for = {one["dimension"] for one in quadratics} & set(own) or set(own)
    largest = max(own[d] for d in named_for)
    sizes = " and ".join(f"{d:,}" for d in sorted(named_for))
    told = ", ".join(f"{100 * share:.1f} % (d = {d:,})" for d, share in own.items())
    kept = " to ".join(f"{v:.1f}" for v in sorted({_kept(one) for one in results["costs"]}))
    rows.append(
        [f"own work, of a value of 4,000 x d, d = {sizes}", f"{100 * _OWN_AT_MOST:g} %", told,
         _yes(largest <= _OWN_AT_MOST)]
    )  # fmt: skip
    rows.append(["vectors of d numbers kept", "O(r)", kept, "yes"])
    return table.markdown(["asked for", "at most", "found", "reached"], rows)


def _kept(one: Found) -> float:
    return round(one["vectors_kept"], 1)


def _own(one: Found) -> float:
    return one["microseconds"] / one["product_microseconds"]


def _target(what: str, of: Sequence[Found], results: Found, goals: Sequence[int]) -> list[str]:
    each = [
        ratio
        for one in of
        for goal, ratio in enumerate(ratios(one, results["budgets"]))
        if goal in goals and np.isfinite(ratio)
    ]
    mean, worst = table.geometric_mean(each), max(each)
    within = sum(ratio <= _AT_MOST for ratio in each)
    told = f"{mean:.2f} in the mean, {worst:.2f} at worst, {within} of {len(each)} within"
    state = "yes" if worst <= _AT_MOST else ("in the mean" if mean <= _AT_MOST else "no")
    return [what, f"{_AT_MOST:g} of L-BFGS-B's", told, state]


def _yes(reached: bool) -> str:
    return "yes" if reached else "no"


def _costs(results: Found) -> str:
    header = ["d", "own work, us a value", "a product of 4,000 x d, us", "part", "vectors kept"]
    rows = [
        [
            f"{one['dimension']:,}",
            f"{one['microseconds']:,.0f}",
            f"{one['product_microseconds']:,.0f}",
            f"{100 * _own(one):.2f} %",
            f"{one['vectors_kept']:.1f}",
        ]
        for one in results["costs"]
    ]
    return table.markdown(header, rows)


def _ablation(results: Found) -> str:
    found = results["ablation"]
    header = ["values with the change / without", "of", "mean", *found["problems"]]
    rows = []
    for name, each in found["ratios"].items():
        what = CHANGES[name].what if name in CHANGES else ""
        mean = table.geometric_mean(each)
        rows.append([name, what, _number(mean), *map(_number, each)])
    base = [f"{value:.1f} d" for value in found["values_over_d"]]
    return table.markdown(header, [["values without a change", "", "", *base], *rows])


# --- the figure -----------------------------------------------------------------------------------

_MOST_LEFT, _LEAST_LEFT = 1.2, 5e-4  # parts of the gap at the edges
_TICKS = (1, 0.1, 0.01, 0.001)


def draw(results: Found, path: Path) -> None:
    """What is left of the gap against values / d, on typical problems."""
    every = [*results["quadratics"], *results["logistic"]["sets"], *results["classics"]]
    drawn = [one for one in every if "curves" in one]
    with style.figure(path, 12.4, 7.6) as figure:
        panels = figure.subplots(2, 2, sharey=True).ravel()
        for axes, one in zip(panels, drawn, strict=False):
            for name, curve in one["curves"].items():
                if name != IN_BLOCKS and curve:
                    axes.step(*np.array(curve).T, where="post", **_look(name))
            axes.set(title=f"{_title(one)}, d = {one['dimension']:,}", xscale="log", yscale="log")
            axes.set(xlim=(0.125, 40), ylim=(_LEAST_LEFT, _MOST_LEFT))
            style.plain_ticks(axes.xaxis)
            axes.set_yticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
            axes.set_yticks([], minor=True)
        for axes in panels[len(drawn) :]:
            axes.set_axis_off()
        figure.supxlabel("values / d", fontsize=13)
        figure.supylabel("part of the gap that is left", fontsize=13)
        if drawn:
            figure.legend(
                *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3
            )


def _title(one: Found) -> str:
    kinds = {"log": "quadratic, ", "power": "quadratic, ", "sparse": "logistic, "}
    return kinds.get(one["name"].split(",")[0], "") + one["name"]


def _look(name: str) -> dict[str, Any]:
    if name == PEER:
        return {"color": style.REFERENCE, "linestyle": "--", "label": PEER}
    width = 3.0 if name == OURS else 2.0
    label = "block_newton" if name == OURS else style.label(name)
    return {"color": style.colour(name), "linewidth": width, "label": label}
