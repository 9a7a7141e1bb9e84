"""Gap closed against values spent, one panel a dataset."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from experiments import style
from experiments.logistic_regression.table import entry_label
from zosah_jax import METHODS

_LEFT = 3e-4  # of the gap, at the figure's edge
_TICKS = (1, 0.5, 0.1, 0.03, 0.01, 0.001)


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the PNG."""
    found = results["datasets"]
    with style.figure(path, 6.6 * len(found) + 0.4, 5.6) as figure:
        panels = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
        for panel, (name, dataset) in zip(panels, found.items(), strict=True):
            _panel(panel, name, dataset)
        panels[0].set_ylabel("gap to the optimum closed")


def _panel(axes: Axes, name: str, dataset: dict[str, Any]) -> None:
    places = dataset["curve_at_in_d"]
    for entry in _distinct(dataset["entries"]):
        look = _look(entry)
        left = {k: np.maximum(1 - np.array(v), 1e-9) for k, v in entry["curve"].items()}
        axes.step(places, left["median"], where="post", label=entry_label(entry), **look)
        if len(entry["gap_closed"]) > 1:
            axes.fill_between(
                places,
                left["min"],
                left["max"],
                step="post",
                color=look["color"],
                alpha=0.18,
                linewidth=0,
            )
    axes.set(xscale="log", yscale="log", xlim=(places[0], places[-1]), ylim=(1.1, _LEFT))
    axes.set_yticks(_TICKS, [f"{100 * (1 - left):g} %" for left in _TICKS], minor=False)
    axes.set_yticks([], minor=True)
    style.plain_ticks(axes.xaxis)
    axes.set_title(f"{name.replace('_', ' ')}, d = {dataset['dimension']}")
    axes.set_xlabel("function values spent / d")
    axes.legend(loc="upper left", fontsize=11)


def _distinct(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries without tuned ones whose best learning rate is the default one: same runs."""
    defaults = {(e["method"], e["learning_rate"]) for e in entries if e["setting"] == "default"}
    return [
        e
        for e in entries
        if e["setting"] != "tuned" or (e["method"], e["learning_rate"]) not in defaults
    ]


def _look(entry: dict[str, Any]) -> dict[str, Any]:
    """Colour by method; dashed where no tuning was needed."""
    if entry["method"] not in METHODS:
        return {"color": style.REFERENCE, "linestyle": ":"}
    return {
        "color": style.colour(entry["method"]),
        "linestyle": "-" if entry["setting"] == "default" else "--",
    }
