"""The state of the least-squares solver: the points that it keeps, and where it stands."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.pytree import Params

_KEPT = 80  # points, where a quadratic has more unknowns than that


class LeastSquaresState(NamedTuple):
    """State of the solver: N points of d coordinates, k residuals; floats in the working dtype.

    Attributes:
        key: typed PRNG key; nothing is random.
        x: where the run stands, like the parameters in float32 or wider: point `centre`.
        value: the objective there, of the residuals as fitted; inf before it is known.
        stage: which comes next, int32.
        points: stored, coordinates in one vector each, shape (N, d).
        residuals: at them, missing ones as predicted, shape (N, k).
        there: which entries hold a point, bool, shape (N,).
        missing: which residuals are no measurements, bool, shape (N, k).
        centre: the entry where the run stands, int32.
        unit: size of each coordinate at the start, shape (d,).
        scale: its size where the run stands; lengths are in these, shape (d,).
        radius: of the trust region, in the norm of z = (x - centre) / scale.
        variance: sigma^2, how curved the residuals are; 0 before there is a surplus of points.
        noise: standard deviation of a residual's noise.
        start: the objective at x0; 0 before it is known.
        turn: looks taken, int32.
        converged: whether there is nothing more to gain, bool.
    """

    key: jax.Array
    x: Params
    value: jax.Array
    stage: jax.Array
    points: jax.Array
    residuals: jax.Array
    there: jax.Array
    missing: jax.Array
    centre: jax.Array
    unit: jax.Array
    scale: jax.Array
    radius: jax.Array
    variance: jax.Array
    noise: jax.Array
    start: jax.Array
    turn: jax.Array
    converged: jax.Array


def num_kept(d: int) -> int:
    """Points that are kept of d coordinates: as many as a quadratic has unknowns, within bounds."""
    quadratic = (d + 1) * (d + 2) // 2 + d + 4
    return max(3 * d + 6, min(quadratic, _KEPT))


def stored(
    state: LeastSquaresState, points: jax.Array, values: jax.Array, predicted: jax.Array
) -> tuple[LeastSquaresState, jax.Array]:
    """The state with further points; those without any residual are left out.

    Args:
        state: with as many free entries as there are points, or more.
        points: shape (n, d).
        values: residuals, not finite where missing, shape (n, k).
        predicted: of them, where they are missing, shape (n, k).

    Returns:
        The state, and the entries of the points, int32, shape (n,).
    """
    came = jnp.isfinite(values)
    filled = jnp.where(came, values, predicted)
    entries = jnp.argsort(state.there, stable=True)[: len(points)].astype(np.int32)
    if state.residuals.shape[1] != values.shape[1]:  # nobody knew k before the first values
        empty = jnp.zeros((len(state.there), values.shape[1]), values.dtype)
        state = state._replace(residuals=empty, missing=jnp.zeros(empty.shape, bool))
    return state._replace(
        points=state.points.at[entries].set(points),
        residuals=state.residuals.at[entries].set(filled),
        there=state.there.at[entries].set(jnp.any(came, axis=1)),
        missing=state.missing.at[entries].set(~came),
    ), entries


def measured(state: LeastSquaresState) -> jax.Array:
    """Which residuals came at one point at least, bool, shape (k,)."""
    return jnp.any(~state.missing & state.there[:, None], axis=0)


def thinned(state: LeastSquaresState) -> LeastSquaresState:
    """The state with the nearest points alone, as many as are kept."""
    z = (state.points - state.points[state.centre][None]) / state.scale[None]
    distance = jnp.where(state.there, jnp.linalg.norm(z, axis=1), jnp.inf)
    rank = jnp.argsort(jnp.argsort(distance, stable=True))
    there = state.there & (rank < num_kept(z.shape[1]))
    return state._replace(there=there, residuals=jnp.where(there[:, None], state.residuals, 0))


def centred(state: LeastSquaresState) -> jax.Array:
    """The stored points around the centre, in units, shape (N, d); 0 where there is none."""
    z = (state.points - state.points[state.centre][None]) / state.scale[None]
    return jnp.where(state.there[:, None], z, 0)
