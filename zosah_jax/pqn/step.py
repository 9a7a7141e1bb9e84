"""The steps of ZO-PQN: look (measure derivatives), then try (the minimum of the model).

A look measures derivatives: of coordinates not yet met (forward and backward, for the curvature
too), or of those of which the model is least certain, 8, 32 or all D. It does not move. A trial
asks for the value where the model is smallest within the trust region, and moves there if it is
lower.
After a trial comes what promises the largest decrease a value: a look and a trial, or, after a
refusal, another trial at once.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.checks import typed_key
from zosah_jax.method import Method, Round, Told
from zosah_jax.params import Address, Params, dimension, gather, precision, working_dtype
from zosah_jax.pqn.model import (
    Model,
    drifted,
    empty_model,
    flattest,
    forgetful,
    known,
    learn_derivative,
    learn_gradient,
    learn_value,
    meet,
    moved,
    predicted_change,
    replace_gradient,
)
from zosah_jax.pqn.options import BATCHES, Options, first_batch, worthwhile
from zosah_jax.pqn.trust_region import Spectrum, absolute, spectrum, trust_region_step
from zosah_jax.probes import CoordinateProbes, CoordinateUpdate
from zosah_jax.sah.subspaces import draw_coordinates

_LONG = 6.0  # of a difference, times sqrt(noise of f / curvature): B_ii corrects what that costs
_ROUNDING = 4.0  # relative error of a value in machine epsilons, where the user names none
_AS_PROMISED, _TOO_STIFF = 0.9, 1.5  # decrease over what the model promised
_AT_THE_RIM = 0.99  # of the trust region: part of the radius
_PATIENCE = 3  # refusals in a row before further coordinates are met
_STUBBORN = 10  # refusals in a row before the whole gradient is measured again
_SURPRISE = 2.0  # mean square of standardised errors above which the model is not believed
_DISTRUST = 10  # steps for which whole gradients are measured then


class PQNState(NamedTuple):
    """State of ZO-PQN. D coordinates are modelled; floats are in the working dtype.

    Attributes:
        key: typed PRNG key, never advanced: the coordinates follow from it and the turn.
        turn: number of the subspace, int32.
        spent: values spent in this subspace, int32.
        refused: steps refused in a row, int32.
        distrust: steps for which whole gradients are yet to be measured, int32.
        kind: of the next step, int32.
        address: the coordinates of the subspace, leaves of shape (D,).
        position: where they stood when `value` was known, shape (D,).
        value: f there, scalar; NaN where it is not known.
        start: |f| where the run began, scalar: no value is taken for exacter than 1e-12 of it is.
        unit: length of a unit along each coordinate until its curvature is known, shape (D,).
        widening: factor on the first differences, which grow while they drown in noise, scalar.
        radius: of the trust region, in the norm of W; NaN before the first step.
        model: of f around `position`.
    """

    key: jax.Array
    turn: jax.Array
    spent: jax.Array
    refused: jax.Array
    distrust: jax.Array
    kind: jax.Array
    address: Address
    position: jax.Array
    value: jax.Array
    start: jax.Array
    unit: jax.Array
    widening: jax.Array
    radius: jax.Array
    model: Model


class _Look(NamedTuple):
    """What is static about a look.

    Attributes:
        batch: how many derivatives are measured; None: as many as the first sweep meets in a
            step, or, where `whole`, all.
        whole: whether the whole gradient is measured.
        first: whether the subspace is new; then the first probe is the parameters themselves.
    """

    batch: int | None = None
    whole: bool = False
    first: bool = False

    @property
    def meets(self) -> bool:
        """Whether the coordinates have not been met before, and are looked at from both sides."""
        return self.batch is None and not self.whole

    def count(self, dim: int) -> int:
        """Number of coordinates."""
        if self.whole:
            return dim
        return first_batch(dim) if self.batch is None else self.batch


_START, _MEET, _BATCH, _WHOLE = 0, 1, 2, 2 + len(BATCHES)
_TRY = _WHOLE + 1


def zopqn_method(options: Options) -> Method:
    """ZO-PQN by the protocol of `method.py`."""
    looks = [
        _Look(first=True),
        _Look(),
        *(_Look(batch=size) for size in BATCHES),
        _Look(whole=True),
    ]
    kinds = [
        Round(partial(_ask_look, options, look), partial(_tell_look, options, look))
        for look in looks
    ]
    trial = Round(partial(_ask_trial, options), partial(_tell_trial, options))
    return Method(
        partial(_init, options), tuple((kind,) for kind in [*kinds, trial]), lambda s: s.kind
    )


def _init(options: Options, params: Params) -> PQNState:
    dim = options.subspace_of(dimension(params))
    dtype = working_dtype(params)
    key = typed_key(options.key)

    def none() -> jax.Array:  # each a buffer of its own, so that all can be donated
        return jnp.zeros((), jnp.int32)

    def missing() -> jax.Array:
        return jnp.full((), jnp.nan, dtype)

    return PQNState(
        key=key,
        turn=none(),
        spent=none(),
        refused=none(),
        distrust=none(),
        kind=none(),
        address=draw_coordinates(key, none(), params, dim),
        position=jnp.zeros(dim, dtype),
        value=missing(),
        start=missing(),
        unit=jnp.ones(dim, dtype),
        widening=jnp.ones((), dtype),
        radius=missing(),
        model=empty_model(dim, dtype),
    )


# --- where the parameters stand -------------------------------------------------------------------


def _elsewhere(state: PQNState, position: jax.Array) -> jax.Array:
    """Whether f is not known where the parameters stand."""
    return jnp.any(position != state.position) | ~jnp.isfinite(state.value)


def _has_slot(look: _Look, dim: int) -> bool:
    """Whether a probe is set apart for f(x); else it takes the last derivative's when needed."""
    return look.first or dim == 1


def _unit(look: _Look, state: PQNState, position: jax.Array) -> jax.Array:
    """Length of a unit along each coordinate: |x_i|, at least the mean size; 1 from the origin."""
    if not look.first:
        return state.unit
    size = jnp.sqrt(jnp.mean(position**2))
    return jnp.where(size > 0, jnp.maximum(jnp.abs(position), size), 1)


def _error(options: Options, state: PQNState, params: Params, value: jax.Array) -> jax.Array:
    """Absolute error of a value of f."""
    given = options.noise
    relative = _ROUNDING * precision(params) if given is None else given
    tiny = jnp.finfo(value.dtype).tiny
    size = jnp.maximum(jnp.abs(value), 1e-12 * jnp.nan_to_num(state.start))
    return relative * size + tiny


# --- look -----------------------------------------------------------------------------------------


def _begun(look: _Look, state: PQNState, params: Params) -> PQNState:
    """The state with its subspace drawn, if that is new."""
    if not look.first:
        return state
    dim = len(state.position)
    return state._replace(address=draw_coordinates(state.key, state.turn, params, dim))


def _chosen(look: _Look, state: PQNState, dim: int) -> jax.Array:
    """The coordinates that are measured: the next, or the least certain first, int32."""
    count = look.count(dim)
    if look.meets:
        begin = jnp.minimum(jnp.sum(known(state.model)), dim - count)
        return begin.astype(jnp.int32) + jnp.arange(count, dtype=jnp.int32)
    return jax.lax.top_k(_worth(state.model), count)[1]


def _worth(model: Model) -> jax.Array:
    """Decrease that knowing each derivative promises: P_ii / 2 B_ii, shape (D,)."""
    curvature = jnp.maximum(jnp.diagonal(model.hessian), 1e-2 * model.scale)
    return jnp.diagonal(model.doubt) / (2 * jnp.where(curvature > 0, curvature, 1))


def _lengths(
    options: Options,
    look: _Look,
    state: PQNState,
    params: Params,
    position: jax.Array,
) -> jax.Array:
    """Lengths of the differences along every coordinate, as they will be realised, shape (D,)."""
    if look.meets:
        length = options.radius * state.widening * _unit(look, state, position)
    else:
        model = state.model
        curvature = jnp.maximum(model.scale, jnp.abs(jnp.diagonal(model.hessian)))
        error = _error(options, state, params, jnp.nan_to_num(state.value))
        length = _LONG * jnp.sqrt(error / jnp.where(curvature > 0, curvature, 1))
        length = jnp.maximum(length, precision(params) ** 0.5 * jnp.abs(position))
    return (position + length) - position


def _ask_look(options: Options, look: _Look, state: PQNState, params: Params) -> CoordinateProbes:
    """Forward probes, or forward and backward ones, and the parameters where f is not known."""
    state = _begun(look, state, params)
    position = gather(params, state.address)
    dim = position.shape[0]
    if look.batch is not None and not worthwhile(look.batch, dim):  # a kind that never comes
        nowhere = jnp.zeros((1, 1), position.dtype)
        return CoordinateProbes(_places(state, jnp.zeros((1,), jnp.int32)), nowhere)
    chosen = _chosen(look, state, dim)
    length = _lengths(options, look, state, params, position)[chosen]
    if not _has_slot(look, dim):
        length = length.at[-1].set(jnp.where(_elsewhere(state, position), 0, length[-1]))
    offset = jnp.stack([length, -length], axis=1).ravel() if look.meets else length
    chosen = jnp.repeat(chosen, 2) if look.meets else chosen
    if _has_slot(look, dim):
        offset = jnp.concatenate([jnp.zeros_like(offset[:1]), offset])
        chosen = jnp.concatenate([chosen[:1], chosen])
    return CoordinateProbes(_places(state, chosen), offset[:, None])


def _places(state: PQNState, chosen: jax.Array) -> Address:
    return Address(*(part[chosen][:, None] for part in state.address))


def _tell_look(
    options: Options,
    look: _Look,
    state: PQNState,
    params: Params,
    probes: CoordinateProbes,
    values: jax.Array,
) -> Told:
    """The model corrected by what was measured."""
    state = _begun(look, state, params)
    position = gather(params, state.address)
    dim = position.shape[0]
    if look.batch is not None and not worthwhile(look.batch, dim):
        return Told(CoordinateUpdate(state.address, jnp.zeros_like(position)), state, values[0])
    elsewhere, chosen = _elsewhere(state, position), _chosen(look, state, dim)
    offset = probes.offset[:, 0]
    if _has_slot(look, dim):
        base, offset, values = values[0], offset[1:], values[1:]
    else:
        base = jnp.where(elsewhere, values[-1], state.value)
    start = jnp.where(jnp.isfinite(state.start), state.start, jnp.abs(base))
    here = state._replace(
        position=position,
        value=base,
        start=start,
        unit=_unit(look, state, position),
        model=state.model if look.first else _followed(state, position, elsewhere),
        kind=jnp.full_like(state.kind, _TRY),
    )
    error = _error(options, here, params, base)
    if look.meets:
        seen = _met(here, chosen, offset, values, error)
    else:
        seen = here._replace(model=_corrected(here, chosen, offset, values, error))
    return _told(state, seen, position, base, len(probes))


def _told(
    before: PQNState, after: PQNState, position: jax.Array, base: jax.Array, spent: int
) -> Told:
    """What a look tells; if f has no value at x, nothing but half the way back, if there is one."""
    lost = ~jnp.isfinite(base)
    back = jnp.where(lost & jnp.isfinite(before.value), (position - before.position) / 2, 0)
    state = _where(lost, before, after)
    state = state._replace(spent=before.spent + spent)
    return Told(CoordinateUpdate(state.address, back), state, base)


def _where(condition: jax.Array, yes: PQNState, no: PQNState) -> PQNState:
    """One state or the other; of the same key."""
    chosen = jax.tree.map(
        lambda y, n: jnp.where(condition, y, n), yes._replace(key=None), no._replace(key=None)
    )
    return chosen._replace(key=no.key)


def _followed(state: PQNState, position: jax.Array, elsewhere: jax.Array) -> Model:
    """The model where the parameters stand, if others have moved them."""
    there = elsewhere & jnp.isfinite(state.value)
    step = jnp.where(there, position - state.position, 0)
    return jax.lax.cond(there, moved, lambda model, step: model, state.model, step)


def _met(
    state: PQNState, chosen: jax.Array, offset: jax.Array, values: jax.Array, error: jax.Array
) -> PQNState:
    """Further coordinates: central differences of first and second order."""
    length = offset[::2]
    ahead, behind = values[::2] - state.value, values[1::2] - state.value
    both = jnp.isfinite(ahead) & jnp.isfinite(behind)
    divisor = jnp.where(length == 0, 1, length)
    one_sided = jnp.where(jnp.isfinite(ahead), ahead, -behind) / divisor
    slope = jnp.where(both, (ahead - behind) / (2 * divisor), one_sided)
    slope = jnp.where(jnp.isfinite(slope), slope, 0)
    bend = jnp.abs(ahead + behind)
    largest = jnp.max(state.model.scale)
    guess = jnp.where(largest > 0, largest, jnp.abs(state.value) / state.unit[chosen] ** 2)
    curvature = jnp.where(both, (ahead + behind) / divisor**2, guess)
    new = ~known(state.model)[chosen] & (length != 0)
    least = jnp.maximum(4 * error / divisor**2, flattest(slope, state.unit[chosen]))

    def one(number: jax.Array, model: Model) -> Model:
        return meet(
            model,
            chosen[number],
            state.position,
            slope[number],
            curvature[number],
            least[number],
            new[number],
        )

    drowned = jnp.nanmax(jnp.where(both & new, bend, jnp.nan)) < 30 * error
    beyond = jnp.sum(~both & new) > jnp.sum(both & new)
    factor = jnp.where(beyond, 0.1, jnp.where(drowned, 10, 1)).astype(slope.dtype)
    model = jax.lax.fori_loop(0, len(chosen), one, state.model)
    model = drifted(model, len(chosen) / len(state.position))
    return state._replace(model=model, widening=state.widening * factor)


def _corrected(
    state: PQNState, chosen: jax.Array, offset: jax.Array, values: jax.Array, error: jax.Array
) -> Model:
    """The model after forward differences of known coordinates."""
    model, position, dim = state.model, state.position, state.position.shape[0]
    unit = jnp.maximum(state.unit, jnp.abs(position))
    divisor = jnp.where(offset == 0, 1, offset)
    slope = (values - state.value) / divisor - offset / 2 * jnp.diagonal(model.hessian)[chosen]
    slope = jnp.where(jnp.isfinite(slope) & (offset != 0), slope, jnp.nan)
    noise = (error / divisor) ** 2

    def one_by_one(model: Model) -> tuple[Model, jax.Array]:
        def one(model: Model, seen: tuple[jax.Array, ...]) -> tuple[Model, jax.Array]:
            index, slope, noise = seen
            return learn_derivative(model, index, position, slope, noise)

        return jax.lax.scan(one, model, (chosen, slope, noise))

    if len(chosen) < dim:
        model, squared = one_by_one(model)
        return forgetful(model, squared, len(chosen) / dim, unit)
    gradient = jnp.zeros_like(slope).at[chosen].set(slope)
    errors = jnp.zeros_like(noise).at[chosen].set(noise)

    def at_once(model: Model) -> tuple[Model, jax.Array]:
        model, squared = learn_gradient(model, position, gradient, errors)
        return model, jnp.full(dim, squared)

    complete = jnp.all(jnp.isfinite(slope))
    together = jnp.all(model.seen_at == model.seen_at[:1])
    model, squared = jax.lax.cond(complete & together, at_once, one_by_one, model)
    whole = replace_gradient(model, position, gradient)
    model = jax.tree.map(lambda new, old: jnp.where(complete, new, old), whole, model)
    return forgetful(model, squared, 1, unit)


# --- try ------------------------------------------------------------------------------------------


def _radius(state: PQNState) -> jax.Array:
    """Radius of the trust region; two units at the first step."""
    largest = jnp.sqrt(jnp.max(state.model.scale * state.unit**2))
    return jnp.where(jnp.isfinite(state.radius), state.radius, 2 * largest)


def _seen(state: PQNState) -> Spectrum:
    return spectrum(state.model.hessian, state.model.scale)


def _planned(state: PQNState, view: Spectrum) -> tuple[jax.Array, jax.Array]:
    """The step that the model proposes, and the decrease that it promises."""
    step, decrease = trust_region_step(view, state.model.gradient, _radius(state))
    finite = jnp.all(jnp.isfinite(step)) & jnp.isfinite(decrease)
    return jnp.where(finite, step, 0), jnp.where(finite, decrease, 0)


def _ask_trial(options: Options, state: PQNState, params: Params) -> CoordinateProbes:
    """The parameters moved by the step, or themselves where others have moved them."""
    del options
    elsewhere = _elsewhere(state, gather(params, state.address))
    step = jnp.where(elsewhere, 0, _planned(state, _seen(state))[0])
    return CoordinateProbes(Address(*(part[None] for part in state.address)), step[None])


def _tell_trial(
    options: Options,
    state: PQNState,
    params: Params,
    probes: CoordinateProbes,
    values: jax.Array,
) -> Told:
    """The step, if its value is lower; what its value says of the model; what comes next."""
    position, step = gather(params, state.address), probes.offset[0]
    base, new = state.value, values[0]
    elsewhere = _elsewhere(state, position)
    whole = jnp.where(jnp.all(known(state.model)), _WHOLE, _MEET)
    found = state._replace(
        position=position,
        value=new,
        model=_followed(state, position, elsewhere),
        kind=whole.astype(jnp.int32),
    )
    told = _told(state, found, position, new, 1)
    after, better = _tried(options, state, params, position, step, new)
    state = _turned(options, _where(elsewhere, told.state, after), params)
    amount = jnp.where(elsewhere, told.updates.amount, jnp.where(better, -step, 0))  # type: ignore[union-attr]
    value = jnp.where(elsewhere, new, base)
    return Told(CoordinateUpdate(told.updates.address, amount), state, value)  # type: ignore[union-attr]


def _tried(
    options: Options,
    state: PQNState,
    params: Params,
    position: jax.Array,
    step: jax.Array,
    new: jax.Array,
) -> tuple[PQNState, jax.Array]:
    """The state after a trial, and whether its step is taken."""
    model, change, radius = state.model, new - state.value, _radius(state)
    came = jnp.isfinite(change)
    better = came & (change < 0)
    promised = -predicted_change(model, step)
    ratio = jnp.where(came & (promised > 0), -change / jnp.where(promised > 0, promised, 1), -1)
    length = jnp.sqrt(step @ (model.scale * step))
    farther = jnp.where(ratio > 0.75, jnp.maximum(radius, 2 * length), radius)
    nearer = jnp.where(came, 0.4, 0.1) * length
    farthest = jnp.maximum(state.unit, jnp.abs(position))
    least = precision(params) * jnp.sqrt(jnp.max(model.scale * farthest**2))
    noise = 2 * _error(options, state, params, state.value) ** 2
    unmet = ~jnp.all(known(model))
    model = learn_value(model, step, jnp.where(came, change, jnp.nan), noise, unmet)
    after = state._replace(
        radius=jnp.maximum(jnp.where(ratio >= 0.25, farther, nearer), least),
        model=jax.lax.cond(better, moved, lambda model, step: model, model, step),
        position=jnp.where(better, position + step, position),
        value=jnp.where(better, new, state.value),
        refused=jnp.where(better, 0, state.refused + 1),
        spent=state.spent + 1,
    )
    reached = length > _AT_THE_RIM * radius
    farther_still = ((ratio > _AS_PROMISED) & reached) | (ratio > _TOO_STIFF)
    return _next(after, better, ~better | farther_still), better


def _next(state: PQNState, better: jax.Array, again: jax.Array) -> PQNState:
    """The kind of the next step.

    A look at m derivatives promises what the model promises and, for each of them, P_ii / 2 B_ii;
    the one with the best promise a value is taken. Another trial at once is a choice after a
    refusal, and where the decrease was as promised at the rim of the trust region or far more.
    """
    model, dim = state.model, state.position.shape[0]
    view = _seen(state)
    promise = _planned(state, view)[1]
    worth = jnp.cumsum(jax.lax.top_k(_worth(model), dim)[0])
    unlikely = jnp.asarray(-jnp.inf, worth.dtype)
    rates = [
        (worth[size - 1] + promise) / (size + 1) if worthwhile(size, dim) else unlikely
        for size in BATCHES
    ]
    stuck = state.refused > _STUBBORN
    rates += [(worth[-1] + promise) / (dim + 1), jnp.where(again & ~stuck, promise, unlikely)]
    kind = _BATCH + jnp.argmax(jnp.nan_to_num(jnp.stack(rates), nan=-jnp.inf))
    surprised = (model.surprise > _SURPRISE) & ((kind != _TRY) | (state.refused > _PATIENCE))
    wary = (kind != _TRY) & (state.distrust > 0)
    kind = jnp.where(surprised | wary | stuck, _WHOLE, kind)
    unmet = jnp.where(~better & ~stuck & (state.refused < _PATIENCE), _TRY, _MEET)
    distrust = jnp.where(surprised, _DISTRUST, state.distrust - wary.astype(jnp.int32))
    size = absolute(view)
    size = jnp.where(jnp.all(jnp.isfinite(size)), size, model.absolute)
    return state._replace(
        model=model._replace(absolute=size),
        kind=jnp.where(jnp.all(known(model)), kind, unmet).astype(jnp.int32),
        distrust=distrust.astype(jnp.int32),
        value=jnp.where(stuck, jnp.nan, state.value),  # asked anew: f may have changed
        refused=jnp.where(stuck, 0, state.refused),
    )


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
        kind=jnp.full_like(state.kind, _START),
        value=jnp.full_like(state.value, jnp.nan),
        radius=jnp.full_like(state.radius, jnp.nan),
        widening=jnp.ones_like(state.widening),
        model=empty_model(dim, state.value.dtype, state.model.correlation),
    )
    return _where(over, new, state)
