"""Training loss against values spent, a line a seed."""

from pathlib import Path
from typing import Any

from matplotlib.ticker import MaxNLocator

from experiments import style
from experiments.resnet_comparison.table import described


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the PNG."""
    with style.figure(path, 9.6, 5.2) as figure:
        axes = figure.subplots()
        for method, entry in results["methods"].items():
            for number, run in enumerate(entry["runs"]):
                axes.plot(
                    run["spent"],
                    run["loss"],
                    color=style.colour(method.removesuffix("_documented")),
                    linestyle="--" if method.endswith("_documented") else "-",
                    alpha=0.8,
                    linewidth=1.8,
                    label=described(method, entry) if number == 0 else None,
                )
        axes.set(
            xlabel="function values spent", ylabel="training loss", xlim=(0, results["budget"])
        )
        low = min(min(run["loss"]) for e in results["methods"].values() for run in e["runs"])
        axes.set_ylim(low - 0.05, 2.5)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.legend(loc="upper right")
        axes.set_title(
            f"{results['network']} on {results['dataset']}, d = {results['dimension']:,}, "
            "by values alone"
        )
