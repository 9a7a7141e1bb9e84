"""A count of function values that does not overflow at 2**31, without x64 mode.

Two uint32 words, most significant first, in one array of shape (2,): a single state leaf.
"""

import jax
import jax.core
import jax.numpy as jnp
import numpy as np


def words(count: int) -> jax.Array:
    """Count as two uint32 words, shape (2,)."""
    return jnp.asarray([count >> 32, count & 0xFFFFFFFF], jnp.uint32)


def add(count: jax.Array, more: jax.Array | int) -> jax.Array:
    """Count plus `more` (0 <= more < 2**32)."""
    more = jnp.asarray(more).astype(jnp.uint32)
    low = count[..., 1] + more
    carry = (low < more).astype(jnp.uint32)
    return jnp.stack([count[..., 0] + carry, low], axis=-1)


def at_most(count: jax.Array, limit: int) -> jax.Array:
    """Whether count <= limit, as a bool scalar."""
    high, low = np.uint32(limit >> 32), np.uint32(limit & 0xFFFFFFFF)
    return (count[..., 0] < high) | ((count[..., 0] == high) & (count[..., 1] <= low))


def to_integer(count: jax.Array) -> jax.Array | np.ndarray | int:
    """Count as an integer.

    A concrete scalar count becomes a Python int, a batch of counts a NumPy int64 array. Inside a
    jitted function, where 64 bits may not be had, it is a uint32 that stops at 2**32 - 1.
    """
    if isinstance(count, jax.core.Tracer):
        return jnp.where(count[..., 0] > 0, jnp.uint32(0xFFFFFFFF), count[..., 1])
    pair = np.asarray(count).astype(np.int64)
    whole = (pair[..., 0] << 32) | pair[..., 1]
    return int(whole) if whole.ndim == 0 else whole
