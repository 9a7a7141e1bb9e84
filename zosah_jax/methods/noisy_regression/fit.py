r"""A regression over noisy values whose curvature and smoothness are learnt from them.

.. math:: y(z) = b + g^T z + p(z) + \text{noise}, \quad
    E[p(z)] = \tau |z|^2 / 2, \quad
    \mathrm{cov}(p(z), p(w)) = s L^4 k(z^T w / L^2) + (3 \tau)^2 |z|^2 |w|^2 / 4,
    \quad k(q) = q^2/2 + q^3/6 + q^4/24

with tau the noise of a value. In the solver's metric the Hessian is about tau I: so it is drawn to
that, a multiple of I is nearly free, all other entries have standard deviation sqrt(s), third
derivatives sqrt(s) / L, fourth sqrt(s) / L^2. Nothing is assumed of b and g. How likely the values
are with b and g integrated out (restricted maximum likelihood) says what s and L are.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from zosah_jax.methods.regression.fit import cholesky, kernel, ridge

_ISOTROPIC = 3.0  # standard deviation of the multiple of I, in units of the noise


class Fit(NamedTuple):
    """A regression over N points of d coordinates.

    Attributes:
        z: the points, shape (N, d).
        value: b, scalar.
        slope: g, shape (d,).
        weights: of the points in p, shape (N,): p(z) = bend |z|^2 / 2 + sum k(z'z_n / L^2) w_n.
        bend: multiple of I in the Hessian, scalar.
        length: L.
        scatter: trace of the covariance of g, scalar.
    """

    z: jax.Array
    value: jax.Array
    slope: jax.Array
    weights: jax.Array
    bend: jax.Array
    length: jax.Array
    scatter: jax.Array


def fit(
    z: jax.Array,
    y: jax.Array,
    there: jax.Array,
    variance: jax.Array,
    noise: jax.Array,
    spread: jax.Array,
    length: jax.Array,
) -> tuple[Fit, jax.Array]:
    """The regression, and the logarithm of its restricted likelihood, up to a constant.

    Args:
        z: points, shape (N, d); 0 where there is none.
        y: values, shape (N,); 0 where there is none.
        there: which entries hold a point, bool, shape (N,).
        variance: of the error of each value, shape (N,).
        noise: tau, scalar.
        spread: s, scalar.
        length: L, scalar.
    """
    number, d = z.shape
    tiny = jnp.finfo(z.dtype).tiny
    size = jnp.sum(z**2, axis=1) / 2
    both = there[:, None] & there[None]
    isotropic = (_ISOTROPIC * noise) ** 2
    covariance = spread * length**4 * kernel(z @ z.T / length**2)[0]
    covariance = jnp.where(both, covariance + isotropic * size[:, None] * size[None], 0)
    scale = jax.lax.rsqrt(jnp.maximum(jnp.diag(covariance) + variance, tiny))
    scale = jnp.where(there, scale, 1)
    correlation = covariance * scale[:, None] * scale[None]
    root = cholesky(jnp.where(jnp.eye(number, dtype=bool), 1, correlation))
    linear = jnp.concatenate([there[:, None].astype(z.dtype), z], axis=1)
    left = jnp.where(there, y - noise * size, 0)
    columns = jnp.concatenate([linear, left[:, None]], axis=1) * scale[:, None]
    white = solve_triangular(root, columns, lower=True)
    linear, left = white[:, :-1], white[:, -1]
    unit = jnp.maximum(jnp.linalg.norm(linear, axis=0), tiny**0.5)
    explained, upper = jnp.linalg.qr(jnp.concatenate([linear / unit[None], ridge(d + 1, z.dtype)]))
    explained = explained[:number]
    told = explained.T @ left
    slopes = solve_triangular(upper, told) / unit
    rest = left - explained @ told
    weights = solve_triangular(root.T, rest) * scale
    diagonal = jnp.maximum(jnp.abs(jnp.diag(upper)), tiny)
    likely = -jnp.sum(rest**2) / 2 + jnp.sum(jnp.log(scale) - jnp.log(jnp.diag(root)))
    likely -= jnp.sum(jnp.log(diagonal) + jnp.log(unit))
    bend = noise + isotropic * (size @ weights)
    weights = spread * length**4 * weights
    # of b and g the covariance is A A', A = diag(1 / unit) upper^-1
    root = solve_triangular(upper, jnp.eye(d + 1, dtype=z.dtype)) / unit[:, None]
    scatter = jnp.sum(root[1:] ** 2)
    return Fit(z, slopes[0], slopes[1:], weights, bend, length, scatter), likely


def value(model: Fit, z: jax.Array) -> jax.Array:
    """The regression at z."""
    curved = kernel(model.z @ z / model.length**2)[0] @ model.weights
    return model.value + model.slope @ z + model.bend * (z @ z) / 2 + curved


def newton(model: Fit, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Its gradient and Hessian at z."""
    _, k1, k2 = kernel(model.z @ z / model.length**2)
    bent = (model.weights * k1) @ model.z / model.length**2
    hessian = (model.z.T * (model.weights * k2)[None]) @ model.z / model.length**4
    own = model.bend * jnp.eye(len(z), dtype=z.dtype)
    return model.slope + model.bend * z + bent, hessian + own
