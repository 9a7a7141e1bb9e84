"""Objectives with long valleys: Rosenbrock's function and random quadratics."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

CONDITION = 1e4


class Valley(NamedTuple):
    """An objective and where it is started.

    Attributes:
        name: of both.
        fun: objective of a vector, for JAX; its smallest value is 0.
        start: shape (d,).
        target: value to reach.
    """

    name: str
    fun: Callable[[Any], Any]
    start: np.ndarray
    target: float


def rosenbrock(x: Any) -> Any:
    """Sum of 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2, smallest (0) at 1, ..., 1."""
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosenbrocks(d: int) -> list[Valley]:
    """Rosenbrock's function in d dimensions from (-1.2, 1, -1.2, ...) and from 0, to 1e-8.

    From the first, for d > 2, some descend to the local minimum near (-1, 1, ..., 1).
    """
    zigzag = np.resize([-1.2, 1.0], d)
    return [
        Valley(f"Rosenbrock, d = {d}, from (-1.2, 1, ..)", rosenbrock, zigzag, 1e-8),
        Valley(f"Rosenbrock, d = {d}, from 0", rosenbrock, np.zeros(d), 1e-8),
    ]


def quadratic(number: int, d: int = 100) -> Valley:
    """A quadratic of condition 1e4 in a random orthonormal basis, from 0, to 1e-8 of its start."""
    rng = np.random.default_rng(number)
    basis, _ = np.linalg.qr(rng.standard_normal((d, d)))
    hessian = (basis * np.logspace(0, np.log10(CONDITION), d)) @ basis.T
    minimum = rng.standard_normal(d)

    def fun(x: Any) -> Any:
        away = x - jnp.asarray(minimum)
        return away @ (jnp.asarray(hessian) @ away) / 2

    start = minimum @ hessian @ minimum / 2
    return Valley(f"quadratic {number}, d = {d}", fun, np.zeros(d), 1e-8 * float(start))
