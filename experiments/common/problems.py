"""Objectives with a known optimum: logistic regression, a small network, valleys, quadratics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

from experiments.common import datasets
from experiments.common.curves import Curve, best_after, values_to_reach
from experiments.common.functions import rosenbrock, zigzag
from experiments.common.solvers import scipy_curve

FRACTIONS = (0.9, 0.97, 0.99)
"""Parts of the gap between start and optimum whose price is told."""

NOT_REACHED = 1.6
"""What a target that was not reached counts as in a mean price, in units of the budget."""

LIBSVM = ("a1a", "a7a", "a9a", "mushrooms", "phishing", "splice")
"""The published comparison's data (a1a and a7a for its a5a)."""


@dataclass(frozen=True, eq=False)
class Task:
    """An objective whose data are an argument, so that problems of one shape compile once.

    Attributes:
        name: for tables.
        fun: (vector, data) -> scalar.
        data: pytree of arrays.
        x0: where runs start, shape (d,).
        start: value there.
        optimum: smallest value known.
    """

    name: str
    fun: Callable[[Any, Any], Any]
    data: Any
    x0: np.ndarray
    start: float
    optimum: float

    @property
    def dimension(self) -> int:
        """Number d of parameters."""
        return len(self.x0)

    @property
    def rows(self) -> int:
        """Number of rows of the data of a logistic regression."""
        return len(self.data[0])

    def objective(self) -> Callable[[Any], jax.Array]:
        """The objective of a vector alone, jitted."""
        return jax.jit(lambda x: self.fun(x, self.data))

    def target(self, fraction: float) -> float:
        """Value at which a part of the gap is closed."""
        return self.start - fraction * (self.start - self.optimum)

    def gap_closed(self, curve: Curve, spent: np.ndarray) -> np.ndarray:
        """Part of the way from the start to the optimum after so many values, from 0 to 1."""
        best = np.minimum(best_after(curve, spent), self.start)
        return (self.start - best) / (self.start - self.optimum)

    def prices(self, curves: Sequence[Curve], fractions: tuple[float, ...]) -> list[list[Any]]:
        """Values to close each part of the gap, None if it was not: a list a part, each a curve."""
        goals = [self.target(fraction) for fraction in fractions]
        return [[values_to_reach(curve, goal) for curve in curves] for goal in goals]

    def mean_price(
        self, curve: Curve, values: int, fractions: tuple[float, ...] = FRACTIONS
    ) -> float:
        """Geometric mean, over the parts, of the values to close them in a run, in units of d."""
        prices = [
            NOT_REACHED * values if price is None else price
            for (price,) in self.prices([curve], fractions)
        ]
        return float(np.exp(np.mean(np.log(prices))) / self.dimension)

    def mean_prices(
        self, curves: Sequence[Curve], budget: int, fractions: tuple[float, ...] = FRACTIONS
    ) -> list[float]:
        """Mean price of every run of a budget in units of d, rounded."""
        values = budget * self.dimension
        return [round(self.mean_price(curve, values, fractions), 3) for curve in curves]


# --- logistic regression --------------------------------------------------------------------------


def logistic_loss(weights: jax.Array, margins: Any, regularisation: Any) -> jax.Array:
    """Mean of log(1 + exp(-y x'w)) plus lambda / 2 |w|^2; margins are the rows y x'."""
    losses = jax.nn.softplus(-(margins @ weights))
    return jnp.mean(losses) + regularisation / 2 * (weights @ weights)


def logistic(
    name: str, rows: int, data_dir: Path | None = None, regularisation: float = 1e-4
) -> Task:
    """Regularised logistic regression on a dataset from w = 0; d counts the bias."""
    data = datasets.load(name, rows, data_dir)
    margins = data.features * data.labels[:, None]
    zeros = np.zeros(margins.shape[1])
    task = Task(name, _logistic, (margins, np.asarray(regularisation)), zeros, 0.0, 0.0)
    tight = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-15, "gtol": 1e-9}
    return _with_extremes(task, tight)


def at_hand(names: Sequence[str], data_dir: Path | None) -> list[str]:
    """Those LIBSVM files that are in the data folder, if there is one."""
    return [name for name in names if datasets.find(name, data_dir)]


def two_sets(dataset: Sequence[str], rows: int, data_dir: Path | None) -> list[Task]:
    """Logistic regression on the datasets; a1a, where the file is at hand, for digits."""
    names = ["a1a" if n == "digits" and at_hand(["a1a"], data_dir) else n for n in dataset]
    return [logistic(name, rows, data_dir) for name in names]


def reference(task: Task, budget: int) -> Curve:
    """SciPy's L-BFGS-B with finite differences on the values of a logistic regression."""
    fun = task.objective()
    epsilon = float(jnp.finfo(jnp.zeros(0, float).dtype).eps) ** 0.5  # of the precision in use
    return scipy_curve(fun, task.x0, "L-BFGS-B", budget, eps=epsilon, maxfun=budget)


def _logistic(w: Any, data: Any) -> Any:
    margins, regularisation = map(jnp.asarray, data)
    return logistic_loss(jnp.asarray(w).astype(margins.dtype), margins, regularisation)


# --- others ---------------------------------------------------------------------------------------


def network(rows: int) -> Task:
    """A perceptron with four tanh units on breast cancer, from random weights; not convex.

    Its optimum is what L-BFGS-B with exact gradients reaches from there.
    """
    data = datasets.load("breast_cancer", rows)
    width = data.features.shape[1]
    draw = np.random.default_rng(0)
    x0 = np.concatenate([draw.standard_normal(4 * width) / width**0.5, draw.standard_normal(4) / 2])
    return _with_extremes(Task("network", _network, tuple(data), x0, 0.0, 0.0), {})


def valley(d: int = 20) -> Task:
    """Rosenbrock's function from (-1.2, 1, -1.2, ...)."""
    start = zigzag(d)
    return Task("Rosenbrock", _rosenbrock, np.zeros(0), start, float(rosenbrock(start)), 0.0)


def quadratic(name: str, hessian: np.ndarray, minimum: np.ndarray, x0: np.ndarray) -> Task:
    """(x - x*)'H(x - x*) / 2."""
    away = x0 - minimum
    return Task(name, _quadratic, (hessian, minimum), x0, float(away @ hessian @ away / 2), 0.0)


def rotated(draw: np.random.Generator, d: int, condition: float) -> np.ndarray:
    """A Hessian whose eigenvalues go from 1 to `condition`, in a random orthonormal basis."""
    basis, _ = np.linalg.qr(draw.standard_normal((d, d)))
    hessian = (basis * np.geomspace(1, condition, d)) @ basis.T
    return (hessian + hessian.T) / 2


def away_from_zero(name: str, seed: int, d: int, condition: float) -> Task:
    """A quadratic with a random basis and a random minimum, from 0."""
    draw = np.random.default_rng(seed)
    hessian = rotated(draw, d, condition)
    return quadratic(name, hessian, draw.standard_normal(d), np.zeros(d))


def conditioned(condition: float, d: int) -> Task:
    """A quadratic with a random basis, from random coordinates."""
    return _from_random(f"condition {condition:g}", rotated(np.random.default_rng(0), d, condition))


def hidden_blocks(size: int, d: int, coupling: float = 0.95) -> tuple[Task, np.ndarray]:
    """A quadratic of strongly coupled groups in random places, and these groups.

    A group's Hessian is (1 - c) I + c 1 1' at a scale of its own.
    """
    draw = np.random.default_rng(0)
    groups = draw.permutation(d).reshape(-1, size)
    block = (1 - coupling) * np.eye(size) + coupling
    hessian = np.zeros((d, d))
    for group in groups:
        hessian[np.ix_(group, group)] = np.exp(draw.standard_normal()) * block
    return _from_random(f"blocks of {size}", hessian), groups


def _from_random(name: str, hessian: np.ndarray) -> Task:
    d = len(hessian)
    return quadratic(name, hessian, np.zeros(d), np.random.default_rng(1).standard_normal(d))


def _with_extremes(task: Task, options: dict[str, Any]) -> Task:
    """The task with its values at the start and where L-BFGS-B with exact gradients ends."""
    with jax.enable_x64(True):  # whatever precision the methods run in
        data = jax.tree.map(jnp.asarray, task.data)
        both = jax.jit(jax.value_and_grad(lambda w: task.fun(w, data)))
        found = scipy.optimize.minimize(
            lambda w: tuple(map(np.asarray, both(w))),
            task.x0,
            jac=True,
            method="L-BFGS-B",
            options=options,
        )
        start, optimum = float(both(task.x0)[0]), float(found.fun)
    return Task(task.name, task.fun, task.data, task.x0, start, optimum)


def _network(w: Any, data: Any) -> Any:
    features, labels = map(jnp.asarray, data)
    hidden = jnp.tanh(features @ w[:-4].reshape(-1, 4))
    return jnp.mean(jax.nn.softplus(-labels * (hidden @ w[-4:]))) + 5e-4 * (w @ w)


def _rosenbrock(x: Any, data: Any) -> Any:
    del data
    return rosenbrock(x)


def _quadratic(x: Any, data: Any) -> Any:
    hessian, minimum = map(jnp.asarray, data)
    away = x - minimum
    return away @ (hessian @ away) / 2
