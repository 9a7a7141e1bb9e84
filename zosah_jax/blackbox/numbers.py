"""Values as they come from outside, and the dtype in which the host works."""

import contextlib
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from zosah_jax.params import Params


def as_value(raw: Any) -> float:
    """A value of the objective as a float; None, NaN and infinities are a missing one, NaN.

    Raises:
        ValueError: an array of any shape but ().
        TypeError: no real number.
    """
    if raw is None:
        return math.nan
    if isinstance(raw, bool | np.bool_ | str | bytes | dict | list | tuple | set):
        raise TypeError(f"value: got a {type(raw).__name__}, wanted a real scalar or None.")
    array = np.asarray(raw)
    if array.dtype.kind not in "iuf":
        raise TypeError(
            f"value: got a {type(raw).__name__} of dtype {array.dtype}, wanted a real scalar or "
            "None."
        )
    if array.shape != ():
        raise ValueError(f"value: got an array of shape {array.shape}, wanted a scalar, shape ().")
    value = float(array)
    return value if math.isfinite(value) else math.nan


def in_dtype_of(x0: Params) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """Context in which JAX keeps the dtypes of `x0`: 64 bits where a leaf has them.

    Host objectives are written for NumPy, whose floats have 64 bits; JAX would make them 32.
    """
    wide = any(np.asarray(leaf).dtype.itemsize > 4 for leaf in jax.tree.leaves(x0))
    return (lambda: jax.enable_x64(True)) if wide else contextlib.nullcontext
