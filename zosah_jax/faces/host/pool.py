"""Calls that run elsewhere: in the user's executor, on Dask, or in processes of our own."""

import multiprocessing
import pickle
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from functools import partial
from multiprocessing.reduction import ForkingPickler
from typing import Any

from zosah_jax.faces.host.calls import CallResult, call, call_installed, install, lost, started
from zosah_jax.faces.host.numbers import copied
from zosah_jax.faces.host.settings import Host
from zosah_jax.pytree import Params

Take = Callable[[int, CallResult], None]

_UNSENDABLE = (AttributeError, TypeError, pickle.PicklingError)
_GUARD = (
    'A script that starts processes wants the guard `if __name__ == "__main__":` around what it '
    "runs, and `fun` has to be a function of an importable module (not of an interactive session)."
)


def num_workers(host: Host) -> int:
    """How many calls run side by side, as far as it is known."""
    if host.max_workers is not None:
        return host.max_workers
    return workers_of(host.executor) or 1


def workers_of(executor: Executor | None) -> int | None:
    """How many calls an executor runs side by side, if it says so; of Dask, threads there now."""
    if executor is not None and _is_dask(executor):
        client: Any = executor
        return sum(client._client.nthreads().values()) or None
    return getattr(executor, "_max_workers", None)


def pool_of(fun: Callable[[Any], Any], host: Host) -> "Pool | None":
    """Where the calls run; None: in this thread."""
    if host.max_workers is not None:
        return _OwnPool(fun, host.max_workers)
    if host.executor is None:
        return None
    return (_DaskPool if _is_dask(host.executor) else _GivenPool)(fun, host.executor)


class Pool(ABC):
    """Workers, and what goes wrong with them."""

    def __init__(self) -> None:
        self._hanging: list[Future] = []  # given up, and still running
        self.ndims: tuple[int, ...] = (0,)

    def run(
        self,
        points: Sequence[Params],
        todo: list[int],
        take: Take,
        timeout: float | None,
        max_pending: int | None,
    ) -> None:
        """Call the objective at the points in `todo`; `take` is told of each result as it comes."""
        queue, running = list(reversed(todo)), {}
        try:
            while queue or running:
                most = max_pending or self._room(len(todo), timeout)
                while queue and len(running) < most:
                    i = queue.pop()
                    running[self._submit(copied(points[i]))] = (i, time.monotonic())
                self._collect(running, take, timeout)
            self._tidy()
        except BaseException:
            for future in running:
                future.cancel()
            raise

    def close(self) -> None:  # noqa: B027 (not all have something)
        """Let go of what is our own."""

    @abstractmethod
    def _submit(self, point: Params) -> Future:
        """Hand a call out."""

    @abstractmethod
    def _room(self, batch: int, timeout: float | None) -> int:
        """Calls that may be pending at a time."""

    def _tidy(self) -> None:  # noqa: B027
        """Between two waves, when nothing runs but what was given up."""

    def _broken(self, running: set[Future]) -> set[Future]:
        """Told that the executor broke; which of the calls that ran are lost by what it does."""
        return set()

    def _collect(
        self, running: dict[Future, tuple[int, float]], take: Take, timeout: float | None
    ) -> None:
        """Wait for the next results or the next timeout."""
        patience = None
        if timeout is not None:
            oldest = min(start for _, start in running.values())
            patience = max(0.0, oldest + timeout - time.monotonic())
        done, _ = wait(running, timeout=patience, return_when=FIRST_COMPLETED)
        if any(isinstance(_failure(future), BrokenExecutor) for future in done):
            done = self._broken(set(running)) or done
        for future in done:
            i, start = running.pop(future)
            take(i, _result(future, time.monotonic() - start))
        if timeout is None:
            return
        now = time.monotonic()
        for future, (i, start) in list(running.items()):
            if now - start >= timeout and not future.done():
                del running[future]
                if not future.cancel():  # a call that runs cannot be stopped from here
                    self._hanging.append(future)
                take(i, lost(f"timed out after {timeout:g} s", now - start))

    def _num_hanging(self) -> int:
        self._hanging = [future for future in self._hanging if not future.done()]
        return len(self._hanging)


def _failure(future: Future) -> BaseException | None:
    """What the machinery raised, not the objective; a cancelled future's counts, too."""
    try:
        return future.exception()
    except BaseException as error:  # concurrent.futures' and Dask's CancelledError differ
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return error


def _result(future: Future, seconds: float) -> CallResult:
    error = _failure(future)
    if error is None:
        return future.result()
    if isinstance(error, _UNSENDABLE):  # the objective's own come as text
        raise _cannot_be_sent(error) from error
    cause = f"\n{error.__cause__}" if error.__cause__ is not None else ""
    return lost(f"{type(error).__name__}: {error}{cause}", seconds)


def _cannot_be_sent(error: BaseException) -> TypeError:
    return TypeError(
        f"fun: got one that cannot be sent to another process ({error}), wanted a function of an "
        "importable module, or executor= with threads."
    )


class _GivenPool(Pool):
    """The user's executor: asked, never shut down."""

    def __init__(self, fun: Callable[[Any], Any], executor: Executor) -> None:
        super().__init__()
        self._fun, self._executor = fun, executor

    def _submit(self, point: Params) -> Future:
        try:
            return self._begin(point)
        except BrokenExecutor as error:
            raise RuntimeError(
                "executor: got one that is broken, wanted one that runs. A worker died, or none "
                f"could start. {_GUARD} A pool of our own (max_workers=) is rebuilt when a worker "
                "dies. What was logged is kept."
            ) from error
        except RuntimeError as error:
            raise RuntimeError(
                f"executor: got one that takes no calls ({error}), wanted one that is not shut "
                "down."
            ) from error
        except _UNSENDABLE as error:
            raise _cannot_be_sent(error) from error

    def _begin(self, point: Params) -> Future:
        return self._executor.submit(partial(call, self._fun, self.ndims), point)

    def _room(self, batch: int, timeout: float | None) -> int:
        if timeout is None:
            return batch
        workers = workers_of(self._executor) or batch
        return max(1, workers - self._num_hanging())


def _is_dask(executor: Executor) -> bool:
    """Whether an executor belongs to a Dask client: to something that hands executors out."""
    client = getattr(executor, "_client", None)
    return callable(getattr(client, "get_executor", None))


class _DaskPool(_GivenPool):
    """A Dask executor, which by itself would make calls again that a dying worker loses."""

    def __init__(self, fun: Callable[[Any], Any], executor: Executor) -> None:
        from zosah_jax.integrations.dask import AtMostOnce

        super().__init__(fun, executor)
        self._calls = AtMostOnce(executor, fun)

    def _begin(self, point: Params) -> Future:
        return self._calls.submit(point, self.ndims)

    def close(self) -> None:
        self._calls.close()


class _OwnPool(Pool):
    """Processes of our own, begun afresh (`spawn`): JAX's threads do not survive a fork."""

    def __init__(self, fun: Callable[[Any], Any], max_workers: int) -> None:
        super().__init__()
        try:
            ForkingPickler.dumps(fun)
        except _UNSENDABLE as error:
            raise _cannot_be_sent(error) from error
        self._fun, self._max_workers = fun, max_workers
        self._processes: ProcessPoolExecutor | None = None
        self._starting: Future | None = None
        self._start()

    def _submit(self, point: Params) -> Future:
        try:
            return self._started().submit(call_installed, self.ndims, point)
        except BrokenExecutor:  # it broke while it had nothing to do
            self._kill()
            return self._started().submit(call_installed, self.ndims, point)

    def _start(self) -> ProcessPoolExecutor:
        """Begin processes; they may come up while we do something else."""
        self._processes = ProcessPoolExecutor(
            self._max_workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=install,
            initargs=(self._fun,),
        )
        self._starting = self._processes.submit(started)
        return self._processes

    def _started(self) -> ProcessPoolExecutor:
        """The processes, of which one at least came up: so no call pays for that."""
        processes = self._processes or self._start()
        starting, self._starting = self._starting, None
        if starting is not None:
            try:
                starting.result()
            except BrokenExecutor as error:
                self._kill()
                raise RuntimeError(
                    "max_workers: got worker processes that could not start (their own words are "
                    f"in the standard error), wanted ones that do. {_GUARD}"
                ) from error
        return processes

    def _room(self, batch: int, timeout: float | None) -> int:
        # hardly more than run at once, so that a worker that dies takes few others with it
        if self._num_hanging() >= self._max_workers:
            self._kill()  # nothing is lost: all that runs was given up
        waiting = 1 if timeout is None else 0  # so that a worker need not wait for us
        return self._max_workers - self._num_hanging() + waiting

    def _tidy(self) -> None:
        if self._num_hanging():
            self._kill()

    def _broken(self, running: set[Future]) -> set[Future]:
        self._kill()
        return running  # all of them are done now, or cancelled

    def _kill(self) -> None:
        pool, self._processes, self._hanging, self._starting = self._processes, None, [], None
        if pool is None:
            return
        # there is no public way to stop a process that runs before Python 3.14
        for process in list((pool._processes or {}).values()):
            process.kill()
        pool.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        if self._processes is not None:
            self._kill()
