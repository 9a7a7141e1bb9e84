"""Image classifiers in Flax nnx: residual networks of He et al. for 32x32 images, and a small one.

All take images of shape (batch, height, width, channels) and give logits, (batch, classes).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

Shape = tuple[int, int, int]  # height, width, channels of an image

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

    Stages of w, 2w and 4w channels, n blocks each, the second and third at half the size of the
    one before; then the mean over all places, and a dense layer.

    Args:
        blocks: n, blocks a stage: 1 is ResNet-8 (78,042 parameters with ten classes), 3 is
            ResNet-20 (272,474).
        classes: number of classes.
        channels: of the images.
        width: w, channels of the first stage; 16 as published.
        rngs: of the first weights.

    References:
        He et al., `Deep Residual Learning for Image Recognition
        <https://arxiv.org/abs/1512.03385>`_.
    """

    def __init__(
        self, blocks: int, classes: int, channels: int = 3, width: int = 16, *, rngs: nnx.Rngs
    ):
        self.conv = _conv(channels, width, 3, 1, rngs)
        self.norm = nnx.BatchNorm(width, momentum=0.9, rngs=rngs)
        stages, inputs = [], width
        for outputs in (width, 2 * width, 4 * width):
            for number in range(blocks):
                stride = 2 if number == 0 and outputs > width else 1
                stages.append(Block(inputs, outputs, stride, rngs=rngs))
                inputs = outputs
        self.blocks = nnx.List(stages)
        self.dense = nnx.Linear(inputs, classes, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits."""
        x = nnx.relu(self.norm(self.conv(images)))
        for block in self.blocks:
            x = block(x)
        return self.dense(jnp.mean(x, axis=(1, 2)))


class ConvNet(nnx.Module):
    """One 3x3 convolution of 8 channels at half the size, and a dense layer, for tiny images.

    1,370 parameters for 8x8 images of one channel and ten classes.

    Args:
        shape: (height, width, channels) of the images, height and width even.
        classes: number of classes.
        rngs: of the first weights.
    """

    def __init__(self, shape: Shape, classes: int, *, rngs: nnx.Rngs):
        height, width, channels = shape
        self.conv = nnx.Conv(channels, 8, (3, 3), strides=2, padding="SAME", rngs=rngs)
        self.dense = nnx.Linear(2 * height * width, classes, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits."""
        return self.dense(nnx.relu(self.conv(images)).reshape(images.shape[0], -1))


NETWORKS: dict[str, Callable[[Shape, int, nnx.Rngs], nnx.Module]] = {
    "convnet": lambda shape, classes, rngs: ConvNet(shape, classes, rngs=rngs),
    "resnet8": lambda shape, classes, rngs: ResNet(1, classes, shape[-1], rngs=rngs),
    "resnet8_half": lambda shape, classes, rngs: ResNet(1, classes, shape[-1], 8, rngs=rngs),
    "resnet8_quarter": lambda shape, classes, rngs: ResNet(1, classes, shape[-1], 4, rngs=rngs),
    "resnet20": lambda shape, classes, rngs: ResNet(3, classes, shape[-1], rngs=rngs),
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
