"""The first points: two a coordinate."""

import jax
import jax.numpy as jnp

from zosah_jax.methods.regression.trust_region import Box


def one_side(x: jax.Array, unit: jax.Array, box: Box) -> jax.Array:
    """Points that each move one coordinate by its unit, within the bounds, shape (d, d).

    Example:
        >>> box = Box(jnp.full(2, -jnp.inf), jnp.array([1.5, jnp.inf]))
        >>> one_side(jnp.ones(2), jnp.ones(2), box).tolist()
        [[0.0, 1.0], [1.0, 2.0]]
    """
    offset = jnp.where(x + unit <= box.upper, unit, -unit)
    return jnp.clip(x[None] + jnp.diag(offset), box.lower[None], box.upper[None])


def other_side(x: jax.Array, first: jax.Array, lower: jax.Array, box: Box) -> jax.Array:
    """Twice as far where the first point of a coordinate was lower, else the other side of x.

    Args:
        x: where the run begins, shape (d,).
        first: how far the first point of each coordinate moved it, shape (d,).
        lower: whether its value was lower than that of x, bool, shape (d,).
        box: within which the points are; where they would not be, the other of the two is taken,
            or half as far.
    """
    wanted = jnp.where(lower, 2, -1) * first
    instead = jnp.where(lower, 0.5, 2) * first
    fits = (x + wanted >= box.lower) & (x + wanted <= box.upper)
    points = x[None] + jnp.diag(jnp.where(fits, wanted, instead))
    return jnp.clip(points, box.lower[None], box.upper[None])
