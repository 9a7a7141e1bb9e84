"""Runs of one method that differ in learning rate and key alone, side by side in one loop."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.curves import Curve
from experiments.logistic_regression.problem import Problem, loss
from zosah_jax.transform import zeroth_order_states

Constructor = Callable[..., optax.GradientTransformationExtraArgs]


def run_lanes(
    problem: Problem,
    constructor: Constructor,
    learning_rates: np.ndarray,
    seeds: np.ndarray,
    budget: int,
) -> list[Curve]:
    """What `zosah_jax.minimize` does with each learning rate and seed, lane by lane.

    `minimize` runs the lanes of a `vmap` one after another, so that they may end when they like.
    These all spend alike, so that the values of a step go through the data together. (Methods
    whose steps differ in kind are run lane after lane by the library, within a step.)

    Args:
        problem: what is minimised.
        constructor: (learning rate, key=...) -> transformation; the same object compiles once.
        learning_rates: one a lane, traced.
        seeds: one a lane, of the method's key.
        budget: values that a lane may spend, the last point's included.

    Returns:
        A curve a lane.
    """
    values, spent, steps = _loop(
        constructor,
        budget,
        jnp.asarray(problem.margins),
        problem.regularisation,
        jnp.asarray(learning_rates),
        jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32)),
    )
    used = int(steps)
    values, spent = np.asarray(values)[:used], np.asarray(spent)[:used].astype(int)
    best = np.minimum.accumulate(np.where(np.isfinite(values), values, np.inf), axis=0)
    return [Curve(spent, lane) for lane in best.T]


@partial(jax.jit, static_argnums=(0, 1))
def _loop(
    constructor: Constructor,
    budget: int,
    margins: jax.Array,
    regularisation: jax.Array,
    learning_rates: jax.Array,
    keys: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Values at the points stood on, what was spent when each was known, and how many they are."""
    lanes, zeros = len(learning_rates), jnp.zeros(margins.shape[1], margins.dtype)

    def objective(weights: jax.Array) -> jax.Array:
        return loss(weights, margins, regularisation)

    def step(rate: jax.Array, params: jax.Array, state: Any) -> tuple[Any, Any, jax.Array]:
        updates, state = constructor(rate).update(zeros, state, params, value_fn=objective)
        value = zeroth_order_states(state)[0].info.base_value
        return optax.apply_updates(params, updates), state, value

    def counted(state: Any) -> tuple[jax.Array, jax.Array]:
        """Values spent and those of the coming step; the first lane's, as all spend alike."""
        own = zeroth_order_states(state)[0]
        return own.num_evaluations[0, 1].astype(jnp.int32), own.next_num_evaluations[0]

    def goes_on(carry: Any) -> jax.Array:
        count, cost = counted(carry[1])
        return count + cost <= budget - 1

    def one_more(carry: Any) -> Any:
        params, state, values, spent, number = carry
        known = counted(state)[0] + 1
        params, state, value = jax.vmap(step)(learning_rates, params, state)
        values, spent = values.at[number].set(value), spent.at[number].set(known)
        return params, state, values, spent, number + 1

    carry = (
        jnp.zeros((lanes, len(zeros)), zeros.dtype),
        jax.vmap(lambda key: constructor(1.0, key=key).init(zeros))(keys),
        jnp.full((budget, lanes), jnp.nan, zeros.dtype),
        jnp.zeros(budget, jnp.int32),
        jnp.int32(0),
    )
    params, state, values, spent, number = jax.lax.while_loop(goes_on, one_more, carry)
    values = values.at[number].set(jax.vmap(objective)(params))
    spent = spent.at[number].set(counted(state)[0] + 1)
    return values, spent, number + 1
