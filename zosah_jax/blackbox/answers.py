"""How points are answered outside JAX: through an executor, with a timeout and with retries."""

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
from typing import Any

import numpy as np

from zosah_jax.blackbox.calls import Answer, call, call_installed, install
from zosah_jax.blackbox.journal import Journal, Outcome, Place
from zosah_jax.checks import check_count, check_positive
from zosah_jax.params import Params

_NAN = float("nan")


class ObjectiveError(RuntimeError):
    """The objective raised wherever it was asked; the message ends with its first traceback."""


class Answers:
    """The objective as it can be asked from here.

    Args:
        fun: point -> real scalar, or None where it has no value.
        executor: where the calls run. None: in this thread, or in `max_workers` processes.
        max_workers: processes of an own pool, which is rebuilt when it breaks or hangs.
        timeout: seconds after which a call is given up, None for never.
        retries: how often a point is asked again whose value is missing.
        max_pending: calls handed to the executor at a time. None: as many as it has workers where
            there is a timeout, so that waiting for a worker does not count; else the whole batch.
        journal: keeps every value, and answers what it knows without a call.

    Attributes:
        retries: as given.
        num_calls: values asked, those that the journal knew included.
        first_traceback: of what the objective raised first, or None.
    """

    def __init__(
        self,
        fun: Callable[[Any], Any],
        executor: Executor | None = None,
        max_workers: int | None = None,
        timeout: float | None = None,
        retries: int = 0,
        max_pending: int | None = None,
        journal: Journal | None = None,
    ) -> None:
        if not callable(fun):
            raise TypeError(f"fun: got {type(fun).__name__}, wanted a callable f(params).")
        check_count("max_workers", max_workers, optional=True)
        check_count("max_pending", max_pending, optional=True)
        check_positive("timeout", timeout, optional=True)
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise ValueError(f"retries: got {retries!r}, wanted an int of at least 0.")
        if executor is not None and max_workers is not None:
            raise ValueError("max_workers: got it with an executor, wanted one of them.")
        if executor is not None and not callable(getattr(executor, "submit", None)):
            raise TypeError(
                f"executor: got {type(executor).__name__}, wanted a concurrent.futures.Executor "
                "(of Dask: client.get_executor())."
            )
        if timeout is not None and executor is None and max_workers is None:
            raise ValueError(
                "timeout: got one, wanted an executor or max_workers with it: a call in this "
                "thread cannot be given up."
            )
        self._fun, self._timeout, self.retries = fun, timeout, retries
        self._journal = Journal(None, {}) if journal is None else journal
        self._pool: _Pool | None = None
        if max_workers is not None:
            self._pool = _OwnPool(fun, max_workers)
        elif executor is not None:
            self._pool = (_DaskPool if _is_dask(executor) else _GivenPool)(fun, executor)
        self._max_pending = max_pending
        self.num_calls = 0
        self.first_traceback: str | None = None

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.close()

    def __call__(self, points: Sequence[Params], step: int, round_: int, spare: int) -> np.ndarray:
        """Values of a batch; NaN where they are missing.

        All points are asked once, then those that failed once more, and so on: so the order in
        which answers come changes nothing.

        Args:
            points: the batch.
            step: number of the step, for the journal.
            round_: number of the batch within it.
            spare: most retries.

        Raises:
            TypeError: the objective returned what is no real scalar.
            RuntimeError: the executor takes no more calls.
        """
        values = np.full(len(points), _NAN)
        wanted = list(range(len(points)))
        for attempt in range(self.retries + 1):
            places = {i: Place(step, round_, i, attempt) for i in wanted}
            self.num_calls += len(wanted)
            outcomes = self._wave(points, places)
            self._journal.sync()
            for i, outcome in outcomes.items():
                values[i] = outcome.value
            failed = [i for i in wanted if np.isnan(values[i])]
            wanted = failed[:spare]
            spare -= len(wanted)
            if not wanted:
                break
        return values

    def _wave(self, points: Sequence[Params], places: dict[int, Place]) -> dict[int, Outcome]:
        outcomes = {i: self._journal.find(place) for i, place in places.items()}
        for known in outcomes.values():
            if known is not None and known.error is not None:
                self._note(known.error)

        def take(i: int, answer: Answer) -> None:
            outcome = Outcome(answer.value, answer.raised or answer.refused, answer.seconds)
            outcomes[i] = outcome
            self._journal.write(places[i], points[i], outcome)
            if answer.refused is not None:
                raise TypeError(f"fun: its {answer.refused}")
            if answer.raised is not None:
                self._note(answer.raised)

        todo = [i for i, known in outcomes.items() if known is None]
        if self._pool is None:
            for i in todo:
                take(i, call(self._fun, points[i]))
        elif todo:
            self._pool.run(points, todo, take, self._timeout, self._max_pending)
        return {i: outcome for i, outcome in outcomes.items() if outcome is not None}

    def _note(self, text: str) -> None:
        if self.first_traceback is None:
            self.first_traceback = text


Take = Callable[[int, Answer], None]


class _Pool(ABC):
    """Workers, and what goes wrong with them."""

    def __init__(self) -> None:
        self._hanging: list[Future] = []  # given up, and still running

    def run(
        self,
        points: Sequence[Params],
        todo: list[int],
        take: Take,
        timeout: float | None,
        max_pending: int | None,
    ) -> None:
        """Answer the points in `todo`; `take` is told of each as it comes."""
        queue, running = list(reversed(todo)), {}
        try:
            while queue or running:
                most = max_pending or self._room(len(todo), timeout)
                while queue and len(running) < most:
                    i = queue.pop()
                    running[self._submit(points[i])] = (i, time.monotonic())
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
        """Wait for the next answers or the next timeout."""
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
                take(i, Answer(_NAN, f"timed out after {timeout:g} s", None, now - start))

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


def _result(future: Future, seconds: float) -> Answer:
    error = _failure(future)
    if error is None:
        return future.result()
    cause = f"\n{error.__cause__}" if error.__cause__ is not None else ""
    return Answer(_NAN, f"{type(error).__name__}: {error}{cause}", None, seconds)


class _GivenPool(_Pool):
    """The user's executor: asked, never shut down."""

    def __init__(self, fun: Callable[[Any], Any], executor: Executor) -> None:
        super().__init__()
        self._call, self._executor = partial(call, fun), executor

    def _submit(self, point: Params) -> Future:
        try:
            return self._begin(point)
        except BrokenExecutor as error:
            raise RuntimeError(
                "executor: got one that is broken, wanted one that runs. A worker died; a pool of "
                "our own (max_workers=) is rebuilt when that happens. What was logged is kept."
            ) from error
        except RuntimeError as error:
            raise RuntimeError(
                f"executor: got one that takes no calls ({error}), wanted one that is not shut "
                "down."
            ) from error

    def _begin(self, point: Params) -> Future:
        return self._executor.submit(self._call, point)

    def _room(self, batch: int, timeout: float | None) -> int:
        if timeout is None:
            return batch
        workers = getattr(self._executor, "_max_workers", None) or batch
        return max(1, workers - self._num_hanging())


def _is_dask(executor: Executor) -> bool:
    return any(kind.__module__.startswith("distributed.") for kind in type(executor).__mro__)


class _DaskPool(_GivenPool):
    """A Dask executor, which by itself would make calls again that a dying worker loses."""

    def __init__(self, fun: Callable[[Any], Any], executor: Executor) -> None:
        from zosah_jax.integrations.dask import AtMostOnce

        super().__init__(fun, executor)
        self._calls = AtMostOnce(executor, fun)

    def _begin(self, point: Params) -> Future:
        return self._calls.submit(point)

    def close(self) -> None:
        self._calls.close()


class _OwnPool(_Pool):
    """Processes of our own, begun afresh (`spawn`): JAX's threads do not survive a fork."""

    def __init__(self, fun: Callable[[Any], Any], max_workers: int) -> None:
        super().__init__()
        self._fun, self._max_workers = fun, max_workers
        self._processes: ProcessPoolExecutor | None = None

    def _submit(self, point: Params) -> Future:
        try:
            return self._started().submit(call_installed, point)
        except BrokenExecutor:  # it broke while it had nothing to do
            self._kill()
            return self._started().submit(call_installed, point)
        except (AttributeError, TypeError, pickle.PicklingError) as error:
            raise TypeError(
                f"fun: got one that cannot be sent to another process ({error}), wanted a function "
                "of an importable module, or executor= with threads."
            ) from error

    def _started(self) -> ProcessPoolExecutor:
        if self._processes is None:
            self._processes = ProcessPoolExecutor(
                self._max_workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=install,
                initargs=(self._fun,),
            )
        return self._processes

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
        pool, self._processes, self._hanging = self._processes, None, []
        if pool is None:
            return
        # there is no public way to stop a process that runs before Python 3.14
        for process in list((pool._processes or {}).values()):
            process.kill()
        pool.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        if self._processes is not None:
            self._kill()
