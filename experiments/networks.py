"""Image classifiers in Flax nnx: residual networks of He et al. for 32x32 images, and a small one.

All take images of shape (batch, height, width, channels) and give logits, (batch, classes).
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

_he_normal = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")


class Block(nnx.Module):
    """Two 3x3 convolutions with BatchNorm, and a shortcut around them.

    Where the shape changes the shortcut is a 1x1 convolution with BatchNorm (He et al.'s option B);
    elsewhere it is the identity.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, *, rngs: nnx.Rngs):
        self.conv1 = _conv(inputs, outputs, 3, stride, rngs)
        self.norm1 = nnx.BatchNorm(outputs, momentum=0.9, rngs=rngs)
        self.conv2 = _conv(outputs, outputs, 3, 1, rngs)
        self.norm2 = nnx.BatchNorm(outputs, momentum=0.9, rngs=rngs)
        changes = stride != 1 or inputs != outputs
        self.shortcut = (
            nnx.Sequential(
                _conv(inputs, outputs, 1, stride, rngs),
                nnx.BatchNorm(outputs, momentum=0.9, rngs=rngs),
            )
            if changes
            else None
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features of shape (batch, height / stride, width / stride, outputs)."""
        hidden = nnx.relu(self.norm1(self.conv1(x)))
        hidden = self.norm2(self.conv2(hidden))
        return nnx.relu(hidden + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nnx.Module):
    """Residual network for small images (He et al., 2016, section 4.2): 6 n + 2 layers.

    Stages of 16, 32 and 64 channels, n blocks each, the second and third at half the size of the
    one before; then the mean over all places, and a dense layer.

    Args:
        blocks: n, blocks a stage: 1 is ResNet-8 (78,042 parameters with ten classes), 3 is
            ResNet-20 (272,474).
        classes: number of classes.
        channels: of the images.
        rngs: of the first weights.

    References:
        He et al., `Deep Residual Learning for Image Recognition
        <https://arxiv.org/abs/1512.03385>`_.
    """

    def __init__(self, blocks: int, classes: int, channels: int = 3, *, rngs: nnx.Rngs):
        self.conv = _conv(channels, 16, 3, 1, rngs)
        self.norm = nnx.BatchNorm(16, momentum=0.9, rngs=rngs)
        stages, width = [], 16
        for outputs in (16, 32, 64):
            for number in range(blocks):
                stride = 2 if number == 0 and outputs > 16 else 1
                stages.append(Block(width, outputs, stride, rngs=rngs))
                width = outputs
        self.blocks = nnx.List(stages)
        self.dense = nnx.Linear(width, classes, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits."""
        x = nnx.relu(self.norm(self.conv(images)))
        for block in self.blocks:
            x = block(x)
        return self.dense(jnp.mean(x, axis=(1, 2)))


class Perceptron(nnx.Module):
    """A perceptron with one hidden layer, for images of a few pixels.

    Args:
        pixels: height times width times channels.
        hidden: units of the hidden layer.
        classes: number of classes.
        rngs: of the first weights.
    """

    def __init__(self, pixels: int, hidden: int, classes: int, *, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(pixels, hidden, rngs=rngs)
        self.dense = nnx.Linear(hidden, classes, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits."""
        return self.dense(nnx.tanh(self.hidden(images.reshape(images.shape[0], -1))))


def _perceptron(shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> nnx.Module:
    height, width, channels = shape
    return Perceptron(height * width * channels, 16, classes, rngs=rngs)


def _resnet(
    blocks: int, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs
) -> nnx.Module:
    return ResNet(blocks, classes, shape[-1], rngs=rngs)


NETWORKS: dict[str, Callable[[tuple[int, int, int], int, nnx.Rngs], nnx.Module]] = {
    "perceptron": _perceptron,
    "resnet8": partial(_resnet, 1),
    "resnet20": partial(_resnet, 3),
}
"""Name -> constructor(shape of an image, number of classes, rngs)."""


def num_parameters(model: nnx.Module) -> int:
    """Number d of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


def _conv(inputs: int, outputs: int, size: int, stride: int, rngs: nnx.Rngs) -> nnx.Conv:
    return nnx.Conv(
        inputs,
        outputs,
        (size, size),
        strides=stride,
        padding="SAME",
        use_bias=False,
        kernel_init=_he_normal,
        rngs=rngs,
    )
