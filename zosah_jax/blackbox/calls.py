"""What happens where the objective is called: in this thread, another, a process or a far machine.

A call never raises what the objective raised: an exception may be impossible to send back, so its
traceback travels as text.
"""

import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from zosah_jax.blackbox.numbers import as_value


class Answer(NamedTuple):
    """What a call brought.

    Attributes:
        value: NaN where it is missing.
        raised: traceback of what the objective raised, or None.
        refused: why what it returned cannot be used, or None.
        seconds: how long it took.
    """

    value: float
    raised: str | None
    refused: str | None
    seconds: float


def call(fun: Callable[[Any], Any], point: Any) -> Answer:
    """Call the objective and look at what it returns."""
    start = time.perf_counter()
    try:
        raw = fun(point)
    except Exception:
        return Answer(float("nan"), traceback.format_exc(), None, time.perf_counter() - start)
    seconds = time.perf_counter() - start
    try:
        return Answer(as_value(raw), None, None, seconds)
    except (TypeError, ValueError) as error:
        return Answer(float("nan"), None, str(error), seconds)


_fun: Callable[[Any], Any] | None = None


def install(fun: Callable[[Any], Any]) -> None:
    """Give a worker process the objective, once."""
    global _fun
    _fun = fun


def call_installed(point: Any) -> Answer:
    """Call the objective that the worker was given."""
    assert _fun is not None
    return call(_fun, point)
