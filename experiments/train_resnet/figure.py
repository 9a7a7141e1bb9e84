"""Loss and test accuracy against values spent, a line a seed."""

from pathlib import Path
from typing import Any

from matplotlib.ticker import MaxNLocator

from experiments import style
from experiments.train_resnet.table import described


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the PNG."""
    with style.figure(path, 12.6, 5.2) as figure:
        losses, accuracies = figure.subplots(1, 2)
        for method, found in results["methods"].items():
            label = f"{style.label(method)}, {described(found)}"
            runs = [run["history"] for run in results["runs"] if run["method"] == method]
            for number, history in enumerate(runs):
                look = {"color": style.colour(method), "alpha": 0.75, "linewidth": 1.6}
                losses.plot(history["spent"], history["loss"], **look)
                accuracies.plot(
                    history["spent"],
                    [100 * part for part in history["test_accuracy"]],
                    label=label if number == 0 else None,
                    **look,
                )
        losses.set(yscale="log", xlabel="function values spent", ylabel="loss on the batches")
        style.plain_ticks(losses.yaxis)
        losses.set_title("What the method sees")
        accuracies.set(xlabel="function values spent", ylabel="test accuracy, %", ylim=(0, 101))
        accuracies.set_title("What the network knows")
        for goal in results["accuracies"]:
            accuracies.axhline(100 * goal, color="#888888", linewidth=1, zorder=1)
        for axes in (losses, accuracies):
            axes.set_xlim(0, results["budget"])
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.xaxis.set_major_formatter("{x:,.0f}")
        accuracies.legend(loc="lower right")
        figure.suptitle(
            f"{results['network']} on {results['dataset']}, d = {results['dimension']:,}, "
            "by values alone"
        )
