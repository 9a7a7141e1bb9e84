"""What the solver does at each stage, as functions of its state: where to ask, what to learn."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.method import Known
from zosah_jax.methods.quadratic_regression.state import (
    QuadraticRegressionState,
    centred,
    num_kept,
    stored,
    thinned,
)
from zosah_jax.methods.regression.fit import Fit, fit, kernel
from zosah_jax.methods.regression.minimum import lowest
from zosah_jax.methods.regression.points import (
    first_unit,
    nearest,
    present_scale,
    taken_up,
)
from zosah_jax.methods.regression.start import other_side
from zosah_jax.methods.regression.trust_region import Box

# L in units: so long that the fit is a quadratic. Of problems of 6 to 12 parameters with L = 4, 30
# and 100, the share that is solved to 1e-5 grows from 0.30 to 0.40 and 0.41; below, it is alike.
LENGTH = 100.0
_RADIUS = 1.0  # of the first trust region, in units
_GOOD, _POOR = 0.7, 0.1  # ratios of the decrease to the predicted one
_WIDER, _NARROWER = 2.0, 0.5  # radius over the length of the step that was told
# Lengths of a failed step within which more than d points have to be, for the radius to shrink: the
# share that is solved of bounded problems grows by 0.012 to 0.026, of free ones by -0.003 to 0.012.
_NEAR = 2.5
_HERE = 1e-3  # of the radius: where a step is shorter, the model is least here
# Of several points: the smaller region, and how far from the minimum the others are, over the
# length of the step. Eight take 0.16 to 0.30 of the rounds of one (d = 2, 6, 20); minima within
# eight radii of different sizes 0.20 to 0.43.
_SMALLER, _BESIDE = 0.25, 0.5
_CLOSER = 0.3  # of the radius, once the model is least here
_ROUNDING = 4.0  # machine epsilons of a value that its arithmetic may err by
_LEAST_VALUE = 1e-12  # of |f(x0)|: smaller values err like one of this size
_FIRST_NOISE = 1e-28  # of a value over sigma, squared, before sigma is known
_ABSURD = 1e10  # times |f(x0)|: a point like one without a value
_SHORT = 500.0  # machine epsilons: a trust region of this radius is too small to go on


class Model(NamedTuple):
    """f(z) = fit(z) + z'B z / 2: the fit is of what the Hessian of the fit before leaves.

    Attributes:
        fit: the regression.
        z: the stored points that it is of, shape (N, d).
        before: B, in the units of z, shape (d, d).
    """

    fit: Fit
    z: jax.Array
    before: jax.Array


class Plan(NamedTuple):
    """What a step asks, and what it expects.

    Attributes:
        points: shape (P, d).
        z: the first point, from the centre in units, shape (d,).
        decrease: of f there, as predicted; scalar.
        is_look: whether the model promises nothing, and the points look around; bool.
        hessian: H of the model at `z`, in the coordinates x / unit.
        variance: sigma^2 by the points stored; 0 where they cannot tell.
    """

    points: jax.Array
    z: jax.Array
    decrease: jax.Array
    is_look: jax.Array
    hessian: jax.Array
    variance: jax.Array


def value(model: Model, z: jax.Array) -> jax.Array:
    """f(z) by the model."""
    k, _, _ = kernel(model.z @ z / LENGTH**2)
    curved = k @ model.fit.weights[:, 0] + z @ model.before @ z / 2
    return model.fit.value[0] + model.fit.jacobian[0] @ z + curved


def newton(model: Model, z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Gradient and Hessian of the model at z."""
    _, k1, k2 = kernel(model.z @ z / LENGTH**2)
    weights = model.fit.weights[:, 0]
    gradient = model.fit.jacobian[0] + (weights * k1) @ model.z / LENGTH**2 + model.before @ z
    return gradient, (model.z.T * (weights * k2)[None]) @ model.z / LENGTH**4 + model.before


# --- the first points -----------------------------------------------------------------------------


def begin(
    state: QuadraticRegressionState, points: jax.Array, values: jax.Array, box: Box
) -> QuadraticRegressionState:
    """After x0."""
    unit = first_unit(points[0], box)
    state, entries = stored(state, points, values)
    came = jnp.isfinite(values[0])
    return state._replace(
        unit=unit,
        scale=_size(points[0], unit, box),
        centre=entries[0],
        value=jnp.where(came, values[0], jnp.inf),
        start=jnp.where(came, jnp.abs(values[0]), 0),
        radius=jnp.full_like(state.radius, _RADIUS),
        stage=jnp.ones((), jnp.int32),
    )


def informed(
    state: QuadraticRegressionState, known: Known, box: Box, num_points: int
) -> QuadraticRegressionState:
    """With values that were there before x0, which is the best of their points.

    As many as two a coordinate, or more, make a first model; fewer are added to the first points.
    """
    d, dtype = len(state.unit), state.radius.dtype
    points, values = jnp.asarray(known.points, dtype), jnp.asarray(known.values, dtype)
    first = 2 * d + 1
    enough = len(points) >= first
    room = num_kept(d) if enough else 1 + len(state.there) - first - num_points
    best = points[jnp.argmin(values)]
    order = nearest(points, values, first_unit(best, box))[: max(room, 1)]
    entries = np.arange(len(order))
    entries = entries if enough else np.where(entries > 0, entries + first - 1, 0)
    state = begin(state, best[None], jnp.min(values)[None], box)
    return taken_up(state, points[order], values[order], entries)._replace(
        start=jnp.max(jnp.abs(values)),
        stage=jnp.full((), 3 if enough else 1, jnp.int32),
    )


def other_points(state: QuadraticRegressionState, box: Box) -> jax.Array:
    """The second points, with x0 in entry 0 and the first in the next d."""
    d = len(state.unit)
    x, first = state.points[0], jnp.diagonal(state.points[1 : d + 1]) - state.points[0]
    lower = state.there[1 : d + 1] & (state.values[1 : d + 1] < state.value)
    return other_side(x, first, lower, box)


def gathered(
    state: QuadraticRegressionState, points: jax.Array, values: jax.Array, box: Box, last: bool
) -> QuadraticRegressionState:
    """After the points of one side; after those of the other (`last`), stand at the best."""
    d = len(state.unit)
    there = jnp.isfinite(_sane(state, values))
    begin = d + 1 if last else 1
    place = slice(begin, begin + d)
    state = state._replace(
        points=state.points.at[place].set(points),
        values=state.values.at[place].set(jnp.where(there, values, 0)),
        there=state.there.at[place].set(there),
        stage=state.stage + 1,
    )
    return _at_best(state, box) if last else state


# --- a step ---------------------------------------------------------------------------------------


def plan(state: QuadraticRegressionState, box: Box, noise: jax.Array, num_points: int) -> Plan:
    """The model's minimum; that of a smaller region; directions around it; or a look around."""
    model = modelled(state, noise)
    x = state.points[state.centre]
    around = Box((box.lower - x) / state.scale, (box.upper - x) / state.scale)
    radii = [state.radius, _SMALLER * state.radius][:num_points]
    found = [lowest(partial(value, model), partial(newton, model), r, around) for r in radii]
    step, decrease = found[0]
    length = jnp.linalg.norm(step)
    nothing = ~((decrease > 0) & (length > _HERE * state.radius))  # NaN: nothing
    directions = _directions(state, num_points)
    beside = step[None] + _BESIDE * length * directions[len(found) :]
    minima = jnp.concatenate([jnp.stack([z for z, _ in found]), beside])
    steps = jnp.where(nothing, state.radius * directions, minima)
    steps = jnp.clip(steps, around.lower[None], around.upper[None])
    points = jnp.clip(x[None] + steps * state.scale[None], box.lower[None], box.upper[None])
    ratio = state.unit / state.scale
    hessian = newton(model, jnp.where(nothing, 0, step))[1] * ratio[:, None] * ratio[None]
    variance = jnp.where(jnp.isfinite(model.fit.variance), model.fit.variance, 0)
    return Plan(points, steps[0], decrease, nothing, hessian, variance)


class Tolerances(NamedTuple):
    """When a run has converged.

    Attributes:
        x: radius of the trust region, in units.
        f: change of the value over a step, promised and seen, over the value.
    """

    x: jax.Array
    f: jax.Array


def learn(
    state: QuadraticRegressionState,
    plan: Plan,
    values: jax.Array,
    box: Box,
    tolerances: Tolerances,
) -> QuadraticRegressionState:
    """After a step: the Hessian, the radius, and where to stand."""
    here, standing = state.value, state
    values = _sane(state, values)
    finite = jnp.all(jnp.isfinite(plan.hessian))
    state = state._replace(
        hessian=jnp.where(finite, plan.hessian, 0),
        variance=jnp.where(plan.variance > 0, plan.variance, state.variance),
    )
    state, _ = stored(state, plan.points, values)
    length = jnp.linalg.norm(plan.z)
    promised = jnp.maximum(plan.decrease, jnp.finfo(here.dtype).tiny)
    ratio = jnp.where(jnp.isfinite(values[0]), (here - values[0]) / promised, -1)
    longer = jnp.maximum(state.radius, _WIDER * length)
    radius = jnp.where(ratio > _GOOD, longer, state.radius)
    # a model of far points alone fails for what it has not seen near by, not for the radius
    near = state.there & (jnp.linalg.norm(centred(state), axis=1) <= _NEAR * length)
    known = (jnp.sum(near) > len(plan.z)) | ~jnp.isfinite(values[0])
    radius = jnp.where((ratio < _POOR) & known, _NARROWER * length, radius)
    radius = jnp.where(plan.is_look, _CLOSER * state.radius, radius)
    state = _at_best(state, box)
    # the trust region keeps its size along the step as the units change
    stretch = jnp.linalg.norm(plan.z * standing.scale / state.scale)
    radius = jnp.where(length > 0, radius * stretch / jnp.where(length > 0, length, 1), radius)
    moved = jnp.linalg.norm(centred(state)[standing.centre])
    further = (state.value < here) & ((len(values) > 1) | plan.is_look)
    radius = jnp.where(further, jnp.maximum(radius, moved), radius)
    least = jnp.maximum(_SHORT * jnp.finfo(here.dtype).eps, tolerances.x)
    little = tolerances.f * jnp.abs(state.value)
    flat = (jnp.abs(here - values[0]) < little) & (plan.decrease < little)
    ended = (radius <= least) | (flat & known & ~plan.is_look)
    return thinned(state)._replace(
        radius=radius, turn=state.turn + 1, converged=ended & (state.value < jnp.inf)
    )


def modelled(state: QuadraticRegressionState, noise: jax.Array) -> Model:
    """The regression around the centre."""
    z = centred(state)
    here = state.values[state.centre]
    ratio = state.scale / state.unit
    before = state.hessian * ratio[:, None] * ratio[None]
    left = state.values - here - jnp.sum((z @ before) * z, axis=1) / 2
    found = fit(
        z,
        jnp.where(state.there, left, 0)[:, None],
        state.there,
        jnp.zeros((len(z), 1), bool),
        _noise_share(state, noise),
        LENGTH,
    )
    return Model(found._replace(value=here + found.value), z, before)


# --- parts ----------------------------------------------------------------------------------------


def _noise_share(state: QuadraticRegressionState, noise: jax.Array) -> jax.Array:
    """Variance of the error of each value over sigma^2, shape (N,)."""
    size = jnp.maximum(jnp.abs(state.values), _LEAST_VALUE * state.start)
    error = jnp.maximum(noise, _ROUNDING * jnp.finfo(size.dtype).eps * size)
    least = jnp.maximum(_FIRST_NOISE, jnp.finfo(size.dtype).tiny * 1e10)
    known = state.variance > 0
    share = error**2 / jnp.where(known, state.variance, 1)
    return jnp.maximum(jnp.where(known, share, least), least)


def _directions(state: QuadraticRegressionState, number: int) -> jax.Array:
    """Random directions of length 1, shape (number, d)."""
    key = jax.random.fold_in(state.key, state.turn)
    directions = jax.random.normal(key, (number, len(state.unit)), state.radius.dtype)
    return directions / jnp.linalg.norm(directions, axis=1, keepdims=True)


def _sane(state: QuadraticRegressionState, values: jax.Array) -> jax.Array:
    """Values, missing where they are finite and absurd."""
    absurd = (values > _ABSURD * state.start) & (state.start > 0)
    return jnp.where(absurd, jnp.nan, values)


def _size(x: jax.Array, unit: jax.Array, box: Box) -> jax.Array:
    """Size of each coordinate where the run stands: halfway from that at the start to |x|.

    A coordinate that grows by decades is a size, one that only moves is a place, and nothing tells
    which. |x| alone loses a third of the area under the ECDFs of shifted functions in ten
    dimensions (COCO), the first size alone a fortieth on CUTEst's bounded problems of up to five.
    """
    return jnp.sqrt(unit * jnp.maximum(present_scale(x, unit, box), unit))


def _at_best(state: QuadraticRegressionState, box: Box) -> QuadraticRegressionState:
    """The state at the stored point of the least value."""
    values = jnp.where(state.there, state.values, jnp.inf)
    best = jnp.argmin(values).astype(np.int32)
    centre = jnp.where(values[best] < jnp.inf, best, state.centre)
    scale = _size(state.points[centre], state.unit, box)
    return state._replace(centre=centre, scale=scale, value=values[centre])
