"""The results as a Markdown table."""

from typing import Any

import numpy as np

from experiments.records import markdown
from experiments.style import label


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    title = (
        f"**{results['dataset']}** ({results['source']}): {results['images'][0]:,} images to learn "
        f"from and {results['images'][1]:,} to be judged by; {results['network']}, d = "
        f"{results['dimension']:,}; {results['budget']:,} values"
    )
    goals = results["accuracies"]
    header = ["method", *(f"values to {goal:.0%}" for goal in goals), "test accuracy", "loss"]
    rows = [
        [
            f"{label(method)}, {described(found)}",
            *(_price(found["values_to_accuracy"][f"{goal:g}"]) for goal in goals),
            _mean([100 * part for part in found["test_accuracy"]], " %"),
            _mean(found["loss"], "", 4),
        ]
        for method, found in results["methods"].items()
    ]
    return {"table": f"{title}\n\n{markdown(header, rows)}"}


def described(found: dict[str, Any]) -> str:
    """Learning rate and options of a method, in words."""
    options = {"learning_rate": found["learning_rate"], **found["options"]}
    return ", ".join(f"{name.replace('_', ' ')} {_plain(v)}" for name, v in options.items())


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _price(values: list[int | None]) -> str:
    """Mean and spread over seeds, or how many seeds got there if not all did."""
    there = [value for value in values if value is not None]
    if len(there) < len(values):
        return f"- ({len(there)}/{len(values)})"
    spread = f" ({min(there):,} - {max(there):,})" if len(there) > 1 else ""
    return f"{np.mean(there):,.0f}{spread}"


def _mean(values: list[float | None], unit: str, digits: int = 1) -> str:
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return "not finite"
    spread = f" ± {np.std(numbers, ddof=1):.{digits}f}" if len(numbers) > 1 else ""
    return f"{np.mean(numbers):.{digits}f}{spread}{unit}"
