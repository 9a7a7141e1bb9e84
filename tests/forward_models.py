"""Models in which parameters enter in every way that is known, and checks of a mean."""

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.forward import value_and_grad

B = 6
KEYS = jax.random.split(jax.random.key(3), 20)
SAMPLES = 4000


def normal(place, *shape):
    return jax.random.normal(KEYS[place], shape, float)


def conv(x, w, **options):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=numbers, **options)


def tokens(length):
    return jax.random.randint(KEYS[5], (B, length), 0, 5)


# --- models: losses_fn, params, batch, leaves that get noise themselves ---------------------------


def dense():
    def losses(p, x):
        return jnp.square(jnp.tanh(x @ p["w"] + p["b"]) @ p["v"] + x[:, 0])

    return losses, {"w": normal(0, 3, 4), "b": normal(1, 4), "v": normal(2, 4)}, normal(4, B, 3), ()


def convolution():
    def losses(p, x):
        return jnp.square(jnp.tanh(conv(x, p["w"]) + p["b"])).sum((1, 2, 3))

    return losses, {"w": normal(0, 3, 3, 2, 3), "b": normal(1, 3)}, normal(4, B, 2, 2, 2), ()


def early_convolution():
    def losses(p, x):
        return jnp.square(jnp.tanh(conv(x, p["w"]) + p["b"])).sum((1, 2, 3))

    params = {"w": normal(0, 2, 2, 1, 2), "b": normal(1, 2)}
    return losses, params, normal(4, B, 5, 5, 1), ("b", "w")


def late_convolution():
    """Copied as above, with an input that noise has moved."""

    def losses(p, x):
        h = conv(jnp.tanh(x @ p["u"]), p["w"])
        return jnp.square(jnp.tanh(h)).sum((1, 2, 3))

    params = {"u": normal(0, 2, 2), "w": normal(1, 2, 2, 2, 2) / 2}
    return losses, params, normal(4, B, 5, 5, 2), ("u", "w")


def depthwise():
    def losses(p, x):
        return jnp.tanh(conv(x, p["w"], feature_group_count=2)).sum((1, 2, 3))

    return losses, {"w": normal(0, 3, 3, 1, 2)}, normal(4, B, 3, 3, 2), ()


def pooled():
    def losses(p, x):
        window = ((1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return jnp.tanh(jax.lax.reduce_window(conv(x, p["w"]), -jnp.inf, jax.lax.max, *window)).sum(
            (1, 2, 3)
        )

    return losses, {"w": normal(0, 3, 3, 1, 2)}, normal(4, B, 4, 4, 1), ()


def embedding():
    def losses(p, i):
        return jnp.tanh(p["e"][i] @ p["w"]).sum((1, 2))

    return losses, {"e": normal(0, 5, 3), "w": normal(1, 3, 2)}, tokens(4), ()


def tied_embedding():
    def losses(p, i):
        return jnp.square(jax.nn.gelu(p["e"][i] @ p["w"]) @ p["e"].T).sum((1, 2))

    return losses, {"e": normal(0, 5, 3), "w": normal(1, 3, 3)}, tokens(1), ()


def layer_norm():
    def losses(p, x):
        x = jax.nn.standardize(x)
        scale, shift = (leaf.reshape(1, 1, 3) for leaf in (1 + p["scale"], p["shift"]))
        return (jnp.square(x * scale + shift) * x).sum((1, 2))

    params = {"scale": normal(0, 3), "shift": normal(1, 3)}
    return losses, params, normal(4, B, 5, 3), ("scale", "shift")


def stacked_layers():
    def losses(p, x):
        def layer(h, w):
            return h + jnp.tanh(h @ w["w"] + w["b"]), None

        return jnp.square(jax.lax.scan(layer, x, p)[0]).sum(-1)

    return losses, {"w": normal(0, 3, 4, 4) / 2, "b": normal(1, 3, 4)}, normal(4, B, 4), ()


def recurrent():
    def losses(p, x):
        def cell(h, x):
            h = jnp.tanh(x @ p["w"] + h @ p["u"] + p["b"])
            return h, h

        start = jnp.zeros((x.shape[0], 4), x.dtype)
        h, all_h = jax.lax.scan(cell, start, jnp.swapaxes(x, 0, 1), reverse=True)
        return jnp.square(h).sum(-1) + all_h.sum((0, 2))

    params = {"w": normal(0, 3, 4), "u": normal(1, 4, 4), "b": normal(2, 4)}
    return losses, params, normal(4, B, 3, 3), ()


def attention():
    def losses(p, x):
        q, k, v = jnp.einsum("btd,sdhk->sbthk", x, p["qkv"])
        weights = jax.nn.softmax(jnp.einsum("bthk,bshk->bhts", q, k))
        mixed = jnp.einsum("bhts,bshk->bthk", weights, v)
        return jnp.square(x + jnp.einsum("bthk,hkd->btd", mixed, p["out"])).sum((1, 2))

    params = {"qkv": normal(0, 3, 4, 2, 2), "out": normal(1, 2, 2, 4)}
    return losses, params, normal(4, B, 3, 4), ()


def exponential_scale():
    def losses(p, x):
        return jnp.square(x * jnp.exp(p["log"]) - 1).sum(-1)

    return losses, {"log": normal(0, 3) / 2}, normal(4, B, 3), ("log",)


def mixture():
    def losses(p, x):
        return jnp.square(jnp.einsum("k,bkd->bd", jax.nn.softmax(p["logits"]), x)).sum(-1)

    return losses, {"logits": normal(0, 3)}, normal(4, B, 3, 2), ("logits",)


def weight_norm():
    def losses(p, x):
        return jnp.tanh(x @ (p["w"] / jnp.sqrt(jnp.square(p["w"]).sum(0))) * p["g"]).sum(-1)

    return losses, {"w": normal(0, 3, 4), "g": normal(1, 4)}, normal(4, B, 3), ("w",)


def divided():
    def losses(p, x):
        return jnp.square(x / p["s"]).sum(-1)

    return losses, {"s": 1 + jnp.abs(normal(0, 3))}, normal(4, B, 3), ("s",)


def prefix():
    def losses(p, x):
        first = jnp.broadcast_to(p["first"], (x.shape[0], 1, 3))
        return jnp.tanh(jnp.concatenate([first, x], 1) @ p["w"]).sum((1, 2))

    params = {"first": normal(0, 1, 1, 3), "w": normal(1, 3, 4)}
    return losses, params, normal(4, B, 2, 3), ("first",)


def flat_tokens():
    def losses(p, x):
        flat = jnp.tanh(x.reshape(-1, 3) @ p["w"] + p["b"])
        return jnp.square(flat).sum(-1).reshape(x.shape[0], -1).mean(1)

    return losses, {"w": normal(0, 3, 4), "b": normal(1, 4)}, normal(4, B, 2, 3), ()


def wrapped():
    def losses(p, x):
        inner = jax.checkpoint(lambda w, x: jax.nn.silu(jax.jit(jnp.matmul)(x, w)))
        return jax.vmap(lambda x: jnp.square(inner(p["w"], x) @ p["v"]))(x)

    return losses, {"w": normal(0, 3, 4), "v": normal(1, 4)}, normal(4, B, 3), ()


def low_rank():
    def losses(p, x):
        return jnp.tanh(x @ p["a"] @ p["b"]).sum(-1)

    return losses, {"a": normal(0, 4, 2), "b": normal(1, 2, 3)}, normal(4, B, 4), ()


MODELS = [
    attention, convolution, dense, depthwise, divided, early_convolution, embedding,
    exponential_scale, flat_tokens, late_convolution, layer_norm, low_rank, mixture, pooled,
    prefix, recurrent, stacked_layers, tied_embedding, weight_norm, wrapped,
]  # fmt: skip


def estimates(losses, params, batch, **options):
    f = value_and_grad(losses, **options)
    many = jax.vmap(f, in_axes=(None, 0, *[None] * len(batch)))
    return jax.jit(many)(params, jax.random.split(jax.random.key(1), SAMPLES), *batch)


def check_mean(found, wanted, most=0.5):
    """Within six standard errors in each entry, and these are small enough to tell.

    Six errors are exceeded by chance in 2e-9 of entries; all tests here have fewer than 2,000.
    """
    for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        got, want = np.asarray(got), np.asarray(want)
        size = np.sqrt(np.mean(want**2))
        error = got.std(0) / len(got) ** 0.5
        assert np.all(np.abs(got.mean(0) - want) < 6 * error + 1e-4 * size)
        assert np.sqrt(np.mean(error**2)) < most * size
