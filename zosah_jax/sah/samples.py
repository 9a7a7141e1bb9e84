"""Fresh samples for the Hessian of each W_j: where they are taken, and what they determine."""

from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.sah.cache import Visit
from zosah_jax.sah.options import Grid
from zosah_jax.sah.unknowns import diagonal_of, dimension_of, matrix_of, number_of, places


def sample_grid(kind: Grid, dim: int) -> np.ndarray:
    """Points of the fresh samples in units of the radius, int of shape (samples, s).

    "minimal": as many as A has unknowns, one step back along each axis and one forth along both of
    each two. "paper": its "small grid" is read as the eight neighbours, in the plane of each two
    axes.

    Example:
        >>> sample_grid("minimal", 2).tolist()
        [[-1, 0], [0, -1], [1, 1]]
        >>> [len(sample_grid("paper", s)) for s in (2, 3, 4)]
        [8, 18, 32]
    """
    unit = np.eye(dim, dtype=int)
    pairs = [(unit[i], unit[j]) for i, j in zip(*np.triu_indices(dim, 1), strict=True)]
    if kind == "minimal":
        return np.array([*-unit, *(a + b for a, b in pairs)])
    signs = list(product((-1, 0, 1), repeat=2))
    cells = {tuple((i * a + j * b).tolist()) for a, b in pairs for i, j in signs}
    return np.array(sorted(cells - {(0,) * dim}))


class Determined(NamedTuple):
    """Which unknowns the fresh samples determine.

    Attributes:
        unknown: of the unknowns of A, bool of shape (J, n).
        diagonal: of the a_ii, bool of shape (J, s).
    """

    unknown: jax.Array
    diagonal: jax.Array


def determined(fresh: Visit, gradient: jax.Array) -> Determined:
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
