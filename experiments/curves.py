"""What was found after how many values."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Curve(NamedTuple):
    """Best value so far against values spent.

    Attributes:
        spent: values spent, increasing, shape (n,).
        best: smallest value known by then, shape (n,).
    """

    spent: np.ndarray
    best: np.ndarray


def from_history(history: Any) -> Curve:
    """Curve of a `zosah_jax.History`, without the padding that it has under `jit`."""
    spent, best = np.asarray(history.num_evaluations), np.asarray(history.best_value)
    return Curve(spent[spent > 0], best[spent > 0])


def values_to_reach(curve: Curve, target: float) -> int | None:
    """Values spent when the best was first at most `target`; None if it never was."""
    reached = np.flatnonzero(curve.best <= target)
    return int(curve.spent[reached[0]]) if reached.size else None


def median(values: Sequence[float | None]) -> float:
    """Median over seeds of what they needed; infinite if it was not reached."""
    return float(np.median([np.inf if v is None else v for v in values]))


def best_after(curve: Curve, spent: np.ndarray) -> np.ndarray:
    """Best value after `spent` values; infinite before the first is known."""
    known = np.searchsorted(curve.spent, spent, side="right")
    return np.concatenate([[np.inf], curve.best])[known]
