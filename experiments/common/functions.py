"""Rosenbrock's function, and other classic smooth test functions with their usual starts.

All are of any (even, or fourfold) dimension.

Sources: Moré, Garbow, Hillstrom, `Testing unconstrained optimization software
<https://doi.org/10.1145/355934.355936>`_ (1981), and the CUTE collection (1995).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np


class Classic(NamedTuple):
    """A function and its usual start.

    Attributes:
        fun: objective of a vector, for JAX.
        start: d -> the start, shape (d,).
    """

    fun: Callable[[Any], Any]
    start: Callable[[int], np.ndarray]


def rosenbrock(x: Any) -> Any:
    """Sum of 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2 over the first axis, smallest (0) at 1, ..., 1.

    Of NumPy's arrays as of JAX's.
    """
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum(axis=0)


def zigzag(d: int) -> np.ndarray:
    """Its usual start, (-1.2, 1, -1.2, ...)."""
    return np.resize([-1.2, 1.0], d)


def _repeated(*values: float) -> Callable[[int], np.ndarray]:
    return lambda d: np.resize(np.array(values, float), d)


def _numbers(x: Any) -> Any:
    return jnp.arange(1, len(x) + 1, dtype=x.dtype)


def _arwhead(x: Any) -> Any:
    return jnp.sum((x[:-1] ** 2 + x[-1] ** 2) ** 2 - 4 * x[:-1] + 3)


def _bdqrtic(x: Any) -> Any:
    n = len(x) - 4
    sides = x[:n] ** 2 + 2 * x[1 : n + 1] ** 2 + 3 * x[2 : n + 2] ** 2 + 4 * x[3 : n + 3] ** 2
    return jnp.sum((3 - 4 * x[:n]) ** 2 + (sides + 5 * x[-1] ** 2) ** 2)


def _brown_almost_linear(x: Any) -> Any:
    return jnp.sum((x[:-1] + jnp.sum(x) - len(x) - 1) ** 2) + (jnp.prod(x) - 1) ** 2


def _broyden_tridiagonal(x: Any) -> Any:
    around = jnp.pad(x, 1)
    return jnp.sum(((3 - 2 * x) * x - around[:-2] - 2 * around[2:] + 1) ** 2)


def _cragg_levy(x: Any) -> Any:
    a, b, c, d = x[:-3:2], x[1:-2:2], x[2:-1:2], x[3::2]
    powers = (jnp.exp(a) - b) ** 4 + 100 * (b - c) ** 6 + jnp.tan(c - d) ** 4
    return jnp.sum(powers + a**8 + (d - 1) ** 2)


def _dixon_price(x: Any) -> Any:
    return (x[0] - 1) ** 2 + jnp.sum(_numbers(x)[1:] * (2 * x[1:] ** 2 - x[:-1]) ** 2)


def _engval(x: Any) -> Any:
    return jnp.sum((x[:-1] ** 2 + x[1:] ** 2) ** 2 - 4 * x[:-1] + 3)


def _extended_rosenbrock(x: Any) -> Any:
    return jnp.sum(100 * (x[1::2] - x[::2] ** 2) ** 2 + (1 - x[::2]) ** 2)


def _nondia(x: Any) -> Any:
    return (x[0] - 1) ** 2 + 100 * jnp.sum((x[0] - x[:-1] ** 2) ** 2)


def _penalty(x: Any) -> Any:
    return 1e-5 * jnp.sum((x - 1) ** 2) + (x @ x - 0.25) ** 2


def _powell_singular(x: Any) -> Any:
    a, b, c, d = x[::4], x[1::4], x[2::4], x[3::4]
    return jnp.sum((a + 10 * b) ** 2 + 5 * (c - d) ** 2 + (b - 2 * c) ** 4 + 10 * (a - d) ** 4)


def _tridia(x: Any) -> Any:
    return (x[0] - 1) ** 2 + jnp.sum(_numbers(x)[1:] * (2 * x[1:] - x[:-1]) ** 2)


def _trid(x: Any) -> Any:
    return jnp.sum((x - 1) ** 2) - x[1:] @ x[:-1]


def _variably_dimensioned(x: Any) -> Any:
    weighted = jnp.sum(_numbers(x) * (x - 1))
    return jnp.sum((x - 1) ** 2) + weighted**2 + weighted**4


def _wood(x: Any) -> Any:
    a, b, c, d = x[::4], x[1::4], x[2::4], x[3::4]
    valleys = 100 * (b - a**2) ** 2 + (1 - a) ** 2 + 90 * (d - c**2) ** 2 + (1 - c) ** 2
    return jnp.sum(valleys + 10 * (b + d - 2) ** 2 + (b - d) ** 2 / 10)


def _zakharov(x: Any) -> Any:
    weighted = jnp.sum(_numbers(x) * x) / 2
    return x @ x + weighted**2 + weighted**4


CLASSICS: dict[str, Classic] = {
    "ARWHEAD": Classic(_arwhead, _repeated(1)),
    "BDQRTIC": Classic(_bdqrtic, _repeated(1)),
    "Brown, almost linear": Classic(_brown_almost_linear, _repeated(0.5)),
    "Broyden, tridiagonal": Classic(_broyden_tridiagonal, _repeated(-1)),
    "Cragg and Levy": Classic(_cragg_levy, lambda d: np.r_[1.0, np.full(d - 1, 2.0)]),
    "Dixon and Price": Classic(_dixon_price, _repeated(1)),
    "ENGVAL1": Classic(_engval, _repeated(2)),
    "NONDIA": Classic(_nondia, _repeated(-1)),
    "penalty I": Classic(_penalty, lambda d: np.arange(1.0, d + 1)),
    "Powell, singular": Classic(_powell_singular, _repeated(3, -1, 0, 1)),
    "Rosenbrock, chained": Classic(rosenbrock, _repeated(0)),
    "Rosenbrock, extended": Classic(_extended_rosenbrock, _repeated(-1.2, 1)),
    "TRIDIA": Classic(_tridia, _repeated(1)),
    "Trid": Classic(_trid, _repeated(0)),
    "variably dimensioned": Classic(_variably_dimensioned, lambda d: 1 - np.arange(1, d + 1) / d),
    "Wood": Classic(_wood, _repeated(-3, -1, -3, -1)),
    "Zakharov": Classic(_zakharov, _repeated(1)),
}
"""By name."""
