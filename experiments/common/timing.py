"""Times of several functions that can be compared: taken in turns, in one process."""

import math
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

_AT_LEAST = 0.02  # seconds that one timing lasts, so that the clock's grain does not matter


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
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            times[name].append(_time(function, calls[name]))
    return {name: np.array(seconds) for name, seconds in times.items()}


def _calls(function: Callable[[], Any]) -> int:
    jax.block_until_ready(function())
    return max(1, math.ceil(_AT_LEAST / max(_time(function, 1), 1e-9)))


def _time(function: Callable[[], Any], calls: int) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        jax.block_until_ready(function())
    return (time.perf_counter() - begin) / calls
