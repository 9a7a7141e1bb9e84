"""Evaluation cache: the values of the two preceding steps, and where they were taken."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Visit(NamedTuple):
    """Values taken around one point, seen in each of J = m/2 subspaces.

    Attributes:
        position: coordinates of the point in each W_j, shape (J, 2).
        base: value at the point, scalar; NaN marks an empty visit.
        offset: offsets of the probes from the point, shape (J, n, 2).
        value: values at the probes, shape (J, n).
    """

    position: jax.Array
    base: jax.Array
    offset: jax.Array
    value: jax.Array


class Cache(NamedTuple):
    """What a step may reuse, all of it taken in the present subspaces.

    Attributes:
        previous: gradient probes of the step before, n = 2.
        before: gradient probes of the step before that, n = 2; empty as a period begins.
        fresh: Hessian samples of the switching step; empty but in the step right after it.
    """

    previous: Visit
    before: Visit
    fresh: Visit


def empty_cache(pairs: int, samples: int, dtype: jax.typing.DTypeLike) -> Cache:
    """Cache of a run that has seen nothing."""
    return Cache(
        empty_visit(pairs, 2, dtype),
        empty_visit(pairs, 2, dtype),
        empty_visit(pairs, samples, dtype),
    )


def empty_visit(pairs: int, samples: int, dtype: jax.typing.DTypeLike) -> Visit:
    """Visit without values."""
    return Visit(
        position=jnp.zeros((pairs, 2), dtype),
        base=jnp.full((), jnp.nan, dtype),
        offset=jnp.zeros((pairs, samples, 2), dtype),
        value=jnp.full((pairs, samples), jnp.nan, dtype),
    )


def _emptied(visit: Visit) -> Visit:
    return empty_visit(visit.value.shape[0], visit.value.shape[1], visit.value.dtype)


def begin(now: Visit, fresh: Visit) -> Cache:
    """Cache after a switching step: what was seen in other subspaces is forgotten."""
    return Cache(previous=now, before=_emptied(now), fresh=fresh)


def push(cache: Cache, now: Visit) -> Cache:
    """Cache after any other step."""
    return Cache(previous=now, before=cache.previous, fresh=_emptied(cache.fresh))
