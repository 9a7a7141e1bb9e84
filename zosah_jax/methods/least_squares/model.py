"""The model of the objective that a regression gives, and its minimum in a trust region."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.methods.least_squares.loss import total, weights
from zosah_jax.methods.least_squares.regression import LENGTH, Fit, kernel
from zosah_jax.methods.least_squares.trust_region import Box, minimise

_TURNS = 40  # of Newton's method on the model, at most
_ENOUGH = 1e-2  # of the decrease so far: a turn that gains less is the last
_FIRST_DAMPING = 1e-10  # of the trace of the Hessian, after a turn that gained nothing
_DAMPING = 10.0  # factor on it from turn to turn
_SHORT = 1e-12  # of the radius: a move that is no longer is none


class Model(NamedTuple):
    """F(z) = sum of rho(r(z)^2) + z'U z, with r(z) as the regression has it.

    Attributes:
        fit: the regression.
        z: the stored points that it is of, shape (N, d).
        doubt: U, how much more than predicted the noise of J is expected to cost, shape (d, d).
    """

    fit: Fit
    z: jax.Array
    doubt: jax.Array


def residuals(model: Model, z: jax.Array) -> jax.Array:
    """r(z), shape (k,)."""
    k, _, _ = kernel(model.z @ z / LENGTH**2)
    return model.fit.value + model.fit.jacobian @ z + k @ model.fit.weights


def value(model: Model, loss: Any, z: jax.Array) -> jax.Array:
    """F(z)."""
    return total(loss, residuals(model, z)) + z @ model.doubt @ z


def _newton(model: Model, loss: Any, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Gradient and Hessian of F / 2 at z."""
    _, k1, k2 = kernel(model.z @ z / LENGTH**2)
    r = residuals(model, z)
    jacobian = model.fit.jacobian + (model.fit.weights.T * k1[None]) @ model.z / LENGTH**2
    first, second = weights(loss, r)
    # sum over residuals of rho' r_i H_i, their own curvature
    curved = model.z.T * ((model.fit.weights @ (first * r)) * k2)[None] @ model.z / LENGTH**4
    hessian = (jacobian.T * second[None]) @ jacobian + curved + model.doubt
    return jacobian.T @ (first * r) + model.doubt @ z, hessian


class _Turn(NamedTuple):
    turn: jax.Array
    z: jax.Array
    value: jax.Array
    damping: jax.Array
    ended: jax.Array


def lowest(model: Model, loss: Any, radius: jax.Array, box: Box) -> tuple[jax.Array, jax.Array]:
    """Where F is least within the ball and the box, and the decrease of F from z = 0.

    Newton's method on the model, damped where a move gains nothing; it costs no evaluation.
    """
    d = model.z.shape[1]
    dtype = model.z.dtype
    start = value(model, loss, jnp.zeros(d, dtype))

    def turn(at: _Turn) -> _Turn:
        gradient, hessian = _newton(model, loss, at.z)
        damped = hessian + at.damping * jnp.trace(jnp.abs(hessian)) * jnp.eye(d, dtype=dtype)
        z = minimise(gradient, damped, at.z, radius, box)
        new = value(model, loss, z)
        better = new < at.value
        gain = at.value - new
        few = gain < _ENOUGH * (start - at.value)
        still = jnp.linalg.norm(z - at.z) < _SHORT * radius
        less = jnp.where(at.damping > _FIRST_DAMPING, at.damping / _DAMPING, 0)
        more = jnp.maximum(at.damping * _DAMPING, _FIRST_DAMPING)
        return _Turn(
            at.turn + 1,
            jnp.where(better, z, at.z),
            jnp.where(better, new, at.value),
            jnp.where(better, less, more).astype(dtype),
            jnp.where(better, few, still | ~jnp.isfinite(new) & (at.damping > 1)),
        )

    def goes_on(at: _Turn) -> jax.Array:
        return (at.turn < _TURNS) & ~at.ended

    begin = _Turn(
        jnp.zeros((), jnp.int32),
        jnp.zeros(d, dtype),
        start,
        jnp.zeros((), dtype),
        jnp.zeros((), bool),
    )
    found = jax.lax.while_loop(goes_on, turn, begin)
    return found.z, start - found.value
