"""Time a value by each way, in units of a forward pass."""

from pathlib import Path
from typing import Any

from experiments import style


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the PNG."""
    values = {name: found for name, found in results["values"].items() if "forward" not in name}
    names = list(values)[::-1]
    ratios = [values[name]["of_forward"] for name in names]
    with style.figure(path, 10.5, 1.6 + 0.75 * len(names)) as figure:
        axes = figure.subplots()
        ours = [style.colour("zosah") if "grouped" in name else "0.65" for name in names]
        axes.barh(names, ratios, color=ours, height=0.6)
        for place, ratio in enumerate(ratios):
            axes.annotate(
                f"{ratio:.2f}",
                (ratio, place),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
            )
        axes.axvline(1, color=style.REFERENCE, linewidth=1)
        axes.set(xscale="log", xlabel="time a value / a jitted forward pass")
        axes.set_title(results["network"])
        axes.xaxis.set_major_formatter("{x:g}")
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.15)
