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
from typing import Any, NamedTuple

import jax
import numpy as np

from zosah_jax.blackbox.checkpoint import OtherProblem, check_problem
from zosah_jax.params import Params

_MOST_COORDINATES = 256  # a longer point is left out of the log: it follows from the run


class Place(NamedTuple):
    """Where in a run a value belongs: the same whenever the run is run.

    Attributes:
        step: of the transformation; -1 for what is asked before the first.
        round: batch within the step.
        probe: point within the batch.
        attempt: 0, or the number of the retry.
    """

    step: int
    round: int
    probe: int
    attempt: int


class Outcome(NamedTuple):
    """What became of a call.

    Attributes:
        value: NaN where it is missing.
        error: why it is missing, in words; None if the objective answered.
        seconds: how long the call took.
    """

    value: float
    error: str | None
    seconds: float


class Journal:
    """The log of a run; without a path, it keeps nothing.

    Args:
        path: of the file; None for none. One that is there is read, and continued.
        problem: what the log must belong to, by name.
        budget: of the run; what a run does under noise follows from the budget of its first call.

    Attributes:
        budget: that of the call that began the log.

    Raises:
        OtherProblem: the file is the log of another problem, or no log.
        ValueError: another run is writing to it.
    """

    def __init__(self, path: Path | None, problem: dict[str, str], budget: int = 0) -> None:
        self.budget = budget
        self._known: dict[Place, Outcome] = {}
        self._file = None
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "a+b", buffering=0)  # noqa: SIM115 (closed by __exit__)
        try:
            _lock(self._file, path)
            self._read(path, problem)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self.sync()
            self._file.close()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, place: Place) -> Outcome | None:
        """What was logged at a place, by an earlier run."""
        return self._known.get(place)

    def write(self, place: Place, point: Params, outcome: Outcome) -> None:
        """Append a line."""
        if self._file is None:
            return
        line: dict[str, Any] = {
            "at": list(place),
            "value": None if math.isnan(outcome.value) else outcome.value,
            "seconds": round(outcome.seconds, 6),
        }
        if outcome.error is not None:
            line["error"] = outcome.error
        leaves = jax.tree.leaves(point)
        if sum(np.size(leaf) for leaf in leaves) <= _MOST_COORDINATES:
            line["point"] = [float(x) for leaf in leaves for x in np.ravel(leaf)]
        self._append(line)

    def sync(self) -> None:
        """Force what was written to the disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def _append(self, line: dict[str, Any]) -> None:
        assert self._file is not None
        data = (json.dumps(line) + "\n").encode()
        while data:
            data = data[self._file.write(data) :]

    def _read(self, path: Path, problem: dict[str, str]) -> None:
        assert self._file is not None
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            if not whole and not data.startswith(b'{"problem"'[: len(data)]):
                raise OtherProblem(f"log: got {path}, which is none, wanted a log or no file.")
            warnings.warn(
                f"log: the last line of {path} was torn by a crash; its value is asked again.",
                stacklevel=4,
            )
            self._file.truncate(whole)
        lines = data[:whole].splitlines()
        if not lines:
            self._append({"problem": problem, "budget": self.budget})
            self.sync()
            return
        try:
            first = json.loads(lines[0])
            header, self.budget = first["problem"], int(first["budget"])
        except (ValueError, KeyError, TypeError) as error:
            raise OtherProblem(
                f"log: got {path}, which is none, wanted a log or no file."
            ) from error
        check_problem(f"log {path}", header, problem)
        for number, line in enumerate(lines[1:], 2):
            try:
                entry = json.loads(line)
                value = math.nan if entry["value"] is None else float(entry["value"])
                outcome = Outcome(value, entry.get("error"), entry["seconds"])
                self._known[Place(*entry["at"])] = outcome
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"log: got a damaged line {number} in {path}, wanted a line as this run writes "
                    "them. Mend or remove the line; values that are not there are asked again."
                ) from error


def _lock(file: Any, path: Path) -> None:
    """Refuse a file that another run holds; the lock goes with the process."""
    with contextlib.suppress(ImportError):
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(f"log: {path} is being written by another run.") from error
