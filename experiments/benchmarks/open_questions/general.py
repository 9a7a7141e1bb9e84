"""ZO-SAH's boxes for subspaces of s dimensions: the library's are for pairs, s = 2.

The unknowns of an s x s Hessian A are its upper triangle, row by row, (a11, a12, a22) in a pair.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_LONE_PAIR = 1e-4  # floor of a subspace that moves alone, relative to its largest eigenvalue


class Seen(NamedTuple):
    """Values taken around one point, seen in each of J subspaces; as the library's `Samples`."""

    position: jax.Array
    base: jax.Array
    offset: jax.Array
    value: jax.Array


def places(dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the unknowns in A."""
    return np.triu_indices(dim)


def number_of(dim: int) -> int:
    """How many unknowns there are, n = s (s + 1) / 2."""
    return dim * (dim + 1) // 2


def dimension_of(unknowns: Any) -> int:
    """Dimension s of A, by the last axis of its unknowns."""
    return (math.isqrt(8 * unknowns.shape[-1] + 1) - 1) // 2


def diagonal_of(dim: int) -> np.ndarray:
    """Which of the unknowns are the a_ii."""
    rows, columns = places(dim)
    return np.flatnonzero(rows == columns)


def matrix_of(unknowns: jax.Array) -> jax.Array:
    """A as symmetric matrices, shape (..., s, s)."""
    dim = dimension_of(unknowns)
    rows, columns = places(dim)
    zeros = jnp.zeros((*unknowns.shape[:-1], dim, dim), unknowns.dtype)
    return zeros.at[..., rows, columns].set(unknowns).at[..., columns, rows].set(unknowns)


def unknowns_of(matrix: jax.Array) -> jax.Array:
    """The unknowns of symmetric matrices, shape (..., n)."""
    return matrix[(..., *places(matrix.shape[-1]))]


def sample_grid(dim: int) -> np.ndarray:
    """Fresh samples in units of the radius: one back along each axis, one forth along each two."""
    unit = np.eye(dim, dtype=int)
    pairs = [unit[i] + unit[j] for i, j in zip(*np.triu_indices(dim, 1), strict=True)]
    return np.array([*-unit, *pairs])


class Determined(NamedTuple):
    """Which unknowns the fresh samples determine.

    Attributes:
        unknown: of the unknowns of A, bool of shape (J, n).
        diagonal: of the a_ii, bool of shape (J, s).
    """

    unknown: jax.Array
    diagonal: jax.Array


def determined(fresh: Seen, gradient: jax.Array) -> Determined:
    """What is determined where some of the fresh samples are missing.

    A sample along an axis determines a_ii; with a_ii and a_jj, one off both axes determines a_ij,
    and so do two of unlike signs, from which either of a_ii and a_jj follows from the other.

    Args:
        fresh: samples around the present point.
        gradient: forward differences, NaN where missing: without b no equation holds.
    """
    dim = gradient.shape[-1]
    off = fresh.offset != 0
    lacks_slope = jnp.any(off & ~jnp.isfinite(gradient)[:, None, :], axis=-1)
    known = jnp.isfinite(fresh.value) & jnp.isfinite(fresh.base) & ~lacks_slope
    moves = jnp.sum(off, axis=-1)
    axis = jnp.any((known & (moves == 1))[..., None] & off, axis=1)
    rows, columns = np.triu_indices(dim, 1)
    both = (known & (moves == 2))[..., None]
    sign = jnp.sign(fresh.offset[..., rows] * fresh.offset[..., columns])
    like, unlike = (jnp.any(both & (sign == one), axis=1) for one in (1, -1))
    two = jnp.zeros((len(gradient), dim, dim), bool)
    two = two.at[:, rows, columns].set(like & unlike).at[:, columns, rows].set(like & unlike)
    diagonal = axis | jnp.any(two & axis[:, None, :], axis=2)
    cross = (axis[:, rows] & axis[:, columns] & (like | unlike)) | (like & unlike)
    unknown = jnp.zeros((len(gradient), number_of(dim)), bool)
    unknown = unknown.at[:, diagonal_of(dim)].set(diagonal)
    unknown = unknown.at[:, np.flatnonzero(np.not_equal(*places(dim)))].set(cross)
    return Determined(unknown, diagonal)


def settled(hessian: jax.Array, known: Determined) -> jax.Array:
    """A with what is not determined set to a cautious guess, shape (J, n).

    a_ij = 0, and a_ii the largest |a_ii| that is known of any W_j: a step that is too short. Where
    none is known, it is the largest absolute row sum of what was fitted.
    """
    on_diagonal = np.zeros(hessian.shape[-1], bool)
    on_diagonal[diagonal_of(dimension_of(hessian))] = True
    seen = known.unknown & on_diagonal[None]
    largest = jnp.max(jnp.abs(hessian), initial=0, where=seen)
    fitted = jnp.max(jnp.sum(jnp.abs(matrix_of(hessian)), axis=-1))
    largest = jnp.where(jnp.any(seen), largest, fitted)
    guess = jnp.where(jnp.asarray(on_diagonal)[None], largest, 0)
    return jnp.where(known.unknown, hessian, guess)


def nothing_seen(subspaces: int, count: int, dim: int, dtype: jax.typing.DTypeLike) -> Seen:
    """No values."""
    return Seen(
        position=jnp.zeros((subspaces, dim), dtype),
        base=jnp.full((), jnp.nan, dtype),
        offset=jnp.zeros((subspaces, count, dim), dtype),
        value=jnp.full((subspaces, count), jnp.nan, dtype),
    )


def newton_direction(
    gradient: jax.Array, hessian: jax.Array, floor: Any, least: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Directions A_j^-1 g_j with |eigenvalues|, floored relative to the largest of all."""
    values, vectors = jnp.linalg.eigh(matrix_of(hessian))
    size = jnp.abs(values)
    floor = jnp.maximum(floor * (1 - 1 / len(hessian)), _LONE_PAIR) * jnp.max(size)
    size = jnp.maximum(size, jnp.maximum(floor, least))
    inverse = jnp.where(size > 0, 1 / jnp.where(size > 0, size, 1), 0)
    inner = jnp.einsum("jia,ji->ja", vectors, gradient, precision="highest")
    direction = jnp.einsum("jia,ja->ji", vectors, inverse * inner, precision="highest")
    return direction, values[:, ::-1]
