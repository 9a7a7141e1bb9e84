"""What a run returns, whichever face ran it."""

import warnings
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import jax
import numpy as np

from zosah_jax.pytree import Params


class Status(IntEnum):
    """Why a run ended; `Result.message` says it in words.

    Attributes:
        RUNNING: it has not.
        TARGET_REACHED: there is a value of at most the target.
        BUDGET_SPENT: the next step would have cost more than was left.
        NOT_FINITE: there are no finite values, at the start or where the run went.
        STOPPED: the callback stopped it.
        CONVERGED: the method finds nothing more to gain.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> out = zosah_jax.minimize(lambda x: (x**2).sum(), jnp.ones(3), budget=60, target=1e-3)
        >>> out.status is zosah_jax.Status.TARGET_REACHED
        True
    """

    RUNNING = -1
    TARGET_REACHED = 0
    BUDGET_SPENT = 1
    NOT_FINITE = 2
    STOPPED = 3
    CONVERGED = 4


_MESSAGES = {
    Status.RUNNING: "still running",
    Status.TARGET_REACHED: "target reached",
    Status.BUDGET_SPENT: "budget spent",
    Status.NOT_FINITE: "stopped: the objective has no finite value where the run stands",
    Status.STOPPED: "stopped by the callback",
    Status.CONVERGED: "converged: the method finds nothing more to gain",
}


class History(NamedTuple):
    """What was known after how many values; an entry a batch, thinned evenly in long jitted runs.

    Where the run is traced (`jit`, `vmap`), entries that were not used hold NaN, inf and 0.

    Attributes:
        value: value where the run stood (NaN where it is not known), shape (n,).
        best_value: smallest value so far, shape (n,).
        num_evaluations: values spent when it was known, shape (n,).
    """

    value: Any
    best_value: Any
    num_evaluations: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Result:
    """What a run found.

    Attributes:
        params: the point with the smallest value among all that were asked; a pytree like `x0`, in
            float32 or wider. Under noise, the one whose fresh values were smallest.
        value: the value there; inf if no point has one.
        last_params: where the run stands at its end, in the dtypes of `x0`.
        last_value: the value there; NaN where it was not asked.
        success: whether there is a value, and the target, if there was one, is reached. Without a
            target, to spend the budget or to converge is the ordinary end.
        status: why the run ended, a `Status`.
        num_evaluations: values of the objective spent, all that were asked for whatever reason.
        history: values against evaluations.
        state: the method's last state.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> out = zosah_jax.minimize(lambda x: (x**2).sum(), jnp.ones(3), budget=60)
        >>> bool(out.success), bool(out.value == out.history.best_value[-1])
        (True, True)
        >>> bool(out.history.num_evaluations[-1] == out.num_evaluations)
        True
    """

    params: Params
    value: Any
    last_params: Params
    last_value: Any
    success: Any
    status: Any
    num_evaluations: Any
    history: History
    state: Any

    @property
    def message(self) -> Any:
        """The status in words; of a batch of runs, a list."""
        return jax.tree.map(lambda s: _MESSAGES[Status(s)], np.asarray(self.status).tolist())

    @property
    def best_params(self) -> Any:
        """The name of `params` in 0.1."""
        return self._of_old("best_params", "params")

    @property
    def best_value(self) -> Any:
        """The name of `value` in 0.1."""
        return self._of_old("best_value", "value")

    def _of_old(self, name: str, now: str) -> Any:
        warnings.warn(
            f"Result.{name} is Result.{now} now; the old name goes with 0.3.",
            DeprecationWarning,
            stacklevel=3,
        )
        return getattr(self, now)

    def plot(self, axes: Any = None) -> Any:
        """Draw value against evaluations (`zosah_jax.plot.values`).

        Args:
            axes: matplotlib's; None: of a new figure.

        Returns:
            The axes.

        Raises:
            ImportError: matplotlib (extra `plot`) is not installed.

        Example:
            >>> import jax.numpy as jnp, zosah_jax
            >>> out = zosah_jax.minimize(lambda x: (x**2).sum(), jnp.ones(3), budget=40)
            >>> out.plot().get_xlabel()
            'evaluations'
        """
        from zosah_jax.plot import values

        return values(self, axes)


def is_success(status: Any, best_value: Any, has_target: bool) -> Any:
    """Whether a run did what was asked of it; see `Result`."""
    found = best_value < np.inf
    ended = status == Status.TARGET_REACHED
    spent = (status == Status.BUDGET_SPENT) | (status == Status.CONVERGED)
    return found & (ended if has_target else ended | spent)
