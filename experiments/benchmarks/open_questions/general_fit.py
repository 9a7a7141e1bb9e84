"""ZO-SAH's fit for subspaces of s dimensions; the library's, `hessian.py`, is for pairs.

The measured reading only: centred, joint, drawn to the fit before.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.open_questions.general import Seen, diagonal_of, dimension_of, places


class Equations(NamedTuple):
    """k equations for the model of each of J subspaces; see the library's."""

    linear: jax.Array
    quadratic: jax.Array
    target: jax.Array


def equations(seen: Seen, position: jax.Array) -> Equations:
    """p(delta + theta) - p(delta) = f(visited + theta) - f(visited), a row a sample."""
    delta = (seen.position - position)[:, None, :]
    theta = seen.offset
    moved = _monomials(delta + theta) - _monomials(jnp.broadcast_to(delta, theta.shape))
    return Equations(theta, moved, seen.value - seen.base)


def _monomials(theta: jax.Array) -> jax.Array:
    """(theta1^2 / 2, theta1 theta2, theta2^2 / 2), the terms of 1/2 theta'A theta."""
    rows, columns = places(theta.shape[-1])
    terms = [
        theta[..., i] * theta[..., j] / (2 if i == j else 1)
        for i, j in zip(rows, columns, strict=True)
    ]
    return jnp.stack(terms, axis=-1)


def fit_hessian(
    samples: list[Equations],
    gradient: jax.Array,
    smoothing: jax.Array,
    previous: jax.Array | None,
    *,
    ridge: float,
    noise: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Gradient and A by regularised least squares, as the library's for pairs."""
    linear, quadratic, target = (
        jnp.concatenate(parts, axis=1) for parts in zip(*samples, strict=True)
    )
    known = jnp.isfinite(gradient)
    slope = jnp.where(known, gradient, 0)
    missing = ~jnp.isfinite(target) | jnp.any((linear != 0) & ~known[:, None, :], axis=-1)
    bias = linear * smoothing[:, None, :] / 2
    rows = quadratic.at[..., _diagonal(quadratic)].add(-bias)
    rows = jnp.where(missing[..., None], 0, rows)
    right = jnp.where(missing, 0, target - jnp.sum(linear * slope[:, None, :], axis=-1))
    if previous is None:
        hessian = _solve(rows, right, jnp.ones_like(right), 0.0)
    else:
        hessian = _towards(previous, rows, right, jnp.linalg.norm(quadratic, axis=-1), ridge, noise)
    return slopes(gradient, smoothing, hessian), hessian


def slopes(gradient: jax.Array, smoothing: jax.Array, hessian: jax.Array) -> jax.Array:
    """Forward differences, less their bias eps_i a_ii / 2; 0 where missing."""
    known = jnp.isfinite(gradient)
    slope = jnp.where(known, gradient, 0)
    return jnp.where(known, slope - smoothing * hessian[:, _diagonal(hessian)] / 2, 0)


def _diagonal(unknowns: jax.Array) -> np.ndarray:
    return diagonal_of(dimension_of(unknowns))


def _towards(
    previous: jax.Array,
    rows: jax.Array,
    right: jax.Array,
    distance: jax.Array,
    ridge: float | jax.Array,
    noise: jax.Array,
) -> jax.Array:
    """Fit drawn to the previous A, in units of the noise (values) and of a typical entry (A)."""
    tiny = jnp.finfo(rows.dtype).tiny ** 0.5
    unit = jnp.maximum(jnp.sqrt(jnp.mean(previous**2)), tiny)
    noise = jnp.maximum(noise, unit * tiny)
    reach = jnp.minimum(ridge * distance * (unit / noise), 1 / tiny**0.5)
    size = jnp.linalg.norm(previous * _frobenius(previous)[None], axis=-1) / unit
    pull = 1 / jnp.maximum(size, 1)[:, None] ** 2
    return unit * _solve(
        rows * (unit / noise), right / noise, 1 / (2 + reach**2), pull, previous / unit
    )


def _solve(
    rows: jax.Array,
    right: jax.Array,
    weight: jax.Array,
    pull: jax.Array | float,
    centre: jax.Array | None = None,
) -> jax.Array:
    """Minimiser of sum weight (rows a - right)^2 + pull |a - centre|^2, shape (J, n).

    Without a centre the pull is relative to the equations, tr(Phi'Phi)/n, and towards 0; with one
    it is absolute and in the Frobenius norm of A.
    """
    dtype = rows.dtype
    weighted = rows * weight[..., None]
    normal = jnp.sum(weighted[..., :, None] * rows[..., None, :], axis=1)
    moment = jnp.sum(weighted * right[..., None], axis=1)
    unknowns = rows.shape[-1]
    size = jnp.trace(normal, axis1=1, axis2=2)[:, None] / unknowns
    eps = jnp.finfo(dtype).eps
    if centre is None:  # well above rounding, so that equations that are too few are solved, too
        pull = jnp.maximum(pull, 256 * eps) * jnp.where(size > 0, size, 1)
        penalty = jnp.broadcast_to(pull, moment.shape)
    else:
        towards = pull * _frobenius(rows)[None] ** 2
        penalty = towards + jnp.where(size > 0, 4 * eps * size, 1)
        moment += penalty * centre
    normal += penalty[:, :, None] * jnp.eye(unknowns, dtype=dtype)[None]
    scale = jax.lax.rsqrt(jnp.diagonal(normal, axis1=1, axis2=2))
    scaled = normal * scale[:, :, None] * scale[:, None, :]
    # LU: where equations are too few, rounding can cost the matrix its positive definiteness
    return scale * jnp.linalg.solve(scaled, (scale * moment)[..., None])[..., 0]


def _frobenius(unknowns: jax.Array) -> jax.Array:
    """(1, sqrt(2), 1): times (a11, a12, a22), its Euclidean norm is the Frobenius norm of A."""
    rows, columns = places(dimension_of(unknowns))
    return jnp.asarray(np.where(rows == columns, 1, 2**0.5), unknowns.dtype)
