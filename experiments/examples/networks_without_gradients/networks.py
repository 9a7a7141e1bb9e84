"""Networks that have no gradient, or none that says anything: thresholds, few levels, spikes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

Params = list[dict[str, jax.Array]]
SIZES = (64, 64, 10)
_TIMES = 8
_KEPT = 0.8


def init(key: jax.Array) -> Params:
    """Weights of a network of one hidden layer."""
    keys = jax.random.split(key, len(SIZES) - 1)
    pairs = zip(keys, SIZES[:-1], SIZES[1:], strict=True)
    return [
        {"w": jax.random.normal(k, (a, b)) * a**-0.5, "b": jnp.zeros((1, b))} for k, a, b in pairs
    ]


def _sign(z: jax.Array) -> jax.Array:
    return jnp.where(z > 0, 1.0, -1.0)


def _levels(z: jax.Array) -> jax.Array:
    """Rounded to 0, 1/2, 1, 3/2."""
    return jnp.round(jnp.clip(2 * z, 0, 3)) / 2


def _layered(activation: Callable[[jax.Array], jax.Array]) -> Callable[[Params, jax.Array], Any]:
    def logits(params: Params, x: jax.Array) -> jax.Array:
        first, last = params
        return activation(x @ first["w"] + first["b"]) @ last["w"] + last["b"]

    return logits


def _spiking(params: Params, x: jax.Array) -> jax.Array:
    """Neurons that integrate their input, leak, and fire when full: how often they did is read."""
    first, last = params
    drive = x @ first["w"] + first["b"]

    def moment(charge: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        charge = _KEPT * charge + drive
        spike = jnp.where(charge > 1, 1.0, 0.0)
        return charge * (1 - spike), spike

    _, spikes = jax.lax.scan(moment, jnp.zeros_like(drive), None, _TIMES)
    return spikes.mean(0) @ last["w"] + last["b"]


LOGITS: dict[str, Callable[[Params, jax.Array], jax.Array]] = {
    "ReLU": _layered(jax.nn.relu),
    "sign": _layered(_sign),
    "four levels": _layered(_levels),
    "spikes": _spiking,
}
"""By the name of the activation."""


def losses(name: str, params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
    """Cross entropy of each image."""
    return optax.softmax_cross_entropy_with_integer_labels(LOGITS[name](params, x), y)
