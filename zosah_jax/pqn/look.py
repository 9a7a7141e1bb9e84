"""A look: derivatives are measured; nothing moves."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.method import Told
from zosah_jax.params import Address, Params, gather, precision
from zosah_jax.pqn.model import (
    Model,
    drifted,
    flattest,
    forgetful,
    known,
    learn_derivative,
    learn_gradient,
    meet,
    replace_gradient,
)
from zosah_jax.pqn.options import Options, first_batch, worthwhile
from zosah_jax.pqn.recheck import suspects
from zosah_jax.pqn.secants import Secants, learn_pair
from zosah_jax.pqn.state import (
    RECHECK,
    TRY,
    PQNState,
    either,
    followed,
    is_elsewhere,
    lives_on,
    revived,
    told_at,
    value_error,
)
from zosah_jax.probes import CoordinateProbes, CoordinateUpdate
from zosah_jax.sah.subspaces import draw_coordinates

_LONG = 6.0  # of a difference, times sqrt(noise of f / curvature): B_ii corrects what that costs


class Look(NamedTuple):
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


def ask_look(options: Options, look: Look, state: PQNState, params: Params) -> CoordinateProbes:
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
        length = length.at[-1].set(jnp.where(is_elsewhere(state, position), 0, length[-1]))
    offset = jnp.stack([length, -length], axis=1).ravel() if look.meets else length
    chosen = jnp.repeat(chosen, 2) if look.meets else chosen
    if _has_slot(look, dim):
        offset = jnp.concatenate([jnp.zeros_like(offset[:1]), offset])
        chosen = jnp.concatenate([chosen[:1], chosen])
    return CoordinateProbes(_places(state, chosen), offset[:, None])


def tell_look(
    options: Options,
    look: Look,
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
    elsewhere, chosen = is_elsewhere(state, position), _chosen(look, state, dim)
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
        model=state.model if look.first else followed(state, position, elsewhere),
        kind=jnp.full_like(state.kind, TRY),
    )
    error = value_error(options, here, params, base)
    if look.meets:
        # the last coordinate waits where its probes were needed for f(x)
        skipped = elsewhere & (not _has_slot(look, dim))
        seen = _met(here, chosen, offset, values, error, skipped)
    else:
        seen = _corrected(here, chosen, offset, values, error)
    return told_at(state, seen, position, base, len(probes))


def _begun(look: Look, state: PQNState, params: Params) -> PQNState:
    """The state with its subspace drawn, if that is new."""
    if not look.first:
        return state
    dim = len(state.position)
    return state._replace(address=draw_coordinates(state.key, state.turn, params, dim))


def _has_slot(look: Look, dim: int) -> bool:
    """Whether a probe is set apart for f(x); else it takes the last derivative's when needed."""
    return look.first or dim == 1


def _unit(look: Look, state: PQNState, position: jax.Array) -> jax.Array:
    """Length of a unit along each coordinate: |x_i|, at least the mean size; 1 from the origin."""
    if not look.first:
        return state.unit
    size = jnp.sqrt(jnp.mean(position**2))
    return jnp.where(size > 0, jnp.maximum(jnp.abs(position), size), 1)


def _chosen(look: Look, state: PQNState, dim: int) -> jax.Array:
    """The coordinates that are measured: the next, or the least certain first, int32."""
    count = look.count(dim)
    if look.meets:
        begin = jnp.minimum(jnp.sum(known(state.model)), dim - count)
        return begin.astype(jnp.int32) + jnp.arange(count, dtype=jnp.int32)
    return jax.lax.top_k(worth_of(state.model), count)[1]


def worth_of(model: Model) -> jax.Array:
    """Decrease that knowing each derivative promises: P_ii / 2 B_ii, shape (D,)."""
    curvature = jnp.maximum(jnp.diagonal(model.hessian), 1e-2 * model.scale)
    return jnp.diagonal(model.doubt) / (2 * jnp.where(curvature > 0, curvature, 1))


def _lengths(
    options: Options,
    look: Look,
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
        error = value_error(options, state, params, jnp.nan_to_num(state.value))
        length = _LONG * jnp.sqrt(error / jnp.where(curvature > 0, curvature, 1))
        length = jnp.maximum(length, precision(params) ** 0.5 * jnp.abs(position))
    return (position + length) - position


def _places(state: PQNState, chosen: jax.Array) -> Address:
    return Address(*(part[chosen][:, None] for part in state.address))


def _met(
    state: PQNState,
    chosen: jax.Array,
    offset: jax.Array,
    values: jax.Array,
    error: jax.Array,
    skipped: jax.Array,
) -> PQNState:
    """Further coordinates: central differences of first and second order."""
    length = offset[::2]
    ahead, behind = values[::2] - state.value, values[1::2] - state.value
    opposite = offset[1::2] == -offset[::2]  # not where a bound has turned one of them round
    both = jnp.isfinite(ahead) & jnp.isfinite(behind) & opposite
    divisor = jnp.where(length == 0, 1, length)
    one_sided = jnp.where(jnp.isfinite(ahead), ahead, -behind) / divisor
    slope = jnp.where(both, (ahead - behind) / (2 * divisor), one_sided)
    slope = jnp.where(jnp.isfinite(slope), slope, 0)
    bend = jnp.abs(ahead + behind)
    largest = jnp.max(state.model.scale)
    guess = jnp.where(largest > 0, largest, jnp.abs(state.value) / state.unit[chosen] ** 2)
    curvature = jnp.where(both, (ahead + behind) / divisor**2, guess)
    new = ~known(state.model)[chosen]  # also what two bounds hold: flat, of length 0
    new = new.at[-1].set(new[-1] & ~skipped)
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
) -> PQNState:
    """The state after forward differences of known coordinates."""
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
        model = forgetful(model, squared, len(chosen) / dim, unit)
        length = jnp.zeros_like(position).at[chosen].set(jnp.abs(offset))
        suspect = suspects(squared, chosen, position - jnp.diagonal(state.model.seen_at), length)
        kind = jnp.where(jnp.any(suspect != 0), RECHECK, state.kind)
        return state._replace(model=model, suspect=suspect, kind=kind.astype(jnp.int32))
    gradient = jnp.zeros_like(slope).at[chosen].set(slope)
    errors = jnp.zeros_like(noise).at[chosen].set(noise)
    alive, complete = lives_on(state), jnp.all(jnp.isfinite(slope))
    together = jnp.all(model.seen_at == model.seen_at[:1])

    def paired(state: PQNState) -> Secants:
        step, change = position - model.seen_at[0], gradient - model.seen
        return learn_pair(state.secants, model, state.unit, step, change, errors)

    def at_once(model: Model) -> tuple[Model, jax.Array]:
        model, squared = learn_gradient(model, position, gradient, errors)
        return model, jnp.full(dim, squared)

    secants = jax.lax.cond(complete & together & ~alive, paired, lambda state: state.secants, state)
    model, squared = jax.lax.cond(complete & together, at_once, one_by_one, model)
    whole = replace_gradient(model, position, gradient)
    model = jax.tree.map(lambda new, old: jnp.where(complete, new, old), whole, model)
    seen = state._replace(model=forgetful(model, squared, 1, unit), secants=secants)
    return either(complete | alive, seen, revived(seen))
