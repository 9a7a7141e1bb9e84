"""Gap closed against values spent: every method tuned, one panel a data set."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from experiments import style
from experiments.comparison.table import entry_name
from zosah_jax import METHODS

_COLUMNS = 3
_COLOURS = 96
_LEFT = 3e-3  # of the gap, at the figure's edge
_TICKS = (1, 0.5, 0.1, 0.03, 0.01)


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the PNG."""
    found = results["datasets"]
    columns = min(_COLUMNS, len(found))
    rows = -(-len(found) // columns)
    with style.figure(path, 4.0 * columns + 0.6, 3.3 * rows + 1.0) as figure:
        panels = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
        for panel, (name, dataset) in zip(panels, found.items(), strict=False):
            _panel(panel, name, dataset)
        for panel in panels[len(found) :]:
            panel.set_axis_off()
        first = figure.axes[0]
        figure.supylabel("gap to the optimum closed, median", fontsize=13)
        figure.supxlabel("function values spent / d", fontsize=13)
        figure.legend(
            *first.get_legend_handles_labels(), loc="outside upper center", ncols=6, fontsize=11
        )
    with Image.open(path) as drawn:  # six panels of many lines: a quarter of the bytes
        drawn.convert("RGB").quantize(_COLOURS).save(path, optimize=True)


def _panel(axes: Axes, name: str, dataset: dict[str, Any]) -> None:
    places = dataset["curve_at_in_d"]
    for entry in dataset["entries"]:
        if entry["setting"] not in ("tuned", "unchecked", "reference"):
            continue
        left = np.maximum(1 - np.array(entry["curve"]), 1e-9)
        axes.plot(places, left, **_look(entry))
    axes.set(xscale="log", yscale="log", xlim=(places[0], places[-1]), ylim=(1.1, _LEFT))
    axes.set_yticks(_TICKS, [f"{100 * (1 - left):g} %" for left in _TICKS], minor=False)
    axes.set_yticks([], minor=True)
    style.plain_ticks(axes.xaxis)
    axes.set_title(f"{name.replace('_', ' ')}, d = {dataset['dimension']}")


def _look(entry: dict[str, Any]) -> dict[str, Any]:
    method = entry["method"]
    if method not in METHODS:
        return {"color": style.REFERENCE, "linestyle": ":", "label": entry_name(entry)}
    ours = method == "zosah"
    return {
        "color": style.colour(method),
        "label": entry_name(entry),
        "linewidth": 3.0 if ours else 1.6,
        # MeZO's line is under RSPG's
        "linestyle": "--" if method == "rspg" or entry["setting"] == "unchecked" else "-",
        "zorder": 3 if ours else 2.5 if method == "rspg" else 2,
    }
