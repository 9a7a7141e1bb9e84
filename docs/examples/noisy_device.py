"""A device in a laboratory: every reading has noise, and no two are the same."""

import numpy as np

import zosah_jax

rng = np.random.default_rng(0)
SETTING = np.array([0.3, -0.2, 0.5])  # what nobody knows


def reading(x):
    """Loss of signal at a setting, read off with an error of 0.01."""
    return float(np.sum((x - SETTING) ** 2) + 0.01 * rng.normal())


host = zosah_jax.Host(retries=0)
found = zosah_jax.minimize(reading, np.zeros(3), budget=400, bounds=(-1, 1), noise=0.01, host=host)
print(found.params.round(2), found.num_evaluations)
