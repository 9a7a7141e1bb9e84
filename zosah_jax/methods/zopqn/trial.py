"""A trial: the value at the minimum of the model within a trust region, taken if it is lower."""

import jax
import jax.numpy as jnp

from zosah_jax.bounds import cut
from zosah_jax.method import Batch, Problem, state_where
from zosah_jax.methods.zopqn.model import known, learn_value, moved, predicted_change
from zosah_jax.methods.zopqn.plan import by_pairs, continues, planned_step, trust_radius
from zosah_jax.methods.zopqn.policy import after_trial
from zosah_jax.methods.zopqn.secants import product_with
from zosah_jax.methods.zopqn.state import MEET, TRY, WHOLE, ZOPQNState, value_error
from zosah_jax.probes import CoordinateProbes
from zosah_jax.pytree import Address, add_at, gather

_AS_PROMISED, _TOO_SHORT = 0.9, 1.5  # decrease over what the model promised
_AT_THE_RIM = 0.99  # of the trust region: part of the radius
_ELSEWHERE = 0.3  # part of a step by pairs that is worth a value to correct
_FARTHEST = 3.0  # times such a step
_CUT, _LOST = 0.4, 0.1  # times a step that failed: the next radius; where it had no value
_ABSURD = 100.0  # times the change by the slope alone: a rise above that (a pole) teaches nothing


def ask_trial(state: ZOPQNState, problem: Problem) -> Batch:
    """X moved by the step; x itself where its value is not known."""
    position = gather(state.x, state.address)
    step = jax.lax.cond(
        continues(state), lambda s: s.along, lambda s: planned_step(s, problem)[0], state
    )
    step = jnp.where(jnp.isfinite(state.value), step, 0)
    step, at_bound = cut(problem.bounds, state.address, position, step)
    address = Address(*(part[None] for part in state.address))
    return Batch(CoordinateProbes(address, step[None]), (step, at_bound), state.x)


def tell_trial(
    noise: float | None, state: ZOPQNState, problem: Problem, batch: Batch, values: jax.Array
) -> ZOPQNState:
    """The step, if its value is lower; what its value says of the model; what comes next."""
    state = state._replace(spent=state.spent + 1)
    tried = _tried(noise, state, problem, batch, values[0])
    found = tell_base(state, values[0])
    return state_where(jnp.isfinite(state.value), tried, found)


def tell_base(state: ZOPQNState, value: jax.Array) -> ZOPQNState:
    """f(x) is known; if it is missing, it is asked again by the next trial."""
    came = jnp.isfinite(value)
    next_stage = jnp.where(jnp.all(known(state.model)), WHOLE, MEET)
    return state._replace(
        value=jnp.where(came, value, jnp.inf),
        start=jnp.where(jnp.isfinite(state.start) | ~came, state.start, jnp.abs(value)),
        stage=jnp.where(came, next_stage, TRY).astype(jnp.int32),
    )


def _tried(
    noise: float | None, state: ZOPQNState, problem: Problem, batch: Batch, new: jax.Array
) -> ZOPQNState:
    step, at_bound = batch.plan
    model, change, radius = state.model, new - state.value, trust_radius(state)
    came, going_on, paired = jnp.isfinite(change), continues(state), by_pairs(state, problem)
    better = came & (change < 0)
    ratio = reduction_ratio(-predicted_change(model, step), change)
    length = jnp.sqrt(step @ (model.scale * step))
    next_radius = _next_radius(radius, length, ratio, jnp.where(came, _CUT, _LOST))
    reach, along = jax.lax.cond(
        paired & ~going_on,
        _line,
        lambda state, *_: (state.reach, state.along * 0),
        state,
        step,
        change,
    )
    error, unmet = value_error(noise, state, problem, state.value), ~jnp.all(known(model))
    credible = change <= _ABSURD * (jnp.abs(model.gradient @ step) + error)
    told = jnp.where(came & credible, change, jnp.nan)
    model = learn_value(model, step, told, 2 * error**2, unmet)
    after = state._replace(
        x=add_at(state.x, state.address, jnp.where(better, step, 0)),
        value=jnp.where(better, new, state.value),
        radius=jnp.where(going_on | paired, radius, next_radius),
        reach=reach,
        along=along,
        model=jax.lax.cond(better, moved, lambda model, step: model, model, step),
        at_bound=jnp.where(better | (step == 0), at_bound, state.at_bound),
        rejected=jnp.where(better, 0, state.rejected + 1),
    )
    reached = length > _AT_THE_RIM * radius
    farther_still = ((ratio > _AS_PROMISED) & reached) | (ratio > _TOO_SHORT)
    return after_trial(after, problem, better | going_on, ~better | farther_still)


def _next_radius(
    radius: jax.Array, length: jax.Array, ratio: jax.Array, cut: jax.Array
) -> jax.Array:
    """At least twice the step where the decrease was as promised; `cut` of it where it was not."""
    farther = jnp.where(ratio > 0.75, jnp.maximum(radius, 2 * length), radius)
    return jnp.where((ratio >= 0.25) | (length == 0), farther, cut * length)


def reduction_ratio(promised: jax.Array, change: jax.Array) -> jax.Array:
    """Decrease over the promised one; -1 where there is none."""
    told = jnp.isfinite(change) & (promised > 0)
    return jnp.where(told, -change / jnp.where(promised > 0, promised, 1), -1)


def _line(state: ZOPQNState, step: jax.Array, change: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What a step by pairs tells: the radius of their trust region, and the rest of the way.

    Slope and value at both ends make a parabola. A value costs little beside the gradient that
    follows, so where the step went down and the parabola ends elsewhere, the next step goes there.
    """
    slope, length = state.model.gradient @ step, jnp.linalg.norm(step / state.unit)
    pull = product_with(state.secants, state.unit, step)
    ratio = reduction_ratio(-(slope + step @ pull / 2), change)
    came, bend = jnp.isfinite(change), change - slope
    bends = came & (bend > 0)
    lowest = jnp.where(bends, -slope / (2 * jnp.where(bends, bend, 1)), jnp.inf)
    # the parabola's cut saves a twentieth of the values in valleys
    shorter = jnp.where(bends, jnp.clip(lowest, 0.1, 0.5), jnp.where(came, _CUT, _LOST))
    reach = _next_radius(state.reach, length, ratio, shorter)
    rest = jnp.clip(lowest, 0.1, _FARTHEST) - 1
    going_on = came & (change < 0) & (jnp.abs(rest) > _ELSEWHERE)
    return reach, jnp.where(going_on, rest * step, 0)
