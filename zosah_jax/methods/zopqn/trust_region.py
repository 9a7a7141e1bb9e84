"""The step: the minimum of the quadratic within a ball, exactly."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.linear_algebra import eigh


class Spectrum(NamedTuple):
    """Eigendecomposition of a Hessian in the coordinates sqrt(W) s.

    Attributes:
        eigenvalues: ascending, shape (D,).
        eigenvectors: columns, shape (D, D).
        root: sqrt(W), 1 where nothing is known, shape (D,).
    """

    eigenvalues: jax.Array
    eigenvectors: jax.Array
    root: jax.Array


def spectrum(hessian: jax.Array, scale: jax.Array) -> Spectrum:
    """Spectrum of W^-1/2 B W^-1/2; coordinates with W_i = 0 stand apart, with eigenvalue 1."""
    scaled, root = scaled_hessian(hessian, scale)
    return Spectrum(*eigh(scaled), root)


def scaled_hessian(hessian: jax.Array, scale: jax.Array) -> tuple[jax.Array, jax.Array]:
    """W^-1/2 B W^-1/2, with 1 on the diagonal where W_i = 0; and sqrt(W), 1 there."""
    there = scale > 0
    root = jnp.sqrt(jnp.where(there, scale, 1))
    scaled = jnp.where(there[:, None] & there[None], hessian / root[:, None] / root[None], 0)
    return scaled + jnp.diag(jnp.where(there, 0, 1).astype(root.dtype)), root


def spectrum_of_inverse(values: jax.Array, vectors: jax.Array, unit: jax.Array) -> Spectrum:
    """Spectrum of H^-1 by that of H, the norm of the trust region that of coordinates in units."""
    values = jnp.maximum(values, jnp.finfo(values.dtype).eps * values[-1])
    return Spectrum(1 / values[::-1], vectors[:, ::-1], 1 / unit)


def trust_region_step(
    known: Spectrum, gradient: jax.Array, radius: jax.Array
) -> tuple[jax.Array, jax.Array]:
    r"""Minimum of g's + s'Bs / 2 over the ball of this radius in the norm of W.

    .. math:: (B + \lambda W) s = -g, \quad \lambda \ge 0, \quad B + \lambda W \succeq 0

    Args:
        known: spectrum of B.
        gradient: g, shape (D,).
        radius: positive scalar.

    Returns:
        s, shape (D,), and the decrease of the quadratic, scalar. In the hard case (g orthogonal to
        the lowest eigenvectors) s stays within the ball.

    Example:
        >>> import jax.numpy as jnp
        >>> known = spectrum(jnp.diag(jnp.array([1.0, -2.0])), jnp.array([1.0, 1.0]))
        >>> step, decrease = trust_region_step(known, jnp.array([0.0, 1.0]), jnp.array(3.0))
        >>> [round(float(part), 3) for part in (*step, decrease)]
        [0.0, -3.0, 12.0]

    References:
        Moré, Sorensen, `Computing a trust region step <https://doi.org/10.1137/0904038>`_, 1983.
    """
    values = known.eigenvalues
    coefficients = known.eigenvectors.T @ (gradient / known.root)
    tiny = jnp.finfo(values.dtype).eps
    largest = jnp.max(jnp.abs(values))
    lowest = jnp.maximum(0, -values[0])
    inner = jnp.where(values[0] > 10 * tiny * largest, 0, lowest + 100 * tiny * largest)
    safe = jnp.where(inner + largest > 0, 0, 1)  # B = 0: nothing but the gradient is known

    def length(damping: jax.Array) -> jax.Array:
        return jnp.linalg.norm(coefficients / (values + damping + safe * tiny))

    def halve(_: int, bracket: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bracket
        middle = (low + high) / 2
        outside = length(middle) > radius
        return jnp.where(outside, middle, low), jnp.where(outside, high, middle)

    far = lowest + jnp.linalg.norm(coefficients) / radius
    _, outer = jax.lax.fori_loop(0, 50, halve, (inner, far))
    damping = jnp.where(length(inner) > radius, outer, inner)
    step = -coefficients / (values + damping + safe * tiny)
    decrease = -(coefficients @ step + step @ (values * step) / 2)
    return (known.eigenvectors @ step) / known.root, decrease
