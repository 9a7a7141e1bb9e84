"""What the regression says where a run has ended."""

from typing import Any

import jax
import jax.numpy as jnp

from zosah_jax.method import Problem
from zosah_jax.methods.least_squares.loss import weights
from zosah_jax.methods.least_squares.state import LeastSquaresState, measured
from zosah_jax.methods.least_squares.steps import fitted
from zosah_jax.methods.regression.points import sides
from zosah_jax.pytree import Params, unflattened

# Exponent of the machine epsilon: a direction that changes the residuals by less than this part of
# what the strongest one changes is a direction of rounding errors.
_NOTHING = 0.4
_INVOLVED = 1e-3  # component of such a direction from which on a parameter is undetermined


def report(
    state: LeastSquaresState, params: Params, problem: Problem, loss: Any
) -> tuple[Params, jax.Array, jax.Array, jax.Array, jax.Array]:
    """Where the run stands, and residuals, Jacobian, covariance, undetermined directions there.

    Args:
        state: the last.
        params: x0, for its structure.
        problem: for its bounds.
        loss: as of the method.

    Returns:
        params; residuals (k,); Jacobian (k, d); covariance (d, d); directions (d, d), rows, zero
        where they are determined.
    """
    fit, _ = fitted(state)
    k, d = fit.jacobian.shape
    box = sides(params, problem)
    free = box.upper > box.lower
    _, second = weights(loss, fit.value)
    scaled = jnp.sqrt(second)[:, None] * jnp.where(free[None], fit.jacobian, 0)
    _, singular, rows = jnp.linalg.svd(scaled, full_matrices=k < d)
    singular = jnp.concatenate([singular, jnp.zeros(d - len(singular), singular.dtype)])
    # a fixed parameter is determined by being fixed
    fixed = jnp.sum(jnp.where(free[None], 0, rows**2), axis=1) > 0.5
    least = jnp.finfo(singular.dtype).eps ** _NOTHING * singular[0]
    told = singular > least
    inverse = jnp.where(told, 1 / jnp.where(told, singular, 1), 0)
    half = rows.T * inverse[None]  # (J'J)^-1 = half half'
    surplus = jnp.sum(measured(state)).astype(half.dtype) - d
    spread = state.value / jnp.maximum(surplus, 1)
    covariance = spread * (half @ half.T) * state.scale[:, None] * state.scale[None]
    directions = jnp.where((told | fixed)[:, None], 0, rows * state.scale[None])
    size = jnp.linalg.norm(directions, axis=1, keepdims=True)
    directions = directions / jnp.where(size > 0, size, 1)
    moves_freely = (jnp.abs(rows) > _INVOLVED) & ~(told | fixed)[:, None]
    lost = jnp.any(moves_freely, axis=0)
    covariance = jnp.where(jnp.diag(lost), jnp.inf, covariance)
    covariance = jnp.where(surplus > 0, covariance, jnp.inf)
    known = jnp.isfinite(state.value)
    x = unflattened(params, state.points[state.centre])
    x = jax.tree.map(lambda new, old: jnp.where(known, new, old), x, state.x)
    residuals = jnp.where(known, fit.value, jnp.nan)
    return x, residuals, fit.jacobian / state.scale[None], covariance, directions
