"""What the results come to: tables, and the figure."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from experiments.common import style, table

# --- its tables -----------------------------------------------------------------------------------

LEVELS = (2.3, 2.25, 2.2, 2.15, 2.1, 2.05, 2.0, 1.9, 1.8, 1.7, 1.6, 1.5)
"""Training losses whose price is told."""


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    return {
        "table": f"{_heading(results)}\n\n{_levels(results)}",
        "end": _end(results),
        "tuning": _tuning(results),
    }


def price(run: dict[str, Any], level: float) -> int | None:
    """Values spent when the training loss was first seen at most at a level; None if never."""
    pairs = zip(run["spent"], run["loss"], strict=True)
    return next((spent for spent, loss in pairs if loss <= level), None)


def ratio(results: dict[str, Any], level: float, other: str = "deepzero") -> float | None:
    """ZO-SAH's mean price of a level over another's, where all their runs have reached it."""
    prices = []
    for method in ("zosah", other):
        if method not in results["methods"]:
            return None
        prices.append([price(run, level) for run in results["methods"][method]["runs"]])
    if any(None in found for found in prices):
        return None
    ours, theirs = (float(np.mean(found)) for found in prices)
    return ours / theirs if theirs else None


def named(entry: str) -> str:
    """A method's name, and whether it is as its authors document it."""
    method = entry.removesuffix("_documented")
    return style.label(method) + (" as documented" if method != entry else "")


def described(method: str, entry: dict[str, Any]) -> str:
    """A method with what was chosen for it."""
    edge = " (edge)" if entry["at_edge"] else ""
    return f"{named(method)}, {entry['reading']}, learning rate {entry['learning_rate']:g}{edge}"


def _heading(results: dict[str, Any]) -> str:
    height, width, _ = results["pixels"]
    train, test = results["images"]
    return (
        f"**{results['dataset']}** ({results['source']}), {height} x {width} pixels: {train:,} "
        f"images to learn from, {test:,} to be judged by; {results['network']}, "
        f"d = {results['dimension']:,}; {results['batch_size']} images a value"
    )


def _levels(results: dict[str, Any]) -> str:
    methods = results["methods"]
    seen = [min(run["loss"]) for entry in methods.values() for run in entry["runs"]]
    levels = [level for level in LEVELS if level >= min(seen)] or [LEVELS[0]]
    header = ["values to a training loss of", *(f"{level:g}" for level in levels)]
    rows = []
    for method, entry in methods.items():
        row = [described(method, entry)]
        for level in levels:
            prices = [price(run, level) for run in entry["runs"]]
            row.append(table.price(prices))
        rows.append(row)
    for other in methods:
        if "zosah" in methods and other != "zosah":
            ratios = [ratio(results, level, other) for level in levels]
            told = ["-" if found is None else f"{found:.2f}" for found in ratios]
            rows.append([f"ZO-SAH / {named(other)}", *told])
    return table.markdown(header, rows)


def _end(results: dict[str, Any]) -> str:
    header = ["at the end", "values", "steps", "training loss", "test accuracy"]
    rows = []
    for method, entry in results["methods"].items():
        runs = entry["runs"]
        rows.append(
            [
                named(method),
                f"{np.mean([run['spent'][-1] for run in runs]):,.0f}",
                f"{np.mean([run['steps'] for run in runs]):,.0f}",
                table.mean([run["loss"][-1] for run in runs], 3),
                table.mean([100 * run["test_accuracy"] for run in runs], 1, " %"),
            ]
        )
    return table.markdown(header, rows)


def _tuning(results: dict[str, Any]) -> str:
    """Training loss in the mean over every run of the tuning; what was chosen is bold."""
    first = next(iter(results["methods"].values()))
    rates = list(dict.fromkeys(one["learning_rate"] for one in first["tried"]))
    header = [
        f"mean loss over {results['tuning_budget']:,} values (and {results['budget']:,})",
        *(f"{rate:g}" for rate in rates),
    ]
    rows = []
    for method, entry in results["methods"].items():
        chosen = (entry["reading"], entry["learning_rate"])
        for reading in dict.fromkeys(one["reading"] for one in entry["tried"]):
            row = [f"{named(method)}, {reading}"]
            for one in entry["tried"]:
                if one["reading"] == reading:
                    cell = f"{one['loss']:.2f}"
                    if "whole_loss" in one:
                        cell += f" ({one['whole_loss']:.2f})"
                    bold = (reading, one["learning_rate"]) == chosen
                    row.append(f"**{cell}**" if bold else cell)
            rows.append(row)
    return table.markdown(header, rows)


# --- its figure -----------------------------------------------------------------------------------


def draw(results: dict[str, Any], path: Path) -> None:
    """Training loss against values spent, a line a seed."""
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
