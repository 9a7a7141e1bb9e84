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

# Even, and more than enough for pairs to look independent (tests/test_permutation).
_ROUNDS = 10


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


def draw_places(key: jax.Array, number: jax.Array, size: int, m: int) -> jax.Array:
    """Draw `number` of m distinct places out of so many, each once a sweep.

    Successive draws are successive stretches of one permutation of all places (a sweep); where m
    does not divide the size, the last stretch of a sweep is filled up from its beginning. Each
    sweep has a permutation of its own.

    Args:
        key: typed PRNG key.
        number: of the draw, int32 scalar.
        size: places, below 2**32.
        m: how many are drawn, at most `size`.

    Returns:
        uint32 places in random order, shape (m,).
    """
    draws = np.uint32(-(-size // m))  # a sweep
    number = number.astype(jnp.uint32)
    place = stretch(number % draws, np.uint32(size), m)
    return permute(jax.random.fold_in(key, number // draws), place, size)


def stretch(number: jax.Array, size: jax.Array | np.uint32, m: int) -> jax.Array:
    """Places of a draw within its sweep over `size` places, uint32, shape (m,)."""
    offset = number * np.uint32(m)
    left = size - offset
    step = jnp.arange(m, dtype=jnp.uint32)
    return jnp.where(step >= left, step - left, offset + step)
