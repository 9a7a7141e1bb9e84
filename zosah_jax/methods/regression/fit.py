r"""One regression over all stored points: the residuals as random polynomials around a centre.

.. math:: r(z) = r_0 + J z + c(z) + \text{noise}, \quad
    E[c(z) c(z')] = \sigma^2 k(z'z / L^2), \quad k(q) = q^2/2 + q^3/6 + q^4/24

Nothing is assumed of r_0 and J. The curvature c is a random polynomial whose coefficients of each
order are as large as those of exp(z'z / L^2): quadratic near the centre, and surer the nearer a
point is. One covariance serves all residuals, so that a point is one equation for each of them, and
sigma, the size of the curvature, follows from how far off J alone would have been. With sigma large
the fit interpolates: what Broyden's update is to one equation, this is to all that are kept.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

# L, in units of a coordinate. From 1 to 8 it makes no difference that is more than chance on
# NIST's and Moré's problems; learnt by likelihood, none either.
LENGTH = 4.0
_JITTER = 0.7  # exponent of the machine epsilon: what is added to a correlation of 1
_HARDER = 100.0  # factor on that where a factorisation fails
_MOST = 1.0
_FILLING = 20  # turns of conjugate gradients on the missing residuals


def kernel(q: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """k, k' and k'' of q = z'z / L^2."""
    return q**2 / 2 * (1 + q / 3 * (1 + q / 4)), q * (1 + q / 2 * (1 + q / 3)), 1 + q * (1 + q / 2)


class Fit(NamedTuple):
    """What the regression says. N points are stored, of d coordinates and k residuals.

    Attributes:
        residuals: at the stored points, missing ones as most likely, shape (N, k).
        value: r_0, shape (k,).
        jacobian: J, shape (k, d).
        weights: of the stored points in c: c(z) = sum over n of k(z'z_n / L^2) weights_n; (N, k).
        variance: sigma^2 by these points; 0 where there are too few to tell. Scalar.
        influence: of each stored point on J: J = (influence @ residuals).T; shape (d, N).
    """

    residuals: jax.Array
    value: jax.Array
    jacobian: jax.Array
    weights: jax.Array
    variance: jax.Array
    influence: jax.Array


def fit(
    z: jax.Array,
    residuals: jax.Array,
    there: jax.Array,
    missing: jax.Array,
    noise: jax.Array,
    length: float = LENGTH,
) -> Fit:
    """The regression.

    Args:
        z: stored points minus the centre, in units, shape (N, d).
        residuals: at them, shape (N, k); zeros where there is no point.
        there: which entries hold a point, bool, shape (N,).
        missing: which of their residuals are no measurements, bool, shape (N, k).
        noise: variance of a residual's noise over sigma^2, above 0, scalar or of shape (N,).
        length: L, in units of a coordinate.
    """
    number, d = z.shape
    dtype = z.dtype
    tiny = jnp.finfo(dtype).tiny
    covariance = kernel(z @ z.T / length**2)[0]
    scale = jnp.where(there, jax.lax.rsqrt(jnp.diag(covariance) + noise), 0)
    correlation = covariance * scale[:, None] * scale[None]
    root = cholesky(jnp.where(jnp.eye(number, dtype=bool), 1, correlation))
    whitener = solve_triangular(root, jnp.diag(scale), lower=True)
    linear = whitener @ jnp.concatenate([jnp.ones((number, 1), dtype), z], axis=1)
    size = jnp.maximum(jnp.linalg.norm(linear, axis=0), tiny**0.5)
    # a ridge of its own rows, so that coordinates that never moved have slope 0
    rows = [linear / size[None], ridge(d + 1, dtype)]
    explained, upper = jnp.linalg.qr(jnp.concatenate(rows))
    explained = explained[:number]
    residuals = jax.lax.cond(
        jnp.any(missing),
        lambda: _completed(whitener, explained, residuals, missing),
        lambda: residuals,
    )
    white = whitener @ residuals
    rest = white - explained @ (explained.T @ white)
    influence = solve_triangular(upper, explained.T @ whitener) / size[:, None]
    slopes = influence @ residuals
    came = jnp.sum(there[:, None] & ~missing, axis=0).astype(dtype)  # points of each residual
    freedom = jnp.sum(jnp.maximum(came - d - 1, 0))
    spread = jnp.sum(rest**2) / jnp.maximum(freedom, 1)
    return Fit(
        residuals=residuals,
        value=slopes[0],
        jacobian=slopes[1:].T,
        weights=whitener.T @ rest,
        variance=jnp.where(freedom > 0, spread, 0),
        influence=influence[1:],
    )


def ridge(number: int, dtype: jax.typing.DTypeLike) -> jax.Array:
    """Rows below those of a regression, so that what no row tells has coefficient 0."""
    return jnp.finfo(dtype).eps ** _JITTER * jnp.eye(number, dtype=dtype)


def cholesky(correlation: jax.Array) -> jax.Array:
    """Root of a correlation matrix, with as much on its diagonal as that takes."""
    dtype = correlation.dtype
    one = jnp.eye(len(correlation), dtype=dtype)
    jitter = jnp.asarray(jnp.finfo(dtype).eps ** _JITTER, dtype)

    def again(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        jitter = carry[0] * _HARDER
        return jitter, jnp.linalg.cholesky(correlation + jitter * one)

    def failed(carry: tuple[jax.Array, jax.Array]) -> jax.Array:
        return ~jnp.all(jnp.isfinite(carry[1])) & (carry[0] < _MOST)

    begin = jitter, jnp.linalg.cholesky(correlation + jitter * one)
    return jax.lax.while_loop(failed, again, begin)[1]


def _completed(
    whitener: jax.Array, explained: jax.Array, residuals: jax.Array, missing: jax.Array
) -> jax.Array:
    """The residuals, with those that are missing as all others make them most likely.

    Of each residual apart, y'Q y is least, with Q the inverse of the covariance but for what r_0
    and J explain: conjugate gradients on the missing entries of y, scaled by the diagonal of Q.
    """

    def push(y: jax.Array) -> jax.Array:
        white = whitener @ y
        return whitener.T @ (white - explained @ (explained.T @ white))

    across = whitener - explained @ (explained.T @ whitener)
    diagonal = jnp.sum(whitener * across, axis=0)
    # a point that alone tells a slope has no prediction
    told = diagonal > jnp.finfo(diagonal.dtype).eps ** 0.5 * jnp.sum(whitener**2, axis=0)
    root = jnp.where(told, jax.lax.rsqrt(jnp.where(told, diagonal, 1)), 0)[:, None]
    free = missing & told[:, None]

    def turn(_: int, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        x, left, along, size = carry
        pushed = jnp.where(free, root * push(root * along), 0)
        steep = jnp.sum(along * pushed, axis=0)
        step = jnp.where(steep > 0, size / jnp.where(steep > 0, steep, 1), 0)
        left = left - step[None] * pushed
        new = jnp.sum(left**2, axis=0)
        turned = jnp.where(size > 0, new / jnp.where(size > 0, size, 1), 0)
        return x + step[None] * along, left, left + turned[None] * along, new

    left = jnp.where(free, -root * push(residuals), 0)
    begin = (jnp.zeros_like(residuals), left, left, jnp.sum(left**2, axis=0))
    return residuals + root * jax.lax.fori_loop(0, _FILLING, turn, begin)[0]
