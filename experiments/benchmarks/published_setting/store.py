"""What is kept of runs: states and histories together, a file for each group of runs.

A file is replaced as a whole by one that was written beside it. So whatever ends the process, the
file is that of before or that of after, and its history is that of its states.
"""

import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.common.errors import InputError
from experiments.common.identity import first_difference

_ABOUT = "about"  # the array that holds the JSON


class Kept(NamedTuple):
    """A run at the end of a chunk.

    Attributes:
        identity: what it is.
        history: a list an entry, of all chunks.
        arrays: its state, by the names of the leaves.
    """

    identity: dict[str, Any]
    history: dict[str, list[Any]]
    arrays: dict[str, np.ndarray]


class Store:
    """The runs of a folder.

    Args:
        folder: made at once, so that one that cannot be is known before the work.

    Raises:
        InputError: the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._groups: dict[str, dict[str, Kept]] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"checkpoints: got {folder}, wanted a folder that can be made ({error})."
            ) from error

    def get(self, group: str, name: str, identity: dict[str, Any]) -> Kept | None:
        """A run as it was last kept; None if it was not begun.

        Raises:
            InputError: it is another run; or its file cannot be read.
        """
        kept = self._group(group).get(name)
        if kept is None:
            return None
        if (differs := first_difference(kept.identity, identity)) is not None:
            raise InputError(
                f"checkpoints: got {self._path(group)}, whose {name} is a run with {differs}. "
                "Nothing was changed; name another folder."
            )
        return kept

    def put(self, group: str, name: str, kept: Kept) -> None:
        """Keep a run, on the disk when this returns."""
        runs = self._group(group)
        runs[name] = kept
        about = {one: {"identity": k.identity, "history": k.history} for one, k in runs.items()}
        arrays = {f"{one}/{leaf}": a for one, k in runs.items() for leaf, a in k.arrays.items()}
        arrays[_ABOUT] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        path = self._path(group)
        beside = path.with_suffix(".tmp")
        with beside.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)

    def _path(self, group: str) -> Path:
        return self._folder / f"{group}.npz"

    def _group(self, group: str) -> dict[str, Kept]:
        if group not in self._groups:
            path = self._path(group)
            self._groups[group] = _read(path) if path.exists() else {}
        return self._groups[group]


def _read(path: Path) -> dict[str, Kept]:
    """The runs of a file; every byte of it is checked against the file's own sums."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        about = json.loads(arrays.pop(_ABOUT).tobytes())
        own: dict[str, dict[str, np.ndarray]] = {name: {} for name in about}
        for name, array in arrays.items():
            run, leaf = name.split("/", 1)
            own[run][leaf] = array
        return {n: Kept(one["identity"], one["history"], own[n]) for n, one in about.items()}
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"checkpoints: got {path}, which cannot be read ({type(error).__name__}: {error}); "
            "nothing was changed. Without that file its runs begin anew."
        ) from error
