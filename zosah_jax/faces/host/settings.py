"""How a Python function is called: workers, timeouts, retries, the log."""

import os
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from zosah_jax.checks import check_count, check_positive


@dataclass(frozen=True)
class Host:
    """How `minimize` calls an objective that JAX cannot trace: a simulator, a model, a device.

    The objective is called with a pytree like `x0` of NumPy arrays, its own to write to, and
    returns a real number. A value is *missing* where the call raised, was given up, or returned
    None, NaN, an infinity or a masked value; after its retries it has weight zero in what the
    method fits.

    The calls of a batch are independent. Without further arguments they run one after another in
    the calling thread. With `executor` or `max_workers` they run side by side, and the run is the
    same bit for bit, in whatever order they end.

    With `log`, every value is on disk as soon as it is there. Called again with the same problem
    and log, `minimize` goes on where it was (the budget may have grown): it goes through the log
    and asks nothing that is there, so that it ends with the same bits as an undisturbed run.

    Args:
        executor: any `concurrent.futures.Executor`, of Dask `client.get_executor()`. It is not
            shut down. None: this thread, or processes of an own pool.
        max_workers: number of processes of an own pool, begun by `spawn`, so that the objective
            has to be a function of an importable module, and a script that starts them wants the
            guard `if __name__ == "__main__":`. The pool is rebuilt when a worker dies or hangs.
        timeout: seconds after which a call is given up and its value is missing; None: never. A
            call that runs cannot be stopped from outside: a thread runs on and keeps its worker,
            and so does a process of an `executor`; processes of an own pool are killed.
        retries: how often a point is asked again whose value is missing. Retries count as values.
            0 where they would fail again.
        max_pending: most calls that are handed to the executor at a time. None: as many as it has
            workers where there is a timeout, so that waiting for one does not count, else a batch.
        log: file for every value, JSON lines; its folder is made.
        progress: whether to show a bar (tqdm).

    Raises:
        ValueError: a number is out of its range, or two arguments exclude each other.
        TypeError: an argument is of the wrong kind, by name.

    Example:
        >>> import concurrent.futures, numpy as np, zosah_jax
        >>> def simulator(x):
        ...     return float(((x - 1) ** 2).sum())
        >>> with concurrent.futures.ThreadPoolExecutor(2) as pool:
        ...     host = zosah_jax.Host(executor=pool, timeout=60, retries=1)
        ...     out = zosah_jax.minimize(simulator, np.zeros(3), budget=100, host=host)
        >>> bool(out.value < 1e-6)
        True
    """

    executor: Executor | None = None
    max_workers: int | None = None
    timeout: float | None = None
    retries: int = 2
    max_pending: int | None = None
    log: str | Path | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        """Refuse what is out of range, and arguments that exclude each other."""
        check_count("max_workers", self.max_workers, optional=True)
        check_count("max_pending", self.max_pending, optional=True)
        check_positive("timeout", self.timeout, optional=True)
        retries = self.retries
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise ValueError(f"retries: got {retries!r}, wanted an int of at least 0.")
        if self.executor is not None and self.max_workers is not None:
            raise ValueError("max_workers: got it with an executor, wanted one of them.")
        if self.executor is not None and not callable(getattr(self.executor, "submit", None)):
            raise TypeError(
                f"executor: got {type(self.executor).__name__}, wanted a "
                "concurrent.futures.Executor (of Dask: client.get_executor())."
            )
        if self.timeout is not None and self.executor is None and self.max_workers is None:
            raise ValueError(
                "timeout: got one, wanted an executor or max_workers with it: a call in this "
                "thread cannot be given up."
            )
        if self.log is not None and not isinstance(self.log, str | os.PathLike):
            raise TypeError(f"log: got {type(self.log).__name__}, wanted a path or None.")
        if not isinstance(self.progress, bool):
            raise TypeError(f"progress: got {self.progress!r}, wanted True or False.")
