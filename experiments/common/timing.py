"""Times of several functions that can be compared: taken in turns, in one process."""

import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_AT_LEAST = 0.02  # seconds that one timing lasts, so that the clock's grain does not matter
_MORE = 100  # times as many calls at most as a first one, whose start is in its time, suggests

# The calls of a loop are all alike, and are not to be made one outside of it.
_AS_WRITTEN = {
    "xla_disable_hlo_passes": "while-loop-invariant-code-motion,"
    "while-loop-expensive-invariant-code-motion"
}

Calls = dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]
"""Functions with their arguments, by name."""


def in_turns(functions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, np.ndarray]:
    """Seconds a call of each function, `repeats` times, one after another in every round.

    What else the machine does then falls on all of them alike.

    Args:
        functions: each returns arrays that are waited for; called twice first, to compile and to
            see how often a timing must call it.
        repeats: rounds.

    Returns:
        Seconds a call, shape (repeats,), by name.
    """
    calls = {name: _calls(function) for name, function in functions.items()}
    return _rounds({name: (f, calls[name]) for name, f in functions.items()}, repeats)


def of_arrays(calls: Calls, repeats: int) -> dict[str, np.ndarray]:
    """The same of functions of arrays, compiled here; on an accelerator each in a compiled loop.

    There a call from Python takes longer than what it starts, and would be all that is timed.

    Args:
        calls: functions that can be traced, with their arguments, by name.
        repeats: rounds.
    """
    if jax.default_backend() == "cpu":
        return in_turns({name: _once(*call) for name, call in calls.items()}, repeats)
    loops = {
        name: jax.jit(_loop(f)).lower(jnp.int32(1), *given) for name, (f, given) in calls.items()
    }
    ready = compiled(loops, _AS_WRITTEN)
    functions = {}
    for name, (_, given) in calls.items():
        loop = ready[name]
        _seconds(loop, given, 1)
        count = math.ceil(_AT_LEAST / max(_seconds(loop, given, 1), 1e-9))
        count = math.ceil(count * _AT_LEAST / max(_seconds(loop, given, count), _AT_LEAST / _MORE))
        functions[name] = (loop, given, count)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, (loop, given, count) in functions.items():
            times[name].append(_seconds(loop, given, count) / count)
    return {name: np.array(seconds) for name, seconds in times.items()}


def compiled(lowered: dict[str, Any], options: dict[str, Any] | None = None) -> dict[str, Any]:
    """What `jit(f).lower(...)` gave, compiled side by side."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(
            zip(lowered, pool.map(lambda one: one.compile(options), lowered.values()), strict=True)
        )


def _loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """So many calls, none of which is needless or the same as another to the compiler."""

    def many(count: jax.Array, *given: Any) -> Any:
        shapes = jax.eval_shape(function, *given)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

        def once(_: jax.Array, last: Any) -> Any:
            return function(*jax.lax.optimization_barrier((given, last))[0])

        return jax.lax.fori_loop(0, count, once, zeros)

    return many


def _seconds(loop: Any, given: tuple[Any, ...], count: int) -> float:
    begin = time.perf_counter()
    jax.block_until_ready(loop(jnp.int32(count), *given))
    return time.perf_counter() - begin


def _once(function: Callable[..., Any], given: tuple[Any, ...]) -> Callable[[], Any]:
    ready = jax.jit(function)
    return lambda: ready(*given)


def _rounds(
    functions: dict[str, tuple[Callable[[], Any], int]], repeats: int
) -> dict[str, np.ndarray]:
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, (function, calls) in functions.items():
            times[name].append(_time(function, calls))
    return {name: np.array(seconds) for name, seconds in times.items()}


def _calls(function: Callable[[], Any]) -> int:
    jax.block_until_ready(function())
    return max(1, math.ceil(_AT_LEAST / max(_time(function, 1), 1e-9)))


def _time(function: Callable[[], Any], calls: int) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        jax.block_until_ready(function())
    return (time.perf_counter() - begin) / calls
