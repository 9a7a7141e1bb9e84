"""Networks of Flax, nnx and linen, by forward passes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from zosah_jax.forward import value_and_grad
from zosah_jax.integrations.flax import losses_fn, update_statistics

pytestmark = pytest.mark.usefixtures("as_models_are_written")
SAMPLES = 300


@pytest.fixture
def as_models_are_written():
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def check_mean(losses, params, batch, wanted):
    """Within six standard errors, but for what float32 rounds; as in test_forward."""
    f = jax.vmap(value_and_grad(losses, smoothing=1e-2), in_axes=(None, 0, *[None] * len(batch)))
    _, found = jax.jit(f)(params, jax.random.split(jax.random.key(1), SAMPLES), *batch)
    for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        got, want = np.asarray(got), np.asarray(want)
        size = max(np.abs(np.asarray(leaf)).max() for leaf in jax.tree.leaves(wanted))
        error = got.std(0) / SAMPLES**0.5
        assert np.all(np.abs(got.mean(0) - want) < 6 * error + 2e-2 * size)


class Block(nnx.Module):
    def __init__(self, rngs):
        self.embed = nnx.Embed(5, 8, rngs=rngs)
        self.norm = nnx.LayerNorm(8, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)
        self.out = nnx.Linear(8, 5, rngs=rngs)

    def __call__(self, tokens):
        h = self.embed(tokens)
        h = h + self.attention(self.norm(h))
        return self.out(jax.nn.gelu(h))


def test_nnx_transformer():
    model = Block(nnx.Rngs(0))
    tokens = jax.random.randint(jax.random.key(0), (4, 3), 0, 5)

    def of_model(model, tokens):
        return optax.softmax_cross_entropy_with_integer_labels(model(tokens), tokens).mean(-1)

    losses, params = losses_fn(model, of_model), nnx.as_pure(nnx.state(model, nnx.Param))
    check_mean(losses, params, (tokens,), jax.grad(lambda p: losses(p, tokens).mean())(params))


def test_nnx_batch_norm_and_dropout():
    """The statistics of the batch are constants of the estimate, and move on after the step."""
    rngs = nnx.Rngs(0)
    layers = [nnx.Linear(3, 4, rngs=rngs), nnx.BatchNorm(4, rngs=rngs), nnx.relu]
    model = nnx.Sequential(*layers, nnx.Dropout(0.5, rngs=rngs), nnx.Linear(4, 2, rngs=rngs))
    x = jax.random.normal(jax.random.key(0), (16, 3))

    def of_model(model, x):
        return jnp.square(model(x) - 1).sum(-1)

    optimizer = nnx.Optimizer(model, optax.adam(3e-2), wrt=nnx.Param)
    before = np.asarray(model.layers[1].mean[...])

    @nnx.jit
    def step(model, optimizer, key):
        params = nnx.state(model, nnx.Param)
        value, found = value_and_grad(losses_fn(model, of_model))(params, key, x)
        optimizer.update(model, found)
        update_statistics(model, lambda model, x: of_model(model, x).mean(), x)
        return value

    keys = jax.random.split(jax.random.key(1), 150)
    values = [float(step(model, optimizer, key)) for key in keys]
    assert np.mean(values[-20:]) < 0.6 * np.mean(values[:20])
    assert not np.allclose(before, np.asarray(model.layers[1].mean[...]))


def test_linen_convolutions():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(2, (3, 3))(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
            x = nn.GroupNorm(1)(x)
            return nn.Dense(3)(x.reshape(x.shape[0], -1))

    model, x = Net(), jax.random.normal(jax.random.key(0), (4, 4, 4, 1))
    params = model.init(jax.random.key(1), x)["params"]

    def losses(params, x):
        return jnp.square(model.apply({"params": params}, x)).sum(-1)

    check_mean(losses, params, (x,), jax.grad(lambda p: losses(p, x).mean())(params))


def test_losses_fn_refuses():
    with pytest.raises(TypeError, match="linen"):
        losses_fn(nn.Dense(1), lambda model, x: model(x))
    with pytest.raises(TypeError, match="loss_fn"):
        losses_fn(nnx.Linear(1, 1, rngs=nnx.Rngs(0)), 3)
