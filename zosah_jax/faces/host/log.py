"""The log of every value: a file that is only appended to, and read again after a crash.

JSON lines. The first says which problem it is; every other is one call of the objective. A line is
handed to the operating system as soon as its value is there, so that a killed process loses none,
and forced to the disk (fsync) once a batch, so that a machine that loses its power loses at most
the last batch.
"""

import contextlib
import json
import math
import os
import warnings
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from zosah_jax.faces.host.calls import CallResult
from zosah_jax.faces.host.numbers import Value
from zosah_jax.pytree import Params

_MOST_COORDINATES = 256  # a longer point is left out of the log: it follows from the run

Purpose = Literal["noise", "batch", "last"]
"""What values are asked for: the noise level, a batch of the method, the points at the end."""


class ProblemMismatchError(ValueError):
    """A log that belongs to another problem.

    Example:
        >>> import tempfile, numpy as np, zosah_jax
        >>> def run(x0, folder):
        ...     host = zosah_jax.Host(log=f"{folder}/values.jsonl")
        ...     f = lambda x: float((x**2).sum())
        ...     return zosah_jax.minimize(f, x0, budget=20, noise=0, host=host)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = run(np.ones(2), folder)
        ...     try:
        ...         run(np.zeros(2), folder)
        ...     except zosah_jax.host.ProblemMismatchError as error:
        ...         print("Nothing was changed; give another path to begin anew." in str(error))
        True
    """


class CallIndex(NamedTuple):
    """Where in a run a call belongs: the same whenever the run is run.

    Attributes:
        purpose: what it is asked for.
        batch: number among the batches of that purpose.
        point: number of the point within the batch.
        attempt: 0, or the number of the retry.
    """

    purpose: Purpose
    batch: int
    point: int
    attempt: int


class EvaluationLog:
    """The log of a run; without a path, it keeps nothing.

    Args:
        path: of the file; None for none. One that is there is read, and continued.
        problem: what the log must belong to, by name.
        budget: of the run; what a run does under noise follows from the budget of its first call.

    Attributes:
        budget: that of the call that began the log.

    Raises:
        ProblemMismatchError: the file is the log of another problem, or no log.
        ValueError: another run is writing to it.
    """

    def __init__(self, path: str | Path | None, problem: dict[str, str], budget: int = 0) -> None:
        self.budget = budget
        self._known: dict[CallIndex, CallResult] = {}
        self._file, self._synced = None, True
        if path is None:
            return
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 (closed by __exit__)
        try:
            _lock(self._file, path)
            self._read(path, problem)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "EvaluationLog":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self.sync()
            self._file.close()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, place: CallIndex) -> CallResult | None:
        """What was logged at a place, by an earlier run."""
        return self._known.get(place)

    def write(self, place: CallIndex, point: Params, result: CallResult) -> None:
        """Append a line."""
        if self._file is None:
            return
        line: dict[str, Any] = {
            "at": list(place),
            "value": _to_json(result.value),
            "seconds": round(result.seconds, 6),
        }
        if result.error is not None:
            line["error"] = result.error
        leaves = jax.tree.leaves(point)
        if sum(np.size(leaf) for leaf in leaves) <= _MOST_COORDINATES:
            line["point"] = [float(x) for leaf in leaves for x in np.ravel(leaf)]
        self._append(line)

    def sync(self) -> None:
        """Force what was written to the disk."""
        if self._file is not None and not self._synced:
            os.fsync(self._file.fileno())
            self._synced = True

    def _append(self, line: dict[str, Any]) -> None:
        assert self._file is not None
        data = (json.dumps(line) + "\n").encode()
        self._synced = False
        while data:
            data = data[self._file.write(data) :]

    def _read(self, path: Path, problem: dict[str, str]) -> None:
        assert self._file is not None
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            if not whole and not data.startswith(b'{"problem"'[: len(data)]):
                raise _no_log(path)
            warnings.warn(
                f"log: the last line of {path} was torn by a crash; its value is asked again.",
                stacklevel=2,
            )
            self._file.truncate(whole)
        lines = data[:whole].splitlines()
        if not lines:
            self._append({"problem": problem, "budget": self.budget})
            self.sync()
            return
        try:
            first = json.loads(lines[0])
            header, self.budget = dict(first["problem"]), int(first["budget"])
        except (ValueError, KeyError, TypeError) as error:
            raise _no_log(path) from error
        _check_problem(path, header, problem)
        for number, line in enumerate(lines[1:], 2):
            try:
                self._learn(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"log: got a damaged line {number} in {path}, wanted a line as this run writes "
                    "them. Mend or remove the line; values that are not there are asked again."
                ) from error

    def _learn(self, entry: dict[str, Any]) -> None:
        value, error = _from_json(entry["value"]), entry.get("error")
        self._known[CallIndex(*entry["at"])] = CallResult(value, error, False, entry["seconds"])


def _to_json(value: Value) -> Any:
    if isinstance(value, np.ndarray):
        return [_to_json(float(v)) for v in value]
    return None if math.isnan(value) else value


def _from_json(value: Any) -> Value:
    if isinstance(value, list):
        return np.asarray([_from_json(v) for v in value], np.float64)
    return math.nan if value is None else float(value)


def _no_log(path: Path) -> ProblemMismatchError:
    return ProblemMismatchError(f"log: got {path}, which is none, wanted a log or no file.")


def _check_problem(path: Path, found: dict[str, str], wanted: dict[str, str]) -> None:
    """Refuse the log of another problem, by the name of the first difference."""
    for name in [*wanted, *(name for name in found if name not in wanted)]:
        here, there = wanted.get(name, "not there"), found.get(name, "not there")
        if here == there:
            continue
        jax_there = found.get("jax")
        other = "" if jax_there == jax.__version__ else f" (it was written with jax {jax_there})"
        raise ProblemMismatchError(
            f"log: got {path} of another problem, whose {name} is {there}, wanted {here}{other}. "
            "Nothing was changed; give another path to begin anew."
        )


def _lock(file: Any, path: Path) -> None:
    """Refuse a file that another run holds; the lock goes with the process."""
    with contextlib.suppress(ImportError):
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(f"log: {path} is being written by another run.") from error
