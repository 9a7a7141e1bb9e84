"""What happens where the objective is called: in this thread, another, a process or a far machine.

A call never raises what the objective raised: an exception may be impossible to send back, so its
traceback travels as text.
"""

import math
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from zosah_jax.faces.host.numbers import Value, as_value


class CallResult(NamedTuple):
    """What became of a call of the objective.

    Attributes:
        value: NaN where it is missing.
        error: why it is missing: a traceback, or another reason in words; None if the objective
            answered.
        refused: whether the objective answered what cannot be used, which ends a run.
        seconds: how long the call took.
    """

    value: Value
    error: str | None
    refused: bool
    seconds: float


def lost(reason: str, seconds: float) -> CallResult:
    """The result of a call that did not come back."""
    return CallResult(math.nan, reason, False, seconds)


def call(fun: Callable[[Any], Any], ndims: Sequence[int], point: Any) -> CallResult:
    """Call the objective and look at what it returns.

    Args:
        fun: the objective.
        ndims: numbers of axes that its values may have.
        point: its argument, which it may write to.
    """
    start = time.perf_counter()
    try:
        raw = fun(point)
    except Exception:
        return lost(traceback.format_exc(), time.perf_counter() - start)
    seconds = time.perf_counter() - start
    try:
        return CallResult(as_value(raw, ndims), None, False, seconds)
    except Exception as error:  # also of a foreign array that will not become NumPy's
        return CallResult(math.nan, str(error), True, seconds)


_fun: Callable[[Any], Any] | None = None


def install(fun: Callable[[Any], Any]) -> None:
    """Give a worker process the objective, once."""
    global _fun
    _fun = fun


def call_installed(ndims: Sequence[int], point: Any) -> CallResult:
    """Call the objective that the worker was given."""
    assert _fun is not None
    return call(_fun, ndims, point)


def started() -> bool:
    """What a worker answers as soon as it can."""
    return True
