"""The results as Markdown tables."""

from typing import Any

import numpy as np

from experiments.records import markdown
from experiments.style import label


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    parts = [_trained(name, found) for name, found in results["trained"].items()]
    return {"table": "\n\n".join(parts), "steps": _steps(results), "times": _times(results)}


def _trained(name: str, found: dict[str, Any]) -> str:
    header = ["method, learning rate", "steps", "training loss", "test accuracy"]
    rows = [
        [
            f"{label(method)}, {entry['learning_rate']:g}" + ("*" if entry["at_edge"] else ""),
            f"{entry['runs'][0]['steps'][-1]:,}",
            _spread([run["loss"][-1] for run in entry["runs"]], 3),
            _spread([100 * run["accuracy"] for run in entry["runs"]], 1) + " %",
        ]
        for method, entry in found["methods"].items()
    ]
    best = found["ceiling"]
    rows.append(
        [
            f"(Adam by backpropagation, {best['learning_rate']:g})",
            f"{best['steps']:,}",
            f"{best['loss']:.3f}",
            f"{100 * best['accuracy']:.1f} %",
        ]
    )
    at_start = f"{100 * found['accuracy_at_start']:.1f} % before"
    return f"**{name}**, d = {found['dimension']:,}; {at_start}\n\n{markdown(header, rows)}"


def _spread(values: list[float | None], digits: int) -> str:
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return "not finite"
    spread = f" ± {np.std(numbers, ddof=1):.{digits}f}" if len(numbers) > 1 else ""
    return f"{np.mean(numbers):.{digits}f}{spread}"


def _steps(results: dict[str, Any]) -> str:
    """Steps of the two to one loss."""
    header = ["trained", "training loss", "MeZO, steps", "MeZO-BCD, steps", "ratio"]
    rows = []
    for name, found in results["trained"].items():
        pair = found["steps_to_the_loss_of_mezo"]
        if pair:
            whole, block = np.mean(pair["mezo"]), np.mean(pair["mezo_bcd"])
            ratio = f"{block / whole:.2f}" if whole else "-"
            rows.append([name, f"{pair['loss']:.3f}", f"{whole:.0f}", f"{block:.0f}", ratio])
    return markdown(header, rows)


def _times(results: dict[str, Any]) -> str:
    """Times of a step over MeZO's."""
    sizes = list(results["times"])
    header = [
        "time of a step over MeZO's",
        *(f"{size} x {results['tokens_of_a_value'][size] // int(size)} tokens" for size in sizes),
    ]
    names = list(results["times"][sizes[0]])
    rows = [
        [
            "one forward pass" if name == "forward" else label(name),
            *("{:.2f} ({:.2f} - {:.2f})".format(*results["times"][size][name]) for size in sizes),
        ]
        for name in names
    ]
    return markdown(header, rows)
