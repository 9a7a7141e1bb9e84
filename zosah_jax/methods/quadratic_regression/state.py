"""The state of the solver: the points that it keeps, and where it stands."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.pytree import Params

_MOST = 256  # points that are kept, where a quadratic has no more unknowns than that
_SURPLUS = 4  # points beyond what a quadratic and its slopes have unknowns


class QuadraticRegressionState(NamedTuple):
    """State of the solver: N points of d coordinates; floats in the working dtype.

    Attributes:
        key: typed PRNG key: where to look when the model promises nothing.
        x: where the run stands, like the parameters in float32 or wider: point `centre`.
        value: f there; inf before it is known.
        stage: which comes next, int32.
        points: stored, coordinates in one vector each, shape (N, d).
        values: at them, shape (N,).
        there: which entries hold a point, bool, shape (N,).
        centre: the entry where the run stands, int32.
        unit: size of each coordinate at the start, shape (d,).
        scale: its size where the run stands; lengths are in these, shape (d,).
        radius: of the trust region, in the norm of z = (x - centre) / scale.
        hessian: H of the fit before, in the coordinates x / unit, shape (d, d).
        variance: sigma^2, by how much H has changed; 0 before that is known.
        start: |f(x0)|.
        turn: steps taken, int32.
        converged: whether there is nothing more to gain, bool.
    """

    key: jax.Array
    x: Params
    value: jax.Array
    stage: jax.Array
    points: jax.Array
    values: jax.Array
    there: jax.Array
    centre: jax.Array
    unit: jax.Array
    scale: jax.Array
    radius: jax.Array
    hessian: jax.Array
    variance: jax.Array
    start: jax.Array
    turn: jax.Array
    converged: jax.Array


def num_kept(d: int) -> int:
    """Points that are kept of d coordinates: more than a quadratic has unknowns, or few.

    Between the two, with 5 points a coordinate of 20, the fit is worse than with either: too many
    equations for what is near, too few for all of H.
    """
    quadratic = (d + 1) * (d + 2) // 2 + d + _SURPLUS
    return quadratic if quadratic <= _MOST else 2 * d + _SURPLUS


def stored(
    state: QuadraticRegressionState, points: jax.Array, values: jax.Array
) -> tuple[QuadraticRegressionState, jax.Array]:
    """The state with further points, and their entries; those without a value are left out.

    Args:
        state: with as many free entries as there are points, or more.
        points: shape (n, d).
        values: not finite where missing, shape (n,).
    """
    came = jnp.isfinite(values)
    entries = jnp.argsort(state.there, stable=True)[: len(points)].astype(np.int32)
    return state._replace(
        points=state.points.at[entries].set(points),
        values=state.values.at[entries].set(jnp.where(came, values, 0)),
        there=state.there.at[entries].set(came),
    ), entries


def thinned(state: QuadraticRegressionState) -> QuadraticRegressionState:
    """The state with the nearest points alone, as many as are kept."""
    distance = jnp.where(state.there, jnp.linalg.norm(centred(state), axis=1), jnp.inf)
    rank = jnp.argsort(jnp.argsort(distance, stable=True))
    there = state.there & (rank < num_kept(len(state.unit)))
    return state._replace(there=there, values=jnp.where(there, state.values, 0))


def centred(state: QuadraticRegressionState) -> jax.Array:
    """The stored points around the centre, in units, shape (N, d); 0 where there is none."""
    z = (state.points - state.points[state.centre][None]) / state.scale[None]
    return jnp.where(state.there[:, None], z, 0)
