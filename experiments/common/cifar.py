"""The batches of CIFAR-10 and CIFAR-100 as they are published: pickles, and read without trust."""

import codecs
import io
import pickle
from typing import Any, NamedTuple

import numpy as np

from experiments.common.errors import InputError

SHAPE = (32, 32, 3)


class Format(NamedTuple):
    """How a data set is laid out.

    Attributes:
        classes: number of classes.
        train: names of the files with training images, in order.
        test: name of the file with test images.
        labels: key of the labels within a file.
    """

    classes: int
    train: tuple[str, ...]
    test: str
    labels: str


FORMATS = {
    "cifar10": Format(10, tuple(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "labels"),
    "cifar100": Format(100, ("train",), "test", "fine_labels"),
}


def read_batch(content: bytes, labels: str, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of one file.

    Args:
        content: the pickle.
        labels: key of the labels.
        where: the file, for the error.

    Returns:
        Images, uint8 of shape (n, 32, 32, 3), and labels, int64 of shape (n,).

    Raises:
        InputError: the file is cut off or no such pickle, or holds other things than it should.
    """
    try:
        batch = _Unpickler(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a pickle that is no pickle can raise anything
        raise InputError(
            f"{where}: got {type(error).__name__}: {error}; wanted a pickled batch of CIFAR."
        ) from error
    entries = {_text(key): entry for key, entry in batch.items()} if type(batch) is dict else {}
    missing = {"data", labels} - set(entries)
    if missing:
        raise InputError(f"{where}: got no {sorted(missing)}, wanted a batch with both.")
    data = entries["data"]
    if not (isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2):
        raise InputError(f"{where}: got {_told(data)} as data, wanted uint8 of shape (n, 3072).")
    if data.shape[1] != 3072:
        raise InputError(f"{where}: got images of {data.shape[1]} bytes, wanted 3072 (32x32x3).")
    # channels first, as published
    images = data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    try:
        numbers = np.asarray(entries[labels])
    except ValueError as error:
        raise InputError(f"{where}: got ragged {labels}, wanted a list of ints.") from error
    return images, numbers


def _text(key: Any) -> Any:
    return key.decode("latin1") if isinstance(key, bytes) else key


def _told(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return type(value).__name__


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """What newer Pythons write into old pickles for bytes; no other codec is called."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"the codec {encoding!r} is not allowed")
    return codecs.encode(text, "latin1")


# NumPy's own makers of arrays, by whatever name
_reconstruct: Any = np.empty(0).__reduce__()[0]
_frombuffer: Any = np.empty(1).__reduce_ex__(5)[0]
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    """Builds NumPy arrays and plain containers, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return _ALLOWED[module, name]
