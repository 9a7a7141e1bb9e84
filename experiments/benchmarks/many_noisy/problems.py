"""Objectives of some hundred parameters whose values get noise; drawn, not picked."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

from experiments.common.cutest_problems import Problem
from experiments.common.functions import CLASSICS, rosenbrock
from experiments.common.problems import logistic_loss


def _quadratic(d: int, eigenvalues: np.ndarray) -> tuple[Any, np.ndarray]:
    """Half x'H x with these eigenvalues, reflected so that no axis is one of H's."""
    draw = np.random.default_rng(d)
    normal = draw.normal(size=d)
    weights, across = jnp.asarray(eigenvalues), jnp.asarray(normal / np.linalg.norm(normal))

    def fun(x: Any) -> Any:
        turned = x - 2 * across * (across @ x)
        return weights @ turned**2 / 2

    return fun, draw.normal(size=d)


def _logistic(d: int) -> tuple[Any, np.ndarray]:
    """A logistic regression of normal features of sizes from 1 to 1/20; labels with errors."""
    draw = np.random.default_rng(d)
    rows = draw.normal(size=(d, d)) * np.geomspace(1, 0.05, d)
    margins = rows @ draw.normal(size=d)
    labels = np.sign(margins + 0.3 * margins.std() * draw.normal(size=d))
    signed, weight = jnp.asarray(rows * labels[:, None]), jnp.asarray(1e-3)
    return lambda x: logistic_loss(x, signed, weight), np.zeros(d)


_MADE: dict[str, Callable[[int], tuple[Any, np.ndarray]]] = {
    "quadratic, condition 1e3": lambda d: _quadratic(d, np.geomspace(1, 1e3, d)),
    "quadratic, ten stiff directions": lambda d: _quadratic(
        d, np.where(np.arange(d) < 10, 100.0, 1.0)
    ),
    "logistic": _logistic,
    "Rosenbrock": lambda d: (rosenbrock, np.full(d, -0.5)),
    "Broyden, tridiagonal": lambda d: (
        CLASSICS["Broyden, tridiagonal"].fun, CLASSICS["Broyden, tridiagonal"].start(d),
    ),
    "ENGVAL1": lambda d: (CLASSICS["ENGVAL1"].fun, CLASSICS["ENGVAL1"].start(d)),
    "quadratic with bounds": lambda d: _quadratic(d, np.geomspace(1, 1e3, d)),
}  # fmt: skip
NAMES = tuple(_MADE)
"""Problems by name."""


def problem(name: str, d: int) -> tuple[Problem, float, float]:
    """A problem of d parameters; to be called in float64.

    Returns:
        The problem, its value at the start, and the least within the bounds, by exact gradients.
    """
    fun, x0 = _MADE[name](d)
    side = (0.3, 2.0) if name.endswith("bounds") else (-np.inf, np.inf)
    lower, upper = np.full(d, side[0]), np.full(d, side[1])
    both = jax.jit(jax.value_and_grad(fun))
    made = Problem(name, jax.jit(fun), np.clip(x0, lower, upper), lower, upper)
    found = scipy.optimize.minimize(
        lambda x: tuple(np.asarray(part) for part in both(x)),
        made.x0,
        jac=True,
        method="L-BFGS-B",
        bounds=made.bounds and list(zip(*made.bounds, strict=True)),
        options={"maxiter": 20_000, "maxfun": 20_000, "ftol": 1e-15, "gtol": 1e-10},
    )
    return made, float(made.fun(made.x0)), float(found.fun)
