"""Where a run that has converged begins again."""

from typing import Any

import jax
import jax.numpy as jnp

from zosah_jax.bounds import Bounds, projected
from zosah_jax.pytree import Params, working_dtype

_SPREAD = 3.0  # standard deviation of a start, in units of the coordinate's own size


def restart(
    x0: Params, bounds: Bounds | None, key: jax.Array, spent: Any
) -> tuple[Params, jax.Array]:
    """Another start, uniform between two finite bounds, else normal around `x0`; and its key.

    The standard deviation is three times |x0_i|, or 3 where that is 0.

    Args:
        x0: where the first run began; arrays.
        bounds: or None.
        key: typed key of the run.
        spent: values so far, which tell one restart from another.

    Example:
        >>> key = jax.random.key(0)
        >>> x, _ = restart(jnp.ones(1000), Bounds(-jnp.ones(1000), 3 * jnp.ones(1000)), key, 50)
        >>> bool(x.min() < -0.9), bool(x.max() > 2.9), bool(abs(x.mean() - 1) < 0.2)
        (True, True, True)
    """
    leaves, treedef = jax.tree.flatten(x0)
    none = [None] * len(leaves)
    low = none if bounds is None else jax.tree.leaves(bounds.lower)
    high = none if bounds is None else jax.tree.leaves(bounds.upper)
    key = jax.random.fold_in(key, spent)
    keys = jax.random.split(key, len(leaves))
    drawn = [_drawn(*each) for each in zip(leaves, low, high, keys, strict=True)]
    return projected(bounds, jax.tree.unflatten(treedef, drawn)), key


def _drawn(x: jax.Array, low: Any, high: Any, key: jax.Array) -> jax.Array:
    dtype = working_dtype(x)
    size = jnp.where(x != 0, jnp.abs(x), 1).astype(dtype)
    drawn = x.astype(dtype) + _SPREAD * size * jax.random.normal(key, x.shape, dtype)
    if low is not None:
        low, high = (jnp.broadcast_to(jnp.asarray(side, dtype), x.shape) for side in (low, high))
        inside = jnp.isfinite(high - low)
        share = jax.random.uniform(key, x.shape, dtype)
        between = jnp.where(inside, low, 0) + share * jnp.where(inside, high - low, 0)
        drawn = jnp.where(inside, between, drawn)
    return drawn.astype(x.dtype)
