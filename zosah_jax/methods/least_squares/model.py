"""The model of the objective that a regression gives, and its minimum in a trust region."""

from functools import partial
from typing import Any, NamedTuple

import jax

from zosah_jax.methods.least_squares.loss import total, weights
from zosah_jax.methods.regression.fit import LENGTH, Fit, kernel
from zosah_jax.methods.regression.minimum import lowest
from zosah_jax.methods.regression.trust_region import Box


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


def minimum(model: Model, loss: Any, radius: jax.Array, box: Box) -> tuple[jax.Array, jax.Array]:
    """Where F is least within the ball and the box, and the decrease of F from z = 0."""
    return lowest(partial(value, model, loss), partial(_newton, model, loss), radius, box)
