"""Where the methods go in Rosenbrock's valley, and what they know after how many values."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from experiments import style
from experiments.rosenbrock.run import START, rosenbrock
from experiments.rosenbrock.table import LABELS

_LOOKS: dict[str, dict[str, Any]] = {
    "zosah": {"color": style.colour("zosah"), "linestyle": "-", "zorder": 4},
    "zosah_paper": {"color": style.colour("zosah"), "linestyle": ":", "zorder": 2},
    "rspg": {"color": style.colour("rspg"), "linestyle": "-", "zorder": 3},
}
_REFERENCE_DASHES = {"BFGS": "--", "COBYQA": "-."}


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the PNG."""
    with style.figure(path, 13.6, 5.8) as figure:
        paths, curves = figure.subplots(1, 2)
        _valley(paths)
        for name, found in results["methods"].items():
            x, y = np.array(found["path"]).T
            paths.plot(x, y, "o", markersize=3.5, **_LOOKS[name])
            _curves(curves, name, found)
        for name, found in results["references"].items():
            look = {"color": style.REFERENCE, "linestyle": _REFERENCE_DASHES[name]}
            _curve(curves, found["curve"], label=f"SciPy {name}", linewidth=1.6, **look)
        _finish(curves, results["target"])
        figure.legend(loc="outside lower center", ncols=len(LABELS) + len(_REFERENCE_DASHES))


def _valley(axes: Axes) -> None:
    x, y = np.meshgrid(np.linspace(-1.9, 1.9, 300), np.linspace(-2.8, 2.6, 300))
    values = np.log10(rosenbrock(np.stack([x, y])) + 1e-3)
    axes.contourf(x, y, values, levels=np.linspace(-3, 4, 11), cmap="Greys", vmin=-3, vmax=12)
    axes.plot(*START, "s", color=style.REFERENCE, markersize=8)
    axes.plot(1, 1, "*", color=style.REFERENCE, markersize=15)
    axes.annotate("start", START, textcoords="offset points", xytext=(-6, 10), ha="right")
    axes.annotate("minimum", (1, 1), textcoords="offset points", xytext=(10, -16))
    axes.set(xlim=(x.min(), x.max()), ylim=(y.min(), y.max()), xlabel="$x_1$", ylabel="$x_2$")
    axes.set_title("The way taken (median seed)")
    axes.grid(visible=False)


def _curves(axes: Axes, name: str, found: dict[str, Any]) -> None:
    """A line a seed, one of them labelled."""
    for number, curve in enumerate(found["curves"]):
        there = "" if found["median"] else " (target not reached)"
        label = LABELS[name] + there if number == 0 else None
        _curve(axes, curve, label=label, alpha=0.75, linewidth=1.6, **_LOOKS[name])


def _curve(axes: Axes, curve: dict[str, Any], **look: Any) -> None:
    axes.step(curve["spent"], curve["best"], where="post", **look)


def _finish(axes: Axes, target: float) -> None:
    axes.axhline(target, color="#888888", linewidth=1)
    axes.set(xscale="log", yscale="log", ylim=(target / 30, 60), xlim=(1, None))
    axes.set(xlabel="function values spent", ylabel="best value so far")
    axes.set_title("What it costs (a line a seed)")
