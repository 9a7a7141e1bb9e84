"""What the solver does at each stage, as functions of its state: where to ask, what to learn."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.linear_algebra import eigh
from zosah_jax.method import Known
from zosah_jax.methods.noisy_regression.fit import Fit, fit, newton, value
from zosah_jax.methods.noisy_regression.state import (
    NoisyRegressionState,
    metric_of,
    num_kept,
    place_of,
    stored,
    thinned,
)
from zosah_jax.methods.regression.minimum import lowest
from zosah_jax.methods.regression.points import first_unit, nearest, taken_up
from zosah_jax.methods.regression.start import other_side
from zosah_jax.methods.regression.trust_region import Box

# Lengths of designs and steps.
_WIDER = 2.0  # radius of the trust region over the half-width of the designs
_DOUBLED = 2.0  # how much wider it may be than the one before
_NARROWER = 0.5  # factor on it after a model that was wrong
_GROWTH = 1.5  # factor by which designs may widen or narrow from one to the next
_RISE = 100.0  # of the model within a design, in units of the noise, at most
# When a model was wrong: its values lay above it by this part of the decrease, beyond this error.
_WRONG, _SURE = 0.5, 3.0
_RETURN = -0.1  # part of the decrease by which a minimum may turn out to lie higher: it moves there

# What is learnt of the regression, by likelihood and weak priors.
_SPREADS = (1.0, 3.0, 1 / 3, 1.0, 1.0)  # factors on s that are tried with
_LENGTHS = (1.0, 1.0, 1.0, 1.5, 1 / 1.5)  # these on L
_SPREAD_PRIOR = 4.0  # standard deviation of log(s / noise^2)
_LENGTH_PRIOR = 1.5  # of log(L / (3 rho))
_FIRST_LENGTH = 3.0

# The metric.
_METRIC_RATE = 3.0  # times the share of a quadratic's unknowns that a design tells: how far it goes
_FLATTEST, _STEEPEST = 0.03, 100.0  # eigenvalues of the Hessian, in units of the noise
_FLAT = 1e-3  # the least that a design's rise is reckoned with

# When it has converged.
_SURER = 0.9  # the error of the minimum's value over the least so far, where values tell more yet
_BEYOND = 2.0  # a decrease over that error that is worth going for

# Values that are huge, missing, or exact.
_CAP = 1e3  # times their median, or the noise: values above count as this
_CAP_ERROR = 0.3  # of it
_ROUNDING = 4.0  # machine epsilons of a value that its arithmetic may err by
_LEAST_VALUE = 1e-12  # of |f(x0)|: smaller values err like one of this size

# --- the first points -----------------------------------------------------------------------------


def begin(
    state: NoisyRegressionState, points: jax.Array, values: jax.Array, box: Box
) -> NoisyRegressionState:
    """After x0."""
    came = jnp.isfinite(values[0])
    return stored(state, points, values)._replace(
        unit=first_unit(points[0], box),
        centre=points[0],
        value=jnp.where(came, values[0], jnp.inf),
        start=jnp.where(came, jnp.abs(values[0]), 0),
        stage=jnp.ones((), jnp.int32),
    )


def informed(
    state: NoisyRegressionState, known: Known, box: Box, num_points: int
) -> NoisyRegressionState:
    """With values that were there before x0, which is the best of their points."""
    d, dtype = len(state.unit), state.radius.dtype
    points, values = jnp.asarray(known.points, dtype), jnp.asarray(known.values, dtype)
    best, first = points[jnp.argmin(values)], 2 * d + 1
    room = 1 + len(state.there) - first - num_points
    order = nearest(points, values, first_unit(best, box))[1 : max(room, 1)]
    entries = first + np.arange(len(order))
    state = begin(state, best[None], jnp.min(values)[None], box)
    return taken_up(state, points[order], values[order], entries)._replace(
        start=jnp.max(jnp.abs(values))
    )


def gathered(
    state: NoisyRegressionState, points: jax.Array, values: jax.Array
) -> NoisyRegressionState:
    """After the points of one side."""
    return stored(state, points, values)._replace(stage=jnp.full((), 2, jnp.int32))


def other_points(state: NoisyRegressionState, box: Box) -> jax.Array:
    """The second points, with x0 in entry 0 and the first in the next d."""
    d = len(state.unit)
    first = jnp.diagonal(state.points[1 : d + 1]) - state.points[0]
    return other_side(state.points[0], first, state.values[1 : d + 1] < state.values[0], box)


def begun(
    state: NoisyRegressionState,
    points: jax.Array,
    values: jax.Array,
    noise: jax.Array,
    box: Box,
    bounded: bool,
) -> NoisyRegressionState:
    """After those of the other: a metric by second differences, around the best point."""
    d, noise = len(state.unit), _noise(state, noise)
    x0, middle = state.points[0], jnp.where(jnp.isfinite(state.values[0]), state.values[0], 0)
    first, second = (jnp.diagonal(each) - x0 for each in (state.points[1 : d + 1], points))
    state = stored(state, points, values)
    cap = _cap(state, noise, middle)
    a, b = first / state.unit, second / state.unit
    rise = [jnp.minimum(each - middle, cap) for each in (state.values[1 : d + 1], values)]
    rise[1] = jnp.where(jnp.isfinite(values), rise[1], cap)
    slopes = [r / jnp.where(c != 0, c, 1) for r, c in zip(rise, (a, b), strict=True)]
    curvature = jnp.abs(2 * (slopes[1] - slopes[0]) / jnp.where(a != b, b - a, 1))
    size = jnp.sqrt(noise / jnp.maximum(jnp.where(a != b, curvature, 0), noise))
    best = jnp.argmin(jnp.where(state.there, state.values, jnp.inf))
    found = jnp.isfinite(state.values[best])
    state = state._replace(
        centre=jnp.where(found, state.points[best], x0),
        level=jnp.where(found, state.values[best], middle),
        metric=jnp.diag(size),
        inverse=jnp.diag(1 / size),
        radius=jnp.sqrt(jnp.mean(size**-2)),
        stage=jnp.full((), 3, jnp.int32),
    )
    return planned(state, noise, box if bounded else None)


# --- a design -------------------------------------------------------------------------------------


def design(state: NoisyRegressionState, number: int, box: Box) -> jax.Array:
    """Points around the model's minimum, at distances of all sizes, shape (number, d)."""
    d, dtype = len(state.unit), state.radius.dtype
    keys = jax.random.split(jax.random.fold_in(state.key, state.turn), 2)
    drawn = jax.random.normal(keys[0], (number, d), dtype)
    if number <= d:
        base, upper = jnp.linalg.qr(drawn.T)
        signs = jnp.where(jnp.diag(upper) < 0, -1, 1)  # without them, no direction is as likely
        drawn = (base * signs.astype(dtype)[None]).T
    else:
        drawn = drawn / jnp.linalg.norm(drawn, axis=1, keepdims=True)
    each = jnp.arange(number, dtype=dtype)[:, None]
    share = (each + jax.random.uniform(keys[1], (number, 1), dtype)) / number
    z = state.step[None] + state.reach * jnp.sqrt(share) * drawn
    points = state.centre[None] + state.unit[None] * (z @ state.metric.T)
    return jnp.clip(points, box.lower[None], box.upper[None])


def learn(
    state: NoisyRegressionState,
    points: jax.Array,
    values: jax.Array,
    noise: jax.Array,
    box: Box,
    bounded: bool,
) -> NoisyRegressionState:
    """After a design: whether to move, the trust region, the metric, and the next minimum."""
    noise = _noise(state, noise)
    predicted = jax.vmap(partial(value, state.model))(metric_of(state, points))
    values = jnp.where(jnp.isfinite(values), values, jnp.inf)
    above = jnp.mean(values - state.level - predicted)
    doubt = _SURE * noise / len(points) ** 0.5
    wrong = ~(above <= _WRONG * state.decrease + doubt)
    state = stored(state, points, values)
    model, _ = _fitted(state, noise, state.spread, state.length)
    gain = value(model, jnp.zeros_like(state.step)) - value(model, state.step)
    moves = (gain > _RETURN * state.decrease) & ~wrong
    step = jnp.where(moves, state.step, 0)
    length = jnp.linalg.norm(state.step)
    narrow = _NARROWER * jnp.minimum(state.radius, jnp.maximum(length, state.reach))
    wide = jnp.minimum(_WIDER * state.reach, _DOUBLED * state.radius)
    centre = jnp.clip(place_of(state, step), box.lower, box.upper)
    state = state._replace(
        centre=centre,
        level=state.level + jnp.where(moves, value(model, state.step), 0),
        radius=jnp.where(wrong, narrow, wide),
        turn=state.turn + 1,
    )
    state = _turned(state, newton(model, step)[1], noise, len(points), bounded)
    state = planned(thinned(state, noise, num_kept(len(step))), noise, box if bounded else None)
    return _counted(state, noise, len(points), wrong)


def planned(state: NoisyRegressionState, noise: jax.Array, box: Box | None) -> NoisyRegressionState:
    """The regression with s and L as they are most likely, its minimum, and the next design."""
    distance = jnp.linalg.norm(metric_of(state), axis=1)
    middle = _median(distance, state.there)
    known = state.spread > 0
    reach = jnp.where(known, state.reach, middle)
    spread = jnp.where(known, state.spread, noise**2)
    length = jnp.where(known, state.length, _FIRST_LENGTH * middle)

    def tried(factors: tuple[jax.Array, jax.Array]) -> tuple[Fit, jax.Array, jax.Array]:
        s, far = spread * factors[0], length * factors[1]
        model, likely = _fitted(state, noise, s, far)
        prior = (jnp.log(s / noise**2) / _SPREAD_PRIOR) ** 2
        prior += (jnp.log(far / (_FIRST_LENGTH * reach)) / _LENGTH_PRIOR) ** 2
        return model, s, likely - prior / 2

    dtype = state.radius.dtype
    factors = jnp.asarray(_SPREADS, dtype), jnp.asarray(_LENGTHS, dtype)
    models, spreads, likely = jax.lax.map(tried, factors)
    best = jnp.argmax(jnp.where(jnp.isfinite(likely), likely, -jnp.inf))
    model, spread = jax.tree.map(lambda leaf: leaf[best], (models, spreads))
    around = _around(state, box)
    step, decrease = lowest(partial(value, model), partial(newton, model), state.radius, around)
    bent = jnp.abs(eigh(newton(model, step)[1])[0])
    bent = jnp.maximum(jnp.median(bent), jnp.maximum(jnp.abs(model.bend), _FLAT * noise))
    wanted = jnp.minimum(_cubic(spread, model.length, noise), jnp.sqrt(2 * _RISE * noise / bent))
    before = jnp.where(known, state.reach, state.radius)
    reach = jnp.minimum(jnp.clip(wanted, before / _GROWTH, before * _GROWTH), state.radius)
    return state._replace(
        model=model, spread=spread, length=model.length, step=step, decrease=decrease, reach=reach
    )


def _counted(
    state: NoisyRegressionState, noise: jax.Array, number: int, wrong: jax.Array
) -> NoisyRegressionState:
    """The state after `number` values more, which told something or not.

    In z the Hessian is about tau I: so a slope that errs by e costs e^2 / (2 tau) at the minimum.
    """
    error = state.model.scatter / (2 * noise)
    descends = wrong | (state.decrease > _BEYOND * error)
    surer = error < _SURER * state.least
    return state._replace(
        least=jnp.where(descends | surer, error, state.least),
        idle=jnp.where(descends | surer, 0, state.idle + number).astype(jnp.int32),
    )


def stands(state: NoisyRegressionState, box: Box) -> tuple[jax.Array, jax.Array]:
    """The model's minimum and its value there, if values were asked as near; else the centre's."""
    near = jnp.linalg.norm(state.step) <= state.reach
    z = jnp.where(near, state.step, 0)
    return jnp.clip(place_of(state, z), box.lower, box.upper), state.level + value(state.model, z)


# --- parts ----------------------------------------------------------------------------------------


def _noise(state: NoisyRegressionState, noise: jax.Array) -> jax.Array:
    """Standard deviation of a value: its noise, or what the arithmetic errs by."""
    eps, tiny = jnp.finfo(state.start.dtype).eps, jnp.finfo(state.start.dtype).tiny
    # where f(x0) = 0, so little that its square is a number yet
    return jnp.maximum(noise, jnp.maximum(_ROUNDING * eps * state.start, tiny**0.25))


def _fitted(
    state: NoisyRegressionState, noise: jax.Array, spread: jax.Array, length: jax.Array
) -> tuple[Fit, jax.Array]:
    """The regression about the centre, with huge values cut off and their error told."""
    z, cap = metric_of(state), _cap(state, noise, state.level)
    y = jnp.where(state.there, state.values - state.level, 0)
    over = y > cap
    size = jnp.where(over, 0, jnp.abs(y + state.level))
    error = _ROUNDING * jnp.finfo(z.dtype).eps * jnp.maximum(size, _LEAST_VALUE * state.start)
    variance = noise**2 + error**2 + jnp.where(over, (_CAP_ERROR * cap) ** 2, 0)
    return fit(z, jnp.minimum(y, cap), state.there, variance, noise, spread, length)


def _cap(state: NoisyRegressionState, noise: jax.Array, level: jax.Array) -> jax.Array:
    """Above which values are cut off, over the level."""
    came = state.there & jnp.isfinite(state.values)
    far = jnp.where(came, jnp.abs(jnp.where(came, state.values, 0) - level), 0)
    return _CAP * jnp.maximum(noise, _median(far, came))


def _turned(
    state: NoisyRegressionState, hessian: jax.Array, noise: jax.Array, number: int, bounded: bool
) -> NoisyRegressionState:
    """The state in a metric in which the Hessian is nearer to the noise times I.

    It follows as far as a design of `number` values tells of the Hessian. Between bounds the metric
    stays diagonal, so that a box is one in z, too.
    """
    d, one = len(state.unit), jnp.eye(len(state.unit), dtype=hessian.dtype)
    hessian = (hessian + hessian.T) / 2
    hessian = jnp.where(jnp.all(jnp.isfinite(hessian)), hessian, noise * one)
    size, turn = (jnp.diag(hessian), one) if bounded else eigh(hessian)
    power = min(1.0, _METRIC_RATE * number / ((d + 1) * (d + 2) / 2)) / 2
    factor = jnp.clip(jnp.abs(size) / noise, _FLATTEST, _STEEPEST) ** -power
    scale = jnp.exp(-jnp.mean(jnp.log(factor)))  # lengths in z keep the volume that they span
    return state._replace(
        metric=state.metric @ ((turn * factor[None]) @ turn.T),
        inverse=((turn / factor[None]) @ turn.T) @ state.inverse,
        radius=state.radius * scale,
        reach=state.reach * scale,
        length=state.length * scale,
        spread=state.spread / scale**4,
    )


def _around(state: NoisyRegressionState, box: Box | None) -> Box:
    """The bounds in z: where there are some, the metric is diagonal."""
    if box is None:
        return Box(jnp.full_like(state.centre, -jnp.inf), jnp.full_like(state.centre, jnp.inf))
    unit = state.unit * jnp.diag(state.metric)
    return Box((box.lower - state.centre) / unit, (box.upper - state.centre) / unit)


def _cubic(spread: jax.Array, length: jax.Array, noise: jax.Array) -> jax.Array:
    """Where all terms beyond the quadratic have the noise's standard deviation.

    s L^4 (q^3 / 6 + q^4 / 24) = noise^2 with q = r^2 / L^2, by Newton's method on log q.
    """
    wanted = jnp.log(noise) * 2 - jnp.log(spread) - 4 * jnp.log(length)
    log_q = jnp.minimum((wanted + jnp.log(6.0)) / 3, (wanted + jnp.log(24.0)) / 4)
    for _ in range(4):  # convex and increasing: from below, three turns are exact
        q = jnp.exp(log_q)
        found = 3 * log_q + jnp.log1p(q / 4) - jnp.log(6.0)
        log_q -= (found - wanted) / (3 + q / 4 / (1 + q / 4))
    return length * jnp.exp(log_q / 2)


def _median(values: jax.Array, there: jax.Array) -> jax.Array:
    """Lower median of the entries that are there, 0 or more each; 0 if none is."""
    ordered = jnp.sort(jnp.where(there, values, jnp.inf))
    return jnp.where(jnp.any(there), ordered[jnp.maximum(jnp.sum(there) - 1, 0) // 2], 0)
