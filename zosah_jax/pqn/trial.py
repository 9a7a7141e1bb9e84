"""A trial: the value at the minimum of the model within a trust region, and what follows."""

import jax
import jax.numpy as jnp

from zosah_jax.method import Told
from zosah_jax.params import Address, Params, dimension, gather, precision
from zosah_jax.pqn.look import worth_of
from zosah_jax.pqn.model import empty_model, known, learn_value, moved, predicted_change
from zosah_jax.pqn.options import BATCHES, Options, worthwhile
from zosah_jax.pqn.secants import believed, product_with, spectrum_of_pairs
from zosah_jax.pqn.state import (
    BATCH,
    MEET,
    START,
    TRY,
    WHOLE,
    PQNState,
    arrived,
    either,
    is_elsewhere,
    lives_on,
    revived,
    told_at,
    value_error,
)
from zosah_jax.pqn.trust_region import Spectrum, spectrum, trust_region_step
from zosah_jax.probes import CoordinateProbes, CoordinateUpdate

_AS_PROMISED, _TOO_STIFF = 0.9, 1.5  # decrease over what the model promised
_AT_THE_RIM = 0.99  # of the trust region: part of the radius
_PATIENCE = 3  # refusals in a row before further coordinates are met
_STUBBORN = 10  # refusals in a row before the whole gradient is measured again
_ELSEWHERE = 0.3  # part of a step by pairs that is worth a value to correct
_FARTHEST = 3.0  # times such a step
_SURPRISE = 2.0  # mean square of standardised errors above which the model is not believed
_DISTRUST = 10  # steps for which whole gradients are measured then


def ask_trial(options: Options, state: PQNState, params: Params) -> CoordinateProbes:
    """The parameters moved by the step, or themselves where others have moved them."""
    del options
    elsewhere = is_elsewhere(state, gather(params, state.address))
    step = jax.lax.cond(_goes_on(state), lambda s: s.along, lambda s: _planned(s)[0], state)
    step = jnp.where(elsewhere, 0, step)
    place = Address(*(part[None] for part in state.address))
    return CoordinateProbes(place, step[None], is_step=True)


def tell_trial(
    options: Options,
    state: PQNState,
    params: Params,
    probes: CoordinateProbes,
    values: jax.Array,
) -> Told:
    """The step, if its value is lower; what its value says of the model; what comes next."""
    position, step = gather(params, state.address), probes.offset[0]
    base, new = state.value, values[0]
    elsewhere = is_elsewhere(state, position)
    found = arrived(state, position, new, elsewhere)
    told = told_at(state, found, position, new, 1)
    after, better = _tried(options, state, params, position, probes, new)
    state = _turned(options, either(elsewhere, told.state, after), params)
    amount = jnp.where(elsewhere, told.updates.amount, jnp.where(better, -step, 0))  # type: ignore[union-attr]
    value = jnp.where(elsewhere, new, base)
    return Told(CoordinateUpdate(told.updates.address, amount), state, value)  # type: ignore[union-attr]


def _tried(
    options: Options,
    state: PQNState,
    params: Params,
    position: jax.Array,
    probes: CoordinateProbes,
    new: jax.Array,
) -> tuple[PQNState, jax.Array]:
    """The state after a trial, and whether its step is taken."""
    step, bound = probes.offset[0], state.bound
    model, change, radius = state.model, new - state.value, _radius(state)
    came, goes_on, paired = jnp.isfinite(change), _goes_on(state), _by_pairs(state)
    better = came & (change < 0)
    ratio = _kept(-predicted_change(model, step), change)
    length = jnp.sqrt(step @ (model.scale * step))
    farther = jnp.where(ratio > 0.75, jnp.maximum(radius, 2 * length), radius)
    nearer = jnp.where(length > 0, jnp.where(came, 0.4, 0.1) * length, radius)
    next_radius = jnp.where(ratio >= 0.25, farther, nearer)
    reach, along = jax.lax.cond(
        paired & ~goes_on,
        _line,
        lambda state, *_: (state.reach, state.along * 0),
        state,
        step,
        change,
    )
    if probes.bound is not None:
        bound = jnp.where(better | (step == 0), probes.bound[0], bound)
    farthest = jnp.maximum(state.unit, jnp.abs(position))
    least = precision(params) * jnp.sqrt(jnp.max(model.scale * farthest**2))
    noise = 2 * value_error(options, state, params, state.value) ** 2
    unmet = ~jnp.all(known(model))
    model = learn_value(model, step, jnp.where(came, change, jnp.nan), noise, unmet)
    after = state._replace(
        radius=jnp.maximum(jnp.where(goes_on | paired, radius, next_radius), least),
        reach=reach,
        along=along,
        model=jax.lax.cond(better, moved, lambda model, step: model, model, step),
        position=jnp.where(better, position + step, position),
        value=jnp.where(better, new, state.value),
        bound=bound,
        refused=jnp.where(better, 0, state.refused + 1),
        spent=state.spent + 1,
    )
    reached = length > _AT_THE_RIM * radius
    farther_still = ((ratio > _AS_PROMISED) & reached) | (ratio > _TOO_STIFF)
    return _next(after, better | goes_on, ~better | farther_still), better


def _kept(promised: jax.Array, change: jax.Array) -> jax.Array:
    """Decrease over the promised one; -1 where there is none."""
    told = jnp.isfinite(change) & (promised > 0)
    return jnp.where(told, -change / jnp.where(promised > 0, promised, 1), -1)


def _line(state: PQNState, step: jax.Array, change: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What a step by pairs tells: the radius of their trust region, and the rest of the way.

    Slope and value at both ends make a parabola. A value costs little beside the gradient that
    follows, so where the step went down and the parabola ends elsewhere, the next step goes there.
    """
    slope, length = state.model.gradient @ step, jnp.linalg.norm(step / state.unit)
    pull = product_with(state.secants, state.unit, step)
    ratio = _kept(-(slope + step @ pull / 2), change)
    came, bend = jnp.isfinite(change), change - slope
    bends = came & (bend > 0)
    lowest = jnp.where(bends, -slope / (2 * jnp.where(bends, bend, 1)), jnp.inf)
    cut = jnp.where(bends, jnp.clip(lowest, 0.1, 0.5), jnp.where(came, 0.4, 0.1))
    farther = jnp.where(ratio > 0.75, jnp.maximum(state.reach, 2 * length), state.reach)
    reach = jnp.where((ratio >= 0.25) | (length == 0), farther, cut * length)
    rest = jnp.clip(lowest, 0.1, _FARTHEST) - 1
    goes_on = came & (change < 0) & (jnp.abs(rest) > _ELSEWHERE)
    return reach, jnp.where(goes_on, rest * step, 0)


def _next(state: PQNState, better: jax.Array, again: jax.Array) -> PQNState:
    """The state with the kind of the next step."""
    stuck = state.refused > _STUBBORN
    kind, distrust = jax.lax.cond(
        lives_on(state),
        lambda state: _most_promising(state, better, again, stuck),
        lambda state: (jnp.where(_goes_on(state) | ~better, TRY, WHOLE), state.distrust),
        state,
    )
    state = state._replace(
        kind=jnp.where(stuck & jnp.all(known(state.model)), WHOLE, kind).astype(jnp.int32),
        distrust=distrust.astype(jnp.int32),
        value=jnp.where(stuck, jnp.nan, state.value),  # asked anew: f may have changed
        refused=jnp.where(stuck, 0, state.refused),
    )
    return either(stuck & ~lives_on(state), revived(state), state)


def _most_promising(
    state: PQNState, better: jax.Array, again: jax.Array, stuck: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The kind of the next step while the gradient lives on, and the distrust that is left.

    A look at m derivatives promises what the model promises and, for each of them, P_ii / 2 B_ii;
    the one with the best promise a value is taken. Another trial at once is a choice after a
    refusal, and where the decrease was as promised at the rim of the trust region or far more.
    """
    model, dim = state.model, state.position.shape[0]
    promise = _planned(state)[1]
    worth = jnp.cumsum(jax.lax.top_k(worth_of(model), dim)[0])
    unlikely = jnp.asarray(-jnp.inf, worth.dtype)
    rates = [
        (worth[size - 1] + promise) / (size + 1) if worthwhile(size, dim) else unlikely
        for size in BATCHES
    ]
    rates += [(worth[-1] + promise) / (dim + 1), jnp.where(again & ~stuck, promise, unlikely)]
    kind = BATCH + jnp.argmax(jnp.nan_to_num(jnp.stack(rates), nan=-jnp.inf))
    surprised = (model.surprise > _SURPRISE) & ((kind != TRY) | (state.refused > _PATIENCE))
    wary = (kind != TRY) & (state.distrust > 0)
    kind = jnp.where(surprised | wary | stuck, WHOLE, kind)
    unmet = jnp.where(~better & ~stuck & (state.refused < _PATIENCE), TRY, MEET)
    distrust = jnp.where(surprised, _DISTRUST, state.distrust - wary.astype(jnp.int32))
    return jnp.where(jnp.all(known(model)), kind, unmet), distrust


def _turned(options: Options, state: PQNState, params: Params) -> PQNState:
    """The state, in the next subspace where this one has had its values."""
    dim = state.position.shape[0]
    if dim == dimension(params):
        return state
    over = state.spent >= options.period * dim
    turn = state.turn + 1
    new = state._replace(
        turn=turn,
        spent=jnp.zeros_like(state.spent),
        refused=jnp.zeros_like(state.refused),
        distrust=jnp.zeros_like(state.distrust),
        kind=jnp.full_like(state.kind, START),
        value=jnp.full_like(state.value, jnp.nan),
        bound=jnp.zeros_like(state.bound),
        suspect=jnp.zeros_like(state.suspect),
        radius=jnp.full_like(state.radius, jnp.nan),
        widening=jnp.ones_like(state.widening),
        model=empty_model(dim, state.value.dtype, state.model.correlation),
    )
    return either(over, revived(new), state)


def _radius(state: PQNState) -> jax.Array:
    """Radius of the trust region; two units at the first step."""
    largest = jnp.sqrt(jnp.max(state.model.scale * state.unit**2))
    return jnp.where(jnp.isfinite(state.radius), state.radius, 2 * largest)


def _goes_on(state: PQNState) -> jax.Array:
    """Whether the next step goes on along the last one."""
    return jnp.any(state.along != 0)


def _held(state: PQNState) -> jax.Array:
    """Which coordinates a bound holds, bool, shape (D,)."""
    gradient = state.model.gradient
    return state.bound.astype(gradient.dtype) * gradient < 0


def _by_pairs(state: PQNState) -> jax.Array:
    """Whether the secant pairs propose the step; at a bound the model does."""
    return ~lives_on(state) & believed(state.secants) & ~jnp.any(_held(state))


def _planned(state: PQNState) -> tuple[jax.Array, jax.Array]:
    """The step that the pairs or the model propose, and the decrease that they promise."""
    held, model = _held(state), state.model

    def by_pairs(state: PQNState) -> tuple[Spectrum, jax.Array]:
        return spectrum_of_pairs(state.secants, state.unit), state.reach

    def by_model(state: PQNState) -> tuple[Spectrum, jax.Array]:
        apart = held[:, None] | held[None, :]
        hessian = jnp.where(apart, jnp.diag(model.scale), model.hessian)
        return spectrum(hessian, model.scale), _radius(state)

    view, radius = jax.lax.cond(_by_pairs(state), by_pairs, by_model, state)
    step, decrease = trust_region_step(view, jnp.where(held, 0, model.gradient), radius)
    finite = jnp.all(jnp.isfinite(step)) & jnp.isfinite(decrease)
    return jnp.where(finite, step, 0), jnp.where(finite, decrease, 0)
