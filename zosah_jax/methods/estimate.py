"""What several methods make of differences of values."""

import jax
import jax.numpy as jnp


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
