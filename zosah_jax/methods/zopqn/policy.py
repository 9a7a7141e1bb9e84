"""What comes after a trial: another one, or measurements."""

import jax
import jax.numpy as jnp

from zosah_jax.method import Problem, state_where
from zosah_jax.methods.zopqn.measure import worth_of
from zosah_jax.methods.zopqn.model import known
from zosah_jax.methods.zopqn.plan import continues, planned_step
from zosah_jax.methods.zopqn.state import (
    BASE,
    BATCH,
    FEW,
    MEET,
    TRY,
    WHOLE,
    ZOPQNState,
    anew,
    in_batches,
    is_carried,
)

_STUBBORN = 10  # rejections in a row before all is measured anew: f may have changed, B be wrong


def after_trial(
    state: ZOPQNState, problem: Problem, better: jax.Array, again: jax.Array
) -> ZOPQNState:
    """The state with its next stage.

    Args:
        state: after the trial.
        problem: what is known of f.
        better: whether it went down, or went on along the step before.
        again: whether another trial is a choice: after a rejection, and where the decrease was as
            promised at the rim of the trust region, or far more.
    """
    everything = jnp.all(known(state.model))
    stage = jnp.where(continues(state) | ~better, TRY, WHOLE).astype(jnp.int32)
    if in_batches(len(state.unit)):
        stage = jax.lax.cond(
            is_carried(state, problem) & everything,
            lambda: _most_promising(state, problem, again),
            lambda: stage,
        )
    stage = jnp.where(everything, stage, MEET)
    fresh = anew(state, state.address)._replace(
        stage=jnp.full_like(stage, BASE), value=jnp.full_like(state.value, jnp.inf)
    )
    return state_where(state.rejected > _STUBBORN, fresh, state._replace(stage=stage))


def _most_promising(state: ZOPQNState, problem: Problem, again: jax.Array) -> jax.Array:
    """The next stage while the gradient is carried: what promises the largest decrease a value.

    A trial promises what the model does; derivatives before it, P_ii / 2 B_ii more for each.
    """
    promise = planned_step(state, problem)[1]
    worth = jnp.sum(jax.lax.top_k(worth_of(state.model), FEW)[0])
    at_once = again & (promise > (worth + promise) / (FEW + 1))
    return jnp.where(at_once, TRY, BATCH).astype(jnp.int32)
