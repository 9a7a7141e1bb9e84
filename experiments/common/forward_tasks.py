"""Images, and networks as functions of their parameters."""

import gzip
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.common import image_data
from experiments.common.errors import InputError


class Data(NamedTuple):
    """Images of mean 0 and deviation 1, float32, and labels, int32.

    Attributes:
        x: to learn from, shape (n, height, width, channels).
        y: their labels, shape (n,).
        x_test: to be judged by.
        y_test: their labels.
    """

    x: jax.Array
    y: jax.Array
    x_test: jax.Array
    y_test: jax.Array


@dataclass(frozen=True)
class Task:
    """A network on a data set.

    Attributes:
        dataset: name of the images.
        network: in words.
        init: key -> parameters.
        logits: (parameters, images) -> logits.
        batch: images of a batch; None for all of them.
        passes: default length of a run.
        seeds: how many of them at most.
        variants: default ways to estimate the gradient.
        rate: learning rate of Adam.
        goals: test accuracies whose price is told.
        options: of the estimate, beside the variant's own.
    """

    dataset: str
    network: str
    init: Callable[[jax.Array], Any]
    logits: Callable[[Any, jax.Array], jax.Array]
    batch: int | None
    passes: int
    seeds: int
    variants: tuple[str, ...]
    rate: float
    goals: tuple[float, ...]
    options: tuple[tuple[str, Any], ...] = ()

    def losses(self, params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        """Cross entropy of each image."""
        return optax.softmax_cross_entropy_with_integer_labels(self.logits(params, x), y)


def _convolve(x: jax.Array, layer: dict[str, jax.Array], stride: int) -> jax.Array:
    numbers, strides = ("NHWC", "HWIO", "NHWC"), (stride, stride)
    found = jax.lax.conv_general_dilated(x, layer["w"], strides, "SAME", dimension_numbers=numbers)
    return found + layer["b"]


def _layer(key: jax.Array, shape: tuple[int, ...], gain: float) -> dict[str, jax.Array]:
    inputs = int(np.prod(shape[:-1]))
    w = (gain / inputs) ** 0.5 * jax.random.normal(key, shape)
    return {"w": w, "b": jnp.zeros(shape[-1])}


def _convnet(
    channels: tuple[int, ...], sizes: tuple[int, ...], kernel: int = 3, stride: int = 2
) -> tuple[Any, Any]:
    """Strided convolutions and dense layers, rectified but for the last."""
    count = len(channels) - 1
    start, dense = _mlp(sizes, jax.nn.relu, gain=1.0)

    def init(key: jax.Array) -> list[Any]:
        keys = jax.random.split(key, count + 1)
        pairs = zip(keys, channels[:-1], channels[1:], strict=False)
        layers = [_layer(k, (kernel, kernel, a, b), 2.0) for k, a, b in pairs]
        return [*layers, *start(keys[-1])]

    def logits(params: list[Any], x: jax.Array) -> jax.Array:
        for layer in params[:count]:
            x = jax.nn.relu(_convolve(x, layer, stride))
        return dense(params[count:], x)

    return init, logits


def _mlp(
    sizes: tuple[int, ...], activation: Callable[[jax.Array], jax.Array], gain: float = 2.0
) -> tuple[Any, Any]:
    def init(key: jax.Array) -> list[Any]:
        keys = jax.random.split(key, len(sizes) - 1)
        pairs = zip(keys, sizes[:-1], sizes[1:], strict=True)
        layers = [_layer(k, (a, b), 2.0) for k, a, b in pairs]
        layers[-1]["w"] = layers[-1]["w"] * (gain / 2) ** 0.5
        return layers

    def logits(params: list[Any], x: jax.Array) -> jax.Array:
        x = x.reshape(x.shape[0], -1)
        for layer in params[:-1]:
            x = activation(x @ layer["w"] + layer["b"])
        return x @ params[-1]["w"] + params[-1]["b"]

    return init, logits


def _sign(x: jax.Array) -> jax.Array:
    return jnp.where(x > 0, 1.0, -1.0)


_THRESHOLDS = (("smoothing", 0.3), ("two_sided", True))
_FEW = ("feedback", "noise", "backpropagation")
_SEVERAL = ("feedback", "feedback_4", "noise", "noise_4", "noise_only", "backpropagation")
TASKS = {
    "digits": Task(
        *("digits", "3x3 convolution of 8 channels, ReLU, dense layer"),
        *_convnet((1, 8), (128, 10)),
        *(None, 240, 5, (*_SEVERAL[:-1], "two_sided", "backpropagation"), 2e-2, (0.9, 0.95)),
    ),
    "mnist": Task(
        *("mnist", "784-128-128-10, ReLU"),
        *_mlp((784, 128, 128, 10), jax.nn.relu),
        *(512, 4_000, 2, _SEVERAL, 4e-3, (0.95, 0.97)),
    ),
    "mnist_sign": Task(
        *("mnist", "784-128-128-10, sign"),
        *_mlp((784, 128, 128, 10), _sign),
        *(512, 4_000, 2, _FEW, 4e-3, (0.9, 0.95)),
        _THRESHOLDS,
    ),
    "cifar10": Task(
        *("cifar10", "7x7 convolution of 16 channels, stride 4, ReLU, dense layers of 128 and 10"),
        *_convnet((3, 16), (1024, 128, 10), kernel=7, stride=4),
        *(512, 4_000, 1, _FEW, 4e-3, (0.4, 0.5, 0.55)),
    ),
    "cifar10_deep": Task(
        *("cifar10", "strided 3x3 convolutions of 16, 32 and 64 channels, ReLU, dense layer"),
        *_convnet((3, 16, 32, 64), (1024, 10)),
        *(512, 2_000, 1, ("feedback", "noise"), 4e-3, (0.3, 0.4)),
    ),
}
"""By name."""


# --- data -----------------------------------------------------------------------------------------


def load(dataset: str, data_dir: Path | None) -> Data:
    """Images by name: digits come with scikit-learn, the others are looked for.

    Raises:
        InputError: they are not at hand.
    """
    if dataset == "mnist":
        return _normalised(*_mnist(data_dir))
    return of_images(image_data.load(dataset, data_dir))


def of_images(found: image_data.ImageData) -> Data:
    """Images that were read, as arrays of the device."""
    parts = (found.train.images, found.train.labels, found.test.images, found.test.labels)
    return Data(*map(jnp.asarray, parts))


def _normalised(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray) -> Data:
    middle, spread = x.mean(), x.std()
    parts = [((part - middle) / spread)[..., None].astype(np.float32) for part in (x, x_test)]
    labels = [jnp.asarray(part.astype(np.int32)) for part in (y, y_test)]
    return Data(jnp.asarray(parts[0]), labels[0], jnp.asarray(parts[1]), labels[1])


def _mnist(data_dir: Path | None) -> list[np.ndarray]:
    named = os.environ.get("ZOSAH_DATA")
    folder = data_dir or (Path(named) if named else None)
    name = "train-images-idx3-ubyte.gz"
    places = [folder, folder / "mnist"] if folder else []
    place = next((place for place in places if (place / name).is_file()), None)
    if place is None:
        looked = " and ".join(map(str, places)) or "nowhere"
        raise InputError(
            f"data_dir: MNIST is not at hand (looked in {looked}), wanted a folder with {name} and "
            "the three files beside it. Pass --data-dir FOLDER or set ZOSAH_DATA."
        )

    def read(name: str, offset: int) -> np.ndarray:
        with gzip.open(place / name) as file:
            return np.frombuffer(file.read(), np.uint8, offset=offset)

    found = []
    for part in ("train", "t10k"):
        found.append(read(f"{part}-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28).astype(float))
        found.append(read(f"{part}-labels-idx1-ubyte.gz", 8))
    return found
