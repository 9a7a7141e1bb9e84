"""Images: every form is read, and what is broken is named; batches are drawn as they say."""

import io
import pickle
import tarfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments.common import image_data
from experiments.common.batches import augment, batch_places
from experiments.common.errors import InputError
from experiments.common.image_data import find, load, read

RNG = np.random.default_rng(0)


def batch(number, classes, key="labels", **changes):
    """A batch as published: channels first, a flat row an image."""
    labels = [int(label) for label in np.arange(number) % classes]
    data = RNG.integers(0, 256, (number, 3072), dtype=np.uint8)
    return {"data": data, key: labels, "batch_label": "one"} | changes


CIFAR10 = {f"data_batch_{n}": batch(4, 10) for n in range(1, 6)} | {"test_batch": batch(6, 10)}
CIFAR100 = {
    name: batch(size, 100, "fine_labels", coarse_labels=[0] * size)
    for name, size in (("train", 7), ("test", 3))
}
FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
ARCHIVES = {"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"}


def pack(path, files):
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w:xz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def pickled(batches, protocol=2, as_bytes=False):
    """Files of an archive; protocol 2 with keys of bytes is how Python 2's come out."""
    return {
        name: pickle.dumps(
            {key.encode() if as_bytes else key: value for key, value in entries.items()}, protocol
        )
        for name, entries in batches.items()
    }


def archive(folder, name, batches, **how):
    files = {f"{FOLDERS[name]}/{file}": c for file, c in pickled(batches, **how).items()}
    return pack(folder / ARCHIVES[name], files)


def png(pixels):
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png")
    return out.getvalue()


def pictures(classes=10, **changes):
    """An image a class to learn from, and one of the first class to be judged by."""
    files = {f"train/{n:02d}/0.png": png(np.full((32, 32, 3), n, np.uint8)) for n in range(classes)}
    return files | {"test/00/0.png": png(np.full((32, 32, 3), 200, np.uint8))} | changes


def unpack(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


# --- every form is read --------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 5])
@pytest.mark.parametrize("as_bytes", [True, False])
def test_published_archive(tmp_path, protocol, as_bytes):
    archive(tmp_path, "cifar10", CIFAR10, protocol=protocol, as_bytes=as_bytes)
    data = read("cifar10", find("cifar10", tmp_path))
    assert data.train.images.shape == (20, 32, 32, 3)
    assert data.train.labels.tolist() == [0, 1, 2, 3] * 5
    assert data.test.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert (data.classes, data.source) == (10, "cifar-10-python.tar.gz")
    flat = CIFAR10["data_batch_2"]["data"][1]  # image 5: red, then green, then blue
    assert data.train.images[5, 3, 7].tolist() == [
        int(flat[c * 1024 + 3 * 32 + 7]) for c in range(3)
    ]


@pytest.mark.parametrize("packed", [True, False])
def test_cifar100_packed_and_unpacked(tmp_path, packed):
    if packed:
        archive(tmp_path, "cifar100", CIFAR100)
    else:
        unpack(tmp_path / "cifar100" / FOLDERS["cifar100"], pickled(CIFAR100))
    data = load("cifar100", tmp_path)
    assert (data.classes, len(data.train.labels), len(data.test.labels)) == (100, 7, 3)
    assert data.train.images.dtype == np.float32
    np.testing.assert_allclose(data.train.images.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(data.train.images.std((0, 1, 2)), 1, rtol=1e-4)


@pytest.mark.parametrize("form", ["folder", "tar"])
def test_folder_of_images(tmp_path, form):
    if form == "folder":
        unpack(tmp_path, pictures())
    else:
        pack(tmp_path / "cifar10_png.tar.xz", pictures())
    data = read("cifar10", find("cifar10", tmp_path))
    assert data.train.labels.tolist() == list(range(10))
    assert data.train.images[3].tolist() == np.full((32, 32, 3), 3).tolist()
    assert data.test.labels.tolist() == [0]


def test_npz_with_and_without_a_test_part(tmp_path):
    x, y = RNG.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8), np.arange(10, dtype=np.uint8)
    np.savez(tmp_path / "cifar10_part.npz", x=x, y=y)
    data = read("cifar10", find("cifar10", tmp_path))
    assert data.train.labels.tolist() == list(range(8))
    assert data.test.labels.tolist() == [8, 9]
    assert data.source == "cifar10_part.npz, its last fifth held out"
    np.savez(tmp_path / "whole.npz", x=x, y=y, x_test=x[:3], y_test=y[:3])
    data = read("cifar10", tmp_path / "whole.npz")
    assert (len(data.train.labels), len(data.test.labels)) == (10, 3)


def test_the_most_exact_form_is_taken(tmp_path, monkeypatch):
    np.savez(tmp_path / "cifar10.npz", x=1, y=1)
    unpack(tmp_path / "cifar10", pictures())
    monkeypatch.setenv("ZOSAH_DATA", str(tmp_path))
    assert find("cifar10", None).name == "cifar10.npz"  # the folder itself before its sub-folder
    archive(tmp_path, "cifar10", CIFAR10)
    assert find("cifar10", None).name == "cifar-10-python.tar.gz"


def test_digits_come_with_scikit_learn():
    data = load("digits")
    assert data.train.images.shape == (1438, 8, 8, 1)
    assert data.test.images.shape == (359, 8, 8, 1)
    assert set(data.train.labels.tolist()) == set(range(10))


# --- what is broken is named ---------------------------------------------------------------------


def says(match, name, path):
    with pytest.raises(InputError, match=match):
        read(name, path)


@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_archive_that_is_cut_off(tmp_path, keep):
    path = archive(tmp_path, "cifar10", CIFAR10)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    says(r"cifar-10-python\.tar\.gz: .*wanted a whole tar archive: it is cut off", "cifar10", path)


def test_archive_of_another_format(tmp_path):
    path = tmp_path / ARCHIVES["cifar10"]
    path.write_bytes(b"<!DOCTYPE html>" * 99)
    says("cut off or of another format", "cifar10", path)
    pack(path, {"readme.txt": b"hello"})
    says(r"got neither the batches of cifar10 \(data_batch_1", "cifar10", path)
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04" * 9)
    says(r"x\.npz: .*wanted an npz file", "cifar10", tmp_path / "x.npz")


def test_archive_of_the_other_data_set_or_without_a_batch(tmp_path):
    path = archive(tmp_path, "cifar100", CIFAR100)
    says("got neither the batches of cifar10", "cifar10", path)
    some = {name: entries for name, entries in CIFAR10.items() if name != "data_batch_3"}
    says("got no data_batch_3", "cifar10", archive(tmp_path, "cifar10", some))


class Malicious:
    def __reduce__(self):
        return print, ("called",)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"labels": [0, 1, 2, 10]},
            "test_batch: got the label 10 at image 3, wanted labels from 0",
        ),
        ({"labels": [0, -1, 2, 3]}, "got the label -1 at image 1"),
        ({"labels": [0, 1]}, "got 4 images and 2 labels"),
        ({"labels": [0, 1, [2], 3]}, "got ragged labels"),
        ({"labels": "abcd"}, "got labels of <U4"),
        ({"data": np.zeros((4, 784), np.uint8)}, r"got images of 784 bytes, wanted 3072"),
        ({"data": np.zeros((4, 3072))}, r"got float64 of shape \(4, 3072\) as data, wanted uint8"),
        ({"data": [1, 2]}, "got list as data"),
        ({"data": Malicious()}, r"test_batch: got UnpicklingError: .*print is not allowed"),
    ],
)
def test_bad_batch(tmp_path, capsys, changes, match):
    batches = CIFAR10 | {"test_batch": batch(4, 10) | changes}
    says(match, "cifar10", unpack(tmp_path, pickled(batches)))
    assert "called" not in capsys.readouterr().out


def test_file_that_is_no_batch(tmp_path):
    for content, match in (
        (b"garbage", "wanted a pickled batch of CIFAR"),
        (pickle.dumps([1]), r"got no \['data', 'labels'\]"),
        (pickled(CIFAR10)["test_batch"][:900], "data_batch_1: got .*wanted a pickled batch"),
    ):
        (tmp_path / "data_batch_1").write_bytes(content)
        says(match, "cifar10", tmp_path)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"train/03/1.png": png(np.zeros((28, 30, 3), np.uint8))},
            r"03/1\.png: got an image of 30x28 pixels, wanted 32x32",
        ),
        ({"train/03/1.png": b"text"}, r"03/1\.png: cannot be read as an image"),
        (
            {"train/03/1.png": png(RNG.integers(0, 256, (32, 32, 3), np.uint8))[:2000]},
            r"03/1\.png: cannot be read as an image",
        ),
        (
            {"train/extra/1.png": png(np.zeros((32, 32, 3), np.uint8))},
            "got 11 classes under train/",
        ),
        ({"test/extra/1.png": png(np.zeros((32, 32, 3), np.uint8))}, "got the class 'extra' under"),
    ],
)
def test_bad_folder_of_images(tmp_path, changes, match):
    says(match, "cifar10", unpack(tmp_path, pictures(**changes)))


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"x": np.zeros((5, 32, 32, 3), np.uint8)}, r"got the arrays \['x'\]"),
        ({"x": np.zeros((5, 28, 28, 1), np.uint8), "y": np.zeros(5, int)}, r"\(5, 28, 28, 1\)"),
        ({"x": np.zeros((5, 32, 32, 3)), "y": np.zeros(5, int)}, "got images of float64"),
        ({"x": np.zeros((5, 32, 32, 3), np.uint8), "y": np.full(5, 10)}, "got the label 10"),
        ({"x": np.zeros((5, 32, 32, 3), np.uint8), "y": np.zeros(4, int)}, "got 5 images and 4"),
        ({"x": np.zeros((2, 32, 32, 3), np.uint8), "y": np.zeros(2, int)}, "wanted 5 to hold one"),
        ({"x": np.array([Malicious()]), "y": np.zeros(1, int)}, "wanted an npz file"),
    ],
)
def test_bad_npz(tmp_path, arrays, match):
    np.savez(tmp_path / "cifar10.npz", **arrays)
    says(match, "cifar10", tmp_path / "cifar10.npz")


def test_nothing_found_says_where_was_looked(tmp_path, monkeypatch):
    monkeypatch.delenv("ZOSAH_DATA", raising=False)
    with pytest.raises(InputError, match=r"dataset: got 'mnist', wanted one of digits, cifar10"):
        load("mnist")
    with pytest.raises(InputError, match=r"cifar10 is not shipped\. Pass --data-dir"):
        load("cifar10")
    with pytest.raises(InputError, match=r"data_dir: got .*nowhere, wanted a folder"):
        load("cifar10", tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"data_dir: got .*which holds no cifar100"):
        load("cifar100", tmp_path)


# --- batches -------------------------------------------------------------------------------------


def test_every_image_comes_once_an_epoch():
    draw = jax.jit(lambda k: batch_places(jax.random.key(1), k, 4, 14))
    epochs = [np.concatenate([draw(3 * e + k) for k in range(3)]) for e in range(2)]
    for epoch in epochs:  # 12 of the 14: the rest does not fill a batch
        assert len(set(epoch.tolist())) == 12
        assert set(epoch.tolist()) <= set(range(14))
    assert epochs[0].tolist() != epochs[1].tolist()
    assert draw(0).dtype == jnp.int32


def test_augmentation_shifts_and_mirrors():
    # each pixel tells its place, so that what happened to it can be read off
    row, column = np.meshgrid(np.arange(1, 33), np.arange(1, 33), indexing="ij")
    image = jnp.asarray(np.stack([row, column], -1), jnp.float32)
    images = jnp.broadcast_to(image, (64, *image.shape))
    moved = np.asarray(jax.jit(augment)(jax.random.key(0), images))
    assert moved.shape == images.shape
    middle = moved[:, 16, 16]  # always within the image
    steps = moved[:, 16, 17, 1] - moved[:, 16, 16, 1]
    assert set(steps.tolist()) == {-1, 1}
    assert 16 < np.sum(steps == -1) < 48
    assert set((middle[:, 0] - 17).tolist()) == set(range(-4, 5))
    straight = middle[steps == 1, 1] - 17
    assert straight.min() >= -4
    assert straight.max() <= 4
    down = middle[:, 0] - 17
    np.testing.assert_array_equal((moved[:, 0] == 0).all((1, 2)), down < 0)  # zeros come in above
    np.testing.assert_array_equal(moved, augment(jax.random.key(0), images))
    assert not np.array_equal(moved, augment(jax.random.key(1), images))


def test_a_constant_channel_is_not_divided_by_nothing():
    part = image_data.Part(np.full((2, 32, 32, 3), 7, np.uint8), np.zeros(2, np.int32))
    data = image_data.normalised(image_data.ImageData(part, part, 10, "made"))
    np.testing.assert_array_equal(data.test.images, 0)
