"""Methods that learn nothing from step to step: their state is a key and a count."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.method import Method
from zosah_jax.pytree import Params


class MemorylessState(NamedTuple):
    """State of a method whose every step is drawn anew.

    Attributes:
        key: typed PRNG key, never advanced: the directions follow from it and the step.
        step: number k of the coming step, int32.
    """

    key: jax.Array
    step: jax.Array


@dataclass(frozen=True, eq=False)
class Memoryless(Method):
    """A method with such a state."""

    def init(self, params: Params, key: jax.Array) -> MemorylessState:
        """The state before the first step."""
        del params
        return MemorylessState(key, jnp.zeros((), jnp.int32))
