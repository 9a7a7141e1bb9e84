"""One look for all figures: sizes for a talk, colours that the colour-blind can tell apart."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from zosah_jax.methods import METHODS

# Okabe and Ito's palette, its yellow (too pale on white) left out.
_PALETTE = (
    *("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9"),
    *("#E69F00", "#7F5AA8", "#8C6D46", "#6B6B6B", "#9ACD32"),
)
REFERENCE = "#222222"
MARKERS = "osD^vP"
_LABELS = {
    "zosah": "ZO-SAH",
    "zopqn": "ZO-PQN",
    "mezo": "MeZO",
    "mezo_bcd": "MeZO-BCD",
    "hizoo": "HiZOO",
    "deepzero": "DeepZero",
    "forward": "forward passes",
    "forward_feedback": "forward passes, with feedback",
    "backpropagation": "backpropagation",
}
_ESTIMATES = {"forward": "#009E73", "forward_feedback": "#0072B2"}

_RC: dict[Any, Any] = {
    "font.size": 13,
    "axes.titlesize": 15,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "lines.linewidth": 2.2,
    "legend.edgecolor": "none",
    "legend.framealpha": 1.0,
    "legend.fontsize": 12,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 110,
}


def label(method: str) -> str:
    """Name of a method in figures and tables."""
    return _LABELS.get(method, method.upper().replace("_", "-"))


def colour(method: str) -> str:
    """The one colour of a method of the library in every figure; black of what is none."""
    if method not in METHODS:
        return _ESTIMATES.get(method, REFERENCE)
    return _PALETTE[list(METHODS).index(method) % len(_PALETTE)]


def series(number: int) -> str:
    """Colour of the n-th line of a figure whose lines are no methods."""
    return _PALETTE[number % len(_PALETTE)]


def plain_ticks(axis: Axis) -> None:
    """Ticks of a logarithmic axis at 1, 2, 5, 10 ..., written as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")


def gap_axes(axes: Axes, places: Sequence[float], left: float, ticks: Sequence[float]) -> None:
    """Axes of the gap that is left, told as the part that is closed, against values / d.

    Args:
        axes: to set.
        places: values / d of the curves.
        left: part of the gap at the lower edge.
        ticks: parts of the gap that are told.
    """
    axes.set(xscale="log", yscale="log", xlim=(places[0], places[-1]), ylim=(1.1, left))
    axes.set_yticks(ticks, [f"{100 * (1 - tick):g} %" for tick in ticks], minor=False)
    axes.set_yticks([], minor=True)
    plain_ticks(axes.xaxis)


@contextmanager
def figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure that is saved as a PNG at the end; needs no display and leaves no global state."""
    with mpl.rc_context(_RC):
        drawn = Figure(figsize=(width, height))
        FigureCanvasAgg(drawn)
        yield drawn
        # without matplotlib's version, so that a rerun that draws the same writes the same bytes
        drawn.savefig(path, metadata={"Software": None})
