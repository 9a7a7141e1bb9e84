"""Pictures of two runs, and what is seen of one while it runs."""

import jax.numpy as jnp
import matplotlib
import numpy as np

import zosah_jax

matplotlib.use("agg")  # to a file; in a notebook leave this out


def rosenbrock(x):
    """A valley in six dimensions."""
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


axes = None
for method in (zosah_jax.methods.quadratic_regression(), zosah_jax.methods.zosah()):
    run = zosah_jax.minimize(rosenbrock, jnp.zeros(6), method, budget=600, progress=True)
    axes = run.plot(axes)  # the second into the axes of the first
axes.legend(axes.lines[::2], ["quadratic_regression", "zosah"])
axes.figure.savefig("run.png", dpi=80)

time = np.linspace(0, 3, 30)
data = 2 * np.exp(-1.3 * time) + 0.3 + 0.01 * np.random.default_rng(0).normal(size=30)


def residuals(x):
    """A decay onto a floor."""
    return x["size"] * jnp.exp(-x["rate"] * time) + x["floor"] - data


fit = zosah_jax.least_squares(residuals, {"floor": 0.0, "rate": 0.5, "size": 1.0}, budget=60)
sum_of_squares, parameters, eigenvalues = fit.plot()
sum_of_squares.figure.savefig("fit.png", dpi=80)
print(run.message, fit.message)
