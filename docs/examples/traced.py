"""A function that JAX can trace: one compiled loop."""

import jax.numpy as jnp

import zosah_jax


def rosenbrock(p):
    """The valley of Rosenbrock."""
    return 100 * (p["y"] - p["x"] ** 2) ** 2 + (1 - p["x"]) ** 2


x0 = {"x": jnp.array(-1.2), "y": jnp.array(1.0)}  # any pytree of arrays
result = zosah_jax.minimize(rosenbrock, x0, budget=300, target=1e-5)
print(result.message, result.num_evaluations, result.params)
