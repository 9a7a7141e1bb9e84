"""Eigenvalue processor: |lambda| floored, and the Newton direction of every subspace."""

import jax
import jax.numpy as jnp

from zosah_jax.sah.options import Floor
from zosah_jax.sah.unknowns import matrix_of, places

_LONE_PAIR = 1e-4  # floor of a subspace that moves alone, relative to its largest eigenvalue


def newton_direction(
    gradient: jax.Array,
    hessian: jax.Array,
    floor: float | jax.Array,
    kind: Floor,
    least: float | jax.Array = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """Directions v_j = A_j^-1 g_j with eigenvalues max(|lambda|, floor).

    kind "paper": the floor kappa is absolute. kind "relative": it is kappa (1 - 1/J) times the
    largest |lambda| of all J subspaces. The floor stands for the coupling between them, which the
    blocks leave out and which overshoots when all move at once; one that moves alone has none,
    and keeps 1e-4.

    Args:
        gradient: g, shape (J, s).
        hessian: unknowns of A, (a11, a12, a22) in a pair, shape (J, n).
        floor: kappa.
        kind: what the floor refers to.
        least: an absolute floor beside it, scalar: what is smaller is noise.

    Returns:
        (directions of shape (J, s), eigenvalues before the floor of shape (J, s), largest first).
    """
    pairs = gradient.shape[-1] == 2
    eigenvalues, vectors = _spectrum_of_pairs(hessian) if pairs else _spectrum(hessian)
    size = jnp.abs(eigenvalues)
    if kind == "relative":
        floor = jnp.maximum(floor * (1 - 1 / len(hessian)), _LONE_PAIR) * jnp.max(size)
    size = jnp.maximum(size, jnp.maximum(floor, least))
    inverse = jnp.where(size > 0, 1 / jnp.where(size > 0, size, 1), 0)
    if vectors is None:
        return _divided(gradient, hessian, inverse), eigenvalues
    inner = jnp.einsum("jia,ji->ja", vectors, gradient, precision="highest")
    return jnp.einsum("jia,ja->ji", vectors, inverse * inner, precision="highest"), eigenvalues


def _spectrum(hessian: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Eigenvalues, largest first, and their vectors as columns."""
    values, vectors = jnp.linalg.eigh(matrix_of(hessian))
    return values[:, ::-1], vectors[..., ::-1]


def _spectrum_of_pairs(hessian: jax.Array) -> tuple[jax.Array, None]:
    """Eigenvalues of [[a, b], [b, c]]: mean +- radius with mean = (a + c)/2, see `_halves`."""
    mean, _, radius = _halves(hessian)
    return jnp.stack([mean + radius, mean - radius], axis=-1), None


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


def held(gradient: jax.Array, hessian: jax.Array, stays: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Gradient and Hessian of the subspaces without the coordinates that stay where they are.

    The others of a subspace then move as if without it; coupled to a move that is not made, they
    would leave the valley.

    Args:
        gradient: g, shape (J, s).
        hessian: unknowns of A, shape (J, n).
        stays: which coordinates stay, bool of shape (J, s).

    Returns:
        (gradient, hessian), with g_i = 0 and all a_ij = 0, j other than i, where i stays.
    """
    rows, columns = places(gradient.shape[-1])
    cut = (stays[:, rows] | stays[:, columns]) & jnp.asarray(rows != columns)[None]
    return jnp.where(stays, 0, gradient), jnp.where(cut, 0, hessian)
