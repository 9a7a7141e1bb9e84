"""Derivatives are measured: of new coordinates, of those that promise most, or of all."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.bounds import reflect
from zosah_jax.method import Batch, Problem, state_where
from zosah_jax.methods.zopqn.model import (
    Model,
    flattest,
    forgetful,
    known,
    learn_derivative,
    meet,
    replace_gradient,
)
from zosah_jax.methods.zopqn.secants import learn_pair
from zosah_jax.methods.zopqn.state import (
    TRY,
    ZOPQNState,
    carry_again,
    is_carried,
    probes_of,
    value_error,
)
from zosah_jax.pytree import Address, gather, precision

_LENGTH = 2.0  # of a difference, times sqrt(error of f / curvature): both errors are alike then


class Measured(NamedTuple):
    """What `ask` chose.

    Attributes:
        chosen: numbers of the coordinates, int32, shape (m,).
        offset: of the forward probes, shape (m,); where coordinates are new, (2m,), each forward
            one followed by its backward one.
    """

    chosen: jax.Array
    offset: jax.Array


def first_batch(dim: int) -> int:
    """How many new coordinates are measured at a time: three to five, to divide D well."""
    return dim if dim <= 4 else min((4, 5, 3), key=lambda size: -dim % size)


# --- new coordinates ------------------------------------------------------------------------------


def ask_new(radius: float, state: ZOPQNState, problem: Problem) -> Batch:
    """Forward and backward probes of the next coordinates."""
    position = gather(state.x, state.address)
    count = first_batch(len(position))
    begin = jnp.minimum(jnp.sum(known(state.model)), len(position) - count)
    chosen = begin.astype(jnp.int32) + jnp.arange(count, dtype=jnp.int32)
    length = ((position + radius * state.unit) - position)[chosen]
    offset = jnp.stack([length, -length], axis=1).ravel()
    return _asked(state, problem, chosen, jnp.repeat(chosen, 2), offset)


def _asked(
    state: ZOPQNState,
    problem: Problem,
    chosen: jax.Array,
    moved: jax.Array,
    offset: jax.Array,
) -> Batch:
    address = Address(*(part[moved] for part in state.address))
    offset, _ = reflect(problem.bounds, address, gather(state.x, address), offset)
    return Batch(probes_of(state, moved, offset), Measured(chosen, offset), state.x)


def tell_new(
    noise: float | None, state: ZOPQNState, problem: Problem, batch: Batch, values: jax.Array
) -> ZOPQNState:
    """Central differences of first and second order give g_i, B_ii and the metric W_i."""
    plan: Measured = batch.plan
    error = value_error(noise, state, problem, state.value)
    position, chosen = gather(state.x, state.address), plan.chosen
    length = plan.offset[::2]
    ahead, behind = values[::2] - state.value, values[1::2] - state.value
    opposite = plan.offset[1::2] == -plan.offset[::2]  # not where a bound reflected one of them
    both = jnp.isfinite(ahead) & jnp.isfinite(behind) & opposite
    divisor = jnp.where(length == 0, 1, length)
    one_sided = jnp.where(jnp.isfinite(ahead), ahead, -behind) / divisor
    slope = jnp.where(both, (ahead - behind) / (2 * divisor), one_sided)
    slope = jnp.where(jnp.isfinite(slope), slope, 0)
    largest = jnp.max(state.model.scale)
    guess = jnp.where(largest > 0, largest, jnp.abs(state.value) / state.unit[chosen] ** 2)
    curvature = jnp.where(both, (ahead + behind) / divisor**2, guess)
    new = ~known(state.model)[chosen]  # also what two bounds hold: flat, of length 0
    least = jnp.maximum(4 * error / divisor**2, flattest(slope, state.unit[chosen]))

    def one(number: jax.Array, model: Model) -> Model:
        return meet(
            model,
            chosen[number],
            position,
            slope[number],
            curvature[number],
            least[number],
            new[number],
        )

    return state._replace(
        model=jax.lax.fori_loop(0, len(chosen), one, state.model),
        stage=jnp.full_like(state.stage, TRY),
        spent=state.spent + len(values),
    )


# --- known coordinates ----------------------------------------------------------------------------


def ask_known(count: int, noise: float | None, state: ZOPQNState, problem: Problem) -> Batch:
    """Forward probes of the coordinates whose derivatives promise most."""
    position, model = gather(state.x, state.address), state.model
    chosen = jax.lax.top_k(worth_of(model), count)[1]
    curvature = jnp.maximum(model.scale, jnp.abs(jnp.diagonal(model.hessian)))
    error = value_error(noise, state, problem, state.value)
    length = _LENGTH * jnp.sqrt(error / jnp.where(curvature > 0, curvature, 1))
    length = jnp.maximum(length, precision(state.x) ** 0.5 * jnp.abs(position))
    offset = ((position + length) - position)[chosen]
    return _asked(state, problem, chosen, chosen, offset)


def worth_of(model: Model) -> jax.Array:
    """Decrease that knowing each derivative promises: P_ii / 2 B_ii (W_i if < 0), shape (D,)."""
    curvature = jnp.diagonal(model.hessian)
    curvature = jnp.where(curvature > 0, curvature, model.scale)
    return jnp.diagonal(model.doubt) / (2 * jnp.where(known(model), curvature, 1))


class _Derivatives(NamedTuple):
    """Derivatives that were measured, NaN where missing, and the variance of their errors."""

    chosen: jax.Array
    slope: jax.Array
    noise: jax.Array


def _derivatives(
    noise: float | None, state: ZOPQNState, problem: Problem, batch: Batch, values: jax.Array
) -> _Derivatives:
    """Forward differences, corrected by B_ii: else half of each would be what x is off at the end.

    That is most in float32, where no difference is shorter than sqrt(eps) |x_i|.
    """
    chosen, offset = batch.plan
    error = value_error(noise, state, problem, state.value)
    divisor = jnp.where(offset == 0, 1, offset)
    bias = offset / 2 * jnp.diagonal(state.model.hessian)[chosen]
    slope = (values - state.value) / divisor - bias
    slope = jnp.where(jnp.isfinite(slope) & (offset != 0), slope, jnp.nan)
    return _Derivatives(chosen, slope, (error / divisor) ** 2)


def tell_known(
    noise: float | None, state: ZOPQNState, problem: Problem, batch: Batch, values: jax.Array
) -> ZOPQNState:
    """Each derivative in turn corrects g and B; all together are a gradient."""
    position = gather(state.x, state.address)
    seen = _derivatives(noise, state, problem, batch, values)

    def one(model: Model, each: tuple[jax.Array, ...]) -> tuple[Model, jax.Array]:
        index, slope, noise = each
        return learn_derivative(model, index, position, slope, noise)

    model, squared = jax.lax.scan(one, state.model, tuple(seen))
    after = state._replace(
        model=model, stage=jnp.full_like(state.stage, TRY), spent=state.spent + len(values)
    )
    if len(seen.chosen) == len(position):
        after = _whole(state, after, problem, seen)
    unit = jnp.maximum(state.unit, jnp.abs(position))
    part = len(seen.chosen) / len(position)
    return after._replace(model=forgetful(after.model, squared, part, unit))


def _whole(
    before: ZOPQNState, after: ZOPQNState, problem: Problem, seen: _Derivatives
) -> ZOPQNState:
    """A whole gradient replaces g, and makes a secant pair with the last, were that whole, too."""
    position, model = gather(before.x, before.address), before.model
    gradient = jnp.zeros_like(position).at[seen.chosen].set(seen.slope)
    carried, complete = is_carried(before, problem), jnp.all(jnp.isfinite(gradient))
    together = jnp.all(model.seen_at == model.seen_at[:1])
    step, change = position - model.seen_at[0], gradient - model.seen
    secants = jax.lax.cond(
        complete & together & ~carried,
        lambda: learn_pair(before.secants, before.unit, step, change),
        lambda: before.secants,
    )
    replaced = replace_gradient(after.model, position, gradient)
    whole = after._replace(model=replaced, secants=secants)
    return state_where(complete, whole, state_where(carried, after, carry_again(after)))
