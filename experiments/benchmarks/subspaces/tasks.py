"""What is learnt: digits by a small convolutional network, MNIST by a perceptron, CIFAR-10."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments.common import image_data
from experiments.common.errors import InputError
from experiments.common.image_data import ImageData, Part
from experiments.common.networks import NETWORKS

JUDGED = 2_000  # training images, the same ones always, on which losses are compared
_AT_ONCE = 500  # images of the test set
_SEED = 1_234  # of the choice of those, and of the order of the test set


class Task(NamedTuple):
    """A network and its data.

    Attributes:
        name: of the task.
        start: key -> parameters.
        loss: (parameters, images, labels) -> mean cross-entropy, in training mode.
        wrong: (parameters, images, labels) -> number of wrong answers, likewise.
        train: to learn from.
        judged: the part of it on which losses are compared.
        test: to be judged by.
        batch_size: images of a value; None: all.
        source: what was read.
    """

    name: str
    start: Callable[[jax.Array], Any]
    loss: Callable[[Any, Any, Any], jax.Array]
    wrong: Callable[[Any, Any, Any], jax.Array]
    train: Part
    judged: Part
    test: Part
    batch_size: int | None
    source: str


class Perceptron(nnx.Module):
    """784-128-128-10 with rectified units: 118,282 weights."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.first = nnx.Linear(784, 128, rngs=rngs)
        self.second = nnx.Linear(128, 128, rngs=rngs)
        self.last = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits."""
        flat = images.reshape(images.shape[0], -1)
        return self.last(nnx.relu(self.second(nnx.relu(self.first(flat)))))


def load(name: str, data_dir: Path | None) -> Task:
    """A task by name: "digits", "mnist" or "cifar10" (ResNet-8).

    Raises:
        InputError: its data are not there.
    """
    if name == "digits":
        data = image_data.load("digits")
        return _task(name, lambda rngs: NETWORKS["convnet"]((8, 8, 1), 10, rngs), data, None)
    if name == "mnist":
        return _task(name, lambda rngs: Perceptron(rngs=rngs), _mnist(data_dir), 512)
    data = image_data.load("cifar10", data_dir)
    return _task(name, lambda rngs: NETWORKS["resnet8"]((32, 32, 3), 10, rngs), data, 128)


def _task(
    name: str, make: Callable[[nnx.Rngs], nnx.Module], data: ImageData, batch_size: int | None
) -> Task:
    def split(key: Any) -> tuple[Any, Any, Any]:
        graphdef, params, others = nnx.split(make(nnx.Rngs(key)), nnx.Param, ...)
        return graphdef, nnx.as_pure(params), nnx.as_pure(others)

    graphdef, _, others = split(0)

    def logits(params: Any, images: jax.Array) -> jax.Array:
        return nnx.merge(graphdef, params, others)(images)  # type: ignore[operator]

    def loss(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
        found = optax.softmax_cross_entropy_with_integer_labels(logits(params, images), labels)
        return jnp.mean(found)

    def wrong(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
        answer = jnp.argmax(logits(params, images), axis=-1)
        return jnp.sum(answer.astype(labels.dtype) != labels)

    count = len(data.train.labels)
    chosen = np.random.default_rng(_SEED).permutation(count)[: min(JUDGED, count)]
    judged = Part(data.train.images[chosen], data.train.labels[chosen])
    whole = len(data.test.labels) // _AT_ONCE * _AT_ONCE or len(data.test.labels)
    mixed = np.random.default_rng(_SEED).permutation(len(data.test.labels))[:whole]
    test = Part(data.test.images[mixed], data.test.labels[mixed])  # files may be sorted by class
    return Task(
        name,
        lambda seed: split(seed)[1],
        loss,
        wrong,
        data.train,
        judged,
        test,
        batch_size,
        data.source,
    )


def judge(task: Task, params: Any) -> tuple[jax.Array, jax.Array]:
    """Loss on the judged training images, and accuracy on the test set, in batches of their own."""
    size = min(_AT_ONCE, len(task.test.labels), len(task.judged.labels))

    def parts(part: Part) -> Any:
        whole = len(part.labels) // size
        cut = [jnp.asarray(array)[: whole * size] for array in part]
        return tuple(array.reshape(whole, size, *array.shape[1:]) for array in cut)

    losses = jax.lax.map(lambda batch: task.loss(params, *batch), parts(task.judged))
    images, labels = parts(task.test)
    wrong = jax.lax.map(lambda batch: task.wrong(params, *batch), (images, labels))
    return jnp.mean(losses), 1 - jnp.sum(wrong) / jnp.float32(labels.size)


def _mnist(data_dir: Path | None) -> ImageData:
    named = os.environ.get("ZOSAH_DATA")
    place = data_dir or (Path(named) if named else None)
    if place is None:
        raise InputError("data_dir: got None, wanted a folder with MNIST (or ZOSAH_DATA).")
    folder = place / "mnist" if (place / "mnist").is_dir() else place

    def read(name: str, skip: int) -> np.ndarray:
        path = folder / name
        if not path.exists():
            raise InputError(f"data_dir: got {place}, which holds no {name}.")
        return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)[skip:]

    def part(name: str) -> Part:
        pixels = read(f"{name}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28, 1)
        return Part(pixels, read(f"{name}-labels-idx1-ubyte.gz", 8).astype(np.int32))

    return image_data.normalised(ImageData(part("train"), part("t10k"), 10, "MNIST"))
