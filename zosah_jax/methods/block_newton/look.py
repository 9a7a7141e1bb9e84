"""Looking at a block of coordinates: derivatives and, at the first time, curvatures."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.bounds import reflect
from zosah_jax.method import Batch, Problem
from zosah_jax.methods.block_newton.state import (
    PLANE,
    REFRESH,
    BlockNewtonState,
    address,
    are_alike,
    sizes,
    value_error,
    weights,
)
from zosah_jax.probes import CoordinateProbes
from zosah_jax.pytree import Address, gather, precision

_SHORTER = 0.1  # times as long is the next difference where a value was missing or absurd
_BITS = 4.0  # last bits of x that a difference is long at least
_LONG = 2.0  # root of (error of a value / curvature) that a later difference is long


class Seen(NamedTuple):
    """How a block is asked.

    Attributes:
        offset: of the first point of each coordinate, and of the second where it is met.
        at_bound: 1 where x is at an upper bound, -1 at a lower one, 0 elsewhere, int32, shape (m,).
    """

    offset: tuple[jax.Array, ...]
    at_bound: jax.Array


def ask_meet(state: BlockNewtonState, problem: Problem) -> Batch:
    """Both sides of x along each coordinate; at a bound, one side twice."""
    where = address(state)
    position = gather(state.x, where)
    length = state.first[state.block]
    first, at_bound = reflect(problem.bounds, where, position, length)
    second, _ = reflect(problem.bounds, where, position, -first)
    second = jnp.where(second == first, first / 2, second)
    return _asked(state, where, Seen((first, second), at_bound))


def ask_look(state: BlockNewtonState, problem: Problem) -> Batch:
    """One point along each coordinate, as far as the error of a value and the curvature say."""
    where = address(state)
    position = gather(state.x, where)
    w = weights(state.curvature)[state.block]
    length = jnp.minimum(
        _LONG * jnp.sqrt(value_error(state, problem) / w), state.first[state.block]
    )
    length = jnp.maximum(length, _shortest(state, position))
    length = (position + length) - position  # as floating-point numbers realise it
    offset, at_bound = reflect(problem.bounds, where, position, length)
    return _asked(state, where, Seen((offset,), at_bound))


def _asked(state: BlockNewtonState, where: Address, seen: Seen) -> Batch:
    offset = jnp.concatenate(seen.offset)
    every = Address(*(jnp.tile(part, len(seen.offset)) for part in where))
    probes = CoordinateProbes(Address(*(part[:, None] for part in every)), offset[:, None])
    return Batch(probes, seen, state.x)


def tell_meet(
    state: BlockNewtonState, problem: Problem, seen: Seen, values: jax.Array
) -> BlockNewtonState:
    """Find g and h of each coordinate by three values of a parabola.

    Where a value is missing, or so large that no later difference could be as short as h says, they
    stay unknown, and the next difference is shorter.
    """
    (a, b), (up, down) = seen.offset, jnp.split(values - state.value, 2)
    fast, slow = _over(up, a), _over(down, b)
    curvature = 2 * _over(fast - slow, a - b)
    slope = fast - curvature * a / 2
    shortest = _shortest(state, gather(state.x, address(state)))
    sane = jnp.abs(curvature) * shortest**2 <= _LONG**2 * value_error(state, problem)
    there = jnp.isfinite(slope) & sane
    kept = there | ~jnp.isfinite(state.value)  # without f(x) nothing is known of a length
    first = state.first[state.block]
    state = state._replace(
        curvature=state.curvature.at[state.block].set(jnp.where(there, curvature, 0)),
        first=state.first.at[state.block].set(jnp.where(kept, first, _SHORTER * first)),
    )
    return _looked(state, jnp.where(there, slope, 0), seen.at_bound)


def tell_look(
    state: BlockNewtonState, problem: Problem, seen: Seen, values: jax.Array
) -> BlockNewtonState:
    """Find g of each coordinate by a difference, less what the curvature adds to it."""
    del problem
    (offset,) = seen.offset
    h = state.curvature[state.block]
    h = jnp.where((h == 0) & are_alike(state), sizes(state.curvature).mean, h)
    slope = _over(values - state.value, offset) - h * offset / 2
    return _looked(state, jnp.where(jnp.isfinite(slope), slope, 0), seen.at_bound)


def _shortest(state: BlockNewtonState, position: jax.Array) -> jax.Array:
    """A few last bits of x, or of the first difference where x is 0."""
    size = jnp.maximum(jnp.abs(position), state.first[state.block])
    return _BITS * precision(state.x) * size


def _over(difference: jax.Array, length: jax.Array) -> jax.Array:
    """A quotient; NaN where the length is 0 (both bounds at x)."""
    return jnp.where(length != 0, difference / jnp.where(length != 0, length, 1), jnp.nan)


def _looked(state: BlockNewtonState, slope: jax.Array, at_bound: jax.Array) -> BlockNewtonState:
    """The state with the derivatives; a coordinate at a bound beyond which f falls stays."""
    slope = jnp.where(at_bound.astype(slope.dtype) * slope < 0, 0, slope)
    gain = slope**2 / weights(state.curvature)[state.block]
    state = state._replace(
        slope=slope,
        gain=state.gain.at[state.block].set(gain),
        seen=state.seen.at[state.block].set(state.turn),
    )
    again = state.doubtful & jnp.any(state.kept != 0)
    return state._replace(stage=jnp.where(again, REFRESH, PLANE).astype(jnp.int32))
