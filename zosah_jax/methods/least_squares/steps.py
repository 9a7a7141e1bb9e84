"""What the solver does at each stage, as functions of its state: where to look, what to learn."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.linear_algebra import eigh
from zosah_jax.methods.least_squares.loss import total
from zosah_jax.methods.least_squares.model import Model, minimum, residuals
from zosah_jax.methods.least_squares.state import (
    LeastSquaresState,
    centred,
    measured,
    stored,
    thinned,
)
from zosah_jax.methods.regression import fit as regression
from zosah_jax.methods.regression.fit import LENGTH, Fit
from zosah_jax.methods.regression.points import first_unit, present_scale
from zosah_jax.methods.regression.trust_region import Box

_DIFFERENCE = 0.03  # length of a difference in units: long, for its curvature is learnt later
_LONGEST = 1.0  # of a difference in units, where noise asks for longer ones
_RADIUS = 0.3  # of the first trust region, in units a coordinate
_GOOD, _POOR = 0.7, 0.1  # ratios of the decrease to the predicted one
_WIDER, _NARROWER, _HALF = 2.5, 0.25, 0.5  # radius over the length of the step that was told
_LEAST_RADIUS = 0.3  # most that noise keeps the radius from shrinking below
_LOOK = 0.3  # of what a look at a direction promises, a step must promise less
_ABSURD = 1e10  # times the first value: a point like one without any value
_SAME = 1e-12  # relative difference of two values that are equal: no noise
_SHORT = 1e-12  # of |x|: a step that is no longer is none
_INSIDE = 0.9  # of the radius: a step that is no longer ends where the model is least
_FIRST_NOISE = 1e-28  # of a residual over sigma, squared, before sigma is known
_ROUNDING = 0.5  # of a residual, in machine epsilons of the largest


class Plan(NamedTuple):
    """What a step asks, and what it expects.

    Attributes:
        points: shape (P, d).
        predicted: residuals there, shape (P, k).
        z: the first point, from the centre in units, shape (d,).
        decrease: of the objective there, as predicted; scalar.
        is_look: whether the points look at a direction and promise nothing, bool.
        variance: sigma^2 by the points stored; 0 where they cannot tell.
    """

    points: jax.Array
    predicted: jax.Array
    z: jax.Array
    decrease: jax.Array
    is_look: jax.Array
    variance: jax.Array


def begin(
    state: LeastSquaresState, points: jax.Array, values: jax.Array, box: Box, loss: Any
) -> LeastSquaresState:
    """After x0: its residuals, and their noise where it was asked twice."""
    unit = first_unit(points[0], box)
    state = state._replace(unit=unit, scale=present_scale(points[0], unit, box))
    if len(values) == 2:  # what one lacks, the other may have
        values = jnp.where(jnp.isfinite(values), values, values[::-1])
    state, _ = stored(state, points, values, jnp.zeros_like(values))
    mean = jnp.nanmean(jnp.where(jnp.isfinite(values), values, jnp.nan), axis=0)
    d = points.shape[1]
    state = state._replace(
        centre=jnp.argmax(state.there).astype(np.int32),
        radius=_RADIUS * jnp.sqrt(jnp.asarray(d, points.dtype)),
        stage=jnp.ones((), jnp.int32),
    )
    if len(values) == 2:
        apart = jnp.square(values[1] - values[0]) / 2
        noise = jnp.sqrt(jnp.nanmean(jnp.where(jnp.isfinite(apart), apart, jnp.nan)))
        size = jnp.sqrt(jnp.nanmean(jnp.where(jnp.isfinite(mean), mean**2, jnp.nan)))
        noisy = noise > _SAME * size  # False where one did not come
        second = jnp.arange(len(state.there)) == 1
        both = jnp.all(state.there[:2])
        state = state._replace(
            noise=jnp.where(noisy, noise, 0).astype(points.dtype),
            there=state.there & ~(second & both & ~noisy),
        )
    return _valued(state._replace(start=total(loss, state.residuals[state.centre])), loss)


def differences(state: LeastSquaresState, box: Box) -> jax.Array:
    """Points that each move one coordinate, within the bounds, shape (d, d)."""
    x, r = state.points[state.centre], state.residuals[state.centre]
    size = jnp.sqrt(jnp.mean(r**2)) if r.size else jnp.ones((), x.dtype)
    share = state.noise / jnp.maximum(size, jnp.finfo(x.dtype).tiny)
    length = jnp.clip(jnp.sqrt(share), _DIFFERENCE, _LONGEST) * state.unit
    offset = jnp.where(x + length <= box.upper, length, -length)
    farther = jnp.where(box.upper - x >= x - box.lower, box.upper - x, box.lower - x)
    offset = jnp.where(x + offset < box.lower, farther, offset)
    return jnp.clip(x[None] + jnp.diag(offset), box.lower[None], box.upper[None])


def first(
    state: LeastSquaresState, points: jax.Array, values: jax.Array, box: Box, loss: Any
) -> LeastSquaresState:
    """After the differences: stand at the best point so far."""
    values = _sane(state, values, loss)
    # a residual that x0 lacks is taken to be as the differences have it
    lacks = state.missing[state.centre]
    others = jnp.nanmean(jnp.where(jnp.isfinite(values), values, jnp.nan), axis=0)
    here = jnp.where(lacks & jnp.isfinite(others), others, state.residuals[state.centre])
    state = state._replace(residuals=state.residuals.at[state.centre].set(here))
    state, _ = stored(state, points, values, jnp.broadcast_to(here[None], values.shape))
    state = _at_best(state, state.residuals, box, loss)
    return state._replace(stage=jnp.full((), 2, jnp.int32))


def plan(state: LeastSquaresState, box: Box, loss: Any, num_points: int) -> Plan:
    """The model's minima within radii of different sizes, or a look at a direction."""
    fit, z = fitted(state)
    model = Model(fit, z, _doubt(state, fit))
    x = state.points[state.centre]
    around = Box((box.lower - x) / state.scale, (box.upper - x) / state.scale)
    radii = [state.radius * 4.0**power for power in _powers(num_points)]
    found = [minimum(model, loss, radius, around) for radius in radii]
    step, decrease = found[0]
    direction, length, wanted = _look(state, model, decrease, around)
    looks = [length * direction] + [_mirrored(n, length * direction) for n in range(1, num_points)]
    z_all = jnp.stack([jnp.where(wanted, a, b[0]) for a, b in zip(looks, found, strict=True)])
    points = x[None] + z_all * state.scale[None]
    points = jnp.clip(points, box.lower[None], box.upper[None])
    predicted = jax.vmap(lambda z: residuals(model, z))(z_all)
    return Plan(points, predicted, step, decrease, wanted, fit.variance)


def learn(
    state: LeastSquaresState, plan: Plan, values: jax.Array, box: Box, loss: Any, tolerance: float
) -> LeastSquaresState:
    """After a step: what it tells of the curvature, the radius, and where to stand."""
    values = _sane(state, values, loss)
    before = total(loss, state.residuals[state.centre])
    state, entries = stored(state, plan.points, values, plan.predicted)
    state, smoothed = jax.lax.cond(
        jnp.any(state.missing & state.there[:, None]) | (state.noise > 0),
        _smoothed,
        lambda state: (state, state.residuals),  # exact: the regression goes through them
        state._replace(variance=jnp.where(plan.variance > 0, plan.variance, state.variance)),
    )
    new = entries[0]
    lacking = state.missing[state.centre] | state.missing[new]  # compared without these
    here, there, promised = (
        total(loss, jnp.where(lacking, jnp.nan, r))
        for r in (smoothed[state.centre], smoothed[new], plan.predicted[0])
    )
    there = jnp.where(state.there[new], there, jnp.inf)
    promised = jnp.where(jnp.any(lacking), here - promised, plan.decrease)
    length = jnp.linalg.norm(plan.z)
    ratio = (here - there) / jnp.maximum(promised, jnp.finfo(here.dtype).tiny)
    radius = jnp.where(ratio > _GOOD, jnp.maximum(state.radius, _WIDER * length), state.radius)
    shorter = jnp.where(there < here, _HALF, _NARROWER) * length
    radius = jnp.where(ratio >= _POOR, radius, shorter)
    radius = jnp.where(plan.is_look, state.radius, radius)
    standing = state
    state = _at_best(state, smoothed, box, loss)
    if len(values) > 1:  # another radius was the better one
        apart = jnp.linalg.norm(centred(state)[standing.centre])
        radius = jnp.where(state.centre != standing.centre, jnp.maximum(radius, apart), radius)
    radius = jnp.maximum(radius, _noise_length(state, _LEAST_RADIUS))
    stretch = jnp.linalg.norm(plan.z * standing.scale / state.scale)
    radius = jnp.where(length > 0, radius * stretch / jnp.where(length > 0, length, 1), radius)
    x = jnp.linalg.norm(state.points[state.centre] / state.scale)
    few = jnp.maximum(plan.decrease, jnp.abs(before - state.value)) <= tolerance * before
    inside = (length < _INSIDE * standing.radius) | (length <= _SHORT * x)
    nothing = state.value <= tolerance**2 * state.start  # residuals down to their rounding
    ended = (few & inside) | nothing | (length <= _SHORT * x) | (radius <= _SHORT * x)
    return thinned(state)._replace(
        radius=radius,
        turn=state.turn + 1,
        converged=ended & ~plan.is_look & (state.noise == 0) & ~jnp.any(lacking & measured(state)),
    )


def _smoothed(state: LeastSquaresState) -> tuple[LeastSquaresState, jax.Array]:
    """The state with missing residuals and sigma as all points have them; residuals less noise."""
    fit, _ = fitted(state)
    filled = jnp.where(jnp.all(jnp.isfinite(fit.residuals)), fit.residuals, state.residuals)
    filled = jnp.where(state.there[:, None], filled, 0)
    variance = jnp.where(fit.variance > 0, fit.variance, state.variance)  # NaN: as it was
    state = state._replace(residuals=filled, variance=variance)
    smoothed = filled - _noise_share(state) * fit.weights
    return state, jnp.where(jnp.all(jnp.isfinite(smoothed)), smoothed, filled)


# --- parts ----------------------------------------------------------------------------------------


def _powers(number: int) -> list[int]:
    """0, -1, 1, -2, 2, ..."""
    return [(n + 1) // 2 * (-1 if n % 2 else 1) for n in range(number)]


def _sane(state: LeastSquaresState, values: jax.Array, loss: Any) -> jax.Array:
    """Values, all of a point missing where it is finite and absurd."""
    absurd = ~(total(loss, values) <= _ABSURD * state.start) & (state.start > 0)
    return jnp.where(absurd[:, None], jnp.nan, values)


def fitted(state: LeastSquaresState) -> tuple[Fit, jax.Array]:
    """The regression around the centre, and the stored points as it has them, shape (N, d)."""
    z = centred(state)
    here = state.residuals[state.centre]
    shifted = jnp.where(state.there[:, None], state.residuals - here[None], 0)
    lacking = state.missing & state.there[:, None]
    fit = regression.fit(z, shifted, state.there, lacking, _noise_share(state))
    return fit._replace(residuals=here[None] + fit.residuals, value=here + fit.value), z


def _noise_share(state: LeastSquaresState) -> jax.Array:
    """Variance of a residual's noise, or of its rounding, over sigma^2."""
    if state.residuals.shape[1] == 0:
        return jnp.ones((), state.points.dtype)
    eps = jnp.finfo(state.points.dtype).eps
    rounding = _ROUNDING * eps * jnp.max(jnp.abs(state.residuals[state.centre]))
    least = jnp.finfo(state.points.dtype).tiny * 1e10
    known = state.variance > 0
    share = jnp.maximum(state.noise, rounding) ** 2 / jnp.where(known, state.variance, 1)
    return jnp.maximum(jnp.where(known, share, _FIRST_NOISE), least)


def _noise_length(state: LeastSquaresState, most: float) -> jax.Array:
    """Distance in units at which curvature moves a residual by twice its noise; 0 without noise."""
    known = (state.variance > 0) & (state.noise > 0)
    share = 4 * state.noise**2 / jnp.where(known, state.variance, 1)
    return jnp.where(known, jnp.minimum(LENGTH * share**0.25, most), 0)


def _doubt(state: LeastSquaresState, fit: Fit) -> jax.Array:
    """Expected cost of the noise in J: k noise^2 times the sum of squared influences, (d, d)."""
    k = state.residuals.shape[1]
    return k * state.noise**2 * fit.influence @ fit.influence.T


def _look(
    state: LeastSquaresState, model: Model, decrease: jax.Array, around: Box
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A direction, how far to look along it, and whether that promises more than a step.

    A coordinate that never moved (its difference failed) comes first. Where noise hides J along
    a direction v, with w = v'U v its expected cost and |J v| what is known, the share w / (|J v|^2
    + w) of a d-th of the objective may be gained.
    """
    d = model.z.shape[1]
    dtype = model.z.dtype
    never = (jnp.max(jnp.abs(model.z), axis=0) == 0) & (around.upper > around.lower)
    values, vectors = eigh(model.doubt)
    known = jnp.sum((model.fit.jacobian @ vectors) ** 2, axis=0)
    values = jnp.maximum(values, 0)
    total_share = values / jnp.maximum(known + values, jnp.finfo(dtype).tiny)
    gain = jnp.sum(model.fit.value**2) / d * total_share
    best = jnp.argmax(gain)
    missing = jnp.any(never)
    direction = jnp.where(missing, jnp.eye(d, dtype=dtype)[jnp.argmax(never)], vectors[:, best])
    downhill = direction @ (model.fit.jacobian.T @ model.fit.value)
    turned = jnp.where(missing, state.turn % 2 == 1, downhill > 0)
    direction = jnp.where(turned, -direction, direction)
    far = jnp.maximum(_noise_length(state, _LONGEST), _DIFFERENCE)
    far = jnp.where((state.noise > 0) & (state.variance == 0), _LONGEST, far)
    far = jnp.where(missing, _DIFFERENCE, far)
    end = far * direction
    outside = jnp.any((end < around.lower) | (end > around.upper))
    direction = jnp.where(outside, -direction, direction)
    hidden = (state.noise > 0) & (_LOOK * gain[best] > 0) & (gain[best] > _LOOK * decrease)
    return direction, far, missing | hidden


def _mirrored(number: int, z: jax.Array) -> jax.Array:
    """The further points of a look: back, then farther both ways."""
    return z * ((-1.0) ** number * (1 + number // 2))


def _at_best(
    state: LeastSquaresState, smoothed: jax.Array, box: Box, loss: Any
) -> LeastSquaresState:
    """The state at the stored point whose residuals, as fitted, are least."""
    merit = jnp.where(state.there, total(loss, smoothed), jnp.inf)
    merit = jnp.where(jnp.isfinite(merit), merit, jnp.inf)
    best = jnp.argmin(merit).astype(np.int32)
    centre = jnp.where(merit[best] < jnp.inf, best, state.centre)
    scale = present_scale(state.points[centre], state.unit, box)
    return state._replace(centre=centre, scale=scale, value=merit[centre])


def _valued(state: LeastSquaresState, loss: Any) -> LeastSquaresState:
    merit = total(loss, state.residuals[state.centre])
    known = state.there[state.centre] & jnp.isfinite(merit)
    return state._replace(value=jnp.where(known, merit, jnp.inf))
