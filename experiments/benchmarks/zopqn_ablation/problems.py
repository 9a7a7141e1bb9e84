"""What ZO-PQN is ablated on: data, valleys, classic functions, and small ones."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

from experiments.common.functions import CLASSICS, rosenbrock, zigzag
from experiments.common.problems import Task, at_hand, away_from_zero, logistic

GROUPS = ("data", "valleys", "classics", "small")
"""Kinds of problems."""
ADDED = ("a1a", "mushrooms", "phishing", "splice")
"""LIBSVM files that are added to the data where they are at hand."""
SMALL = {
    "Rosenbrock": 2,
    "Wood": 4,
    "Powell, singular": 4,
    "BDQRTIC": 8,
    "Zakharov": 8,
    "Dixon and Price": 10,
}
"""Small problems, of CUTEst's kind, and their d."""
_SHIFT = 0.2  # deviation of what is added to a classic start, as in `classics`


@dataclass(frozen=True, eq=False)
class Problem:
    """An objective from one start.

    Attributes:
        name: for tables.
        group: one of `GROUPS`.
        fun: points, shape (n, d) -> values, shape (n,).
        x0: the start of a seed, shape (d,).
        optimum: smallest value for a start.
        also: value of a local minimum at which a run may end instead, if there is one.
    """

    name: str
    group: str
    fun: Callable[[np.ndarray], np.ndarray]
    x0: Callable[[int], np.ndarray]
    optimum: Callable[[np.ndarray], float]
    also: float | None = None

    @property
    def dimension(self) -> int:
        """Number of parameters."""
        return len(self.x0(0))


def all_problems(
    groups: tuple[str, ...],
    dataset: tuple[str, ...],
    rows: int,
    data_dir: Path | None,
    names: tuple[str, ...],
    dimension: int,
) -> list[Problem]:
    """The problems of some groups; to be called in float64."""
    found: list[Problem] = []
    if "data" in groups:
        sets = dict.fromkeys([*dataset, *at_hand(ADDED, data_dir)])
        found += [_regression(logistic(name, rows, data_dir)) for name in sets]
    if "valleys" in groups:
        found += [_valley(d, start) for d in (10, 30) for start in ("(-1.2, 1, ..)", "0")]
        found += [_bowl(number) for number in range(2)]
    if "classics" in groups:
        found += [_classic(name, dimension, "classics") for name in names]
    if "small" in groups:
        found += [_classic(name, d, "small") for name, d in SMALL.items()]
    return found


def _regression(task: Task) -> Problem:
    margins, weight = (np.asarray(part) for part in task.data)

    def fun(points: np.ndarray) -> np.ndarray:
        losses = np.logaddexp(0, -(points @ margins.T))
        return losses.mean(axis=1) + weight / 2 * (points**2).sum(axis=1)

    return Problem(task.name, "data", fun, lambda seed: task.x0, lambda x0: task.optimum)


def _valley(d: int, start: str) -> Problem:
    x0 = np.zeros(d) if start == "0" else zigzag(d)
    name = f"Rosenbrock, d = {d}, from {start}"
    near = np.ones(d)
    near[0] = -1.0  # beside the local minimum
    also = _descended(rosenbrock, near)
    return Problem(
        name, "valleys", lambda x: rosenbrock(x.T), lambda seed: x0, lambda x0: 0.0, also
    )


def _bowl(number: int) -> Problem:
    task = away_from_zero(f"quadratic {number}, d = 50", number, 50, 1e4)
    hessian, minimum = task.data

    def fun(points: np.ndarray) -> np.ndarray:
        away = points - minimum
        return ((away @ hessian) * away).sum(axis=1) / 2

    return Problem(task.name, "valleys", fun, lambda seed: task.x0, lambda x0: 0.0)


def _classic(name: str, d: int, group: str) -> Problem:
    if name == "Rosenbrock":
        fun, usual = rosenbrock, zigzag(d)
    else:
        fun, usual = CLASSICS[name].fun, CLASSICS[name].start(d)
    many = jax.jit(jax.vmap(fun))

    def start(seed: int) -> np.ndarray:
        away = np.random.default_rng(seed).standard_normal(d)
        return usual + (_SHIFT * away if seed else 0)

    def points(x: np.ndarray) -> np.ndarray:
        # as many at a time as a power of two, so that few shapes are compiled
        room = np.resize(x, (1 << (len(x) - 1).bit_length(), d))
        return np.asarray(many(room))[: len(x)]

    return Problem(f"{name}, d = {d}", group, points, start, partial(_descended, fun))


def _descended(fun: Callable[[Any], Any], x0: np.ndarray) -> float:
    """Where BFGS ends with exact gradients: the optimum, or a minimum nearby."""
    both = jax.jit(jax.value_and_grad(fun))

    def pair(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = both(jnp.asarray(x))
        return float(value), np.asarray(slope)

    options = {"gtol": 1e-12, "maxiter": 20_000}
    with np.errstate(all="ignore"):  # far away its values overflow
        found = scipy.optimize.minimize(pair, x0, jac=True, method="BFGS", options=options)
    return float(found.fun)
