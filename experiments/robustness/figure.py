"""Where noisy runs end, and what failing values cost, seed by seed."""

from pathlib import Path
from typing import Any

from experiments import style


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the PNG."""
    with style.figure(path, 11, 4.2) as figure:
        noise, failing = figure.subplots(1, 2)
        for row, gaps in enumerate(results["noise"].values()):
            noise.plot(gaps, [row] * len(gaps), "o", color=style.colour("zosah"), alpha=0.6)
        noise.axvline(10, color="#888888", linewidth=1)
        rows = len(results["noise"])
        noise.set(yticks=range(rows), yticklabels=results["noise"], ylim=(-0.5, rows - 0.5))
        noise.set(xscale="log", xlabel="distance from the optimum / sigma")
        noise.set_title("Noise of 1e-3 of the first value")
        for row, values in enumerate(results["failing"].values()):
            failing.plot(values, [row] * len(values), "o", color=style.colour("zosah"), alpha=0.6)
        failing.set(yticks=(0, 1), yticklabels=("all come", "a fifth fails"), ylim=(-0.5, 1.5))
        failing.set(xlabel="values to f <= 1e-6", xlim=(0, None))
        failing.set_title("Values that fail (Rosenbrock)")
