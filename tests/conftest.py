"""Strict arithmetic for the whole session: pytest loads this file before the doctests too."""

import gc
import os
import shutil
import tempfile
import time
from collections import Counter
from importlib.metadata import version

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Factorising a matrix of 150 rows takes 200 times as long where threads of the library for linear
# algebra wait for a processor that another test has.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Most of the suite's time is compiling. Where LLVM has a program whole it takes a quarter less.
# The older code generator of XLA's CPU backend compiles three times as quickly. From 0.11.1 on
# jaxlib has it no longer, and ends a process that asks for it.
if tuple(int(part) for part in version("jaxlib").split(".")[:3]) < (0, 11, 1):
    os.environ.setdefault(
        "XLA_FLAGS",
        "--xla_cpu_parallel_codegen_split_count=1 --xla_cpu_use_fusion_emitters=false",
    )
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_parallel_codegen_split_count=1")

import hypothesis
import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# What runs in processes of its own (the notebooks, the README's commands) is optimised as ever.
jax.config.update("jax_disable_most_optimizations", True)
# What has been imported stays: the collector need not go through it again at every compilation.
gc.collect()
gc.freeze()
gc.set_threshold(100_000, 20, 50)

hypothesis.settings.register_profile("default", max_examples=40, deadline=None)
hypothesis.settings.register_profile("thorough", max_examples=500, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

_COMPILED = "ZOSAH_TEST_COMPILED"  # names the folder to the processes that share it
_OWN = pytest.StashKey[str]()  # the folder, in the process that made it


@pytest.hookimpl(tryfirst=True)  # before the workers are started
def pytest_sessionstart(session):
    """Programs compiled once are there for every process of this session, and go with it."""
    if _COMPILED not in os.environ:
        os.environ[_COMPILED] = session.config.stash[_OWN] = tempfile.mkdtemp(prefix="compiled-")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    jax.config.update("jax_compilation_cache_dir", os.environ[_COMPILED])


def pytest_unconfigure(config):
    if _OWN in config.stash:
        shutil.rmtree(config.stash[_OWN], ignore_errors=True)
        del os.environ[_COMPILED]


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
    # A program that another process is about to write is compiled here, too.
    shared = "Error (reading|writing) persistent compilation cache entry"
    config.addinivalue_line("filterwarnings", f"ignore:{shared}")


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
