"""Two-class data: what ships with scikit-learn, and LIBSVM files found or fetched."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pooch
import scipy.sparse
import sklearn.datasets

from experiments.common.errors import InputError

PAGE = "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/binary/"
LIBSVM = {"a1a": 123, "a7a": 123, "a9a": 123, "mushrooms": 112, "phishing": 68, "splice": 60}
"""LIBSVM files by name, with their number of features (a file may lack the last ones)."""


class Dataset(NamedTuple):
    """Rows with two labels.

    Attributes:
        features: float64, shape (n, d), the last column a bias of ones.
        labels: -1.0 or +1.0, shape (n,).
    """

    features: np.ndarray
    labels: np.ndarray


def _breast_cancer() -> tuple[np.ndarray, np.ndarray]:
    features, labels = map(np.asarray, sklearn.datasets.load_breast_cancer(return_X_y=True))
    return (features - features.mean(axis=0)) / features.std(axis=0), labels


def _digits() -> tuple[np.ndarray, np.ndarray]:
    pixels, digit = map(np.asarray, sklearn.datasets.load_digits(return_X_y=True))
    return pixels / 16, digit % 2


BUILT_IN: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
    "breast_cancer": _breast_cancer,
    "digits": _digits,
}
"""Data that ship with scikit-learn: standardised features; pixels in [0, 1], odd against even."""


def load(name: str, rows: int, data_dir: Path | None = None) -> Dataset:
    """A dataset by name, with a column of ones for the bias.

    Args:
        name: one of `BUILT_IN` or `LIBSVM`.
        rows: at most so many rows, drawn with a fixed seed.
        data_dir: folder of LIBSVM files. None: the environment variable ZOSAH_DATA. Where the file
            is in neither it nor its sub-folder libsvm, it is fetched into the user's cache.

    Returns:
        The dataset.

    Raises:
        InputError: the name is unknown, or the file missing or malformed (path and line).
    """
    features: Any  # sparse where they come from a file
    if name in BUILT_IN:
        features, classes = BUILT_IN[name]()
    elif name in LIBSVM:
        features, classes = _read(find(name, data_dir) or _fetch(name, data_dir), LIBSVM[name])
    else:
        known = ", ".join([*BUILT_IN, *LIBSVM])
        raise InputError(f"dataset: got {name!r}, wanted one of {known}.")
    chosen = np.random.default_rng(0).permutation(len(classes))[:rows]
    if len(np.unique(classes[chosen])) != 2:
        raise InputError(f"rows: got {rows}, wanted enough to meet both labels of {name}.")
    dense = features[chosen].toarray() if scipy.sparse.issparse(features) else features[chosen]
    biased = np.concatenate([dense, np.ones((len(dense), 1))], axis=1)
    return Dataset(biased, np.where(classes[chosen] == classes.max(), 1.0, -1.0))


def find(name: str, data_dir: Path | None) -> Path | None:
    """Path of a LIBSVM file at hand; None if there is none.

    Raises:
        InputError: the folder is named but not there.
    """
    folder = _folder(data_dir)
    if folder is None:
        return None
    if not folder.is_dir():
        raise InputError(f"data_dir: got {folder}, wanted a folder of LIBSVM files.")
    places = (folder / name, folder / "libsvm" / name)
    return next((place for place in places if place.is_file()), None)


def _folder(data_dir: Path | None) -> Path | None:
    named = os.environ.get("ZOSAH_DATA")
    return data_dir or (Path(named) if named else None)


def _fetch(name: str, data_dir: Path | None) -> Path:
    cache = pooch.os_cache("zosah_jax")
    try:
        return Path(pooch.retrieve(PAGE + name, None, fname=name, path=cache, progressbar=True))
    except OSError as error:  # what requests raises, too
        folder = _folder(data_dir)
        looked = f"in {folder}, {folder / 'libsvm'} and {cache}" if folder else f"in {cache}"
        raise InputError(
            f"dataset: {name} is not at hand. Looked {looked}; then tried to fetch {PAGE}{name}: "
            f"{type(error).__name__}: {error}. Offline, put the file into a folder and pass "
            "--data-dir FOLDER or set ZOSAH_DATA."
        ) from error


def _read(path: Path, num_features: int) -> tuple[Any, np.ndarray]:
    """Features (sparse) and labels of a LIBSVM file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error}).") from error
    try:
        features, classes = _parse(content, num_features)
    except (ValueError, OverflowError) as error:
        line, reason = _first_bad_line(content.splitlines(keepends=True), num_features)
        raise InputError(f"{path}, line {line}: {reason}.") from error
    if len(np.unique(classes)) != 2:
        raise InputError(f"{path}: got {len(np.unique(classes))} distinct labels, wanted two.")
    return features, classes


def _parse(content: bytes, num_features: int) -> tuple[Any, np.ndarray]:
    features, classes = sklearn.datasets.load_svmlight_file(
        io.BytesIO(content),
        n_features=num_features,
        zero_based=False,  # type: ignore[arg-type]
    )
    if not (np.isfinite(features.data).all() and np.isfinite(classes).all()):
        raise ValueError("got a number that is not finite")
    return features, classes


def _first_bad_line(lines: list[bytes], num_features: int) -> tuple[int, str]:
    """Number and fault of the first line at fault, which scikit-learn's reader does not tell."""

    def fault(part: list[bytes]) -> str | None:
        try:
            _parse(b"".join(part), num_features)
        except (ValueError, OverflowError) as error:
            return str(error)
        return None

    low, high = 0, len(lines)
    while high - low > 1:
        middle = (low + high) // 2
        if fault(lines[low:middle]):
            high = middle
        else:
            low = middle
    return low + 1, fault(lines[low : low + 1]) or "malformed"
