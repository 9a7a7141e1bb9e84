"""Hessian estimator: a quadratic polynomial fitted to cached values in each W_j.

The model in W_j, around the present point, is p(theta) = 1/2 theta'A theta + b'theta + c. Every
sample is one equation for the three entries (a11, a12, a22) of A, the diagonal ones at [::2],

    quadratic . (a11, a12, a22) = target - linear . b,

and b is eliminated by the present gradient probes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.methods.zosah.reading import Reading
from zosah_jax.methods.zosah.samples import Samples


class Fitted(NamedTuple):
    """What the values say of every pair.

    Attributes:
        gradient: shape (J, 2).
        hessian: (a11, a12, a22) of A_j, shape (J, 3).
        fixed: which coordinates lack something that a step needs, bool, shape (J, 2).
    """

    gradient: jax.Array
    hessian: jax.Array
    fixed: jax.Array


class Equations(NamedTuple):
    """k equations for the quadratic model of each of J subspaces.

    Attributes:
        linear: coefficients of b, shape (J, k, 2).
        quadratic: coefficients of the entries of A, shape (J, k, 3).
        target: what they add up to, shape (J, k); NaN where a value is missing.
    """

    linear: jax.Array
    quadratic: jax.Array
    target: jax.Array


def equations(seen: Samples, position: jax.Array, base: jax.Array, reading: Reading) -> Equations:
    """Equations that samples give for the quadratic model around the present point.

    With delta = seen.position - position and theta = seen.offset:

    - "paper": p(delta + theta) - p(0) = f(visited + theta) - f(present). The right-hand side also
      holds what every other pair's move did to f, which swamps the curvature once m > 2.
    - "centred": p(delta + theta) - p(delta) = f(visited + theta) - f(visited). What the other pairs
      did cancels to first order, and both values stem from one step (and one mini-batch).

    Args:
        seen: values around an earlier point (or the present one).
        position: present coordinates, shape (J, 2).
        base: value at the present point.
        reading: its `cached`.

    Returns:
        One equation a sample.
    """
    delta = (seen.position - position)[:, None, :]
    theta = seen.offset
    if reading.cached == "paper":
        return Equations(delta + theta, _monomials(delta + theta), seen.value - base)
    moved = _monomials(delta + theta) - _monomials(jnp.broadcast_to(delta, theta.shape))
    return Equations(theta, moved, seen.value - seen.base)


def _monomials(theta: jax.Array) -> jax.Array:
    """(theta1^2 / 2, theta1 theta2, theta2^2 / 2), the terms of 1/2 theta'A theta."""
    first, second = theta[..., 0], theta[..., 1]
    return jnp.stack([first * first / 2, first * second, second * second / 2], axis=-1)


def fit_hessian(
    samples: list[Equations],
    gradient: jax.Array,
    smoothing: jax.Array,
    previous: jax.Array | None,
    *,
    reading: Reading,
    ridge: float | jax.Array,
    noise: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Regularised weighted least squares for A, and the gradient that goes with it.

    fit "paper" takes b = g, the forward differences. fit "joint" counts their bias:
    b_i = g_i - eps_i a_ii / 2, which costs nothing, as a_ii is being fitted.

    prior "paper": min |Phi a - q|^2 + ridge tr(Phi'Phi)/3 |a|^2, all equations alike.
    prior "previous": each equation has the variance 2 noise^2 + (ridge |A| |Phi_i|)^2 (rounding,
    and the model's own error in proportion to the distance); A is drawn to the previous fit, with
    a standard deviation of its own norm (at least the root mean square of all entries). Where the
    moves are too small to say anything, A stays.

    Args:
        samples: equations of each set of samples; together k.
        gradient: forward differences g, shape (J, 2), NaN where missing.
        smoothing: their lengths eps, shape (J, 2).
        previous: A of the last step, shape (J, 3); None in a new subspace.
        reading: its `fit` says how b is eliminated, its `prior` what A is drawn to.
        ridge: relative weight of the prior, see above.
        noise: standard deviation of a value of f, scalar.

    Returns:
        (gradient, A) of shapes (J, 2) and (J, 3); finite, with 0 where nothing is known.
    """
    linear, quadratic, target = (
        jnp.concatenate(parts, axis=1) for parts in zip(*samples, strict=True)
    )
    known = jnp.isfinite(gradient)
    slope = jnp.where(known, gradient, 0)
    missing = ~jnp.isfinite(target) | jnp.any((linear != 0) & ~known[:, None, :], axis=-1)
    rows = quadratic
    if reading.fit == "joint":
        bias = linear * smoothing[:, None, :] / 2
        rows = rows.at[..., ::2].add(-bias)
    rows = jnp.where(missing[..., None], 0, rows)
    right = jnp.where(missing, 0, target - jnp.sum(linear * slope[:, None, :], axis=-1))

    if reading.prior == "paper" or previous is None:
        hessian = _solve(
            rows, right, jnp.ones_like(right), ridge if reading.prior == "paper" else 0.0
        )
    else:
        hessian = _towards(previous, rows, right, jnp.linalg.norm(quadratic, axis=-1), ridge, noise)
    return unbiased(gradient, smoothing, hessian, reading), hessian


def unbiased(
    gradient: jax.Array, smoothing: jax.Array, hessian: jax.Array, reading: Reading
) -> jax.Array:
    """Forward differences, less their bias eps_i a_ii / 2 where the fit is "joint"; 0 for NaN."""
    known = jnp.isfinite(gradient)
    slope = jnp.where(known, gradient, 0)
    if reading.fit == "paper":
        return slope
    return jnp.where(known, slope - smoothing * hessian[:, ::2] / 2, 0)


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
    size = jnp.linalg.norm(previous * _frobenius(previous.dtype)[None], axis=-1) / unit
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
    """Minimiser of sum weight (rows a - right)^2 + pull |a - centre|^2, shape (J, 3).

    Without a centre the pull is relative to the equations, tr(Phi'Phi)/3, and towards 0; with one
    it is absolute and in the Frobenius norm of A.
    """
    dtype = rows.dtype
    weighted = rows * weight[..., None]
    normal = jnp.sum(weighted[..., :, None] * rows[..., None, :], axis=1)
    moment = jnp.sum(weighted * right[..., None], axis=1)
    size = jnp.trace(normal, axis1=1, axis2=2)[:, None] / 3
    eps = jnp.finfo(dtype).eps
    if centre is None:  # well above rounding, so that equations that are too few are solved, too
        pull = jnp.maximum(pull, 256 * eps) * jnp.where(size > 0, size, 1)
        penalty = jnp.broadcast_to(pull, moment.shape)
    else:
        towards = pull * _frobenius(dtype)[None] ** 2
        penalty = towards + jnp.where(size > 0, 4 * eps * size, 1)
        moment += penalty * centre
    normal += penalty[:, :, None] * jnp.eye(3, dtype=dtype)[None]
    scale = jax.lax.rsqrt(jnp.diagonal(normal, axis1=1, axis2=2))
    scaled = normal * scale[:, :, None] * scale[:, None, :]
    return scale * _cholesky_solve(scaled, scale * moment)


def _frobenius(dtype: jax.typing.DTypeLike) -> jax.Array:
    """Times (a11, a12, a22), its Euclidean norm is the Frobenius norm of A."""
    return jnp.asarray([1, 2**0.5, 1], dtype)


def _cholesky_solve(matrix: jax.Array, right: jax.Array) -> jax.Array:
    """Solution of J symmetric 3x3 systems with unit diagonal.

    By hand, as this fuses with the fit on every backend; a library call for so many tiny systems
    takes a fifth of `tell`.
    """
    least = 4 * jnp.finfo(matrix.dtype).eps
    m21, m31, m32 = matrix[:, 1, 0], matrix[:, 2, 0], matrix[:, 2, 1]
    l22 = jnp.sqrt(jnp.maximum(1 - m21**2, least))
    l32 = (m32 - m21 * m31) / l22
    l33 = jnp.sqrt(jnp.maximum(1 - m31**2 - l32**2, least))
    y1 = right[:, 0]
    y2 = (right[:, 1] - m21 * y1) / l22
    y3 = (right[:, 2] - m31 * y1 - l32 * y2) / l33
    x3 = y3 / l33
    x2 = (y2 - l32 * x3) / l22
    return jnp.stack([y1 - m21 * x2 - m31 * x3, x2, x3], axis=-1)
