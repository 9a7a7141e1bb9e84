"""A Flax model without backpropagation: noise for each example, two forward passes a step."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from zosah_jax.forward import value_and_grad
from zosah_jax.integrations.flax import losses_fn

x, rngs = jax.random.normal(jax.random.key(0), (512, 4)), nnx.Rngs(0)
y = jnp.sin(x.sum(axis=1, keepdims=True))
model = nnx.Sequential(nnx.Linear(4, 16, rngs=rngs), nnx.tanh, nnx.Linear(16, 1, rngs=rngs))
optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)


@nnx.jit
def step(model, optimizer, key):
    """One estimate of the gradient, and what Adam makes of it."""
    losses = losses_fn(model, lambda model, x, y: jnp.square(model(x) - y).sum(axis=1))
    loss, gradient = value_and_grad(losses)(nnx.state(model, nnx.Param), key, x, y)
    optimizer.update(model, gradient)
    return loss


for k in range(300):
    loss = step(model, optimizer, k)
print(loss)
