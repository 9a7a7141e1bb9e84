"""What a run returns, whichever face ran it."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import jax
import numpy as np

from zosah_jax.pytree import Params


class Status(IntEnum):
    """Why a run ended."""

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


def is_success(status: Any, best_value: Any, has_target: bool) -> Any:
    """Whether a run did what was asked of it; see `Result`."""
    found = best_value < np.inf
    ended = status == Status.TARGET_REACHED
    spent = (status == Status.BUDGET_SPENT) | (status == Status.CONVERGED)
    return found & (ended if has_target else ended | spent)
