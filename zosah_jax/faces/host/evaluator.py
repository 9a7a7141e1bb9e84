"""The values of a batch, from outside JAX: retries, counting, the log."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from zosah_jax.faces.host.calls import CallResult, call
from zosah_jax.faces.host.log import CallIndex, EvaluationLog, Purpose
from zosah_jax.faces.host.numbers import Value, copied, is_missing
from zosah_jax.faces.host.pool import Pool, pool_of
from zosah_jax.faces.host.settings import Host
from zosah_jax.pytree import Params


class ObjectiveError(RuntimeError):
    """The objective raised wherever it was asked; the message ends with its first traceback.

    Example:
        >>> import numpy as np, zosah_jax
        >>> try:
        ...     zosah_jax.minimize(lambda x: 1 / 0, np.ones(2), budget=60, host=zosah_jax.Host())
        ... except zosah_jax.host.ObjectiveError as error:
        ...     print(str(error).splitlines()[-1])
        ZeroDivisionError: division by zero
    """


class HostEvaluator:
    """The objective as it can be asked from here.

    Args:
        fun: point -> real scalar or vector, or None where it has no value.
        host: where and how the calls run.
        log: keeps every value, and answers what it knows without a call.

    Attributes:
        num_calls: values asked, those that the log knew included.
        ndims: numbers of axes that a value may have.
        errors: how NumPy treats floating-point errors in calls in this thread; as it does here.
        first_error: why the first value that did not come is missing (a traceback), or None.
    """

    def __init__(
        self, fun: Callable[[Any], Any], host: Host, log: EvaluationLog | None = None
    ) -> None:
        if not callable(fun):
            raise TypeError(f"fun: got {type(fun).__name__}, wanted a callable f(params).")
        self._fun, self._host = fun, host
        self.ndims: tuple[int, ...] = (0,)
        self.errors: Any = {}
        self._log = EvaluationLog(None, {}) if log is None else log
        self._pool: Pool | None = pool_of(fun, host)
        self.num_calls = 0
        self.first_error: str | None = None

    def __enter__(self) -> "HostEvaluator":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.close()

    def once(self, points: Sequence[Params], batch: int) -> list[Value]:
        """Values for the estimate of the noise; those that do not come are not asked again."""
        return self(points, "noise", batch, spare=0)

    def __call__(
        self,
        points: Sequence[Params],
        purpose: Purpose = "batch",
        batch: int = 0,
        spare: int | None = None,
    ) -> list[Value]:
        """Values of a batch; NaN where they are missing.

        All points are asked once, then those that failed once more, and so on: so the order in
        which results come changes nothing.

        Args:
            points: the batch.
            purpose: what it is asked for, for the log.
            batch: its number among those of its purpose, for the log.
            spare: most retries; None for no such limit.

        Raises:
            TypeError: the objective returned what is no real number, or cannot be sent.
            RuntimeError: the executor takes no more calls.
        """
        values: list[Value] = [np.nan] * len(points)
        wanted = list(range(len(points)))
        spare = len(points) * self._host.retries if spare is None else spare
        for attempt in range(self._host.retries + 1):
            places = {i: CallIndex(purpose, batch, i, attempt) for i in wanted}
            self.num_calls += len(wanted)
            for i, result in self._wave(points, places).items():
                values[i] = result.value
            self._log.sync()
            failed = [i for i in wanted if is_missing(values[i])]
            wanted = failed[: max(0, spare)]
            spare -= len(wanted)
            if not wanted:
                break
        return values

    def _wave(
        self, points: Sequence[Params], places: dict[int, CallIndex]
    ) -> dict[int, CallResult]:
        """Results of a single attempt at each of some points."""
        results, todo = {}, []
        for i, place in places.items():
            known = self._log.find(place)
            if known is None:
                todo.append(i)
            else:
                results[i] = known
                self._note(known)

        def take(i: int, result: CallResult) -> None:
            results[i] = result
            self._log.write(places[i], points[i], result)
            if result.refused:
                raise TypeError(f"fun: its {result.error}")
            self._note(result)

        if self._pool is None:
            for i in todo:
                with np.errstate(**self.errors):
                    result = call(self._fun, self.ndims, copied(points[i]))
                take(i, result)
        elif todo:
            self._pool.ndims = self.ndims
            self._pool.run(points, todo, take, self._host.timeout, self._host.max_pending)
        return results

    def _note(self, result: CallResult) -> None:
        if self.first_error is None:
            self.first_error = result.error
