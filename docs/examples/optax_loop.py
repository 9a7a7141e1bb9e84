"""Your own optax loop: ZO-SAH's direction, then what optax has for the rest of the chain."""

import jax
import jax.numpy as jnp
import optax

import zosah_jax

f = jax.jit(lambda x: jnp.sum((x - 1) ** 2 * jnp.linspace(1.0, 10.0, 20)))
tx = optax.chain(zosah_jax.scale_by_zosah(subspace_dim=8), optax.scale_by_learning_rate(1.0))
x = jnp.zeros(20)
state, step = tx.init(x), jax.jit(lambda x, state: tx.update(None, state, x, value_fn=f))
for _ in range(40):
    updates, state = step(x, state)
    x = optax.apply_updates(x, updates)
print(f(x), zosah_jax.num_evaluations(state))
