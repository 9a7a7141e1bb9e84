"""The unknowns of an s x s Hessian A: its upper triangle, row by row, (a11, a12, a22) in a pair."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


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
