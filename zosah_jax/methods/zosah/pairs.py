"""What is asked in pairs of coordinates, and what came, as each pair sees it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.bounds import reflect
from zosah_jax.method import Batch, Problem
from zosah_jax.methods.zosah.samples import Cache, Samples, forward_offsets
from zosah_jax.probes import CoordinateProbes
from zosah_jax.pytree import Address, Params, gather, precision


class Plan(NamedTuple):
    """What `ask` chose.

    Attributes:
        subspaces: the coordinates of each W_j, leaves of shape (J, 2).
        offset: offsets of the probes in each, the two forward ones first, shape (J, n, 2).
        at_bound: 1 where a coordinate is at its upper bound, -1 at the lower, int32, shape (J, 2).
    """

    subspaces: Address
    offset: jax.Array
    at_bound: jax.Array


def pair_batch(
    problem: Problem, subspaces: Address, position: jax.Array, offset: jax.Array
) -> Batch:
    """f(x), then n probes in each of J pairs: offsets of shape (J, n, 2)."""
    _, n, _ = offset.shape
    spread = Address(*(jnp.broadcast_to(part[:, None, :], offset.shape) for part in subspaces))
    where = jnp.broadcast_to(position[:, None, :], offset.shape)
    offset, at_bound = reflect(problem.bounds, spread, where, offset)
    flat = offset.reshape(-1, 2)
    address = Address(*(_with_first(jnp.repeat(part, n, axis=0)) for part in subspaces))
    probes = CoordinateProbes(address, jnp.concatenate([jnp.zeros_like(flat[:1]), flat]))
    return Batch(probes, Plan(subspaces, offset, at_bound[:, 0]))


def forward_batch(
    problem: Problem, subspaces: Address, position: jax.Array, length: jax.Array
) -> Batch:
    """f(x), then a forward probe a coordinate, of lengths (J, 2), each of one coordinate."""
    batch = pair_batch(problem, subspaces, position, forward_offsets(length))
    length = jnp.diagonal(batch.plan.offset, axis1=1, axis2=2)
    alone = Address(*(_with_first(part.reshape(-1, 1)) for part in subspaces))
    offset = length.reshape(-1, 1)
    offset = jnp.concatenate([jnp.zeros_like(offset[:1]), offset])
    return batch._replace(probes=CoordinateProbes(alone, offset))


def _with_first(rows: jax.Array) -> jax.Array:
    """Rows with the first one twice: the probe of f(x) moves nothing, wherever it is."""
    return jnp.concatenate([rows[:1], rows])


def samples_of(plan: Plan, params: Params, values: jax.Array) -> Samples:
    """What a batch of `ZOSAH` brought."""
    return Samples(
        position=gather(params, plan.subspaces),
        base=values[0],
        offset=plan.offset,
        value=values[1:].reshape(plan.offset.shape[:2]),
    )


def part_of(samples: Samples, which: slice) -> Samples:
    """Some of the samples of every pair."""
    return samples._replace(offset=samples.offset[:, which], value=samples.value[:, which])


def error_of(now: Samples, params: Params, problem: Problem) -> jax.Array:
    """Standard deviation of a value: that of its rounding, or of its noise if that is more."""
    largest = jnp.max(jnp.where(jnp.isfinite(now.value), jnp.abs(now.value), 0))
    return jnp.maximum(precision(params) * largest, problem.noise)


def reordered(
    cache: Cache, hessian: jax.Array, old: Address, new: Address
) -> tuple[list[Samples], jax.Array]:
    """Cached samples and A of the only pair there is, which may come in another order.

    Args:
        cache: in the order `old`.
        hessian: (a11, a12, a22), shape (1, 3), likewise.
        old: coordinates of the pair as they were, leaves of shape (1, 2).
        new: as they are now.
    """
    same = [now[0][:, None] == there[0][None, :] for now, there in zip(new, old, strict=True)]
    order = jnp.argmax(same[0] & same[1], axis=1)
    cached = [
        seen._replace(position=seen.position[:, order], offset=seen.offset[..., order])
        for seen in cache
    ]
    diagonal = hessian[:, ::2][:, order]
    return cached, jnp.stack([diagonal[:, 0], hessian[:, 1], diagonal[:, 1]], axis=-1)
