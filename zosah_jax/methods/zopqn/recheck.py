"""A recheck: where a derivative came as a surprise, the curvature along its coordinate is measured.

A batch of a few derivatives tells less of B than a whole gradient, which is a secant pair: one
equation on a row of D unknowns. If a derivative is far from what was predicted, the entry that
decides most of the next step, B_ii, may be wrong by a factor, and corrections shared by the whole
row take long to mend it. So f is asked where coordinate i stood when it was last measured, all
others staying: with g_i known, that is an equation on B_ii alone, and over the length of a move
rather than of a difference.
"""

import jax
import jax.numpy as jnp

from zosah_jax.bounds import reflect
from zosah_jax.method import Batch, Problem
from zosah_jax.methods.zopqn.model import learn_value
from zosah_jax.methods.zopqn.state import RECHECK, TRY, ZOPQNState, probes_of, value_error
from zosah_jax.pytree import Address, gather

_SURPRISING = 4.0  # square of a standardised error: two standard deviations


def suspects(
    squared: jax.Array, chosen: jax.Array, move: jax.Array, length: jax.Array
) -> jax.Array:
    """Offsets of the coordinates whose curvature is to be measured, shape (D,); 0 elsewhere.

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


def ask_recheck(state: ZOPQNState, problem: Problem) -> Batch:
    """One coordinate put back: the one that moved farthest, in the norm of W."""
    index = jnp.argmax(jnp.abs(state.suspect) * jnp.sqrt(state.model.scale))
    position = gather(state.x, state.address)
    offset = ((position + state.suspect)[index] - position[index])[None]
    address = Address(*(part[index][None] for part in state.address))
    offset, _ = reflect(problem.bounds, address, position[index][None], offset)
    return Batch(probes_of(state, index[None], offset), (index, offset[0]), state.x)


def tell_recheck(
    noise: float | None, state: ZOPQNState, problem: Problem, batch: Batch, values: jax.Array
) -> ZOPQNState:
    """The model corrected by the value."""
    index, offset = batch.plan
    step = jnp.zeros_like(state.unit).at[index].set(offset)
    change = jnp.where(jnp.isfinite(values[0]), values[0] - state.value, jnp.nan)
    error = 2 * value_error(noise, state, problem, state.value) ** 2
    suspect = state.suspect.at[index].set(0)
    return state._replace(
        model=learn_value(state.model, step, change, error, jnp.asarray(False)),
        suspect=suspect,
        stage=jnp.where(jnp.any(suspect != 0), RECHECK, TRY).astype(jnp.int32),
        spent=state.spent + 1,
    )
