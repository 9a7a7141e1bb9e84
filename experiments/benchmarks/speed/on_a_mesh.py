"""A training run whose probes are shared out over all devices of all processes.

One process on this machine, or the same line in each of several, with its own number:

    python -m experiments.benchmarks.speed.on_a_mesh --processes 2 --process 0 \
        --address 127.0.0.1:1234
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from sklearn.datasets import load_digits

import zosah_jax


@dataclass(frozen=True)
class Config:
    """A training run whose probes are shared out over all devices of all processes."""

    devices: int = 1
    """Simulated devices of this process."""
    processes: int = 1
    """Processes that take part."""
    process: int = 0
    """Number of this one."""
    address: str | None = None
    """Where process 0 listens, host:port."""
    subspace_dim: int = 64
    """Dimension of V."""
    steps: int = 12
    """Steps to take."""


def main(config: Config) -> None:
    """Train, and print what came out as a line of JSON."""
    jax.config.update("jax_num_cpu_devices", config.devices)
    if config.processes > 1:
        jax.distributed.initialize(config.address, config.processes, config.process)
    mesh = Mesh(np.array(jax.devices()), ("probes",))
    everywhere = NamedSharding(mesh, PartitionSpec())
    images, labels, params = jax.device_put(_problem(), everywhere)

    def loss(params: Any, images: jax.Array, labels: jax.Array) -> jax.Array:
        hidden = jnp.tanh(images @ params["in"])
        logits = hidden @ params["out"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    tx = zosah_jax.zosah(0.1, config.subspace_dim, evaluator=zosah_jax.sharded(mesh))
    state = jax.jit(tx.init, out_shardings=everywhere)(params)
    step = _step(tx, loss)
    for _ in range(config.steps):
        params, state = step(params, state, images, labels)
    bits = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(params))
    found = {
        "bits": hashlib.sha256(bits).hexdigest(),
        "loss": float(loss(params, images, labels)),
        "values": zosah_jax.num_evaluations(state),
        "flops": _flops(mesh, loss, params, images, labels, config.subspace_dim),
    }
    print(json.dumps(found))


def _problem() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Digits, and the weights of a perceptron; the same in every process."""
    images, labels = map(np.asarray, load_digits(return_X_y=True))
    draw = np.random.default_rng(0)
    params = {"in": draw.normal(0, 0.1, (64, 32)), "out": draw.normal(0, 0.1, (32, 10))}
    return (
        (images[:512] / 16).astype(np.float32),
        labels[:512].astype(np.int32),
        {name: weights.astype(np.float32) for name, weights in params.items()},
    )


def _step(tx: optax.GradientTransformation, loss: Any) -> Any:
    @jax.jit
    def step(params: Any, state: Any, images: jax.Array, labels: jax.Array) -> Any:
        value_fn = lambda params: loss(params, images, labels)  # noqa: E731
        updates, state = tx.update(None, state, params, value_fn=value_fn)  # type: ignore[call-arg]
        return optax.apply_updates(params, updates), state

    return step


def _flops(
    mesh: Mesh, loss: Any, params: Any, images: jax.Array, labels: jax.Array, subspace_dim: int
) -> float:
    """Operations that each device does in an update whose probes go all at once, by XLA's count."""
    evaluator = zosah_jax.sharded(mesh, evaluator=zosah_jax.evaluate.all_at_once())
    tx = zosah_jax.scale_by_zosah(subspace_dim, evaluator=evaluator)
    step = _step(tx, loss)
    compiled = step.lower(params, tx.init(params), images, labels).compile()
    return float(compiled.cost_analysis()["flops"])


if __name__ == "__main__":
    main(tyro.cli(Config, description=Config.__doc__))
