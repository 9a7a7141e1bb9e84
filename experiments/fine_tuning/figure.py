"""Training loss against values spent, a line a seed."""

from pathlib import Path
from typing import Any

from matplotlib.ticker import MaxNLocator

from experiments import style


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the PNG."""
    with style.figure(path, 10.6, 4.6) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        for axes, (name, found) in zip(panels, results["trained"].items(), strict=True):
            for method, entry in found["methods"].items():
                for number, run in enumerate(entry["runs"]):
                    axes.plot(
                        run["spent"],
                        run["loss"],
                        color=style.colour(method),
                        alpha=0.75,
                        linewidth=1.6,
                        label=style.label(method) if number == 0 else None,
                    )
            axes.set_title(f"{name}, d = {found['dimension']:,}")
            axes.set(xlabel="function values spent", xlim=(0, results["budget"]))
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.xaxis.set_major_formatter("{x:,.0f}")
        panels[0].set(ylabel="loss on the training snippets", ylim=(0.8, 1.8))
        panels[0].legend(loc="upper right")
