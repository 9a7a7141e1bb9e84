"""Markdown tables, and what the cells of several of them say alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns line up, readable on a terminal too."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: list[str]) -> str:
        first, *others = cells
        padded = [c.rjust(w) for c, w in zip(others, widths[1:], strict=True)]
        return "| " + " | ".join([first.ljust(widths[0]), *padded]) + " |"

    columns = [":" + "-" * (widths[0] + 1), *("-" * (w + 1) + ":" for w in widths[1:])]
    return "\n".join([line(header), "|" + "|".join(columns) + "|", *map(line, rows)])


def per_d(values: float | None, d: int) -> str:
    """Values in units of d; a dash where there are none."""
    return "-" if values is None or np.isinf(values) else f"{values / d:.1f}"


def price_per_d(reached: Sequence[int | None], d: int) -> str:
    """Mean and deviation over seeds in units of d, or how many seeds got there if not all did."""
    there = np.array([values for values in reached if values is not None]) / d
    if len(there) < len(reached):
        return f"- ({len(there)}/{len(reached)})" if len(reached) > 1 else "-"
    return f"{there.mean():.1f} ± {there.std(ddof=1):.1f}" if len(there) > 1 else f"{there[0]:.1f}"


def price(reached: Sequence[int | None]) -> str:
    """Mean (smallest - largest) over seeds, or how many seeds got there if not all did."""
    there = [values for values in reached if values is not None]
    if len(there) < len(reached):
        return f"- ({len(there)}/{len(reached)})"
    span = f" ({min(there):,} - {max(there):,})" if len(there) > 1 else ""
    return f"{np.mean(there):,.0f}{span}"


def mean(values: Sequence[float | None], digits: int, unit: str = "") -> str:
    """Mean and deviation over seeds."""
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return "not finite"
    spread = f" ± {np.std(numbers, ddof=1):.{digits}f}" if len(numbers) > 1 else ""
    return f"{np.mean(numbers):.{digits}f}{spread}{unit}"


def ranged(values: Sequence[float], middle: float, digits: int = 1) -> str:
    """A middle of numbers, and their range."""
    return f"{middle:.{digits}f} ({min(values):.{digits}f} - {max(values):.{digits}f})"


def ratio(found: dict[str, Any], key: str = "ratio") -> str:
    """A median of ratios of times, and its quartiles."""
    low, high = found[f"{key}_quartiles"]
    return f"{found[key]:.2f} ({low:.2f} - {high:.2f})"


def geometric_mean(values: Any) -> float:
    """Geometric mean; infinite if a number is."""
    with np.errstate(divide="ignore"):
        return float(np.exp(np.mean(np.log(values))))


def geometric(prices: Sequence[float]) -> str:
    """Geometric mean over seeds, and the range."""
    return ranged(prices, geometric_mean(prices))
