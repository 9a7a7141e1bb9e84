"""Regularised logistic regression as an objective without gradients, and runs on it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize

from experiments import datasets
from experiments.curves import Curve, best_after, from_history
from experiments.references import scipy_curve
from zosah_jax import History, minimize

Constructor = Callable[[Any], optax.GradientTransformationExtraArgs]


class Gap(Protocol):
    """What the progress of a run is measured by: values at its start and at the optimum."""

    @property
    def start(self) -> float:
        """Value where runs start."""
        ...

    @property
    def optimum(self) -> float:
        """Smallest value."""
        ...

    @property
    def dimension(self) -> int:
        """Number d of parameters."""
        ...


class Problem(NamedTuple):
    """Mean of log(1 + exp(-y x'w)) plus lambda / 2 |w|^2, started at w = 0.

    Attributes:
        name: of the dataset.
        margins: rows y x', float64, shape (n, d).
        regularisation: lambda.
        start: value at w = 0.
        optimum: smallest value, from exact gradients in float64.
    """

    name: str
    margins: np.ndarray
    regularisation: float
    start: float
    optimum: float

    @property
    def dimension(self) -> int:
        """Number d of parameters, bias included."""
        return self.margins.shape[1]


def loss(weights: jax.Array, margins: jax.Array, regularisation: Any) -> jax.Array:
    """The objective."""
    return jnp.mean(jax.nn.softplus(-(margins @ weights))) + regularisation / 2 * (
        weights @ weights
    )


def prepare(name: str, rows: int, data_dir: Path | None, regularisation: float) -> Problem:
    """The problem of a dataset, with its optimum."""
    data = datasets.load(name, rows, data_dir)
    margins = data.features * data.labels[:, None]
    start, optimum = _extremes(margins, regularisation)
    return Problem(name, margins, regularisation, start, optimum)


def _extremes(margins: np.ndarray, regularisation: float) -> tuple[float, float]:
    """Values at w = 0 and at the optimum."""
    with jax.enable_x64(True):  # whatever precision the methods run in
        held = jnp.asarray(margins)
        both = jax.jit(jax.value_and_grad(lambda w: loss(w, held, regularisation)))
        zeros = np.zeros(margins.shape[1])
        found = scipy.optimize.minimize(
            lambda w: tuple(map(np.asarray, both(w))),
            zeros,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-15, "gtol": 1e-9},
        )
        return float(both(zeros)[0]), float(found.fun)


def run(
    problem: Problem, constructor: Constructor, learning_rate: float, seed: int, budget: int
) -> Curve:
    """A run of `zosah_jax.minimize`; compiled once per constructor and problem.

    Args:
        problem: what is minimised.
        constructor: learning rate -> transformation; the same object compiles once.
        learning_rate: its argument, traced, so that a grid of them compiles once.
        seed: the key.
        budget: values.
    """
    history = _history(
        constructor,
        budget,
        jnp.asarray(problem.margins),
        problem.regularisation,
        learning_rate,
        jax.random.key(seed),
    )
    return from_history(history)


@partial(jax.jit, static_argnums=(0, 1))
def _history(
    constructor: Constructor,
    budget: int,
    margins: jax.Array,
    regularisation: jax.Array,
    learning_rate: jax.Array,
    key: jax.Array,
) -> History:
    return minimize(
        lambda weights: loss(weights, margins, regularisation),
        jnp.zeros(margins.shape[1], margins.dtype),
        constructor(learning_rate),
        budget=budget,
        key=key,
    ).history


def reference(problem: Problem, budget: int) -> Curve:
    """SciPy's L-BFGS-B with finite differences on the same values."""
    margins = jnp.asarray(problem.margins)
    fun = jax.jit(lambda w: loss(w.astype(margins.dtype), margins, problem.regularisation))
    step = float(jnp.finfo(margins.dtype).eps) ** 0.5
    return scipy_curve(
        fun, np.zeros(problem.dimension), "L-BFGS-B", budget, eps=step, maxfun=budget
    )


def gap_closed(problem: Gap, curve: Curve, spent: np.ndarray) -> np.ndarray:
    """Part of the way from the start to the optimum after `spent` values, from 0 to 1."""
    best = np.minimum(best_after(curve, spent), problem.start)
    return (problem.start - best) / (problem.start - problem.optimum)


def target(problem: Gap, fraction: float) -> float:
    """Value at which `fraction` of the gap is closed."""
    return problem.start - fraction * (problem.start - problem.optimum)
