"""Images with labels: scikit-learn's digits, and CIFAR in any of the forms that it comes in.

CIFAR is looked for in a folder and in its sub-folder of the data set's name:

    cifar-10-python.tar.gz, cifar-100-python.tar.gz    as published; or unpacked
    train/<class>/*.png, test/<class>/*.png            a folder of images (png, jpg); or a tar of it
    <name>*.npz                                        arrays x and y; x_test and y_test where held
"""

import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import sklearn.datasets
from PIL import Image, UnidentifiedImageError

from experiments.common.cifar import FORMATS, SHAPE, read_batch
from experiments.common.errors import InputError

_SUFFIXES = (".png", ".jpg", ".jpeg")
_PUBLISHED = {
    "cifar10": ("cifar-10-python.tar.gz", "cifar-10-batches-py"),
    "cifar100": ("cifar-100-python.tar.gz", "cifar-100-python"),
}
DATASETS = ("digits", *FORMATS)


class Part(NamedTuple):
    """Images and their labels.

    Attributes:
        images: shape (n, height, width, channels); uint8 as read, float32 once normalised.
        labels: int32, from 0, shape (n,).
    """

    images: np.ndarray
    labels: np.ndarray


class ImageData(NamedTuple):
    """A data set.

    Attributes:
        train: to learn from.
        test: to be judged by.
        classes: number of classes.
        source: what was read, by name.
    """

    train: Part
    test: Part
    classes: int
    source: str


def load(name: str, data_dir: Path | None = None) -> ImageData:
    """A data set by name, each channel at mean 0 and deviation 1 over the training images.

    Args:
        name: one of `DATASETS`.
        data_dir: the folder to look in, or the file or folder itself. None: the environment
            variable ZOSAH_DATA. Not needed for digits.

    Returns:
        Images in float32.

    Raises:
        InputError: the name is unknown; nothing was found; or what was found is cut off, of
            another format, or has images of another shape or labels out of range (which file).
    """
    if name == "digits":
        return normalised(_digits())
    if name not in FORMATS:
        raise InputError(f"dataset: got {name!r}, wanted one of {', '.join(DATASETS)}.")
    return normalised(read(name, find(name, data_dir)))


def normalised(data: ImageData) -> ImageData:
    """The same with each channel at mean 0 and deviation 1 over the training images."""
    mean = data.train.images.mean(axis=(0, 1, 2), dtype=np.float64).astype(np.float32)
    deviation = data.train.images.std(axis=(0, 1, 2), dtype=np.float64).astype(np.float32)
    deviation = np.where(deviation > 0, deviation, np.float32(1))

    def apply(part: Part) -> Part:
        return part._replace(images=(part.images.astype(np.float32) - mean) / deviation)

    return data._replace(train=apply(data.train), test=apply(data.test))


def shrunk(data: ImageData, factor: int) -> ImageData:
    """The same with every `factor` x `factor` pixels as one, their mean.

    Args:
        data: images of a height and width that `factor` divides.
        factor: 1 changes nothing.
    """

    def apply(part: Part) -> Part:
        number, height, width, channels = part.images.shape
        tiles = part.images.reshape(
            number, height // factor, factor, width // factor, factor, channels
        )
        return part._replace(images=tiles.mean(axis=(2, 4), dtype=np.float32))

    return data if factor == 1 else ImageData(apply(data.train), apply(data.test), *data[2:])


def _digits() -> ImageData:
    """Scikit-learn's 1,797 digits of 8x8 pixels; a fifth, drawn with a fixed seed, is the test."""
    pixels, labels = map(np.asarray, sklearn.datasets.load_digits(return_X_y=True))
    order = np.random.default_rng(0).permutation(len(labels))
    images = pixels[order].reshape(-1, 8, 8, 1).astype(np.uint8)
    labels = labels[order].astype(np.int32)
    held = len(labels) // 5
    train = Part(images[:-held], labels[:-held])
    return ImageData(train, Part(images[-held:], labels[-held:]), 10, "scikit-learn")


# --- finding -------------------------------------------------------------------------------------


def find(name: str, data_dir: Path | None) -> Path:
    """Where a data set lies, in the most exact form at hand.

    Raises:
        InputError: nowhere, and where was looked.
    """
    named = os.environ.get("ZOSAH_DATA")
    place = data_dir or (Path(named) if named else None)
    if place is None:
        raise InputError(
            f"dataset: {name} is not shipped. Pass --data-dir FOLDER or set ZOSAH_DATA; the "
            f"folder holds {_PUBLISHED[name][0]}, train/<class>/*.png or {name}.npz."
        )
    if place.is_file():
        return place
    if not place.is_dir():
        raise InputError(f"data_dir: got {place}, wanted a folder (or a file) with {name}.")
    for folder in (place, place / name):
        found = [folder / known for known in _PUBLISHED[name]]
        found += [folder] if _is_readable(name, folder) else []
        found += sorted(folder.glob(f"{name}*.tar*")) + sorted(folder.glob(f"{name}*.npz"))
        for path in found:
            if path.exists():
                return path
    raise InputError(
        f"data_dir: got {place}, which holds no {name} (nor does its folder {name}); wanted "
        f"{_PUBLISHED[name][0]}, train/<class>/*.png or {name}*.npz there."
    )


def _is_readable(name: str, folder: Path) -> bool:
    """Whether a folder is the unpacked archive, or of images."""
    return (folder / FORMATS[name].train[0]).is_file() or (folder / "train").is_dir()


# --- reading -------------------------------------------------------------------------------------


def read(name: str, path: Path) -> ImageData:
    """A data set of the named classes from a file or folder, as uint8.

    Raises:
        InputError: as `load`.
    """
    if path.suffix == ".npz":
        return _read_npz(name, path)
    batches: dict[str, Part] = {}
    files: dict[str, dict[str, list[np.ndarray]]] = {"train": {}, "test": {}}
    expected = (*FORMATS[name].train, FORMATS[name].test)
    for member, content in _members(path, lambda m: m.name in expected or _is_image(m)):
        where = f"{path}, {member}"
        if member.name in expected:
            batch = Part(*read_batch(content, FORMATS[name].labels, where))
            batches[member.name] = checked(batch, FORMATS[name].classes, where)
        else:
            files[member.parts[-3]].setdefault(member.parts[-2], []).append(_decode(content, where))
    if batches:
        return _joined(name, batches, path)
    if files["train"] or files["test"]:
        return _labelled(name, files, path)
    raise InputError(
        f"{path}: got neither the batches of {name} ({expected[0]}, ...) nor images as "
        "train/<class>/*.png; wanted one of them."
    )


def checked(part: Part, classes: int, where: str) -> Part:
    """The same, unless its images or labels cannot be those of `classes` classes.

    Raises:
        InputError: what came, and where from.
    """
    images, labels = part
    if images.dtype != np.uint8 or images.shape[1:] != SHAPE:
        raise InputError(
            f"{where}: got images of {images.dtype} and shape {images.shape}, wanted uint8 of "
            f"shape (n, {', '.join(map(str, SHAPE))})."
        )
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"{where}: got labels of {labels.dtype} and shape {labels.shape}, wanted integers of "
            "shape (n,)."
        )
    if len(images) != len(labels) or not len(images):
        raise InputError(
            f"{where}: got {len(images)} images and {len(labels)} labels, wanted as many."
        )
    outside = np.flatnonzero((labels < 0) | (labels >= classes))
    if outside.size:
        raise InputError(
            f"{where}: got the label {labels[outside[0]]} at image {outside[0]}, wanted labels "
            f"from 0 to {classes - 1}."
        )
    return Part(images, labels.astype(np.int32))


def _is_image(member: PurePosixPath) -> bool:
    """Whether a name ends as train/<class>/<name>.png or test/<class>/<name>.png."""
    *_, part, _, name = ("", "", *member.parts)
    return part in ("train", "test") and PurePosixPath(name).suffix.lower() in _SUFFIXES


def _members(
    path: Path, wanted: Callable[[PurePosixPath], bool]
) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Names and contents of the wanted files in a folder or a tar, in a fixed order."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            # the folder's own name too, so that train/ may be given without its parent
            name = PurePosixPath(path.name) / file.relative_to(path).as_posix()
            if wanted(name) and file.is_file():
                yield name, file.read_bytes()
        return
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member) if wanted(PurePosixPath(member.name)) else None
                if file is not None:
                    yield PurePosixPath(member.name), file.read()
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        raise InputError(
            f"{path}: got {type(error).__name__}: {error}; wanted a whole tar archive: it is cut "
            "off or of another format."
        ) from error


def _decode(content: bytes, where: str) -> np.ndarray:
    """Pixels of an image file, uint8 of shape (32, 32, 3)."""
    try:
        with Image.open(BytesIO(content)) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{where}: cannot be read as an image ({error}).") from error
    if pixels.shape != SHAPE:
        height, width, _ = pixels.shape
        raise InputError(f"{where}: got an image of {width}x{height} pixels, wanted 32x32.")
    return pixels


def _joined(name: str, batches: dict[str, Part], path: Path) -> ImageData:
    """The published batches, put together."""
    wanted = FORMATS[name]
    missing = [file for file in (*wanted.train, wanted.test) if file not in batches]
    if missing:
        raise InputError(f"{path}: got no {', '.join(missing)}, wanted all batches of {name}.")
    train = Part(*map(np.concatenate, zip(*(batches[file] for file in wanted.train), strict=True)))
    return ImageData(train, batches[wanted.test], wanted.classes, path.name)


def _labelled(name: str, files: dict[str, dict[str, list[np.ndarray]]], path: Path) -> ImageData:
    """Images by their folders; the classes are numbered by the order of their names."""
    classes = FORMATS[name].classes
    names = sorted(files["train"])
    if len(names) != classes:
        raise InputError(
            f"{path}: got {len(names)} classes under train/, wanted {classes} folders."
        )
    strange = sorted(set(files["test"]) - set(names))
    if strange or not files["test"]:
        got = f"the class {strange[0]!r}" if strange else "no images"
        raise InputError(f"{path}: got {got} under test/, wanted the classes of train/.")

    def part(which: str) -> Part:
        images = [image for label in names for image in files[which].get(label, ())]
        counts = [len(files[which].get(label, ())) for label in names]
        return Part(np.stack(images), np.repeat(np.arange(classes, dtype=np.int32), counts))

    return ImageData(part("train"), part("test"), classes, path.name)


def _read_npz(name: str, path: Path) -> ImageData:
    """Arrays x and y, and x_test and y_test; without these the last fifth is held out."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {key: arrays[key] for key in arrays.files}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, zlib.error, KeyError) as error:
        raise InputError(
            f"{path}: got {type(error).__name__}: {error}; wanted an npz file: it is cut off or of "
            "another format."
        ) from error
    if not {"x", "y"} <= set(found):
        raise InputError(f"{path}: got the arrays {sorted(found)}, wanted x and y among them.")
    classes = FORMATS[name].classes
    train = checked(Part(found["x"], found["y"]), classes, f"{path}, x and y")
    if {"x_test", "y_test"} <= set(found):
        test = checked(
            Part(found["x_test"], found["y_test"]), classes, f"{path}, x_test and y_test"
        )
        return ImageData(train, test, classes, path.name)
    held = len(train.labels) // 5
    if not held:
        raise InputError(f"{path}: got {len(train.labels)} images, wanted 5 to hold one out.")
    kept, test = (
        Part(*(array[at] for array in train)) for at in (slice(-held), slice(-held, None))
    )
    return ImageData(kept, test, classes, f"{path.name}, its last fifth held out")
