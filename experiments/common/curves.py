"""What was found after how many values."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np

from zosah_jax import Result, Status


class Curve(NamedTuple):
    """Best value so far against values spent.

    Attributes:
        spent: values spent, increasing, shape (n,).
        best: smallest value known by then, shape (n,).
    """

    spent: np.ndarray
    best: np.ndarray


def curve_of(result: Result) -> Curve:
    """Curve of a run of `zosah_jax.minimize`, by the points at which it stood.

    A value counts when its batch is complete. Probes do not count, but for one that met the target
    and so ended the run.
    """
    spent, value = np.asarray(result.history.num_evaluations), np.asarray(result.history.value)
    end, last = np.asarray(result.num_evaluations), np.asarray(result.last_value)
    if np.asarray(result.status) == Status.TARGET_REACHED:
        last = np.asarray(result.value)
    used = spent > 0  # the rest is padding
    spent, value = spent[used].astype(int), value[used]
    if end > spent[-1]:
        spent, value = np.append(spent, int(end)), np.append(value, last)
    else:
        value = np.append(value[:-1], np.fmin(value[-1], last))
    return Curve(spent, np.minimum.accumulate(np.where(np.isfinite(value), value, np.inf)))


def outline(result: Result) -> Result:
    """A result without its points and its state: what a curve needs."""
    return replace(result, params=None, last_params=None, state=None)


def curves_of(results: Result) -> list[Curve]:
    """Curves of the runs of a `jax.vmap`, outlines."""
    arrays = jax.tree.map(np.asarray, results)
    number = len(arrays.status)
    return [curve_of(jax.tree.map(lambda x: x[lane], arrays)) for lane in range(number)]  # noqa: B023


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
