"""Checks of arguments: the name, what came, what is wanted.

Where a value is traced (under `jit` or `optax.inject_hyperparams`), checks that need it are left
out.
"""

from collections.abc import Collection
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np


def check_positive(name: str, value: Any, *, optional: bool = False) -> None:
    """Refuse what is no positive finite real scalar (or, if optional, None)."""
    wanted = "a positive number" + (" or None" if optional else "")
    if value is None:
        _refuse_none(name, wanted, optional)
        return
    _check_scalar(name, value, np.number, wanted)
    if not isinstance(value, jax.core.Tracer) and not 0 < float(value) < float("inf"):
        raise ValueError(f"{name}: got {value}, wanted {wanted}.")


def check_number(name: str, value: Any) -> None:
    """Refuse what is no real scalar."""
    _check_scalar(name, value, np.number, "a number")


def check_count(name: str, value: Any, *, optional: bool = False) -> None:
    """Refuse what is no integer of at least 1 (or, if optional, None)."""
    wanted = "an int of at least 1" + (" or None" if optional else "")
    if value is None:
        _refuse_none(name, wanted, optional)
        return
    _check_scalar(name, value, np.integer, wanted)
    if not isinstance(value, jax.core.Tracer) and value < 1:
        raise ValueError(f"{name}: got {value}, wanted {wanted}.")


def check_static_count(name: str, value: Any, *, optional: bool = False) -> None:
    """Refuse what is no integer of at least 1 that is known when tracing: it is a shape."""
    if isinstance(value, jax.core.Tracer):
        raise TypeError(
            f"{name}: got a traced value, wanted an int (it is a shape: under "
            "optax.inject_hyperparams name it in static_args)."
        )
    check_count(name, value, optional=optional)


def check_not_negative(name: str, value: Any) -> None:
    """Refuse what is no finite real scalar of at least 0."""
    wanted = "a number of at least 0"
    _check_scalar(name, value, np.number, wanted)
    if not isinstance(value, jax.core.Tracer) and not 0 <= float(value) < float("inf"):
        raise ValueError(f"{name}: got {value}, wanted {wanted}.")


def check_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Refuse what is not among the choices."""
    if value not in choices:
        raise ValueError(f"{name}: got {value!r}, wanted one of {', '.join(map(repr, choices))}.")


def is_typed_key(value: Any) -> bool:
    """Whether a value is an array of typed PRNG keys."""
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def typed_key(key: Any) -> jax.Array:
    """A typed PRNG key from an int or a typed key; a key of its own buffer."""
    if is_typed_key(key):
        if key.shape != ():
            raise ValueError(f"key: got keys of shape {key.shape}, wanted a single key.")
        return jax.random.clone(key)
    if isinstance(key, bool) or not _is_kind(key, np.integer) or jnp.ndim(key) != 0:
        raise TypeError(f"key: got {key!r}, wanted an int or a typed key (jax.random.key(0)).")
    return jax.random.key(key)


def _refuse_none(name: str, wanted: str, optional: bool) -> None:
    if not optional:
        raise TypeError(f"{name}: got None, wanted {wanted}.")


def _check_scalar(name: str, value: Any, kind: type, wanted: str) -> None:
    if isinstance(value, bool) or not _is_kind(value, kind) or np.ndim(value) != 0:
        raise TypeError(f"{name}: got {value!r}, wanted {wanted}.")


def _is_kind(value: Any, kind: type) -> bool:
    if value is None or isinstance(value, str | type | np.dtype):  # names of dtypes are no numbers
        return False
    try:
        dtype = jnp.result_type(value)
    except (TypeError, ValueError):
        return False
    return jnp.issubdtype(dtype, kind) and not jnp.issubdtype(dtype, np.complexfloating)
