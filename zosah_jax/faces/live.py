"""What a traced run tells while it runs: a callback of every step, a bar at a pace.

The compiled run knows a number, the ticket, and not the callback or the bar that it stands for, so
that neither is compiled for.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback

from zosah_jax.faces.progress import Bar, Callback, Progress, says_stop
from zosah_jax.result import Result

PACE = 100
"""A bar is told so many times in a run, or after every batch where there are fewer of them."""


_TICKETS = itertools.count(1)


class Watcher:
    """A callback and a bar; what the callback raises stops the run, and is raised after it.

    Args:
        callback: told of every step; None for none.
        bar: moved on at the pace.

    Attributes:
        ticket: its number, uint32.
    """

    def __init__(self, callback: Callback | None, bar: Bar) -> None:
        self.callback, self.bar = callback, bar
        self.number = next(_TICKETS)
        self.ticket = jnp.asarray(self.number, jnp.uint32)
        self.error: BaseException | None = None

    def says_stop(self, progress: Progress) -> bool:
        """Whether the callback stops the run."""
        assert self.callback is not None
        try:
            return says_stop(self.callback, progress)
        except BaseException as error:  # within XLA, it would end as one of XLA's
            self.error = error
            return True

    def ended(self, result: Result) -> Result:
        """Wait for the end of the run, and show it."""
        if self.bar.shown and isinstance(result.value, jax.core.Tracer):
            raise ValueError(
                "progress: got a run within jit or vmap, wanted one of its own, or False."
            )
        result = jax.block_until_ready(result)
        if self.bar.shown:
            jax.effects_barrier()
            self.bar.show(result.num_evaluations, float(result.value))
        return result


WATCHERS: dict[int, Watcher] = {}


@contextmanager
def watched(callback: Callback | None, budget: int, shown: bool) -> Iterator[Watcher]:
    """Watch the run that is within."""
    with Bar(budget, shown) as bar:
        watcher = Watcher(callback, bar)
        WATCHERS[watcher.number] = watcher
        try:
            yield watcher
        finally:
            del WATCHERS[watcher.number]
    if watcher.error is not None:
        raise watcher.error


def called_back(ticket: jax.Array, skipped: jax.Array, told: tuple[Any, ...]) -> jax.Array:
    """Tell the callback of a step, unless it is skipped; whether it stops the run.

    Args:
        ticket: whose.
        skipped: whether there is nothing to tell.
        told: what a `Progress` is made of.
    """

    def call(ticket: Any, step: Any, params: Any, best: Any, last: Any, value: Any, n: Any) -> Any:
        own = [jax.tree.map(np.array, tree) for tree in (params, last)]
        progress = Progress(int(step), own[0], float(best), own[1], float(value), int(n))
        return np.asarray(WATCHERS[int(ticket)].says_stop(progress))

    return jax.lax.cond(
        skipped,
        lambda: jnp.zeros((), bool),
        lambda: io_callback(call, jax.ShapeDtypeStruct((), bool), ticket, *told, ordered=True),
    )


def show(
    ticket: jax.Array, budget: jax.Array, before: jax.Array, spent: jax.Array, best: jax.Array
) -> None:
    """Tell the bar of a batch, where it crosses another hundredth of the budget."""

    def call(ticket: Any, spent: Any, best: Any) -> None:
        WATCHERS[int(ticket)].bar.show(int(spent), float(best))

    pace = jnp.maximum(budget // np.uint32(PACE), np.uint32(1))
    jax.lax.cond(
        spent // pace > before // pace,
        lambda: jax.debug.callback(call, ticket, spent, best, ordered=True),
        lambda: None,
    )
