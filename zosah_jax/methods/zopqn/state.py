"""The state of ZO-PQN, and the names of its stages."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.method import Problem
from zosah_jax.methods.zopqn.model import Model, empty_model, known
from zosah_jax.methods.zopqn.secants import Secants, no_pairs
from zosah_jax.permutation import draw_places
from zosah_jax.probes import CoordinateProbes
from zosah_jax.pytree import (
    Address,
    Params,
    address_of,
    dimension,
    gather,
    precision,
    widen,
    working_dtype,
)

LARGEST_DENSE = 256  # coordinates, above which the model is of a block of them
FEW = 8  # derivatives that a stage measures where it does not measure all
_LIVING = 8  # values a coordinate for which the gradient is carried from step to step
_ROUNDING = 4.0  # relative error of a value in machine epsilons, where the user names none
_LEAST_ERROR = 1e-12  # relative to f(x0): no value is taken for exacter

BASE, MEET, TRY, WHOLE, BATCH = range(5)
"""Stages: f(x); coordinates not yet measured; a step; the whole gradient; a few derivatives, which
does not come where there are few coordinates."""


class ZOPQNState(NamedTuple):
    """State of ZO-PQN. D coordinates are modelled; floats are in the working dtype.

    Attributes:
        key: typed PRNG key, never advanced: the coordinates follow from it and the turn.
        x: where the run stands, like the parameters in float32 or wider.
        value: f(x), scalar; inf where it is not known.
        stage: which stage comes next, int32.
        turn: number of the block of coordinates, int32.
        spent: values spent in this block, int32.
        rejected: steps rejected in a row, int32.
        living: values of this block up to which the gradient is carried, int32.
        address: the coordinates of the block, leaves of shape (D,).
        at_bound: 1 where x is at the upper bound of a coordinate, -1 at the lower, int32, (D,).
        start: |f(x0)|, scalar; inf before it is known.
        unit: typical size of each coordinate, until its curvature is known, shape (D,).
        radius: of the trust region, in the norm of W; inf before the first step.
        along: the next step, where it continues the last one along its line; else 0, shape (D,).
        reach: radius of the trust region of the secant pairs, in units; inf before a rejection.
        model: of f around x.
        secants: pairs of moves and changes of the gradient since it is no longer carried.
    """

    key: jax.Array
    x: Params
    value: jax.Array
    stage: jax.Array
    turn: jax.Array
    spent: jax.Array
    rejected: jax.Array
    living: jax.Array
    address: Address
    at_bound: jax.Array
    start: jax.Array
    unit: jax.Array
    radius: jax.Array
    along: jax.Array
    reach: jax.Array
    model: Model
    secants: Secants


def initial_state(subspace_dim: int | None, params: Params, key: jax.Array) -> ZOPQNState:
    """The first state; nothing is known of f."""
    dim, dtype = block_dim(subspace_dim, dimension(params)), working_dtype(params)
    address = draw_block(key, jnp.zeros((), jnp.int32), params, dim)

    def count() -> jax.Array:  # each a buffer of its own, so that all can be donated
        return jnp.zeros((), jnp.int32)

    def missing() -> jax.Array:
        return jnp.full((), jnp.inf, dtype)

    return ZOPQNState(
        key=key,
        x=jax.tree.map(lambda leaf: leaf + 0, widen(params)),
        value=missing(),
        stage=count() + BASE,
        turn=count(),
        spent=count(),
        rejected=count(),
        living=count() + living(dim),
        address=address,
        at_bound=jnp.zeros(dim, jnp.int32),
        start=missing(),
        unit=unit_of(gather(params, address)),
        radius=missing(),
        along=jnp.zeros(dim, dtype),
        reach=jnp.full((), jnp.inf, dtype),
        model=empty_model(dim, dtype),
        secants=no_pairs(dim, dtype),
    )


def block_dim(subspace_dim: int | None, d: int) -> int:
    """Dimension D of the model for d parameters.

    Raises:
        ValueError: more was asked for than there are.
    """
    if subspace_dim is None:
        return min(d, LARGEST_DENSE)
    if subspace_dim > d:
        raise ValueError(f"subspace_dim: got {subspace_dim}, wanted at most d = {d}, or None.")
    return int(subspace_dim)


def draw_block(key: jax.Array, turn: jax.Array, params: Params, dim: int) -> Address:
    """The coordinates of a turn, in random order."""
    d = dimension(params)
    if dim == d:  # all of them, few enough to sort
        places = jnp.argsort(jax.random.bits(key, (d,), jnp.uint32)).astype(jnp.uint32)
    else:
        places = draw_places(key, turn, d, dim)
    return address_of(params, places)


def unit_of(position: jax.Array) -> jax.Array:
    """Typical size of each coordinate: |x_i|, at least the mean size; 1 from the origin."""
    size = jnp.sqrt(jnp.mean(position**2))
    return jnp.where(size > 0, jnp.maximum(jnp.abs(position), size), 1)


def in_batches(dim: int) -> bool:
    """Whether a few derivatives are well below D; close below, the whole gradient is worth more."""
    return 0.6 * dim > FEW


def living(dim: int) -> int:
    """Values for which the gradient is carried once all is measured; 0 where it is cheap whole."""
    return _LIVING * dim if in_batches(dim) else 0


def is_carried(state: ZOPQNState, problem: Problem) -> jax.Array:
    """Whether the gradient is carried from step to step, and not measured whole after each.

    It always is where values have noise (and D allows): differences of such values make misleading
    secant pairs.
    """
    carried = ~jnp.all(known(state.model)) | (state.spent < state.living)
    return carried | (problem.noise > 0) if in_batches(len(state.unit)) else carried


def carry_again(state: ZOPQNState) -> ZOPQNState:
    """The state with the gradient carried again, and no pairs."""
    dim = len(state.unit)
    return state._replace(
        living=state.spent + living(dim),
        along=jnp.zeros_like(state.along),
        reach=jnp.full_like(state.reach, jnp.inf),
        secants=no_pairs(dim, state.unit.dtype),
    )


def anew(state: ZOPQNState, address: Address, correlation: jax.Array | float = 0) -> ZOPQNState:
    """The state with nothing known of f along these coordinates but their mean correlation."""
    dim, dtype = len(state.unit), state.unit.dtype
    fresh = state._replace(
        rejected=jnp.zeros_like(state.rejected),
        address=address,
        at_bound=jnp.zeros_like(state.at_bound),
        unit=unit_of(gather(state.x, address)),
        radius=jnp.full_like(state.radius, jnp.inf),
        model=empty_model(dim, dtype, correlation),
    )
    return carry_again(fresh)


def value_error(
    relative: float | None, state: ZOPQNState, problem: Problem, value: jax.Array
) -> jax.Array:
    """Absolute error of a value of f; `relative` is the option `noise`."""
    relative = _ROUNDING * precision(state.x) if relative is None else relative
    tiny = jnp.finfo(value.dtype).tiny
    start = jnp.where(jnp.isfinite(state.start), state.start, 0)
    size = jnp.maximum(jnp.abs(value), _LEAST_ERROR * start)
    return jnp.maximum(relative * size + tiny, problem.noise)


def probes_of(state: ZOPQNState, chosen: jax.Array, offset: jax.Array) -> CoordinateProbes:
    """Probes of single coordinates of the block, by their numbers, with offsets, shape (n,)."""
    return CoordinateProbes(
        Address(*(part[chosen][:, None] for part in state.address)), offset[:, None]
    )
