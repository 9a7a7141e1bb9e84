"""Strict arithmetic for the whole session: pytest loads this file before the doctests too."""

import os
import time
from collections import Counter
from importlib.metadata import version

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Factorising a matrix of 150 rows takes 200 times as long where threads of the library for linear
# algebra wait for a processor that another test has.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# The older code generator of XLA's CPU backend compiles three times as quickly. From 0.11.1 on
# jaxlib has it no longer, and ends a process that asks for it.
if tuple(int(part) for part in version("jaxlib").split(".")[:3]) < (0, 11, 1):
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

import hypothesis
import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# Most of the suite's time is compiling. What runs in processes of its own (the notebooks, the
# README's commands) is optimised as ever.
jax.config.update("jax_disable_most_optimizations", True)

hypothesis.settings.register_profile("default", max_examples=40, deadline=None)
hypothesis.settings.register_profile("thorough", max_examples=500, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(autouse=True, scope="module")
def compiled_code_is_let_go():
    """A process may hold 65,530 pieces of memory on Linux; the suite compiles 1,000 programs."""
    yield
    jax.clear_caches()


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


# --- how the suite is shared out, and what it takes -----------------------------------------------

_SECONDS: Counter = Counter()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """Tests of one method go to one worker (`xdist_group`): its programs are compiled once."""
    if getattr(config.option, "dist", None) == "load":
        config.option.dist = "loadgroup"
    config.addinivalue_line("markers", "xdist_group(name): tests that one worker runs")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup(item):
    item.stash_start = time.process_time()
    yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(item):
    yield
    item.user_properties.append(("cpu", time.process_time() - item.stash_start))


def pytest_runtest_logreport(report):
    if report.when == "teardown":
        _SECONDS[report.nodeid.split("::")[0]] += dict(report.user_properties).get("cpu", 0.0)


def pytest_terminal_summary(terminalreporter):
    terminalreporter.section("processor seconds by file")
    for name, seconds in _SECONDS.most_common(20):
        terminalreporter.line(f"{seconds:7.1f} s  {name}")
    terminalreporter.line(f"{_SECONDS.total():7.1f} s  in all")
