"""Decompositions of small symmetric matrices that may be batched."""

import jax
import jax.numpy as jnp


def eigh(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Eigenvalues, ascending, and eigenvectors as columns of a symmetric matrix, shape (n, n).

    Under `vmap` on a CPU the matrices follow one another: a batch of eigendecompositions within a
    branch waits for ever there (seen with jaxlib 0.10.2), and gains nothing.
    """
    if jax.default_backend() == "cpu":
        return _one_by_one(matrix)
    return _eigh(matrix)


def _eigh(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    values, vectors = jnp.linalg.eigh(matrix)
    return values, vectors


_one_by_one = jax.custom_batching.sequential_vmap(_eigh)


def inverse_cholesky(matrix: jax.Array) -> jax.Array:
    """L^-1 of a positive definite matrix L L', shape (n, n).

    Where the matrix is A A', the rows of L^-1 A are orthonormal.

    By hand, as a library call for one tiny matrix takes longer than all around it, and a batch of
    them within a branch may wait for ever (`eigh`).

    Example:
        >>> inverse_cholesky(jnp.diag(jnp.array([4.0, 16.0]))).tolist()
        [[0.5, 0.0], [0.0, 0.25]]
    """
    n, dtype = len(matrix), matrix.dtype
    eye = jnp.eye(n, dtype=dtype)
    size = jnp.sqrt(jnp.maximum(jnp.diagonal(matrix), jnp.finfo(dtype).tiny))
    least = 4 * n * jnp.finfo(dtype).eps

    def eliminate(j: jax.Array, rows: jax.Array) -> jax.Array:
        pivot = jnp.sqrt(jnp.maximum(rows[j, j], least))
        row = rows[j] / pivot
        below = jnp.where(jnp.arange(n) > j, rows[:, j] / pivot, 0)
        return (rows - below[:, None] * row[None]).at[j].set(row)

    scaled = matrix / (size[:, None] * size[None, :])
    rows = jax.lax.fori_loop(0, n, eliminate, jnp.concatenate([scaled, eye], axis=1))
    return rows[:, n:] / size[None, :]
