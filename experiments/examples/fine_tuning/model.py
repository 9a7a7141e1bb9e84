"""The language model: pretrained by backpropagation, read out as a classifier, and its adapters."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments.common.transformer import Transformer
from experiments.examples.fine_tuning.text import Text

ASK = 1
"""The byte after a piece of text, at which a letter is asked for; no text has it."""

LABELS = np.array([ord("a"), ord("b"), ord("c"), ord("d")])
"""The tokens that stand for the kinds of text."""

ADAPTED = ("query", "value")
"""Layers that have low-rank adapters."""


class Pretrained(NamedTuple):
    """A model that has learnt to go on with text.

    Attributes:
        params: pytree.
        last: (params, tokens) -> logits at the last place.
        narrow: the same, of the last layer no other place computed than the last.
        loss: of the next byte in the last pretraining batches, in nats.
        title_loss: of the first letter of the title there, in nats.
    """

    params: Any
    last: Callable[[Any, jax.Array], jax.Array]
    narrow: Callable[[Any, jax.Array], jax.Array]
    loss: float
    title_loss: float


def pretrain(
    texts: list[Text],
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
    """Train by backpropagation and AdamW on the next byte, and on a title at the end of a piece.

    A piece is bytes of one kind of text, each kind as often, then the byte that asks; what is to
    follow that one is the first letter of the title of the document that the piece is from. Both
    losses count alike.

    Args:
        texts: a text of each kind.
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
    tokens, titles = (jnp.asarray(np.concatenate(part)) for part in zip(*texts, strict=True))
    sizes = np.array([len(one.tokens) for one in texts])
    begin, room = jnp.asarray(np.cumsum(sizes) - sizes), jnp.asarray(sizes - length)

    def last(params: Any, tokens: jax.Array) -> jax.Array:
        return nnx.merge(graphdef, params).last(tokens)

    def narrow(params: Any, tokens: jax.Array) -> jax.Array:
        return _narrow(nnx.merge(graphdef, params), tokens)

    def loss(params: Any, piece: jax.Array, title: jax.Array) -> tuple[jax.Array, jax.Array]:
        found = nnx.merge(graphdef, params)(asked(piece))
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels
        both = jnp.stack(
            [
                jnp.mean(cross_entropy(found[:, :-2], piece[:, 1:])),
                jnp.mean(cross_entropy(found[:, -1], title)),
            ]
        )
        return jnp.sum(both), both

    def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        params, state = carry
        which, where = jax.random.split(key)
        kind = jax.random.randint(which, (batch_size,), 0, len(texts))
        start = begin[kind] + jax.random.randint(where, (batch_size,), 0, room[kind])
        at = start[:, None] + jnp.arange(length - 1)[None]
        (_, both), gradient = jax.value_and_grad(loss, has_aux=True)(
            params, tokens[at], titles[at[:, -1]]
        )
        updates, state = tx.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), both

    keys = jax.random.split(jax.random.key(seed), steps)
    (params, _), losses = jax.jit(partial(jax.lax.scan, step))((params, tx.init(params)), keys)
    return Pretrained(params, last, narrow, *np.mean(losses[-50:], axis=0).tolist())


def _narrow(model: Transformer, tokens: jax.Array) -> jax.Array:
    """What `Transformer.last` gives; noise where no loss depends on it would teach nothing."""
    x = model.embedding(tokens) + model.positions(jnp.arange(tokens.shape[1]))[None]
    *early, layer = model.layers
    for one in early:
        x = one(x)
    hidden, x = layer.attention_norm(x), x[:, -1:]
    query, key, value = layer.query(hidden[:, -1:]), layer.key(hidden), layer.value(hidden)
    parts = [y.reshape(*y.shape[:2], layer.heads, -1) for y in (query, key, value)]
    x = x + layer.out(jax.nn.dot_product_attention(*parts).reshape(x.shape))
    x = x + layer.down(nnx.gelu(layer.up(layer.mlp_norm(x))))
    return model.head(model.norm(x[:, 0]))


def asked(piece: jax.Array) -> jax.Array:
    """Pieces of text with the byte that asks after them."""
    return jnp.concatenate([piece, jnp.full((len(piece), 1), ASK, piece.dtype)], axis=1)


def label_logits(model: Pretrained, params: Any, snippets: jax.Array) -> jax.Array:
    """Logits of the labels, shape (batch, kinds), where the model is asked after a snippet."""
    return model.last(params, asked(snippets))[:, LABELS]


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
