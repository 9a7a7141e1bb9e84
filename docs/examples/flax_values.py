"""A Flax model by values of its loss alone, in Flax's own loop."""

import jax
import jax.numpy as jnp
from flax import nnx

import zosah_jax
from zosah_jax.integrations.flax import train_step

x, rngs = jax.random.normal(jax.random.key(0), (64, 4)), nnx.Rngs(0)
y = jnp.sin(x.sum(axis=1, keepdims=True))
model = nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), nnx.tanh, nnx.Linear(8, 1, rngs=rngs))
optimizer = nnx.Optimizer(model, zosah_jax.zosah(1.0), wrt=nnx.Param)
loss_fn = lambda model, x, y: jnp.mean((model(x) - y) ** 2)  # noqa: E731
step = nnx.jit(lambda model, optimizer, x, y: train_step(model, optimizer, loss_fn, x, y))
for _ in range(200):
    loss = step(model, optimizer, x, y)
print(loss, zosah_jax.num_evaluations(optimizer.opt_state))
