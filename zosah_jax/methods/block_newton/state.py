"""The state of the solver, what it knows of each coordinate, and which it looks at next."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.method import Problem
from zosah_jax.pytree import Address, Params, address_of, precision

HORIZONS = (0.3, 3.0)
"""Over how many sweeps of all coordinates the steps add up to each kept direction: the recent way
and the long one. More than two gained nothing, and each costs a value a step."""

_ROUNDING = 4.0  # error of a value in machine epsilons
_LEAST_CURVATURE = 1e-2  # of a coordinate in units of the mean: a flat one does not run away
_ALIKE = 0.2  # spread of log |h| up to which all that were not met are taken to be the same
_LEAST_GAIN = 1e-3  # of a coordinate in units of the mean, so that none is forgotten
_GAIN_POWER = 0.25  # of the gain beside the age, by which coordinates are chosen
_GROUP = 32  # scores of which one is the largest: about the root of a usual number of them

BASE, MEET, LOOK, REFRESH, PLANE, TRIAL = range(6)
"""Stages: f(x); a block from both sides; a block known from before; slopes along the kept
directions; the plane of the block's step and these; the step."""


class BlockNewtonState(NamedTuple):
    """State of the solver: d coordinates, m of them a block, J kept directions.

    Floats are in the working dtype.

    Attributes:
        key: typed PRNG key, never advanced: the order in which coordinates are met follows from it.
        x: where the run stands, like the parameters in float32 or wider.
        value: f(x); inf before it is known.
        stage: which comes next, int32.
        turn: number of the block, int32.
        first: length of the differences by which curvatures are measured, shape (d,).
        curvature: h_i as measured; 0 where it is not known, shape (d,).
        gain: g_i^2 / w_i when the coordinate was last looked at, shape (d,).
        seen: the turn of that; 0: never, int32, shape (d,).
        block: places of the coordinates that are looked at, uint32, shape (m,).
        slope: derivatives along them, shape (m,); 0 where it is not known.
        share: alpha, the part of the block's own Newton step at which the plane is measured.
        kept: the directions q_j, shape (J, d).
        kept_slope: g'q_j, shape (J,).
        matrix: q_i'H q_j, shape (J, J).
        doubtful: whether these two are to be measured again, bool.
        length: of the last step, in the norm of w; 0 before it.
        along: f(x + alpha p).
        plane: the Hessian in the plane of p and the q_j, shape (1 + J, 1 + J).
    """

    key: jax.Array
    x: Params
    value: jax.Array
    stage: jax.Array
    turn: jax.Array
    first: jax.Array
    curvature: jax.Array
    gain: jax.Array
    seen: jax.Array
    block: jax.Array
    slope: jax.Array
    share: jax.Array
    kept: jax.Array
    kept_slope: jax.Array
    matrix: jax.Array
    doubtful: jax.Array
    length: jax.Array
    along: jax.Array
    plane: jax.Array


def value_error(state: BlockNewtonState, problem: Problem) -> jax.Array:
    """Error of a value: rounding, or its noise."""
    size = jnp.where(jnp.isfinite(state.value), jnp.abs(state.value), 0)
    tiny = jnp.finfo(size.dtype).tiny
    return jnp.maximum(_ROUNDING * precision(state.x) * size + tiny, problem.noise)


class Sizes(NamedTuple):
    """The curvatures that are known, by their logarithms.

    Attributes:
        mean: geometric mean of |h_i|; 1 where none is known.
        spread: standard deviation of log |h_i|.
    """

    mean: jax.Array
    spread: jax.Array


def sizes(curvature: jax.Array) -> Sizes:
    """Of the coordinates of which it is known; a plain mean would be that of the one at a wall."""
    known = curvature != 0
    count = jnp.maximum(jnp.sum(known), 1).astype(curvature.dtype)
    logs = jnp.log(jnp.where(known, jnp.abs(curvature), 1))
    mean = jnp.sum(logs) / count
    squares = jnp.sum(jnp.where(known, (logs - mean) ** 2, 0))
    return Sizes(jnp.exp(mean), jnp.sqrt(squares / count))


def weights(curvature: jax.Array) -> jax.Array:
    """w_i: |h_i|, at least a part of the mean, which is taken where it is not known."""
    mean = sizes(curvature).mean
    size = jnp.maximum(jnp.abs(curvature), _LEAST_CURVATURE * mean)
    return jnp.where(curvature != 0, size, mean)


def are_alike(state: BlockNewtonState) -> jax.Array:
    """Whether all curvatures are much the same, as far as two blocks and more say so."""
    met = jnp.sum(state.curvature != 0) >= min(2 * len(state.block), len(state.curvature))
    return met & (sizes(state.curvature).spread < _ALIKE)


def with_next_block(state: BlockNewtonState) -> BlockNewtonState:
    """The state with the next block: what was never met, in random order; then by age and gain.

    A coordinate changes by as much as the others, in the units of its curvature, the longer ago it
    was looked at; and where there was something to gain, there often is again.
    """
    turn = state.turn + 1
    dtype = state.gain.dtype
    met = state.seen > 0
    count = jnp.maximum(jnp.sum(met), 1).astype(dtype)
    mean = jnp.sum(jnp.where(met, state.gain, 0)) / count
    age = (turn - state.seen).astype(dtype)
    relative = state.gain / jnp.where(mean > 0, mean, 1)
    known = jnp.maximum(relative, _LEAST_GAIN) ** _GAIN_POWER * age
    order = jax.lax.cond(
        jnp.all(met),
        lambda key: jnp.zeros(met.shape, dtype),  # nobody asks
        lambda key: jax.random.uniform(key, met.shape, dtype),
        jax.random.fold_in(state.key, turn),
    )
    score = jnp.where(met, known, (1 + order) * (jnp.finfo(dtype).max / 4))
    block = largest(score, len(state.block))
    new = jnp.any(state.curvature[block] == 0) & ~are_alike(state)
    return state._replace(
        turn=turn,
        block=block.astype(np.uint32),
        stage=jnp.where(new, MEET, LOOK).astype(jnp.int32),
    )


def largest(score: jax.Array, number: int) -> jax.Array:
    """Places of the largest scores, int32, as by `lax.top_k`, which sorts all of them on a CPU.

    One after another is taken from the group that has the largest, and that group's largest is
    looked up again: for 10,000 scores and 16 places this takes a twentieth of the time.
    """
    groups = -(-len(score) // _GROUP)
    least = jnp.full(groups * _GROUP - len(score), -jnp.inf, score.dtype)
    left = jnp.concatenate([score, least]).reshape(groups, _GROUP)

    def take(number: jax.Array, carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        left, most, places = carry
        group = jnp.argmax(most)
        place = jnp.argmax(left[group])
        left = left.at[group, place].set(-jnp.inf)
        most = most.at[group].set(jnp.max(left[group]))
        return left, most, places.at[number].set((group * _GROUP + place).astype(jnp.int32))

    begin = left, jnp.max(left, axis=1), jnp.zeros(number, jnp.int32)
    return jax.lax.fori_loop(0, number, take, begin)[2]


def address(state: BlockNewtonState) -> Address:
    """Where the coordinates of the block lie."""
    return address_of(state.x, state.block)


def block_step(state: BlockNewtonState) -> jax.Array:
    """p, the Newton step of every coordinate of the block by itself, shape (d,)."""
    w = weights(state.curvature)[state.block]
    return jnp.zeros_like(state.curvature).at[state.block].set(-state.slope / w)
