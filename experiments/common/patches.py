"""Constants and functions of the library replaced for a while, to see what they are worth."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax

Patch = tuple[Any, str, Any]
"""Module, name, value."""


@contextmanager
def patched(patches: Sequence[Patch], method: type) -> Iterator[type]:
    """The class of a method with patches; what was compiled is forgotten, then and afterwards.

    It is a class of its own, as methods that are equal share what is compiled.
    """
    before = [(module, name, getattr(module, name)) for module, name, _ in patches]
    for module, name, value in patches:
        setattr(module, name, value)
    jax.clear_caches()
    try:
        yield type("Changed", (method,), {})
    finally:
        for module, name, value in before:
            setattr(module, name, value)
        jax.clear_caches()
