"""A small decoder-only language model over bytes, in Flax nnx."""

import jax
import jax.numpy as jnp
from flax import nnx

VOCABULARY = 128
"""Tokens: the bytes of ASCII."""


class DecoderLayer(nnx.Module):
    """Causal self-attention and a perceptron, each on normalised features beside a residual path.

    Args:
        width: number of features.
        heads: of the attention; they share the features.
        rngs: of the first weights.
    """

    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs):
        self.heads = heads
        self.attention_norm = nnx.LayerNorm(width, rngs=rngs)
        self.query = nnx.Linear(width, width, use_bias=False, rngs=rngs)
        self.key = nnx.Linear(width, width, use_bias=False, rngs=rngs)
        self.value = nnx.Linear(width, width, use_bias=False, rngs=rngs)
        self.out = nnx.Linear(width, width, rngs=rngs)
        self.mlp_norm = nnx.LayerNorm(width, rngs=rngs)
        self.up = nnx.Linear(width, 4 * width, rngs=rngs)
        self.down = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Features of shape (batch, length, width)."""
        hidden = self.attention_norm(x)
        split = (*x.shape[:2], self.heads, -1)
        query, key, value = (f(hidden).reshape(split) for f in (self.query, self.key, self.value))
        mixed = jax.nn.dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(mixed.reshape(x.shape))
        return x + self.down(nnx.gelu(self.up(self.mlp_norm(x))))


class Transformer(nnx.Module):
    """Logits of the next byte at every place of a text.

    Args:
        width: number of features.
        layers: number of decoder layers.
        heads: of the attention.
        length: longest text, in bytes.
        rngs: of the first weights.

    References:
        Radford et al., `Language Models are Unsupervised Multitask Learners
        <https://openai.com/index/better-language-models>`_, 2019 (GPT-2's order of norms).
    """

    def __init__(self, width: int, layers: int, heads: int, length: int, *, rngs: nnx.Rngs):
        self.embedding = nnx.Embed(VOCABULARY, width, rngs=rngs)
        self.positions = nnx.Embed(length, width, rngs=rngs)
        self.layers = nnx.List([DecoderLayer(width, heads, rngs=rngs) for _ in range(layers)])
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.head = nnx.Linear(width, VOCABULARY, use_bias=False, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Logits, shape (batch, length, 128), of int32 tokens, shape (batch, length)."""
        return self.head(self.features(tokens))

    def last(self, tokens: jax.Array) -> jax.Array:
        """Logits at the last place alone, shape (batch, 128)."""
        return self.head(self.features(tokens)[:, -1])

    def features(self, tokens: jax.Array) -> jax.Array:
        """What the head reads, shape (batch, length, width)."""
        x = self.embedding(tokens) + self.positions(jnp.arange(tokens.shape[1]))[None]
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)
