"""The pendulum before and after the tuning, and how the cost jumps with a gain."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments import style
from experiments.control.simulation import GUESS, Cost


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the PNG."""
    with style.figure(path, 13.6, 4.8) as figure:
        swing, rugged = figure.subplots(1, 2)
        seconds = 0.05 * np.arange(len(results["angles"]["before"]))
        swing.plot(seconds, results["angles"]["before"], color="#888888", label="first guess")
        swing.plot(seconds, results["angles"]["after"], color=style.colour("zosah"), label="tuned")
        swing.axhline(0, color="#BBBBBB", linewidth=1, zorder=0)
        swing.set(xlabel="seconds", ylabel="angle from the top (rad)", ylim=(-3.3, 3.3))
        swing.set_title("An episode that was not tuned on")
        swing.legend(loc="lower right")
        energy, cost = np.linspace(0.7, 1.3, 120), Cost((0, 1, 2, 3))
        values = [cost(np.concatenate([GUESS[:1], [e], GUESS[2:]])) for e in energy]
        rugged.plot(energy, values, color=style.REFERENCE, linewidth=1.5)
        rugged.set(xlabel="energy to reach", ylabel="mean cost a step")
        rugged.set_title("Nothing to differentiate: the cost along one gain")
