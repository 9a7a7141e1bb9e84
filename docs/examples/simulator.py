"""A simulator: any Python function of NumPy arrays, some of whose calls fail."""

import numpy as np

import zosah_jax


def simulator(x):
    """What JAX does not see inside of."""
    if x[0] < -2:
        raise FloatingPointError("no steady state")
    return float(100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2)


host = zosah_jax.Host(retries=0)  # what fails once fails again here
found = zosah_jax.minimize(simulator, np.array([-1.2, 1.0]), budget=200, bounds=(-3, 3), host=host)
print(found.message, found.value, found.num_evaluations)
