"""Images whose class shows, and a network of them that compiles at once."""

import numpy as np
from flax import nnx

from experiments.common.image_data import ImageData, Part


class TinyNet(nnx.Module):
    """A network with BatchNorm, so small that it compiles at once."""

    def __init__(self, shape, classes, rngs):
        self.norm = nnx.BatchNorm(int(np.prod(shape)), rngs=rngs)
        self.dense = nnx.Linear(int(np.prod(shape)), classes, rngs=rngs)

    def __call__(self, images):
        return self.dense(self.norm(images.reshape(images.shape[0], -1)))


def made(number=24, classes=3):
    """Images whose class shows."""
    rng = np.random.default_rng(0)
    labels = (np.arange(number) % classes).astype(np.int32)
    images = rng.normal(size=(number, 2, 2, 1)).astype(np.float32)
    images[:, 0, 0, 0] += 3 * labels
    part = Part(images, labels)
    return ImageData(part, part, classes, "made")
