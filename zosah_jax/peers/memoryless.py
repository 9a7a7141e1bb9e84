"""The state of methods that learn nothing from step to step: a key and a count."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.checks import typed_key
from zosah_jax.params import Params


class MemorylessState(NamedTuple):
    """State of a method whose every step is drawn anew.

    Attributes:
        key: typed PRNG key, never advanced: the directions follow from it and the step.
        step: number k of the coming step, int32.
    """

    key: jax.Array
    step: jax.Array


def init_memoryless(key: Any, params: Params) -> MemorylessState:
    """The state before the first step.

    Args:
        key: an int or a typed PRNG key.
        params: nothing is made of them.
    """
    del params
    return MemorylessState(typed_key(key), jnp.zeros((), jnp.int32))
