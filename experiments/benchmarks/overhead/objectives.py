"""Objectives from small to large, with random data and weights in float32."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common.problems import logistic_loss

_BATCH = 64
_CLASSES = 10
_LABELS = np.arange(_BATCH) % _CLASSES


class Objective(NamedTuple):
    """An objective, its data as an argument so that they are no constants of the program.

    Attributes:
        value: (params, data) -> scalar.
        params: pytree of float32 arrays.
        data: pytree of arrays.
        num_probes: probes in one timed call of an evaluator.
    """

    value: Callable[[Any, Any], jax.Array]
    params: Any
    data: Any
    num_probes: int


def logistic_regression(rows: int = 4_000, dimension: int = 124) -> Objective:
    """Logistic regression on random rows."""
    draw = np.random.default_rng(0)
    return Objective(
        lambda w, data: logistic_loss(w, data, 1e-4),
        _normal(draw, (dimension,)),
        _normal(draw, (rows, dimension), fan_in=1),
        num_probes=256,
    )


def mlp(widths: tuple[int, ...], num_probes: int) -> Objective:
    """Perceptron with tanh layers, cross-entropy on a batch of 64."""

    def value(layers: list[Any], data: tuple[jax.Array, jax.Array]) -> jax.Array:
        hidden, labels = data
        for weights, bias in layers[:-1]:
            hidden = jnp.tanh(hidden @ weights + bias[None])
        weights, bias = layers[-1]
        return _cross_entropy(hidden @ weights + bias[None], labels)

    draw = np.random.default_rng(0)
    layers = [
        (_normal(draw, (fan_in, fan_out)), jnp.zeros(fan_out))
        for fan_in, fan_out in pairwise(widths)
    ]
    return Objective(value, layers, (_normal(draw, (_BATCH, widths[0]), 1), _LABELS), num_probes)


def convolutional(num_probes: int) -> Objective:
    """Four 3x3 convolutions on a batch of 64 images of 16 x 16, two of them with stride 2."""
    channels, strides = (3, 24, 32, 48, 64), (1, 2, 1, 2)

    def value(params: Any, data: tuple[jax.Array, jax.Array]) -> jax.Array:
        hidden, labels = data
        for kernel, stride in zip(params["kernels"], strides, strict=True):
            hidden = jax.nn.relu(
                jax.lax.conv_general_dilated(
                    hidden,
                    kernel,
                    (stride, stride),
                    "SAME",
                    dimension_numbers=("NHWC", "HWIO", "NHWC"),
                )
            )
        return _cross_entropy(hidden.mean(axis=(1, 2)) @ params["head"], labels)

    draw = np.random.default_rng(0)
    kernels = [_normal(draw, (3, 3, fan_in, fan_out)) for fan_in, fan_out in pairwise(channels)]
    params = {"kernels": kernels, "head": _normal(draw, (channels[-1], _CLASSES))}
    images = _normal(draw, (_BATCH, 16, 16, channels[0]), fan_in=1)
    return Objective(value, params, (images, _LABELS), num_probes)


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    scores = jax.nn.log_softmax(logits)
    return -jnp.mean(jnp.take_along_axis(scores, labels[:, None], axis=1))


def _normal(
    draw: np.random.Generator, shape: tuple[int, ...], fan_in: int | None = None
) -> jax.Array:
    """Random numbers; weights (no `fan_in` given) keep the scale of what they are applied to."""
    scale = (math.prod(shape[:-1]) if fan_in is None else fan_in) ** -0.5
    return jnp.asarray(scale * draw.standard_normal(shape), jnp.float32)
