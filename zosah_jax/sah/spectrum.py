"""Eigenvalue processor: |lambda| floored, and the Newton direction of every pair."""

import jax
import jax.numpy as jnp

from zosah_jax.sah.options import Floor

_LONE_PAIR = 1e-4  # floor of a pair that moves alone, relative to its largest eigenvalue


def newton_direction(
    gradient: jax.Array,
    hessian: jax.Array,
    floor: float | jax.Array,
    kind: Floor,
    least: float | jax.Array = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """Directions v_j = A_j^-1 g_j with eigenvalues max(|lambda|, floor).

    kind "paper": the floor kappa is absolute. kind "relative": it is kappa (1 - 1/J) times the
    largest |lambda| of all J pairs. The floor stands for the coupling between pairs, which the
    blocks leave out and which overshoots when all move at once; a pair that moves alone has none,
    and keeps 1e-4.

    The eigenvalues of [[a, b], [b, c]] are mean +- radius with mean = (a + c)/2 and
    radius = hypot((a - c)/2, b), and any function of the matrix is
    s I + t [[(a - c)/2, b], [b, (c - a)/2]] / radius: no angle is ever taken.

    Args:
        gradient: g, shape (J, 2).
        hessian: (a11, a12, a22), shape (J, 3).
        floor: kappa.
        kind: what the floor refers to.
        least: an absolute floor beside it, scalar: what is smaller is noise.

    Returns:
        (directions of shape (J, 2), eigenvalues before the floor of shape (J, 2), largest first).
    """
    first, cross, second = hessian[:, 0], hessian[:, 1], hessian[:, 2]
    mean, half = (first + second) / 2, (first - second) / 2
    radius = jnp.hypot(half, cross)
    eigenvalues = jnp.stack([mean + radius, mean - radius], axis=-1)
    size = jnp.abs(eigenvalues)
    if kind == "relative":
        floor = jnp.maximum(floor * (1 - 1 / len(hessian)), _LONE_PAIR) * jnp.max(size)
    size = jnp.maximum(size, jnp.maximum(floor, least))
    inverse = jnp.where(size > 0, 1 / jnp.where(size > 0, size, 1), 0)

    same = (inverse[:, 0] + inverse[:, 1]) / 2
    turn = (inverse[:, 0] - inverse[:, 1]) / 2 / jnp.where(radius > 0, radius, 1)
    turned = jnp.stack(
        [
            half * gradient[:, 0] + cross * gradient[:, 1],
            cross * gradient[:, 0] - half * gradient[:, 1],
        ],
        axis=-1,
    )
    return same[:, None] * gradient + turn[:, None] * turned, eigenvalues


def held(gradient: jax.Array, hessian: jax.Array, stays: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Gradient and Hessian of the pairs without the coordinates that stay where they are.

    The other one of a pair then moves as if alone; coupled to a move that is not made, it would
    leave the valley.

    Args:
        gradient: g, shape (J, 2).
        hessian: (a11, a12, a22), shape (J, 3).
        stays: which coordinates stay, bool of shape (J, 2).

    Returns:
        (gradient, hessian), with g_i = 0 and a12 = 0 where coordinate i stays.
    """
    cross = jnp.where(jnp.any(stays, axis=-1), 0, hessian[:, 1])
    return jnp.where(stays, 0, gradient), hessian.at[:, 1].set(cross)
