"""Values that the user has already, as a run begins."""

import math
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from zosah_jax.bounds import bounds_of
from zosah_jax.faces.host.numbers import as_value
from zosah_jax.method import Known
from zosah_jax.pytree import Params, as_params, working_dtype


def known_of(evaluations: Any, x0: Params, bounds: Any) -> tuple[Params, Known | None]:
    """Where the run begins, the best of the points or `x0`, and the values as a method takes them.

    Args:
        evaluations: pairs (x, f), x a pytree like `x0` within the bounds; f a real number, or None,
            NaN or an infinity where it is missing. None: there are no values.
        x0: where a run would begin; arrays.
        bounds: as `minimize` takes them.

    Raises:
        TypeError, ValueError: no list of pairs, or one that is not like that; it is named.

    Example:
        >>> start, known = known_of([([1.0], 4.0), ([2.0], 3.0)], [0.0], None)
        >>> start, known.points.tolist(), known.values.tolist()
        ([2.0], [[1.0], [2.0]], [4.0, 3.0])
    """
    points, values = [], []
    for number, pair in enumerate(listed(evaluations)):
        x, f = _pair(number, pair, x0, bounds)
        if not math.isnan(f):
            points.append(x)
            values.append(f)
    if not values:
        return x0, None
    dtype = working_dtype(x0)
    flat = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(x)]) for x in points]
    start = points[int(np.argmin(values))]
    start = jax.tree.map(lambda new, old: _like(new, old), start, x0)
    return start, Known(np.stack(flat).astype(dtype), np.asarray(values).astype(dtype))


def listed(evaluations: Any) -> list[Any]:
    """Pairs as a list, which may be read more than once; empty for None."""
    if evaluations is None:
        return []
    if not isinstance(evaluations, Iterable) or isinstance(evaluations, str | bytes | dict):
        raise TypeError(f"evaluations: got {evaluations!r}, wanted pairs (x, f) or None.")
    return list(evaluations)


def _pair(number: int, pair: Any, x0: Params, bounds: Any) -> tuple[Params, float]:
    name = f"evaluations[{number}]"
    try:
        x, f = pair
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: got {pair!r}, wanted a pair (x, f).") from error
    x = as_params(x)
    if jax.tree.structure(x) != jax.tree.structure(x0):
        raise ValueError(f"{name}: got an x of another structure, wanted one like x0.")
    for have, want in zip(jax.tree.leaves(x), jax.tree.leaves(x0), strict=True):
        if np.shape(have) != np.shape(want):
            raise ValueError(
                f"{name}: got shape {np.shape(have)}, wanted {np.shape(want)} as in x0."
            )
    try:
        bounds_of(bounds, x)
        return x, float(as_value(f))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from error


def _like(new: Any, old: Any) -> Any:
    return new if isinstance(old, float) else np.asarray(new, old.dtype)
