"""Dask: calls of the objective, never more of them than were asked.

Where a worker dies, Dask makes again what ran there, and also what had ended there and was not
fetched yet, the latter whatever its `allowed-failures` says; nobody counts such calls. So every
call that is submitted puts a ticket into a queue at the scheduler, and takes one out before it
begins. One that finds none is answered as lost: whether it is made again is up to who counts.
"""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from zosah_jax.blackbox.calls import Answer, call

try:
    from distributed import Queue
except ImportError as error:
    raise ImportError(
        "executor: wanted distributed with Dask's, which is not installed: "
        "pip install 'zosah_jax[dask]'."
    ) from error

_PATIENCE = 0.1  # seconds for a ticket, which lies there before its call is submitted
_LOST = "LostCall: a Dask worker died before the result of this call was fetched."


class AtMostOnce:
    """Calls of an objective through a Dask executor.

    `minimize_blackbox` and `host_function` ask this way when their executor is Dask's. It costs a
    round trip to the scheduler for each call here, and two on the worker.

    Args:
        executor: `Client.get_executor()`; it is not shut down.
        fun: objective, params -> real scalar.

    Example:
        >>> from distributed import Client
        >>> from zosah_jax.integrations.dask import AtMostOnce
        >>> with Client(processes=False, n_workers=1, dashboard_address=":0") as client:
        ...     calls = AtMostOnce(client.get_executor(), abs)
        ...     calls.submit(-2.0).result().value
        ...     calls.close()
        2.0
    """

    def __init__(self, executor: Executor, fun: Callable[[Any], Any]) -> None:
        self._executor, self._fun = executor, fun
        self._tickets: Queue | None = None

    def submit(self, point: Any, **options: Any) -> Future:
        """Begin a call.

        Args:
            point: what the objective is called with.
            options: of `Client.submit`.

        Returns:
            A future of an `Answer`. A call that was lost is one: an exception may not arrive where
            Dask was fetching the result when the worker died.

        Raises:
            RuntimeError: the executor is shut down.
        """
        if self._tickets is None:
            # there is no public way to the client of an executor
            self._tickets = Queue(client=self._executor._client)  # type: ignore[attr-defined]
        self._tickets.put(None)
        # not pure: Dask makes equal calls of a pure function once
        options = {"pure": False, **options}
        return self._executor.submit(_call, self._tickets.name, self._fun, point, **options)

    def close(self) -> None:
        """Let go of the tickets: what has not begun finds none any more."""
        if self._tickets is not None:
            self._tickets.close()
            self._tickets = None


def _call(name: str, fun: Callable[[Any], Any], point: Any) -> Answer:
    """Call the objective on a worker, if there is a ticket for it in the queue of this name."""
    tickets = Queue(name)
    try:
        tickets.get(timeout=_PATIENCE)
    except TimeoutError:
        return Answer(float("nan"), _LOST, None, 0.0)
    finally:
        tickets.close()
    return call(fun, point)
