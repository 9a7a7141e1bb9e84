"""Dask: calls of the objective, never more of them than were asked.

Where a worker dies, Dask makes again what ran there, and also what had ended there and was not
fetched yet, the latter whatever its `allowed-failures` says; nobody counts such calls. So every
call that is submitted puts a ticket into a queue at the scheduler, and takes one out before it
begins. One that finds none is answered as lost: whether it is made again is up to who counts.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any

from zosah_jax.faces.host.calls import CallResult, call, lost

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

    `minimize` and `host_function` call this way when their executor is Dask's. It costs a
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

    def submit(self, point: Any, ndims: Sequence[int] = (0,), **options: Any) -> Future:
        """Begin a call.

        Args:
            point: what the objective is called with.
            ndims: numbers of axes that a value may have.
            options: of `Client.submit`.

        Returns:
            A future of a `CallResult`. A call that was lost has one, too: an exception may not
            arrive where Dask was fetching the result when the worker died.

        Raises:
            RuntimeError: the executor is shut down.
        """
        tickets = self._tickets
        if tickets is None:
            # there is no public way to the client of an executor
            tickets = self._tickets = Queue(client=self._executor._client)  # type: ignore[attr-defined]
        tickets.put(None)
        # not pure: Dask makes equal calls of a pure function once
        options = {"pure": False, **options}
        call = (_call, tickets.name, self._fun, tuple(ndims), point)
        return self._executor.submit(*call, **options)

    def close(self) -> None:
        """Let go of the tickets: what has not begun finds none any more."""
        if self._tickets is not None:
            self._tickets.close()
            self._tickets = None


def _call(name: str, fun: Callable[[Any], Any], ndims: Sequence[int], point: Any) -> CallResult:
    """Call the objective on a worker, if there is a ticket for it in the queue of this name."""
    tickets = Queue(name)
    try:
        tickets.get(timeout=_PATIENCE)
    except TimeoutError:
        return lost(_LOST, 0.0)
    finally:
        tickets.close()
    return call(fun, ndims, point)
