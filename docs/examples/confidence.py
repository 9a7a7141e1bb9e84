"""How far to trust what was fitted: deviations, an interval, a direction that nothing tells."""

import numpy as np
from scipy.stats import t as student

import zosah_jax

time = np.linspace(0, 3, 30)
error = 0.01  # of a measurement
data = 2 * np.exp(-1.3 * time) + error * np.random.default_rng(0).normal(size=30)


def residuals(x):
    """In units of the error; the last two parameters come as a product only."""
    return (x["size"] * x["gain"] * np.exp(-x["rate"] * time) - data) / error


x0 = {"gain": np.array(1.0), "rate": np.array(0.5), "size": np.array(1.0)}
free = zosah_jax.least_squares(residuals, x0, budget=60, host=zosah_jax.Host())
print("undetermined:", free.undetermined.round(2))  # gain up, size down: no residual changes

fixed = {"gain": np.array(1.0), "rate": np.array(np.inf), "size": np.array(np.inf)}
lower = {**fixed, "rate": np.array(-np.inf), "size": np.array(-np.inf)}
fit = zosah_jax.least_squares(
    residuals, x0, budget=60, bounds=(lower, fixed), host=zosah_jax.Host()
)
deviation = np.sqrt(np.diag(fit.covariance))  # in the order of jax.tree.leaves: by name
reach = student.ppf(0.975, len(data) - 2) * deviation
print("rate", fit.params["rate"], "+-", reach[1], " size", fit.params["size"], "+-", reach[2])
