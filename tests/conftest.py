"""Strict arithmetic for the whole session: pytest loads this file before the doctests too."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Most of the suite's time is compiling. What runs in processes of its own (the notebooks, the
# README's commands) is optimised as ever.
jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(autouse=True, scope="module")
def compiled_code_is_let_go():
    """A process may hold 65,530 pieces of memory on Linux, and a compiled run takes a thousand."""
    yield
    jax.clear_caches()


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield
