"""The Hessian models of ZOHA, in the basis of random directions that are never stored.

All but the diagonal are lambda I + U B U' with U = [u_1 ... u_b] regenerated from keys, so that
their inverse roots are lambda^-1/2 I + U K U': b x b matrices and inner products say everything.
"""

import jax
import jax.numpy as jnp
import jax.scipy.linalg

from zosah_jax.linear_algebra import eigh
from zosah_jax.probes import direction
from zosah_jax.pytree import Params, working_dtype


def inner_products(left: jax.Array, right: jax.Array, params: Params) -> jax.Array:
    """u_i'w_j of the directions of two lists of keys; holds two directions at a time.

    Args:
        left: keys of the u_i, shape (a,).
        right: keys of the w_j, shape (b,).
        params: pytree; only shapes matter.

    Returns:
        Shape (a, b), in the working dtype.
    """
    dtype = working_dtype(params)

    def row(key: jax.Array) -> jax.Array:
        u = direction(key, params)

        def entry(other: jax.Array) -> jax.Array:
            parts = jax.tree.map(lambda x, y: jnp.sum(x * y), u, direction(other, params))
            return sum(
                (part.astype(dtype) for part in jax.tree.leaves(parts)), jnp.zeros((), dtype)
            )

        return jax.lax.map(entry, right)

    return jax.lax.map(row, left)


def damping_of(curvature: jax.Array, dimension: int, given: float | None) -> jax.Array:
    """Lambda: as given, or the mean eigenvalue that curvatures u'Hu / 2 tell; 1 where that is 0."""
    if given is not None:
        return jnp.asarray(given, curvature.dtype)
    mean = 2 * jnp.mean(curvature) / dimension
    return jnp.where(mean > 0, mean, 1)


def gaussian_kernel(curvature: jax.Array, gram: jax.Array, damping: jax.Array) -> jax.Array:
    """K of the inverse root of (1/b) sum of c_i u_i u_i' + lambda I.

    Args:
        curvature: c_i >= 0, shape (b,).
        gram: U'U, shape (b, b).
        damping: lambda > 0, scalar.

    Returns:
        K, shape (b, b).
    """
    root = jnp.sqrt(curvature / len(curvature))
    eigenvalues, vectors = eigh(root[:, None] * gram * root[None])
    size = jnp.sqrt(jnp.maximum(eigenvalues, 0) + damping)
    # ((s + lambda)^-1/2 - lambda^-1/2) / s, without its cancellation
    factor = -1 / (size * jnp.sqrt(damping) * (size + jnp.sqrt(damping)))
    return root[:, None] * ((vectors * factor[None]) @ vectors.T) * root[None]


def orthonormal(coefficients: jax.Array, gram: jax.Array) -> jax.Array:
    """Coefficients of the Gram-Schmidt basis of U a_1 ... U a_k.

    Args:
        coefficients: rows a_j, shape (k, b).
        gram: U'U, shape (b, b).

    Returns:
        Shape (k, b); zeros where the span has fewer dimensions.
    """
    lower = jnp.linalg.cholesky(coefficients @ gram @ coefficients.T)
    basis = jax.scipy.linalg.solve_triangular(lower, coefficients, lower=True)
    return jnp.where(jnp.all(jnp.isfinite(basis)), basis, 0)


def ritz_kernel(coefficients: jax.Array, products: jax.Array, damping: jax.Array) -> jax.Array:
    """K of the inverse root of lambda I + sum of |theta_j| v_j v_j' over the Ritz pairs.

    Args:
        coefficients: rows of an orthonormal basis, shape (k, b).
        products: u_i'H v_j, shape (b, k).
        damping: lambda > 0, scalar.

    Returns:
        K, shape (b, b).
    """
    projected = coefficients @ products
    values, vectors = eigh((projected + projected.T) / 2)
    basis = vectors.T @ coefficients
    factor = jax.lax.rsqrt(jnp.abs(values) + damping) - jax.lax.rsqrt(damping)
    return (basis.T * factor[None]) @ basis


def mean_square(key: jax.Array, weight: jax.Array, params: Params) -> Params:
    """(1/b) sum of weight_i u_i^2, coordinate by coordinate."""

    def add(total: Params, each: tuple[jax.Array, jax.Array]) -> tuple[Params, None]:
        u = direction(each[0], params)
        return jax.tree.map(lambda t, x: t + each[1].astype(x.dtype) * x**2, total, u), None

    zeros = jax.tree.map(lambda x: jnp.zeros(jnp.shape(x), working_dtype(x)), params)
    return jax.lax.scan(add, zeros, (key, weight / len(weight)))[0]
