"""The language model: pretrained by backpropagation, read out as a classifier, and its adapters."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments.transformer import Transformer

ASK = 1
"""The byte after a snippet, at which the label is read out; no text has it."""

LABELS = np.array([ord("a"), ord("b"), ord("c"), ord("d")])
"""The tokens that stand for the sources."""

ADAPTED = ("query", "value")
"""Layers that have low-rank adapters."""


class Pretrained(NamedTuple):
    """A model that has learnt to go on with text.

    Attributes:
        params: pytree.
        logits: (params, tokens) -> logits at every place.
        loss: of the last pretraining batches, in nats a byte.
    """

    params: Any
    logits: Callable[[Any, jax.Array], jax.Array]
    loss: float


def pretrain(
    text: np.ndarray,
    *,
    width: int,
    layers: int,
    heads: int,
    length: int,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> Pretrained:
    """Train on the next byte, by backpropagation and AdamW.

    Args:
        text: tokens.
        width: of the model.
        layers: of the model.
        heads: of the model.
        length: bytes that the model sees.
        steps: of AdamW.
        batch_size: pieces of text a step.
        learning_rate: at the start; it falls along a cosine.
        seed: of weights and batches.
    """
    model = Transformer(width, layers, heads, length, rngs=nnx.Rngs(seed))
    graphdef, params = nnx.split(model, nnx.Param)
    params = nnx.as_pure(params)
    tx = optax.adamw(optax.cosine_decay_schedule(learning_rate, steps))
    tokens = jnp.asarray(text)

    def logits(params: Any, tokens: jax.Array) -> jax.Array:
        return nnx.merge(graphdef, params)(tokens)

    def loss(params: Any, piece: jax.Array) -> jax.Array:
        each = optax.softmax_cross_entropy_with_integer_labels(
            logits(params, piece[:, :-1]), piece[:, 1:]
        )
        return jnp.mean(each)

    def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        params, state = carry
        start = jax.random.randint(key, (batch_size, 1), 0, len(tokens) - length)
        piece = tokens[start + jnp.arange(length)[None]]
        value, gradient = jax.value_and_grad(loss)(params, piece)
        updates, state = tx.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), value

    keys = jax.random.split(jax.random.key(seed), steps)
    (params, _), losses = jax.jit(partial(jax.lax.scan, step))((params, tx.init(params)), keys)
    return Pretrained(params, logits, float(jnp.mean(losses[-20:])))


def label_logits(model: Pretrained, params: Any, snippets: jax.Array) -> jax.Array:
    """Logits of the labels, shape (batch, sources), where the model is asked after a snippet."""
    ask = jnp.full((len(snippets), 1), ASK, snippets.dtype)
    last = model.logits(params, jnp.concatenate([snippets, ask], axis=1))[:, -1]
    return last[:, LABELS]


# --- low-rank adapters ---------------------------------------------------------------------------


def adapters(params: Any, rank: int, seed: int) -> dict[str, Any]:
    """Adapters of every kernel of the layers in `ADAPTED`: A of random numbers, B of zeros.

    References:
        Hu et al., `LoRA: Low-Rank Adaptation of Large Language Models
        <https://arxiv.org/abs/2106.09685>`_, 2021.
    """
    found = {}
    for number, (path, kernel) in enumerate(jax.tree.leaves_with_path(params)):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if name.split(".")[-2] in ADAPTED:
            key = jax.random.fold_in(jax.random.key(seed), number)
            inputs, outputs = kernel.shape
            down = jax.random.normal(key, (inputs, rank), kernel.dtype) / inputs**0.5
            found[name] = {"down": down, "up": jnp.zeros((rank, outputs), kernel.dtype)}
    return found


def adapted(params: Any, adapters: dict[str, Any], scale: float) -> Any:
    """The weights with scale A B added to every kernel that has an adapter."""

    def whole(path: Any, leaf: jax.Array) -> jax.Array:
        own = adapters.get(jax.tree_util.keystr(path, simple=True, separator="."))
        return leaf if own is None else leaf + scale * (own["down"] @ own["up"])

    return jax.tree_util.tree_map_with_path(whole, params)


def layer_of(path: str) -> str:
    """The block of a leaf by its path: a decoder layer, or what comes before or after them all.

    Example:
        >>> layer_of("['layers'][1]['up']['kernel']"), layer_of("['head']['kernel']")
        ("['layers'][1]", 'ends')
        >>> layer_of("['layers.0.query']['up']")
        "['layers.0"
    """
    if path.startswith("['layers']"):
        return path[: path.index("]", len("['layers']")) + 1]
    if path.startswith("['layers."):
        return path[: path.index(".", len("['layers."))]
    return "ends"
