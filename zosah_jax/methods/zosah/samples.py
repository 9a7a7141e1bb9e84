"""Values around a point as each pair sees them: fresh samples, the cache, what they determine."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.methods.zosah.reading import Reading


class Samples(NamedTuple):
    """Values taken around one point, seen in each of J = m/2 pairs.

    Attributes:
        position: coordinates of the point in each W_j, shape (J, 2).
        base: value at the point, scalar; inf marks an empty set (NaN would stop jax_debug_nans).
        offset: offsets of the probes from the point, shape (J, n, 2).
        value: values at the probes, shape (J, n).
    """

    position: jax.Array
    base: jax.Array
    offset: jax.Array
    value: jax.Array


class Cache(NamedTuple):
    """What a step may reuse, all of it taken in the present pairs.

    Attributes:
        previous: gradient probes of the step before, n = 2.
        before: gradient probes of the step before that, n = 2; empty as a period begins.
        fresh: Hessian samples of the switching step; empty but in the step right after it.
    """

    previous: Samples
    before: Samples
    fresh: Samples


def no_samples(pairs: int, count: int, dtype: jax.typing.DTypeLike) -> Samples:
    """Samples without values."""
    return Samples(
        position=jnp.zeros((pairs, 2), dtype),
        base=jnp.full((), jnp.inf, dtype),
        offset=jnp.zeros((pairs, count, 2), dtype),
        value=jnp.full((pairs, count), jnp.inf, dtype),
    )


def _emptied(samples: Samples) -> Samples:
    pairs, count = samples.value.shape
    return no_samples(pairs, count, samples.value.dtype)


def empty_cache(pairs: int, fresh: int, dtype: jax.typing.DTypeLike) -> Cache:
    """Cache of a run that has seen nothing; `fresh` is the number of fresh samples a pair."""
    return Cache(
        no_samples(pairs, 2, dtype), no_samples(pairs, 2, dtype), no_samples(pairs, fresh, dtype)
    )


def begin_period(now: Samples, fresh: Samples) -> Cache:
    """Cache after a switching step: what was seen in other pairs is forgotten."""
    return Cache(now, _emptied(now), fresh)


def push(cache: Cache, now: Samples) -> Cache:
    """Cache after any other step."""
    return Cache(previous=now, before=cache.previous, fresh=_emptied(cache.fresh))


def forward_offsets(length: jax.Array) -> jax.Array:
    """Offsets (J, 2, 2) of forward probes of these lengths (J, 2)."""
    return length[:, :, None] * jnp.eye(2, dtype=length.dtype)[None]


def forward_lengths(now: Samples) -> jax.Array:
    """Lengths of the forward probes, shape (J, 2)."""
    return jnp.diagonal(now.offset, axis1=1, axis2=2)


def sample_grid(grid: str) -> np.ndarray:
    """Points of the fresh samples in units of the radius, int of shape (samples, 2).

    "minimal": as many as A has entries, one step back along each axis and one forth along both.
    "paper": its "small grid" is read as the eight neighbours.

    Example:
        >>> sample_grid("minimal").tolist()
        [[-1, 0], [0, -1], [1, 1]]
        >>> len(sample_grid("paper"))
        8
    """
    if grid == "minimal":
        return np.array([[-1, 0], [0, -1], [1, 1]])
    return np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)])


def num_fresh(reading: Reading) -> int:
    """Number of fresh samples of a pair."""
    return len(sample_grid(reading.grid))


class Identifiable(NamedTuple):
    """Which entries of A the fresh samples determine.

    Attributes:
        entry: of (a11, a12, a22), bool of shape (J, 3).
        diagonal: of (a11, a22), bool of shape (J, 2).
    """

    entry: jax.Array
    diagonal: jax.Array


def identifiable(fresh: Samples, gradient: jax.Array) -> Identifiable:
    """What is determined where some of the fresh samples are missing.

    A sample along an axis determines a_ii; with both of these, one off the axes determines a12, and
    so do two of unlike signs, from which either of a11 and a22 follows from the other.

    Args:
        fresh: samples around the present point.
        gradient: forward differences, NaN where missing: without b no equation holds.
    """
    off = fresh.offset != 0
    lacks_slope = jnp.any(off & ~jnp.isfinite(gradient)[:, None, :], axis=-1)
    known = jnp.isfinite(fresh.value) & jnp.isfinite(fresh.base) & ~lacks_slope
    moves = jnp.sum(off, axis=-1)
    axis = jnp.any((known & (moves == 1))[..., None] & off, axis=1)
    both, sign = known & (moves == 2), jnp.sign(fresh.offset[..., 0] * fresh.offset[..., 1])
    like, unlike = (jnp.any(both & (sign == one), axis=1) for one in (1, -1))
    two = like & unlike
    diagonal = axis | (two[:, None] & axis[:, ::-1])
    cross = (axis[:, 0] & axis[:, 1] & (like | unlike)) | two
    return Identifiable(jnp.stack([diagonal[:, 0], cross, diagonal[:, 1]], axis=-1), diagonal)


def fill_unidentified(hessian: jax.Array, known: Identifiable) -> jax.Array:
    """A with what is not determined set to a cautious guess, shape (J, 3).

    a12 = 0, and a_ii the largest |a_ii| that is known of any pair: a step that is too short. Where
    none is known, it is the largest absolute row sum of what was fitted.
    """
    on_diagonal = jnp.array([True, False, True])
    seen = known.entry & on_diagonal[None]
    largest = jnp.max(jnp.abs(hessian), initial=0, where=seen)
    rows = jnp.stack([hessian[:, :2], hessian[:, 1:]], axis=1)
    fitted = jnp.max(jnp.sum(jnp.abs(rows), axis=-1))
    largest = jnp.where(jnp.any(seen), largest, fitted)
    guess = jnp.where(on_diagonal[None], largest, 0)
    return jnp.where(known.entry, hessian, guess)
