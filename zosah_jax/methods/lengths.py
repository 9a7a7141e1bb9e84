"""Lengths of finite differences, as the floating-point numbers will realise them."""

import jax
import jax.numpy as jnp


def step_length(
    position: jax.Array, given: float | jax.Array | None, default: float | jax.Array
) -> jax.Array:
    """Step length at each coordinate, as the floating-point numbers will realise it.

    Args:
        position: coordinates x, any shape.
        given: the user's absolute length, or None.
        default: relative length where the user gives none: `default * max(1, |x|)`.

    Returns:
        (x + h) - x, which is h up to rounding; shape of `position`.
    """
    if given is None:
        length = default * jnp.maximum(1, jnp.abs(position))
    else:
        length = jnp.full_like(position, given)
    return (position + length) - position
