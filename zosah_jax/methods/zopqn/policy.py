"""What comes after a trial: whatever promises the largest decrease a value."""

import jax
import jax.numpy as jnp

from zosah_jax.method import Problem
from zosah_jax.methods.zopqn.measure import worth_of
from zosah_jax.methods.zopqn.model import known
from zosah_jax.methods.zopqn.plan import continues, planned_step
from zosah_jax.methods.zopqn.state import (
    BASE,
    BATCH,
    MEET,
    TRY,
    WHOLE,
    ZOPQNState,
    batches_of,
    carry_again,
    is_carried,
    tree_where,
)

_PATIENCE = 3  # rejections in a row before further coordinates are measured
_STUBBORN = 10  # rejections in a row before everything is measured anew
_SURPRISE = 2.0  # mean square of standardised errors above which the model is not believed
_DISTRUST = 10  # steps for which whole gradients are measured then


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
    stuck, carried = state.rejected > _STUBBORN, is_carried(state, problem)
    everything = jnp.all(known(state.model))
    stage = jnp.where(continues(state) | ~better, TRY, WHOLE)
    first_sweep = jnp.where(~better & ~stuck & (state.rejected < _PATIENCE), TRY, MEET)
    distrust = state.distrust
    if batches_of(len(state.unit)):
        promising, distrust = jax.lax.cond(
            carried & everything,
            lambda state: _most_promising(state, problem, again, stuck),
            lambda state: (stage.astype(jnp.int32), state.distrust),
            state,
        )
        stage = promising
    stage = jnp.where(everything, stage, first_sweep)
    state = state._replace(
        # f(x) is asked anew, as f may have changed, and then the whole gradient
        stage=jnp.where(stuck, BASE, stage).astype(jnp.int32),
        value=jnp.where(stuck, jnp.inf, state.value),
        rejected=jnp.where(stuck, 0, state.rejected),
        distrust=distrust,
    )
    return tree_where(stuck & ~carried, carry_again(state), state)


def _most_promising(
    state: ZOPQNState, problem: Problem, again: jax.Array, stuck: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The next stage while the gradient is carried, and the distrust that is left.

    m derivatives promise what the model promises and, for each of them, P_ii / 2 B_ii; the number
    with the best promise a value is taken.
    """
    model, dim = state.model, len(state.unit)
    promise = planned_step(state, problem)[1]
    worth = jnp.cumsum(jax.lax.top_k(worth_of(model), dim)[0])
    sizes = (*batches_of(dim), dim)
    rates = [(worth[size - 1] + promise) / (size + 1) for size in sizes]
    rates.append(jnp.where(again & ~stuck, promise, -jnp.inf))
    stages = jnp.array([*(BATCH + n for n in range(len(sizes) - 1)), WHOLE, TRY], jnp.int32)
    stage = stages[jnp.argmax(jnp.nan_to_num(jnp.stack(rates), nan=-jnp.inf))]
    surprised = (model.surprise > _SURPRISE) & ((stage != TRY) | (state.rejected > _PATIENCE))
    wary = (stage != TRY) & (state.distrust > 0)
    stage = jnp.where(surprised | wary | stuck, WHOLE, stage)
    distrust = jnp.where(surprised, _DISTRUST, state.distrust - wary.astype(jnp.int32))
    return stage, distrust.astype(jnp.int32)
