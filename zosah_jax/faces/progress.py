"""What a callback is told, and what a bar shows, by whichever face runs."""

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
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

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> told = []
        >>> def callback(progress):
        ...     told.append((progress.step, progress.num_evaluations))
        ...     return progress.value < 1e-2  # True stops the run
        >>> f, x0 = lambda x: (x**2).sum(), jnp.ones(3)
        >>> out = zosah_jax.minimize(f, x0, zosah_jax.rspg(0.1), budget=500, callback=callback)
        >>> told[:2], out.message
        ([(1, 2), (2, 4)], 'stopped by the callback')
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


def check_progress(progress: Any) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(progress, bool):
        raise TypeError(f"progress: got {progress!r}, wanted True or False.")


class Bar:
    """tqdm's bar over the budget, or nothing.

    Args:
        budget: its length, in values.
        shown: whether there is one; an attribute, too.

    Raises:
        ImportError: there is to be one, and tqdm is not installed.
    """

    def __init__(self, budget: int, shown: bool) -> None:
        self.shown, self._bar = shown, None
        if shown:
            try:
                from tqdm.auto import tqdm
            except ImportError as error:
                raise ImportError(
                    "progress: wanted tqdm, which is not installed: pip install 'zosah_jax[tqdm]'."
                ) from error
            self._bar = tqdm(total=budget, unit="value")

    def __enter__(self) -> "Bar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, spent: int, best: float) -> None:
        """Show how many values are spent, and the smallest of them."""
        if self._bar is not None:
            self._bar.update(spent - self._bar.n)
            self._bar.set_postfix_str(f"best {best:.6g}", refresh=False)
