"""Eigenvalue processor: |lambda| floored, and the Newton direction of every subspace."""

import jax
import jax.numpy as jnp

from zosah_jax.methods.zosah.reading import Reading

_LONE_PAIR = 1e-4  # floor of a subspace that moves alone, relative to its largest eigenvalue


def newton_direction(
    gradient: jax.Array,
    hessian: jax.Array,
    floor: float | jax.Array,
    reading: Reading,
    least: float | jax.Array = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """Directions v_j = A_j^-1 g_j with eigenvalues max(|lambda|, floor).

    floor "paper": kappa is absolute. floor "relative": it is kappa (1 - 1/J) times the largest
    |lambda| of all J subspaces. The floor stands for the coupling between them, which the
    blocks leave out and which overshoots when all move at once; one that moves alone has none,
    and keeps 1e-4.

    Args:
        gradient: g, shape (J, 2).
        hessian: (a11, a12, a22) of A, shape (J, 3).
        floor: kappa.
        reading: its `floor` says what kappa refers to.
        least: an absolute floor beside it, scalar: what is smaller is noise.

    Returns:
        (directions of shape (J, 2), eigenvalues before the floor of shape (J, 2), largest first).
    """
    # eigenvalues of [[a, b], [b, c]]: mean +- radius
    mean, _, radius = _halves(hessian)
    eigenvalues = jnp.stack([mean + radius, mean - radius], axis=-1)
    size = jnp.abs(eigenvalues)
    if reading.floor == "relative":
        floor = jnp.maximum(floor * (1 - 1 / len(hessian)), _LONE_PAIR) * jnp.max(size)
    size = jnp.maximum(size, jnp.maximum(floor, least))
    inverse = jnp.where(size > 0, 1 / jnp.where(size > 0, size, 1), 0)
    return _divided(gradient, hessian, inverse), eigenvalues


def _halves(hessian: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean (a + c)/2, half the difference (a - c)/2, and radius hypot((a - c)/2, b)."""
    first, cross, second = hessian[:, 0], hessian[:, 1], hessian[:, 2]
    mean, half = (first + second) / 2, (first - second) / 2
    return mean, half, jnp.hypot(half, cross)


def _divided(gradient: jax.Array, hessian: jax.Array, inverse: jax.Array) -> jax.Array:
    """Gradients of pairs divided by the eigenvalues whose inverses are given.

    Any function of [[a, b], [b, c]] is s I + t [[(a - c)/2, b], [b, (c - a)/2]] / radius: no angle
    is ever taken.
    """
    cross, (_, half, radius) = hessian[:, 1], _halves(hessian)
    same = (inverse[:, 0] + inverse[:, 1]) / 2
    turn = (inverse[:, 0] - inverse[:, 1]) / 2 / jnp.where(radius > 0, radius, 1)
    turned = jnp.stack(
        [
            half * gradient[:, 0] + cross * gradient[:, 1],
            cross * gradient[:, 0] - half * gradient[:, 1],
        ],
        axis=-1,
    )
    return same[:, None] * gradient + turn[:, None] * turned


def reduce_to_free(
    gradient: jax.Array, hessian: jax.Array, fixed: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Gradient and Hessian with the entries of fixed coordinates set to zero.

    The free coordinate of a pair then takes the Newton step of the reduced problem; coupled to a
    move that is not made, it would leave the valley.

    Args:
        gradient: g, shape (J, 2).
        hessian: (a11, a12, a22) of A, shape (J, 3).
        fixed: which coordinates do not move, bool of shape (J, 2).

    Returns:
        (gradient, hessian), with g_i = 0 and a12 = 0 where i is fixed.
    """
    cut = (fixed[:, 0] | fixed[:, 1])[:, None] & jnp.array([False, True, False])[None]
    return jnp.where(fixed, 0, gradient), jnp.where(cut, 0, hessian)
