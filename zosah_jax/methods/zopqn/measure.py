"""Derivatives are measured: of new coordinates, of those least certain, or of all."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.bounds import reflect
from zosah_jax.method import Batch, Problem
from zosah_jax.methods.zopqn.model import (
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
from zosah_jax.methods.zopqn.recheck import suspects
from zosah_jax.methods.zopqn.secants import Secants, learn_pair
from zosah_jax.methods.zopqn.state import (
    RECHECK,
    TRY,
    ZOPQNState,
    carry_again,
    is_carried,
    probes_of,
    tree_where,
    value_error,
)
from zosah_jax.pytree import Address, gather, precision

# Of a difference, times sqrt(error of f / curvature), the length that balances the error of the
# values with that of the curvature; six times as long, as B_ii corrects most of the latter.
_LONG = 6.0
_DROWNED = 30.0  # times the error of a value: second differences below that are noise


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
    length = radius * state.widening * state.unit
    length = ((position + length) - position)[chosen]
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
    bend = jnp.abs(ahead + behind)
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

    drowned = jnp.nanmax(jnp.where(both & new, bend, jnp.nan)) < _DROWNED * error
    beyond = jnp.sum(~both & new) > jnp.sum(both & new)
    factor = jnp.where(beyond, 0.1, jnp.where(drowned, 10, 1)).astype(slope.dtype)
    model = jax.lax.fori_loop(0, len(chosen), one, state.model)
    return state._replace(
        model=drifted(model, len(chosen) / len(position)),
        widening=state.widening * factor,
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
    length = _LONG * jnp.sqrt(error / jnp.where(curvature > 0, curvature, 1))
    length = jnp.maximum(length, precision(state.x) ** 0.5 * jnp.abs(position))
    offset = ((position + length) - position)[chosen]
    return _asked(state, problem, chosen, chosen, offset)


def worth_of(model: Model) -> jax.Array:
    """Decrease that knowing each derivative promises: P_ii / 2 B_ii, shape (D,)."""
    curvature = jnp.maximum(jnp.diagonal(model.hessian), 1e-2 * model.scale)
    return jnp.diagonal(model.doubt) / (2 * jnp.where(curvature > 0, curvature, 1))


class _Derivatives(NamedTuple):
    """Derivatives that were measured, NaN where missing, and the variance of their errors."""

    chosen: jax.Array
    slope: jax.Array
    noise: jax.Array


def _derivatives(
    noise: float | None, state: ZOPQNState, problem: Problem, batch: Batch, values: jax.Array
) -> _Derivatives:
    """Forward differences, corrected by B_ii."""
    chosen, offset = batch.plan
    error = value_error(noise, state, problem, state.value)
    divisor = jnp.where(offset == 0, 1, offset)
    bias = offset / 2 * jnp.diagonal(state.model.hessian)[chosen]
    slope = (values - state.value) / divisor - bias
    slope = jnp.where(jnp.isfinite(slope) & (offset != 0), slope, jnp.nan)
    return _Derivatives(chosen, slope, (error / divisor) ** 2)


def _one_by_one(model: Model, position: jax.Array, seen: _Derivatives) -> tuple[Model, jax.Array]:
    """The model corrected by each derivative in turn, and their squared standardised errors."""

    def one(model: Model, each: tuple[jax.Array, ...]) -> tuple[Model, jax.Array]:
        index, slope, noise = each
        return learn_derivative(model, index, position, slope, noise)

    return jax.lax.scan(one, model, tuple(seen))


def tell_batch(
    noise: float | None, state: ZOPQNState, problem: Problem, batch: Batch, values: jax.Array
) -> ZOPQNState:
    """Some derivatives correct g and B; a surprising one has its curvature measured next."""
    position = gather(state.x, state.address)
    dim, before = len(position), state.model
    seen = _derivatives(noise, state, problem, batch, values)
    model, squared = _one_by_one(before, position, seen)
    unit = jnp.maximum(state.unit, jnp.abs(position))
    model = forgetful(model, squared, len(seen.chosen) / dim, unit)
    length = jnp.zeros_like(position).at[seen.chosen].set(jnp.abs(batch.plan.offset))
    move = position - jnp.diagonal(before.seen_at)
    suspect = suspects(squared, seen.chosen, move, length)
    return state._replace(
        model=model,
        suspect=suspect,
        stage=jnp.where(jnp.any(suspect != 0), RECHECK, TRY).astype(jnp.int32),
        spent=state.spent + len(values),
    )


def tell_whole(
    noise: float | None, state: ZOPQNState, problem: Problem, batch: Batch, values: jax.Array
) -> ZOPQNState:
    """All derivatives: a secant pair, where the last ones were all measured at one point, too."""
    position, model = gather(state.x, state.address), state.model
    dim = len(position)
    seen = _derivatives(noise, state, problem, batch, values)
    gradient = jnp.zeros_like(position).at[seen.chosen].set(seen.slope)
    errors = jnp.zeros_like(position).at[seen.chosen].set(seen.noise)
    carried, complete = is_carried(state, problem), jnp.all(jnp.isfinite(seen.slope))
    together = jnp.all(model.seen_at == model.seen_at[:1])

    def paired(state: ZOPQNState) -> Secants:
        step, change = position - model.seen_at[0], gradient - model.seen
        return learn_pair(state.secants, model, state.unit, step, change, errors)

    def at_once(model: Model) -> tuple[Model, jax.Array]:
        model, squared = learn_gradient(model, position, gradient, errors)
        return model, jnp.full(dim, squared)

    secants = jax.lax.cond(
        complete & together & ~carried, paired, lambda state: state.secants, state
    )
    model, squared = jax.lax.cond(
        complete & together, at_once, lambda model: _one_by_one(model, position, seen), model
    )
    whole = replace_gradient(model, position, gradient)
    model = jax.tree.map(lambda new, old: jnp.where(complete, new, old), whole, model)
    unit = jnp.maximum(state.unit, jnp.abs(position))
    after = state._replace(
        model=forgetful(model, squared, 1, unit),
        secants=secants,
        stage=jnp.full_like(state.stage, TRY),
        spent=state.spent + len(values),
    )
    return tree_where(complete | carried, after, carry_again(after))
