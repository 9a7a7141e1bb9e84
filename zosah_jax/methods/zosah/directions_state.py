"""What ZO-SAH in random directions keeps from step to step, and what a batch of it brings."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.methods.zosah.along import Response, no_response
from zosah_jax.methods.zosah.boxes import ZOSAHInfo


class Moved(NamedTuple):
    """A step, as a combination of directions; nothing before the first.

    Attributes:
        number: step that drew the directions, int32.
        weight: of each, shape (m,).
        block: number of the block that moved, int32.
        place: <v, x> where the parameters stood last, scalar.
        slope: <g, v>, scalar; inf where what followed it is not to be used.
        size: |v|^2, scalar.
    """

    number: jax.Array
    weight: jax.Array
    block: jax.Array
    place: jax.Array
    slope: jax.Array
    size: jax.Array


class Followed(NamedTuple):
    """How the parameters followed.

    Attributes:
        last: the step before, with its place where they stand now.
        before: the step before that, likewise.
        response: what is known of it.
    """

    last: Moved
    before: Moved
    response: Response


class Seen(NamedTuple):
    """What a batch brought.

    Attributes:
        followed: how the parameters came here.
        base: value at the parameters.
        number: step that drew the directions, int32.
        basis: W with orthonormal rows W U, shape (m, m); 0 where a value is missing.
        gradient: along these, shape (m,), less the bias of forward differences.
        block: number of the block that moves, int32.
        length: how far the last move went along the last step, in units of it; inf if not seen, or
            if older steps moved the parameters, too.
        went: the same, whatever older steps did.
        trial: value on the step; inf where none was asked.
        tried: how far on it, in units of the gradient.
    """

    followed: Followed
    base: jax.Array
    number: jax.Array
    basis: jax.Array
    gradient: jax.Array
    block: jax.Array
    length: jax.Array
    went: jax.Array
    trial: jax.Array
    tried: jax.Array


class DirectionsFit(NamedTuple):
    """What values say of the curvature.

    Attributes:
        gradient: shape (m/2, 2).
        hessian: (a11, a12, a22) of A_j = a I, shape (m/2, 3).
        curvature: a of every block, as it is remembered, shape (blocks,).
        back: which part of the last step is taken back: f rose on it.
    """

    gradient: jax.Array
    hessian: jax.Array
    curvature: jax.Array
    back: jax.Array


class DirectionsState(NamedTuple):
    """State of ZO-SAH in random directions; floats are in the working dtype.

    Attributes:
        key: typed PRNG key, never advanced: the directions follow from it and the step.
        step: number k of the coming step, int32.
        period: T, int32.
        curvature: along steps within each block, shape (blocks,); 0 where nothing is known.
        reach: length of the last step within each, shape (blocks,).
        followed: the last two steps, and how the parameters follow.
        base: last finite value at the parameters; inf where there is none.
        agreement: of gradients with those of other mini-batches, see `along.with_again`.
        again: value one step back, asked as a period begins, of its mini-batch.
        asked: whether it was.
        pending: what came of a first batch, while a value on the step is asked.
        looking: whether one is.
        careful: whether the next step is to be looked at, whatever the period.
        info: diagnostics.
    """

    key: jax.Array
    step: jax.Array
    period: jax.Array
    curvature: jax.Array
    reach: jax.Array
    followed: Followed
    base: jax.Array
    agreement: jax.Array
    again: jax.Array
    asked: jax.Array
    pending: Seen
    looking: jax.Array
    careful: jax.Array
    info: ZOSAHInfo


def _no_move(m: int, dtype: jax.typing.DTypeLike) -> Moved:
    number, block = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)
    return Moved(number, jnp.zeros(m, dtype), block, *(jnp.zeros((), dtype) for _ in range(3)))


def no_moves(m: int, dtype: jax.typing.DTypeLike) -> Followed:
    """Of a run that has not moved."""
    return Followed(_no_move(m, dtype), _no_move(m, dtype), no_response(dtype))


def nothing_seen(m: int, dtype: jax.typing.DTypeLike) -> Seen:
    """Of a run that has seen nothing; every array has a buffer of its own."""
    return Seen(
        followed=no_moves(m, dtype),
        base=jnp.zeros((), dtype),
        number=jnp.zeros((), jnp.int32),
        basis=jnp.zeros((m, m), dtype),
        gradient=jnp.zeros(m, dtype),
        block=jnp.zeros((), jnp.int32),
        length=jnp.zeros((), dtype),
        went=jnp.zeros((), dtype),
        trial=jnp.zeros((), dtype),
        tried=jnp.zeros((), dtype),
    )
