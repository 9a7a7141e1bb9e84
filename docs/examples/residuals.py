"""A vector of residuals: each tells, and the parameters come with their covariance."""

import numpy as np

import zosah_jax

t = np.linspace(0, 3, 30)
data = 2 * np.exp(-1.3 * t) + 0.01 * np.random.default_rng(0).normal(size=30)


def residuals(x):
    """Of a simulation; any Python function."""
    return x[0] * np.exp(-x[1] * t) - data


fit = zosah_jax.least_squares(residuals, np.array([1.0, 0.5]), budget=40, host=zosah_jax.Host())
print(fit.params, "+-", np.sqrt(np.diag(fit.covariance)), "after", fit.num_evaluations)
