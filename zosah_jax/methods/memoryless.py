"""The state of methods that learn nothing from step to step: a key and a count."""

from typing import NamedTuple

import jax


class MemorylessState(NamedTuple):
    """State of a method whose every step is drawn anew.

    Attributes:
        key: typed PRNG key, never advanced: the directions follow from it and the step.
        step: number k of the coming step, int32.
    """

    key: jax.Array
    step: jax.Array
