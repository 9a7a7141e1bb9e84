"""Objectives of some hundred parameters whose values get noise; drawn, not picked."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

from experiments.common.functions import CLASSICS, rosenbrock
from experiments.common.problems import logistic_loss

Bounds = tuple[np.ndarray, np.ndarray]


class Problem(NamedTuple):
    """An objective without its noise.

    Attributes:
        name: for tables.
        fun: vector -> value, compiled.
        x0: where runs start, shape (d,).
        start: value there.
        optimum: the least value within the bounds, by exact gradients from x0.
        bounds: lower and upper, shapes (d,), or None.
    """

    name: str
    fun: Callable[[Any], Any]
    x0: np.ndarray
    start: float
    optimum: float
    bounds: Bounds | None

    def inside(self, x: Any) -> np.ndarray:
        """A point, projected on the bounds."""
        return np.asarray(x, float) if self.bounds is None else np.clip(x, *self.bounds)

    def gap(self, x: Any) -> float:
        """Part of the gap between start and optimum that is left at a point, without noise."""
        left = (float(self.fun(self.inside(x))) - self.optimum) / (self.start - self.optimum)
        return float(np.clip(left, 1e-12, 1e12)) if np.isfinite(left) else 1e12


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


def problem(name: str, d: int) -> Problem:
    """A problem of d parameters; to be called in float64."""
    fun, x0 = _MADE[name](d)
    bounds = (np.full(d, 0.3), np.full(d, 2.0)) if name.endswith("bounds") else None
    x0 = x0 if bounds is None else np.clip(x0, *bounds)
    both = jax.jit(jax.value_and_grad(fun))
    found = scipy.optimize.minimize(
        lambda x: tuple(np.asarray(part) for part in both(x)),
        x0,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds and list(zip(*bounds, strict=True)),
        options={"maxiter": 20_000, "maxfun": 20_000, "ftol": 1e-15, "gtol": 1e-10},
    )
    compiled = jax.jit(fun)
    return Problem(name, compiled, x0, float(compiled(x0)), float(found.fun), bounds)
