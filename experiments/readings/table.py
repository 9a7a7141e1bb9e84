"""The results as Markdown tables."""

from typing import Any

import numpy as np

from experiments.curves import median
from experiments.records import markdown


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    return {"table": summary(results), "prices": _prices(results)}


def summary(results: dict[str, Any]) -> str:
    """Mean price of every variant on every dataset, and over all datasets."""
    means = results["mean_price_in_d"]
    header = ["mean values / d to close 90, 97, 99 %", *results["dimension"], "all"]
    return markdown(header, [[name, *_cells(by_dataset)] for name, by_dataset in means.items()])


def _cells(by_dataset: dict[str, float]) -> list[str]:
    prices = list(by_dataset.values())
    return [f"{price:.1f}" for price in [*prices, overall(prices)]]


def overall(prices: list[float]) -> float:
    """Geometric mean."""
    return float(np.exp(np.mean(np.log(prices))))


def _prices(results: dict[str, Any]) -> str:
    """Median prices of each part of the gap."""
    parts = " / ".join(f"{100 * f:g}" for f in results["fractions"])
    header = [f"median values / d to close {parts} %", *results["dimension"]]
    rows = [
        [name, *(" / ".join(_median(p) for p in prices) for prices in by_dataset.values())]
        for name, by_dataset in results["prices_in_d"].items()
    ]
    return markdown(header, rows)


def _median(prices: list[float | None]) -> str:
    """Median over seeds; a dash if it was not reached."""
    price = median(prices)
    return f"{price:.1f}" if np.isfinite(price) else "-"
