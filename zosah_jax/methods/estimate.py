"""What several methods ask along directions, and make of differences of values."""

import jax
import jax.numpy as jnp

from zosah_jax.low_rank import Law
from zosah_jax.probes import DirectionProbes
from zosah_jax.pytree import Params, working_dtype


def from_here(keys: jax.Array, length: float, params: Params, law: Law) -> DirectionProbes:
    """The parameters (scale 0), then a step along the direction of each key, shape (n,)."""
    scale = jnp.full(len(keys), length, working_dtype(params))
    scale = jnp.concatenate([jnp.zeros_like(scale[:1]), scale])
    keys = jnp.concatenate([keys[:1], keys])
    return DirectionProbes(keys[:, None], scale[:, None], distribution=law)


def both_ways(keys: jax.Array, length: float, params: Params, law: Law) -> DirectionProbes:
    """A step forth along the direction of each key, shape (n,), then a step back along each."""
    scale = forth_and_back(len(keys), length, params)
    keys = jnp.concatenate([keys, keys])
    return DirectionProbes(keys[:, None], scale[:, None], distribution=law)


def mean_weights(slope: jax.Array) -> jax.Array:
    """Weights whose combination of directions is the mean of slope_i u_i over those that came.

    Args:
        slope: differences of values over their lengths, shape (n,); not finite where missing.

    Returns:
        slope / (how many are finite), 0 where missing, shape (n,).
    """
    came = jnp.isfinite(slope)
    return jnp.where(came, slope, 0) / jnp.maximum(jnp.sum(came), 1).astype(slope.dtype)


def mean_value(values: jax.Array) -> jax.Array:
    """Mean of the values that are finite; NaN if none is."""
    came = jnp.isfinite(values)
    count = jnp.sum(came)
    total = jnp.sum(jnp.where(came, values, 0)) / jnp.maximum(count, 1).astype(values.dtype)
    return jnp.where(count > 0, total, jnp.nan)


def forth_and_back(count: int, smoothing: float, params: Params) -> jax.Array:
    """Lengths of the steps forth along `count` directions and of those back, shape (2 count,)."""
    forth = jnp.full(count, smoothing, working_dtype(params))
    return jnp.concatenate([forth, -forth])


def slope_weights(scale: jax.Array, values: jax.Array) -> jax.Array:
    """Weights of the directions in the mean of their two-sided differences.

    Args:
        scale: what `forth_and_back` returned, shape (2 n,).
        values: of these probes, shape (2 n,).

    Returns:
        (f(x + eps z_i) - f(x - eps z_i)) / 2 eps over the number of pairs that came, shape (n,).
    """
    forth, back = jnp.split(values, 2)
    return mean_weights((forth - back) / (2 * scale[: len(forth)]))
