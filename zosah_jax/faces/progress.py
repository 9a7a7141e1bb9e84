"""What a callback is told, by whichever face runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from zosah_jax.pytree import Params


@dataclass(frozen=True)
class Progress:
    """What a callback is told after a step; its arrays are NumPy's and the callback's own.

    Attributes:
        step: steps taken.
        params: the point with the smallest value so far.
        value: that value; inf before there is one.
        last_params: where the run stands now.
        last_value: value where it stood before the step; NaN if it was not known.
        num_evaluations: values spent, retries included.
    """

    step: int
    params: Params
    value: float
    last_params: Params
    last_value: float
    num_evaluations: int


Callback = Callable[[Progress], Any]


def says_stop(callback: Callback, progress: Progress) -> bool:
    """Whether a callback stops the run: it returns any True, or raises StopIteration."""
    try:
        answer = callback(progress)
    except StopIteration:
        return True
    if isinstance(answer, bool | np.bool_):
        return bool(answer)
    dtype, shape = getattr(answer, "dtype", None), getattr(answer, "shape", None)
    return dtype == np.bool_ and shape == () and bool(answer)


def check_callback(callback: Any) -> None:
    """Refuse what is neither a callable nor None."""
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: got {type(callback).__name__}, wanted a callable or None.")
