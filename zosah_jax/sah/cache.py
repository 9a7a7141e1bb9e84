"""Evaluation cache: the values of the two preceding steps, and where they were taken."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Visit(NamedTuple):
    """Values taken around one point, seen in each of J = m/s subspaces.

    Attributes:
        position: coordinates of the point in each W_j, shape (J, s).
        base: value at the point, scalar; NaN marks an empty visit.
        offset: offsets of the probes from the point, shape (J, n, s).
        value: values at the probes, shape (J, n).
    """

    position: jax.Array
    base: jax.Array
    offset: jax.Array
    value: jax.Array


class Cache(NamedTuple):
    """What a step may reuse, all of it taken in the present subspaces.

    Attributes:
        previous: gradient probes of the step before, n = s.
        before: gradient probes of the step before that, n = s; empty as a period begins.
        fresh: Hessian samples of the switching step, if it took any; empty but in the step right
            after it.
    """

    previous: Visit
    before: Visit
    fresh: Visit


def empty_cache(subspaces: int, samples: int, dtype: jax.typing.DTypeLike, dim: int = 2) -> Cache:
    """Cache of a run that has seen nothing; `dim` is s."""
    return Cache(
        empty_visit(subspaces, dim, dtype, dim),
        empty_visit(subspaces, dim, dtype, dim),
        empty_visit(subspaces, samples, dtype, dim),
    )


def empty_visit(subspaces: int, samples: int, dtype: jax.typing.DTypeLike, dim: int = 2) -> Visit:
    """Visit without values."""
    return Visit(
        position=jnp.zeros((subspaces, dim), dtype),
        base=jnp.full((), jnp.nan, dtype),
        offset=jnp.zeros((subspaces, samples, dim), dtype),
        value=jnp.full((subspaces, samples), jnp.nan, dtype),
    )


def _emptied(visit: Visit) -> Visit:
    subspaces, samples, dim = visit.offset.shape
    return empty_visit(subspaces, samples, visit.value.dtype, dim)


def begin(cache: Cache, now: Visit, fresh: Visit | None) -> Cache:
    """Cache after a switching step: what was seen in other subspaces is forgotten."""
    return Cache(now, _emptied(now), _emptied(cache.fresh) if fresh is None else fresh)


def push(cache: Cache, now: Visit) -> Cache:
    """Cache after any other step."""
    return Cache(previous=now, before=cache.previous, fresh=_emptied(cache.fresh))
