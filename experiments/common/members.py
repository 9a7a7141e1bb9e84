"""What a value of a member of a population costs, by how it is answered."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments.common import timing
from experiments.common.transformer import VOCABULARY, Transformer
from zosah_jax import in_chunks, one_by_one
from zosah_jax.evaluate import automatic
from zosah_jax.low_rank import Law, LowRank
from zosah_jax.probes import DirectionProbes, combine_directions
from zosah_jax.pytree import dimension

_HEADS = 4


class Objective(NamedTuple):
    """An objective with its data, and where it is evaluated."""

    value: Callable[[Any], jax.Array]
    params: Any


def transformer(width: int, layers: int, texts: int, length: int) -> Objective:
    """Mean cross entropy of the next byte, by a decoder of first weights on random bytes."""
    model = Transformer(width, layers, _HEADS, length, rngs=nnx.Rngs(0))
    graph, params = nnx.split(model)
    tokens = jax.random.randint(jax.random.key(1), (texts, length + 1), 0, VOCABULARY)

    def value(params: Any) -> jax.Array:
        logits = nnx.merge(graph, params)(tokens[:, :-1])
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]))

    return Objective(value, params)


def perceptron(widths: tuple[int, ...], batch: int) -> Objective:
    """Mean cross entropy on random images."""
    images = jax.random.normal(jax.random.key(0), (batch, widths[0]))
    labels = jnp.arange(batch) % 10
    return Objective(lambda params: mean_loss(params, images, labels), weights(widths))


def weights(widths: tuple[int, ...]) -> Any:
    """First weights of a perceptron."""
    keys = jax.random.split(jax.random.key(1), len(widths) - 1)
    return [
        {"w": jax.random.normal(key, shape) * shape[0] ** -0.5, "b": jnp.zeros((1, shape[1]))}
        for key, shape in zip(keys, pairwise(widths), strict=True)
    ]


def mean_loss(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross entropy of a perceptron."""
    for layer in params[:-1]:
        x = jnp.tanh(x @ layer["w"] + layer["b"])
    logits = x @ params[-1]["w"] + params[-1]["b"]
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


def costs(objective: Objective, members: int, few: int, repeats: int) -> dict[str, Any]:
    """Times a member over that of one jitted forward pass, by what is done.

    Args:
        objective: of a member.
        members: directions that share one product.
        few: directions of the evaluators that take several forward passes a value.
        repeats: rounds of timings.
    """
    few = min(few, members)
    functions: dict[str, tuple[Callable[..., Any], tuple[Any, ...], int]] = {
        "forward": (objective.value, (objective.params,), 1),
        "dense, one by one": _answering(objective, one_by_one(), "normal", few),
        "dense, on copies": _answering(objective, in_chunks(few), "normal", few),
        "low rank, one by one": _answering(objective, one_by_one(), LowRank(), few),
        "low rank, one product": _answering(objective, automatic(), LowRank(), members),
        "update, dense": _updating(objective, "normal", few),
        "update, low rank": _updating(objective, LowRank(), members),
    }
    times = timing.of_arrays({name: call[:2] for name, call in functions.items()}, repeats)
    each = {name: times[name] / count for name, (_, _, count) in functions.items()}
    product = each["low rank, one product"]
    return {
        "dimension": dimension(objective.params),
        "forward_seconds": float(np.median(each["forward"])),
        "of_dense": _ratio(product, each["dense, one by one"]),
        "of_copies": _ratio(product, each["dense, on copies"]),
        "ratios": {
            name: _ratio(seconds, each["forward"])
            for name, seconds in each.items()
            if name != "forward"
        },
    }


def shared_and_copied(objective: Objective, members: int, repeats: int) -> dict[str, Any]:
    """Times a member, all at once, of directions of low rank and of dense ones, on copies.

    Args:
        objective: of a member.
        members: directions that are answered at once.
        repeats: rounds of timings.
    """
    functions: timing.Calls = {
        "forward": (objective.value, (objective.params,)),
        "copied": _answering(objective, in_chunks(members), "normal", members)[:2],
        "shared": _answering(objective, automatic(), LowRank(), members)[:2],
    }
    seconds = timing.of_arrays(functions, repeats)
    copied, shared = (seconds[name] / members for name in ("copied", "shared"))
    return {
        "forward_seconds": float(np.median(seconds["forward"])),
        "copied": _ratio(copied, seconds["forward"]),
        "shared": _ratio(shared, seconds["forward"]),
        "of_copies": _ratio(shared, copied),
    }


def _ratio(seconds: np.ndarray, unit: np.ndarray) -> dict[str, Any]:
    """Median and quartiles of ratios of times of the same round."""
    ratios = seconds / unit
    return {
        "ratio": float(np.median(ratios)),
        "ratio_quartiles": np.quantile(ratios, (0.25, 0.75)).tolist(),
    }


def _directions(law: Law, count: int) -> DirectionProbes:
    keys = jax.random.split(jax.random.key(2), (count, 1))
    return DirectionProbes(keys, jnp.full((count, 1), 1e-3), distribution=law)


def _answering(objective: Objective, evaluator: Any, law: Law, count: int) -> Any:
    def answer(params: Any, key: jax.Array, scale: jax.Array) -> jax.Array:
        probes = DirectionProbes(key, scale, distribution=law)
        return evaluator(objective.value, params, probes)

    probes = _directions(law, count)
    return answer, (objective.params, probes.key, probes.scale), count


def _updating(objective: Objective, law: Law, count: int) -> Any:
    """The weighted sum of the directions, drawn again from their keys."""
    probes = _directions(law, count)
    combine = partial(_combined, law)
    return combine, (objective.params, probes.key[:, 0], probes.scale[:, 0]), count


def _combined(law: Law, params: Any, key: jax.Array, scale: jax.Array) -> Any:
    return combine_directions(key, scale, params, law)
