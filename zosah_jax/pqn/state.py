"""The state of ZO-PQN, and where in the parameters' space it stands."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.checks import typed_key
from zosah_jax.method import Told
from zosah_jax.params import Address, Params, dimension, precision, working_dtype
from zosah_jax.pqn.model import Model, empty_model, known, moved
from zosah_jax.pqn.options import BATCHES, Options, living
from zosah_jax.pqn.secants import Secants, no_pairs
from zosah_jax.probes import CoordinateUpdate
from zosah_jax.sah.subspaces import draw_coordinates

_ROUNDING = 4.0  # relative error of a value in machine epsilons, where the user names none

START, MEET, BATCH, WHOLE = 0, 1, 2, 2 + len(BATCHES)
TRY, RECHECK = WHOLE + 1, WHOLE + 2
"""Kinds of steps: first look, further coordinates, so many derivatives, all, trial, recheck."""


class PQNState(NamedTuple):
    """State of ZO-PQN. D coordinates are modelled; floats are in the working dtype.

    Attributes:
        key: typed PRNG key, never advanced: the coordinates follow from it and the turn.
        turn: number of the subspace, int32.
        spent: values spent in this subspace, int32.
        refused: steps refused in a row, int32.
        distrust: steps for which whole gradients are yet to be measured, int32.
        living: values of this subspace up to which the gradient lives on, int32.
        kind: of the next step, int32.
        address: the coordinates of the subspace, leaves of shape (D,).
        position: where they stood when `value` was known, shape (D,).
        value: f there, scalar; NaN where it is not known.
        noise: standard deviation of a value, scalar; 0: rounding, or the option `noise`, alone.
        bound: 1 where x is at the upper bound of a coordinate, -1 at the lower, int32, shape (D,).
        start: |f| where the run began, scalar: no value is taken for exacter than 1e-12 of it is.
        unit: length of a unit along each coordinate until its curvature is known, shape (D,).
        widening: factor on the first differences, which grow while they drown in noise, scalar.
        radius: of the trust region, in the norm of W; NaN before the first step.
        suspect: where coordinates are to be put in rechecks, as offsets; 0: nowhere, shape (D,).
        along: the next step, where it goes on along the last one; 0: it does not, shape (D,).
        reach: radius of the trust region of the secant pairs, in units; inf before a refusal.
        model: of f around `position`.
        secants: pairs of moves and changes of the gradient since it no longer lives on.
    """

    key: jax.Array
    turn: jax.Array
    spent: jax.Array
    refused: jax.Array
    distrust: jax.Array
    living: jax.Array
    kind: jax.Array
    address: Address
    position: jax.Array
    value: jax.Array
    noise: jax.Array
    bound: jax.Array
    start: jax.Array
    unit: jax.Array
    widening: jax.Array
    radius: jax.Array
    suspect: jax.Array
    along: jax.Array
    reach: jax.Array
    model: Model
    secants: Secants


def initial_state(options: Options, params: Params) -> PQNState:
    """The first state; nothing is known of f."""
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
        living=none() + living(dim),
        kind=none(),
        address=draw_coordinates(key, none(), params, dim),
        position=jnp.zeros(dim, dtype),
        value=missing(),
        noise=jnp.zeros((), dtype),
        bound=jnp.zeros(dim, jnp.int32),
        start=missing(),
        unit=jnp.ones(dim, dtype),
        widening=jnp.ones((), dtype),
        radius=missing(),
        suspect=jnp.zeros(dim, dtype),
        along=jnp.zeros(dim, dtype),
        reach=jnp.full((), jnp.inf, dtype),
        model=empty_model(dim, dtype),
        secants=no_pairs(dim, dtype),
    )


def lives_on(state: PQNState) -> jax.Array:
    """Whether the gradient is carried from step to step, and not measured whole after each.

    It always is where a level of noise is known: differences of such values make misleading pairs.
    """
    return ~jnp.all(known(state.model)) | (state.spent < state.living) | (state.noise > 0)


def revived(state: PQNState) -> PQNState:
    """The state with the gradient living on again, and no pairs."""
    dim = len(state.position)
    return state._replace(
        living=state.spent + living(dim),
        along=jnp.zeros_like(state.along),
        reach=jnp.full_like(state.reach, jnp.inf),
        secants=no_pairs(dim, state.position.dtype),
    )


def is_elsewhere(state: PQNState, position: jax.Array) -> jax.Array:
    """Whether f is not known where the parameters stand."""
    return jnp.any(position != state.position) | ~jnp.isfinite(state.value)


def value_error(options: Options, state: PQNState, params: Params, value: jax.Array) -> jax.Array:
    """Absolute error of a value of f."""
    given = options.noise
    relative = _ROUNDING * precision(params) if given is None else given
    tiny = jnp.finfo(value.dtype).tiny
    size = jnp.maximum(jnp.abs(value), 1e-12 * jnp.nan_to_num(state.start))
    return jnp.maximum(relative * size + tiny, state.noise)


def arrived(
    state: PQNState, position: jax.Array, value: jax.Array, elsewhere: jax.Array
) -> PQNState:
    """The state where others have moved the parameters, once their value is known."""
    next_look = jnp.where(jnp.all(known(state.model)), WHOLE, MEET)
    return state._replace(
        position=position,
        value=value,
        model=followed(state, position, elsewhere),
        suspect=jnp.zeros_like(state.suspect),
        along=jnp.zeros_like(state.along),
        kind=next_look.astype(jnp.int32),
    )


def told_at(
    before: PQNState, after: PQNState, position: jax.Array, base: jax.Array, spent: int
) -> Told:
    """What a look tells; if f has no value at x, nothing but half the way back, if there is one."""
    lost = ~jnp.isfinite(base)
    back = jnp.where(lost & jnp.isfinite(before.value), (position - before.position) / 2, 0)
    state = either(lost, before, after)
    state = state._replace(spent=before.spent + spent)
    return Told(CoordinateUpdate(state.address, back), state, base)


def either(condition: jax.Array, yes: PQNState, no: PQNState) -> PQNState:
    """One state or the other; of the same key."""
    chosen = jax.tree.map(
        lambda y, n: jnp.where(condition, y, n), yes._replace(key=None), no._replace(key=None)
    )
    return chosen._replace(key=no.key)


def followed(state: PQNState, position: jax.Array, elsewhere: jax.Array) -> Model:
    """The model where the parameters stand, if others have moved them."""
    there = elsewhere & jnp.isfinite(state.value)
    step = jnp.where(there, position - state.position, 0)
    return jax.lax.cond(there, moved, lambda model, step: model, state.model, step)
