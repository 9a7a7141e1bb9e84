"""A pseudo-random permutation that is evaluated where it is needed and never stored.

A Feistel network over a grid of a x b >= size cells [Black & Rogaway, "Ciphers with arbitrary
finite domains", 2002]: each round adds a hash of one half to the other, which is invertible; a
cell beyond `size` is walked on until it falls within. Looking up m places costs O(m) time and
memory, so that drawing m distinct coordinates out of a billion permutes no billion.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_ROUNDS = (
    10  # an even number; more than enough for pairs to look independent (tests/test_permutation)
)


def permute(key: jax.Array, place: jax.Array, size: int) -> jax.Array:
    """Places under a permutation of 0 .. size - 1 that is fixed by the key.

    Args:
        key: typed PRNG key.
        place: uint32 places below `size`, any shape.
        size: length of the permutation, 1 <= size < 2**32.

    Returns:
        uint32 places below `size`; distinct for distinct `place`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> places = permute(jax.random.key(0), jnp.arange(10, dtype=jnp.uint32), 10)
        >>> sorted(places.tolist())
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    return permute_cells(key, place, np.uint32(size), grid(size))


def grid(size: int) -> tuple[np.uint32, np.uint32]:
    """Sides of the grid for a permutation of this length."""
    rows = math.isqrt(size - 1) + 1 if size > 1 else 1
    return np.uint32(rows), np.uint32(-(-size // rows))


def permute_cells(key: jax.Array, place: jax.Array, size: Any, shape: tuple[Any, Any]) -> jax.Array:
    """`permute` where the length (uint32) may be traced, over a given grid of at least as many."""
    round_keys = jax.random.bits(key, (_ROUNDS // 2, 2), jnp.uint32)

    def two_rounds(number: jax.Array, halves: tuple[jax.Array, jax.Array]) -> Any:
        first, second = halves
        first = (first + _hash(second, round_keys[number, 0]) % shape[0]) % shape[0]
        second = (second + _hash(first, round_keys[number, 1]) % shape[1]) % shape[1]
        return first, second

    def walk(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        cell, outside = state
        halves = cell // shape[1], cell % shape[1]
        first, second = jax.lax.fori_loop(0, _ROUNDS // 2, two_rounds, halves)
        cell = jnp.where(outside, first * shape[1] + second, cell)
        return cell, cell >= size

    start = place, jnp.ones(place.shape, bool)
    return jax.lax.while_loop(lambda state: jnp.any(state[1]), walk, start)[0]


def _hash(word: jax.Array, key: jax.Array) -> jax.Array:
    """MurmurHash3's 32-bit finaliser of a keyed word."""
    word = (word + key) * np.uint32(0x9E3779B1)
    word = (word ^ (word >> 16)) * np.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * np.uint32(0xC2B2AE35)
    return word ^ (word >> 16)
