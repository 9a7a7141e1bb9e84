"""A recheck: where a derivative came as a surprise, the curvature along its coordinate is measured.

A look at a few derivatives tells less of B than a whole gradient, which is a secant pair: one
equation on a row of D unknowns. If a derivative is far from what was predicted, the entry that
decides most of the next step, B_ii, may be wrong by a factor, and corrections shared by the whole
row take long to mend it. So f is asked where coordinate i stood when it was last measured, all
others staying: with g_i known, that is an equation on B_ii alone, and over the length of a move
rather than of a difference.
"""

import jax
import jax.numpy as jnp

from zosah_jax.method import Told
from zosah_jax.params import Address, Params, gather
from zosah_jax.pqn.model import learn_value
from zosah_jax.pqn.options import Options
from zosah_jax.pqn.state import (
    RECHECK,
    TRY,
    PQNState,
    arrived,
    either,
    is_elsewhere,
    told_at,
    value_error,
)
from zosah_jax.probes import CoordinateProbes

_SURPRISING = 4.0  # square of a standardised error: two standard deviations


def suspects(
    squared: jax.Array, chosen: jax.Array, move: jax.Array, length: jax.Array
) -> jax.Array:
    """Where the coordinates to be rechecked are to be put, as offsets, shape (D,); 0 elsewhere.

    Args:
        squared: standardised squared errors of the derivatives just measured, NaN where there is
            none, shape (m,).
        chosen: their coordinates, int32, shape (m,).
        move: what each coordinate has moved since it was last measured, shape (D,).
        length: of the differences, shape (D,): no offset is shorter.
    """
    back = jnp.where(move > 0, -1, 1) * jnp.maximum(jnp.abs(move), length)
    surprising = jnp.zeros(len(move), bool).at[chosen].set(squared > _SURPRISING)
    return jnp.where(surprising, back, 0)


def ask_recheck(options: Options, state: PQNState, params: Params) -> CoordinateProbes:
    """One coordinate put back; or the parameters themselves, where others have moved them."""
    del options
    position, index = gather(params, state.address), _first(state)
    offset = (position + state.suspect)[index] - position[index]
    offset = jnp.where(is_elsewhere(state, position), 0, offset)
    place = Address(*(part[index][None, None] for part in state.address))
    return CoordinateProbes(place, offset[None, None])


def tell_recheck(
    options: Options,
    state: PQNState,
    params: Params,
    probes: CoordinateProbes,
    values: jax.Array,
) -> Told:
    """The model corrected by the value; nothing moves."""
    position, index, value = gather(params, state.address), _first(state), values[0]
    elsewhere = is_elsewhere(state, position)
    step = jnp.zeros_like(position).at[index].set(probes.offset[0, 0])
    change = jnp.where(jnp.isfinite(value), value - state.value, jnp.nan)
    noise = 2 * value_error(options, state, params, state.value) ** 2
    suspect = state.suspect.at[index].set(0)
    after = state._replace(
        model=learn_value(state.model, step, change, noise, jnp.asarray(False)),
        suspect=suspect,
        kind=jnp.where(jnp.any(suspect != 0), RECHECK, TRY).astype(jnp.int32),
    )
    after = either(elsewhere, arrived(state, position, value, elsewhere), after)
    base = jnp.where(elsewhere, value, state.value)
    return told_at(state, after, position, base, 1)


def _first(state: PQNState) -> jax.Array:
    """The coordinate that is rechecked next: the one that moved farthest, in the norm of W."""
    return jnp.argmax(jnp.abs(state.suspect) * jnp.sqrt(state.model.scale))
