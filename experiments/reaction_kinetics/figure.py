"""The misfit against the values spent, and the measurements that it is taken from."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments import style
from experiments.reaction_kinetics.model import MINUTES, RATES, concentrations
from experiments.reaction_kinetics.problem import MEASURED, TIMES, calibration

_LOOKS: dict[str, dict[str, Any]] = {
    "ZO-PQN": {"color": style.colour("zopqn"), "linewidth": 3},
    "ZO-SAH (default)": {"color": style.colour("zosah"), "linewidth": 3},
    "COBYQA": {"color": style.REFERENCE, "linestyle": "-."},
    "CMA-ES": {"color": style.REFERENCE, "linestyle": ":"},
}
_SHOWN = {0: "NO$_2$", 1: "NO", 3: "O$_3$", 6: "HCHO", 18: "NO$_3$"}


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the PNG."""
    with style.figure(path, 13.6, 5.4) as figure:
        curves, data = figure.subplots(1, 2)
        for method, best in results["median_curves"].items():
            curves.plot(results["spent"], best, label=method, **_LOOKS[method])
        curves.axhline(np.median(results["truth"]), color="#888888", linewidth=1)
        curves.annotate("true constants", (results["spent"][0], 1.1), color="#555555")
        curves.set(xscale="log", yscale="log", xlabel="integrations", ylabel="misfit")
        style.plain_ticks(curves.xaxis)
        curves.set_title(f"Best misfit so far, median of {len(results['start'])} seeds")
        curves.legend()
        _measurements(data)


def _measurements(axes: Any) -> None:
    """The first seed's measurements of some species, and what the true constants give."""
    problem, _ = calibration(0, 0.05, 0.3)
    times = np.geomspace(TIMES[0], MINUTES, 200)
    true = concentrations(RATES, times)
    for number, (species, name) in enumerate(_SHOWN.items()):
        colour = f"C{number}"
        axes.plot(times, true[:, species], color=colour, linewidth=1.4)
        column = int(np.flatnonzero(species == MEASURED)[0])
        axes.plot(TIMES, np.exp(problem.measured[:, column]), "o", color=colour, label=name)
    axes.set(xscale="log", yscale="log", xlabel="minutes", ylabel="ppm")
    axes.set_title("What is measured (some species)")
    axes.legend(ncols=3)
