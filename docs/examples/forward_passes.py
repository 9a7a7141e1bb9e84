"""A network with thresholds, trained by forward passes from the losses of its examples."""

import jax
import jax.numpy as jnp
import optax

from zosah_jax.forward import value_and_grad

x = jax.random.normal(jax.random.key(0), (512, 3))
y, net = jnp.sign(x[:, 0]), {"w": jnp.ones((3, 8)) / 2 + jnp.eye(3, 8), "v": jnp.ones(8) / 8}
losses = lambda net, x, y: jnp.square(jnp.sign(x @ net["w"]) @ net["v"] - y)  # noqa: E731
tx, estimate = optax.sgd(0.1), jax.jit(value_and_grad(losses, smoothing=0.5))
moments = tx.init(net)
for k in range(300):  # the key, and two forward passes of the batch
    loss, gradient = estimate(net, k, x, y)
    updates, moments = tx.update(gradient, moments)
    net = optax.apply_updates(net, updates)
print(loss)
