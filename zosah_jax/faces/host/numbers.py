"""Values as they come from outside, and how the host computes with them."""

import contextlib
import decimal
import math
import numbers
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.pytree import Params

Value = float | np.ndarray
"""A value of the objective: a float, or a float64 array of shape (k,); NaN where it is missing."""


def as_value(raw: Any, ndims: Sequence[int] = (0,)) -> Value:
    """A value of the objective; NaN for None, what is masked, and what is not finite.

    Args:
        raw: what the objective returned.
        ndims: numbers of axes that a value may have: 0 for a number, 1 for a vector.

    Raises:
        ValueError: an array of another shape.
        TypeError: no real number.
    """
    if raw is None or raw is np.ma.masked:
        return math.nan
    if type(raw) is float and 0 in ndims:  # by far the most frequent
        return raw if math.isfinite(raw) else math.nan
    containers = (dict, set) if 1 in ndims else (dict, set, list, tuple)
    if isinstance(raw, (bool, np.bool_, str, bytes, *containers)):
        raise TypeError(f"value: got a {type(raw).__name__}, wanted {_wanted(ndims)} or None.")
    with np.errstate(all="ignore"):
        array = _as_array(raw, ndims)
        if array.ndim == 0 and not np.isfinite(array.astype(np.float64)):
            return math.nan  # also where a vector is wanted
        if array.ndim not in ndims or (array.ndim and not array.size):
            raise ValueError(
                f"value: got an array of shape {array.shape}, wanted {_wanted(ndims)}, shape "
                f"{' or '.join('(k,)' if n else '()' for n in ndims)}."
            )
        array = array.astype(np.float64)
    array = np.where(np.isfinite(array), array, np.nan)
    return array if array.ndim else float(array)


def _as_array(raw: Any, ndims: Sequence[int]) -> np.ndarray:
    if isinstance(raw, numbers.Real | decimal.Decimal) and not isinstance(raw, np.generic):
        try:
            return np.asarray(float(raw))  # ints have any size
        except OverflowError:
            return np.asarray(math.inf)
    if isinstance(raw, np.ma.MaskedArray):
        gaps, raw = np.ma.getmaskarray(raw), np.asarray(raw.data)
        return raw if not gaps.any() else np.where(gaps, np.nan, raw)
    array = np.asarray(raw)
    dtype = array.dtype
    real = jnp.issubdtype(dtype, np.floating) or jnp.issubdtype(dtype, np.integer)
    if not real or dtype.kind == "m":  # durations pass for integers
        raise TypeError(
            f"value: got a {type(raw).__name__} of dtype {dtype}, wanted {_wanted(ndims)} or None."
        )
    return array


def _wanted(ndims: Sequence[int]) -> str:
    return " or ".join("a real vector" if n else "a real scalar" for n in ndims)


def is_missing(value: Value) -> bool:
    """Whether nothing of a value came; a vector may lack parts."""
    return not np.isfinite(value).any() if isinstance(value, np.ndarray) else math.isnan(value)


def in_dtype_of(x0: Params) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Context for the host's own arithmetic.

    JAX keeps the dtypes of `x0` in it: 64 bits where a leaf has them. (Host objectives are written
    for NumPy, whose floats have 64 bits; JAX would make them 32.) And NumPy raises nothing in it,
    whatever the user has set: values that are infinite or beyond float32 are nothing unusual.
    """
    wide = any(np.asarray(leaf).dtype.itemsize > 4 for leaf in jax.tree.leaves(x0))

    @contextlib.contextmanager
    def context() -> Iterator[None]:
        precision = jax.enable_x64(True) if wide else contextlib.nullcontext()
        with precision, np.errstate(all="ignore"):
            yield

    return context


def copied(tree: Params) -> Params:
    """A tree of arrays as NumPy arrays of its own, to be written to at will."""
    return jax.tree.map(np.array, tree)
