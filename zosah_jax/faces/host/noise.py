"""The noise level of an objective, from a few of its values (Moré and Wild's ECnoise)."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from zosah_jax.bounds import Bounds
from zosah_jax.pytree import Params, dimension

POINTS = 7  # of a table of differences; six to eight are recommended
_TABLES = 2  # at most: the second with another spacing, where the first says nothing
MOST_POINTS = _TABLES * POINTS
_SPACING = 1e-6  # first spacing, in units of max(1, |x_i|)
_SHARE = 0.05  # of the budget that the estimate may take
_LEVELS_ALIKE = 3
_ROUNDINGS = 16  # machine epsilons of a value that are no more than its arithmetic


def noise_level(values: Sequence[float] | np.ndarray) -> tuple[float | None, str]:
    r"""Noise level of a function from its values at equally spaced points.

    In a table of differences a smooth part dies away from column to column, while noise grows in a
    known way. With Delta^k f the k-th differences, each column estimates the standard deviation,

    .. math:: \sigma_k^2 = \gamma_k \, \mathrm{mean} (\Delta^k f)^2, \quad \gamma_k = (k!)^2/(2k)!

    and the first of three successive columns that agree within a factor of 4, and whose
    differences change sign, is taken. The paper's check that the values lie within 10 % of one
    another is left out, as it would refuse a noise of a tenth of the value.

    Args:
        values: f(x + i h u) for i = 0, 1, ..., at least five of them.

    Returns:
        (standard deviation, "found"), or (None, why not): "spacing too small" where half of the
        values are equal, "spacing too large" where the columns do not agree.

    Raises:
        ValueError: fewer than five values.

    Example:
        >>> import numpy as np, zosah_jax.host
        >>> rng = np.random.default_rng(0)
        >>> x = 1 + 1e-6 * np.arange(7)
        >>> level, found = zosah_jax.host.noise_level(x**2 + 1e-3 * rng.normal(size=7))
        >>> found, bool(2e-4 < level < 5e-3)
        ('found', True)

    References:
        Moré, Wild, `Estimating Computational Noise <https://doi.org/10.1137/100786125>`_, SIAM J.
        Sci. Comput. 33 (2011), section 3 and the program ECnoise.
    """
    column = np.asarray(values, np.float64)
    if len(column) < _LEVELS_ALIKE + 2:
        raise ValueError(f"values: got {len(column)} of them, wanted at least 5.")
    scale = float(np.max(np.abs(column))) or 1.0
    column, gamma = column / scale, 1.0
    levels, mixed = [], []
    for k in range(1, len(values)):
        column = np.diff(column)
        if k == 1 and 2 * np.sum(column == 0) >= len(values):
            return None, "spacing too small"
        gamma *= k / (2 * (2 * k - 1))
        levels.append(float(np.sqrt(gamma * np.mean(column**2))))
        mixed.append(column.min() * column.max() < 0)
    for k in range(len(levels) - _LEVELS_ALIKE + 1):
        three = levels[k : k + _LEVELS_ALIKE]
        if max(three) <= 4 * min(three) and mixed[k]:
            return scale * levels[k], "found"
    return None, "spacing too large"


def measure_noise(
    ask: Callable[[list[Params], int], Sequence[Any]], x0: Params, bounds: Bounds | None
) -> tuple[float, float]:
    """Noise level of an objective at `x0`, and the size of its values, from at most 14 of them.

    Args:
        ask: (points, number of the batch) -> values, NaN where missing.
        x0: pytree of NumPy arrays.
        bounds: within which the points are, or None.

    Returns:
        The standard deviation, 0 where none was found; and the largest absolute value.
    """
    size = 0.0
    x0 = jax.tree.map(lambda x: np.asarray(x, np.result_type(x.dtype, np.float32)), x0)
    spacing = _SPACING if _epsilon(x0) < _SPACING**2 else _SPACING**0.5
    for number in range(_TABLES):
        values = np.asarray(ask(_line(x0, spacing, bounds), number))
        run = _longest_run(values)
        if len(run) < _LEVELS_ALIKE + 2:
            return 0.0, size
        size = float(np.max(np.abs(run)))
        level, found = noise_level(run)
        if level is not None:
            return (level if level > _ROUNDINGS * _epsilon(x0) * size else 0.0), size
        spacing *= 100 if found == "spacing too small" else 0.01
    return 0.0, size


def affords(budget: int) -> bool:
    """Whether the estimate takes less than a twentieth of a budget."""
    return budget > round(MOST_POINTS / _SHARE)


def _epsilon(x0: Params) -> float:
    """Machine epsilon of the coarsest leaf, also where JAX would narrow it."""
    return max(float(np.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(x0))


def _line(x0: Params, spacing: float, bounds: Bounds | None) -> list[Params]:
    """Equally spaced points from `x0` along a diagonal, away from the nearer bounds."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], dimension(x0))
    leaves, treedef = jax.tree.flatten(x0)
    sides: list[Any] = [(-np.inf, np.inf)] * len(leaves)
    if bounds is not None:
        lower, upper = (jax.tree.leaves(side) for side in (bounds.lower, bounds.upper))
        sides = [(np.asarray(a), np.asarray(b)) for a, b in zip(lower, upper, strict=True)]
    start, along = 0, []
    for leaf, (low, high) in zip(leaves, sides, strict=True):
        sign = signs[start : start + leaf.size].reshape(leaf.shape)
        start += leaf.size
        step = spacing * np.maximum(1, np.abs(leaf))
        room = (POINTS - 1) * step
        sign = np.where(leaf + room > high, -1.0, np.where(leaf - room < low, 1.0, sign))
        fits = (leaf + sign * room >= low) & (leaf + sign * room <= high)
        sign = np.where(fits, sign, 0.0)
        along.append((step * sign).astype(leaf.dtype))

    def point(i: int) -> Params:
        """The i-th point; rounding may lead it out of the bounds by a digit."""
        parts = zip(leaves, along, sides, strict=True)
        inside = [np.clip(x + x.dtype.type(i) * a, *side).astype(x.dtype) for x, a, side in parts]
        return jax.tree.unflatten(treedef, inside)

    return [point(i) for i in range(POINTS)]


def _longest_run(values: np.ndarray) -> np.ndarray:
    """The longest stretch without a missing value."""
    gaps = np.flatnonzero(~np.isfinite(np.concatenate([[np.nan], values, [np.nan]])))
    first = int(np.argmax(np.diff(gaps)))
    return values[gaps[first] : gaps[first + 1] - 1]
