"""The network whose values are timed, as a function of its parameters, and probes of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments.common.networks import NETWORKS
from zosah_jax.integrations.flax import value_fn
from zosah_jax.probes import CoordinateProbes
from zosah_jax.pytree import Address, address_of, dimension

_OFFSET = 1e-3


class Problem(NamedTuple):
    """A loss over one batch.

    Attributes:
        value: params -> loss; BatchNorm in train mode.
        params: where it is evaluated.
    """

    value: Callable[[Any], jax.Array]
    params: Any


def problem(network: str, batch_size: int) -> Problem:
    """A network at its first weights, and a batch of noise with random labels."""
    shape = (8, 8, 1) if network == "convnet" else (32, 32, 3)
    model = NETWORKS[network](shape, 10, nnx.Rngs(0))
    images = jax.random.normal(jax.random.key(1), (batch_size, *shape))
    labels = jax.random.randint(jax.random.key(2), (batch_size,), 0, 10)

    def loss(model: nnx.Module, images: jax.Array, labels: jax.Array) -> jax.Array:
        logits = model(images)  # type: ignore[operator]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    return Problem(value_fn(model, loss, images, labels), nnx.state(model, nnx.Param))


def random_probes(params: Any, number: int, seed: int) -> CoordinateProbes:
    """The parameters, and probes of single coordinates drawn uniformly without replacement."""
    places = np.random.default_rng(seed).choice(dimension(params), number, replace=False)
    return _probes(address_of(params, jnp.asarray(places, jnp.uint32)))


def probes_in(params: Any, leaves: list[int], number: int, seed: int) -> CoordinateProbes:
    """The same within some leaves."""
    sizes = [leaf.size for leaf in jax.tree.leaves(params)]
    within = np.random.default_rng(seed).choice(sum(sizes[n] for n in leaves), number, False)
    starts = np.cumsum([0, *(sizes[n] for n in leaves)])
    slot = np.searchsorted(starts, within, side="right") - 1
    leaf, index = np.array(leaves)[slot], within - starts[slot]
    return _probes(Address(jnp.asarray(leaf, jnp.int32), jnp.asarray(index, jnp.uint32)))


def _probes(address: Address) -> CoordinateProbes:
    first = Address(*(jnp.concatenate([x[:1], x])[:, None] for x in address))
    offset = jnp.full(first.leaf.shape, _OFFSET, jnp.float32).at[0].set(0)
    return CoordinateProbes(first, offset)


def last_stage_block(params: Any) -> list[int]:
    """Leaves of the middle one among the blocks with the widest kernels."""
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(params)]
    names = [path.split("]")[1].strip("['") if "blocks" in path else "" for path in paths]
    numbers = sorted({int(name) for name in names if name})
    if not numbers:
        return [len(paths) - 1]
    widest = numbers[-(len(numbers) // 3) :]
    chosen = str(widest[len(widest) // 2])
    return [n for n, name in enumerate(names) if name == chosen]
