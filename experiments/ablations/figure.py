"""Price against each number, and of the fit against second differences."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from experiments import style
from experiments.ablations.table import price

_LABELS = {
    "subspace_dim": "m / d, dimension of V",
    "eigenvalue_floor": r"$\kappa$, eigenvalue floor",
    "period": "T, steps of a period",
}
_TITLES = {
    "subspace_dim": "Subspace dimension",
    "eigenvalue_floor": "Eigenvalue floor",
    "period": "Period",
}


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the PNG."""
    with style.figure(path, 10.6, 7.4) as figure:
        panels(figure.subplots(2, 2), results)


def panels(axes: np.ndarray, results: dict[str, Any]) -> None:
    """Draw into 2 x 2 axes."""
    problems = results["problems"]
    for one, name in zip(axes.flat, _LABELS, strict=False):
        for number, (problem, found) in enumerate(problems.items()):
            scale = found["dimension"] if name == "subspace_dim" else 1
            _line(one, found[name], scale, problem, number)
        one.set(xscale="log", yscale="log", xlabel=_LABELS[name])
        one.set_title(_TITLES[name])
        style.plain_ticks(one.xaxis)
        style.plain_ticks(one.yaxis)
    for one in axes[:, 0]:
        one.set_ylabel("values / d to close 90, 97, 99 %")
    axes[0, 0].legend(fontsize=10)
    _fit(axes[1, 1], problems)
    axes[1, 1].set_ylabel("ratio")


def _line(axes: Axes, found: dict[str, Any], scale: float, label: str, number: int) -> None:
    x = np.array([float(value) for value in found]) / scale
    y = [price(prices) for prices in found.values()]
    low, high = (np.array([f(prices) for prices in found.values()]) for f in (min, max))
    colour = style.series(number)
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(x, y, style.MARKERS[number] + "-", color=colour, label=label)


def _fit(axes: Axes, problems: dict[str, Any]) -> None:
    """Second differences over the fit: values a step, and price."""
    places = np.arange(len(problems))
    for number, (period, what) in enumerate((t, w) for t in (5, 20) for w in ("a step", "price")):
        ratios = []
        for found in problems.values():
            ours, theirs = f"fitted, T = {period}", f"second differences, T = {period}"
            if what == "a step":
                ratios.append(found["values_per_step"][theirs] / found["values_per_step"][ours])
            else:
                ratios.append(price(found["fit"][theirs]) / price(found["fit"][ours]))
        label = f"T = {period}: " + ("values a step" if what == "a step" else "values to the goals")
        shift = (number - 1.5) * 0.2
        bars = axes.bar(places + shift, ratios, 0.18, label=label, color=style.series(period // 10))
        if what == "a step":
            for bar in bars:
                bar.set_alpha(0.4)
    axes.axhline(1, color=style.REFERENCE, linewidth=1)
    axes.set_xticks(places, list(problems), fontsize=11)
    axes.set_title("Second differences / fit")
    axes.set_ylim(0, 1.35 * axes.get_ylim()[1])
    axes.legend(fontsize=9, ncols=2, loc="upper center")
