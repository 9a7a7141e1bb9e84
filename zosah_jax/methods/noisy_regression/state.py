"""The state of the solver: points, the metric, and what the regression has learnt."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.methods.noisy_regression.fit import Fit
from zosah_jax.pytree import Params

_LEAST, _MOST = 150, 300  # points that are kept of few coordinates, and of many
_QUADRATIC = 2  # times the unknowns of a quadratic, between the two
_LINEAR = 3  # times d, beyond


class NoisyRegressionState(NamedTuple):
    """State of the solver: N points of d coordinates; floats in the working dtype.

    Lengths are in z, x = centre + unit * (metric @ z).

    Attributes:
        key: typed PRNG key: where the designs lie.
        x: the model's minimum as far as points support it, in float32 or wider.
        value: of the regression there; inf before there is one.
        stage: which comes next, int32.
        points: stored, coordinates in one vector each, shape (N, d).
        values: at them; inf where one is missing, shape (N,).
        there: which entries hold a point, bool, shape (N,).
        centre: around which the model is, shape (d,).
        level: of the regression at the centre.
        unit: size of each coordinate at the start, shape (d,).
        metric: T, shape (d, d); in z the Hessian is about the noise of a value times I.
        inverse: of T.
        radius: of the trust region; model and designs lie within.
        reach: rho, half-width of the designs.
        spread: s, variance of the entries of the Hessian; 0 before it is known.
        length: L, over which the Hessian changes.
        model: the regression about the centre, of y = value - level.
        step: the model's minimum, where the next design lies, shape (d,).
        decrease: of the model there.
        least: the smallest error of the minimum's value so far, as expected; inf before the first.
        idle: values since it fell, or the model promised a decrease beyond it, int32.
        start: |f(x0)|.
        turn: designs so far, int32.
    """

    key: jax.Array
    x: Params
    value: jax.Array
    stage: jax.Array
    points: jax.Array
    values: jax.Array
    there: jax.Array
    centre: jax.Array
    level: jax.Array
    unit: jax.Array
    metric: jax.Array
    inverse: jax.Array
    radius: jax.Array
    reach: jax.Array
    spread: jax.Array
    length: jax.Array
    model: Fit
    step: jax.Array
    decrease: jax.Array
    least: jax.Array
    idle: jax.Array
    start: jax.Array
    turn: jax.Array


def num_kept(d: int) -> int:
    """Points that are kept of d coordinates."""
    quadratic = (d + 1) * (d + 2) // 2
    return min(max(_LEAST, _QUADRATIC * quadratic), max(_MOST, _LINEAR * d))


def num_asked(d: int) -> int:
    """Points of a design."""
    return min(max(2, d // 3), 12)


def stored(
    state: NoisyRegressionState, points: jax.Array, values: jax.Array
) -> NoisyRegressionState:
    """The state with further points; values that are missing are infinite.

    Args:
        state: with as many free entries as there are points, or more.
        points: shape (n, d).
        values: shape (n,).
    """
    entries = jnp.argsort(state.there, stable=True)[: len(points)].astype(np.int32)
    return state._replace(
        points=state.points.at[entries].set(points),
        values=state.values.at[entries].set(jnp.where(jnp.isfinite(values), values, jnp.inf)),
        there=state.there.at[entries].set(True),
    )


def thinned(state: NoisyRegressionState, noise: jax.Array, number: int) -> NoisyRegressionState:
    """The state with so many points: half are the nearest, and half tell most of the slope.

    A point at a distance r tells r^2 of it, over the variance of its value: the noise's, and beyond
    the designs that of what is not quadratic. The nearest tell the level, which the slope leaves
    open.
    """
    distance = jnp.linalg.norm(metric_of(state), axis=1)
    told = distance**2 / (noise**2 + not_quadratic(state.spread, state.length, distance))
    near = _rank(jnp.where(state.there, distance, jnp.inf)) < number // 2
    told = jnp.where(near, jnp.inf, told)
    return state._replace(
        there=state.there & (_rank(jnp.where(state.there, -told, jnp.inf)) < number)
    )


def _rank(values: jax.Array) -> jax.Array:
    """How many come before each, in ascending order."""
    return jnp.argsort(jnp.argsort(values, stable=True), stable=True)


def not_quadratic(spread: jax.Array, length: jax.Array, distance: jax.Array) -> jax.Array:
    """Variance of all terms beyond the quadratic at a distance from the centre."""
    q = (distance / length) ** 2
    return spread * length**4 * (q**3 / 6 + q**4 / 24)


def metric_of(state: NoisyRegressionState, points: jax.Array | None = None) -> jax.Array:
    """Z of points (None: of those that are stored, 0 where there is none), shape (n, d)."""
    if points is None:
        return jnp.where(state.there[:, None], metric_of(state, state.points), 0)
    return ((points - state.centre[None]) / state.unit[None]) @ state.inverse.T


def place_of(state: NoisyRegressionState, z: jax.Array) -> jax.Array:
    """X of z, shape (d,)."""
    return state.centre + state.unit * (state.metric @ z)
