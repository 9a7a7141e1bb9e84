"""Eigendecompositions that may be batched."""

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
