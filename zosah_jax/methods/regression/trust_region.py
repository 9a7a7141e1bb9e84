"""A quadratic minimised within a ball and a box."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.linear_algebra import eigh

_GRID = 64  # multipliers that are looked at at once
_NEWTON = 4  # steps of Newton's method on the multiplier: from 1e-2 of it to its last bit
_PASSES = 5  # times that coordinates may be fixed at bounds; what is beyond then is clipped
_SPAN = 40.0  # natural logarithms between the least and the largest multiplier


class Box(NamedTuple):
    """Bounds in the coordinates of the quadratic, shapes (d,); infinite where there is none."""

    lower: jax.Array
    upper: jax.Array


def minimise(
    gradient: jax.Array, matrix: jax.Array, centre: jax.Array, radius: jax.Array, box: Box
) -> jax.Array:
    """Argument of min g's + s'A s / 2 with p = centre + s in the ball |p| <= radius and the box.

    Coordinates that would leave the box are fixed at its side, and the rest is minimised again.

    Args:
        gradient: g, shape (d,).
        matrix: A, symmetric, of any signs, shape (d, d).
        centre: a point within both, shape (d,).
        radius: of the ball, around 0.
        box: bounds.

    Returns:
        p, shape (d,).
    """

    def fix(carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        turn, free, p, _ = carry
        fixed = jnp.where(free, 0, p)
        s = jnp.where(free, 0, p - centre)
        room = jnp.sqrt(jnp.maximum(radius**2 - jnp.sum(fixed**2), 0))
        pushed = jnp.where(free, gradient + matrix @ s, 0)
        kept = jnp.where(free[:, None] & free[None], matrix, 0)
        p = fixed + _within_ball(pushed, kept, jnp.where(free, centre, 0), room, free)
        out = free & ((p < box.lower) | (p > box.upper))
        return turn + 1, free & ~out, jnp.clip(p, box.lower, box.upper), jnp.any(out)

    def goes_on(carry: tuple[jax.Array, ...]) -> jax.Array:
        turn, _, _, out = carry
        return (turn < _PASSES) & out

    free = box.upper > box.lower
    begin = (jnp.zeros((), jnp.int32), free, centre, jnp.ones((), bool))
    return jax.lax.while_loop(goes_on, fix, begin)[2]


def _within_ball(
    gradient: jax.Array, matrix: jax.Array, centre: jax.Array, radius: jax.Array, free: jax.Array
) -> jax.Array:
    """The minimiser in the ball; coordinates that are not free stay 0."""
    tiny = jnp.finfo(gradient.dtype).tiny
    eps = jnp.finfo(gradient.dtype).eps
    values, vectors = eigh(matrix)
    size = jnp.maximum(jnp.max(jnp.abs(values)), tiny)
    least = jnp.maximum(-values[0], 0) + eps * size  # A + least is positive definite
    # (A + t) p = A centre - g; at t = 0, p = centre - A^-1 g
    turned = vectors.T @ (matrix @ centre - gradient)
    inner = vectors @ (turned / (values + least))
    most = jnp.linalg.norm(turned) / jnp.maximum(radius, tiny) + least

    def length(multiplier: jax.Array) -> jax.Array:
        return jnp.linalg.norm(turned[None] / (values[None] + multiplier[:, None]), axis=-1)

    low, high = jnp.log(least), jnp.log(jnp.maximum(most, least * 2))
    low = jnp.maximum(low, high - _SPAN)
    steps = jnp.linspace(0, 1, _GRID, dtype=gradient.dtype)
    for _ in range(2):
        grid = low + (high - low) * steps
        place = jnp.argmax(length(jnp.exp(grid)) <= radius)  # the first that is short enough
        low, high = grid[jnp.maximum(place - 1, 0)], grid[place]
    multiplier = jnp.exp(high)
    for _ in range(_NEWTON):  # on 1 / |p(t)| - 1 / radius, which is almost linear
        p = turned / (values + multiplier)
        norm = jnp.maximum(jnp.linalg.norm(p), tiny)
        slope = jnp.sum(p**2 / (values + multiplier)) / norm
        step = (norm / jnp.maximum(radius, tiny) - 1) * norm / jnp.maximum(slope, tiny)
        multiplier = jnp.clip(multiplier + step, jnp.exp(low), jnp.exp(high))
    outer = vectors @ (turned / (values + multiplier))
    found = jnp.where(jnp.linalg.norm(inner) <= radius, inner, outer)
    return jnp.where(free, found, 0)
