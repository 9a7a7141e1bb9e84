"""Objectives of many parameters whose optimum is known, in JAX."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.sparse

from experiments.common.functions import CLASSICS, Classic, rosenbrock, zigzag
from experiments.common.problems import Task, logistic_loss

CONDITION = 1e4
"""Largest over smallest eigenvalue of the quadratics: the issue's."""

SPECTRA = ("log", "power")
"""Eigenvalues spaced evenly in their logarithm, and those that fall as a power of their rank."""

_REGULARISATION = 1e-4  # lambda of lambda / 2 |w|^2: that of the library's other experiments

# --- quadratics -----------------------------------------------------------------------------------


def quadratic(spectrum: str, turned: bool, d: int) -> Task:
    """sum_i lambda_i (T x - z)_i^2 / 2 from 0, its minimum T'z random.

    T: random signs and a real Fourier transform, twice, which is orthonormal and dense; or none.
    """
    draw = np.random.default_rng(0)
    power = np.arange(1, d + 1) ** (-np.log(CONDITION) / np.log(d))
    weights = np.geomspace(1, 1 / CONDITION, d) if spectrum == "log" else power
    signs, z = draw.choice([-1.0, 1.0], (2, d)), draw.standard_normal(d)
    fun, about = (_turned, "turned") if turned else (_straight, "along the axes")
    data = (weights if turned else draw.permutation(weights), signs, z)
    start = float(weights @ z**2 / 2) if turned else float(data[0] @ z**2 / 2)
    return Task(f"{spectrum}, {about}", fun, data, np.zeros(d), start, 0.0)


def _straight(x: Any, data: Any) -> Any:
    weights, _, z = map(jnp.asarray, data)
    return weights @ (x - z) ** 2 / 2


def _turned(x: Any, data: Any) -> Any:
    weights, signs, z = map(jnp.asarray, data)
    away = _fourier(signs[1] * _fourier(signs[0] * x)) - z
    return weights @ away**2 / 2


def _fourier(x: Any) -> Any:
    """The real and imaginary parts of a Fourier transform of even length, orthonormal."""
    d = len(x)
    found = jnp.fft.rfft(x, norm="ortho")
    ends = jnp.stack([found[0].real, found[-1].real])
    between = found[1 : (d + 1) // 2] * 2**0.5
    return jnp.concatenate([ends, between.real, between.imag])


# --- logistic regressions -------------------------------------------------------------------------

_FREQUENCY, _DECAY, _MOST_FREQUENT = 3.0, 0.8, 0.5  # of the r-th feature: min(0.5, 3 / r^0.8)
_TOPICS, _IN_A_TOPIC, _WHERE = 10, 0.1, 0.15  # its features, and how often they occur with it
_FACTORS = 20  # that the columns of the dense set share
_TOLD = 0.3  # part of the features of which the label knows
_MARGIN = 2.0  # standard deviation of the true margins: labels can be guessed, and not all


def sparse_logistic(d: int, rows: int) -> Task:
    """Binary features, few frequent and many rare, some of which occur together; and a bias."""
    draw = np.random.default_rng(0)
    frequency = np.minimum(_MOST_FREQUENT, _FREQUENCY / np.arange(1, d) ** _DECAY)
    features = draw.random((rows, d - 1)) < draw.permutation(frequency)
    topic, within = draw.integers(0, _TOPICS, rows), draw.random((_TOPICS, d - 1)) < _IN_A_TOPIC
    features |= within[topic] & (draw.random((rows, d - 1)) < _WHERE)
    return _logistic_task("sparse", features.astype(float), draw)


def dense_logistic(d: int, rows: int) -> Task:
    """Correlated normal features: a few factors in common, noise of its own size each; a bias."""
    draw = np.random.default_rng(0)
    common = draw.standard_normal((rows, _FACTORS)) @ draw.standard_normal((_FACTORS, d - 1)) / 2
    own = draw.standard_normal((rows, d - 1)) * np.exp(draw.standard_normal(d - 1) / 2)
    features = common + own
    return _logistic_task("dense", features / features.std(axis=0), draw)


def _logistic_task(kind: str, features: np.ndarray, draw: np.random.Generator) -> Task:
    biased = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    d = biased.shape[1]
    margins = biased @ (draw.standard_normal(d) * (draw.random(d) < _TOLD))
    margins = _MARGIN * (margins - margins.mean()) / margins.std()
    labels = np.where(draw.random(len(margins)) < 1 / (1 + np.exp(-margins)), 1.0, -1.0)
    signed = biased * labels[:, None]
    best = _least_logistic(scipy.sparse.csr_matrix(signed) if kind == "sparse" else signed)
    data = (signed, np.asarray(_REGULARISATION))
    return Task(kind, logistic, data, np.zeros(d), float(np.log(2)), best)


def logistic(w: Any, data: Any) -> Any:
    """The loss of a logistic regression."""
    margins, regularisation = map(jnp.asarray, data)
    return logistic_loss(jnp.asarray(w), margins, regularisation)


def _least_logistic(margins: Any) -> float:
    """Its smallest value, by exact gradients."""
    rows, d = margins.shape

    def both(w: np.ndarray) -> tuple[float, np.ndarray]:
        at = margins @ w
        slope = margins.T @ (-1 / (1 + np.exp(at))) / rows
        value = np.mean(np.logaddexp(0, -at)) + _REGULARISATION / 2 * (w @ w)
        return float(value), slope + _REGULARISATION * w

    return _least(both, np.zeros(d), None)


# --- classic functions ----------------------------------------------------------------------------


def _dixmaan(x: Any) -> Any:
    """After DIXMAAN of the CUTE collection: halves of x coupled in place of thirds, d even."""
    n, half = len(x), len(x) // 2
    place = jnp.arange(1, n + 1, dtype=x.dtype) / n
    neighbours = jnp.sum(x[:-1] ** 2 * (x[1:] + x[1:] ** 2) ** 2)
    return 1 + place @ x**2 + (neighbours + jnp.sum(x[:half] ** 2 * x[half:] ** 4)) / 8


def _power(x: Any) -> Any:
    return (jnp.arange(1, len(x) + 1, dtype=x.dtype) @ x**2) ** 2


FUNCTIONS: dict[str, Classic] = {
    "TRIDIA": CLASSICS["TRIDIA"],
    "Broyden, tridiagonal": CLASSICS["Broyden, tridiagonal"],
    "ARWHEAD": CLASSICS["ARWHEAD"],
    "DIXMAAN": Classic(_dixmaan, lambda d: np.full(d, 2.0)),
    "POWER": Classic(_power, np.ones),
    "ENGVAL1": CLASSICS["ENGVAL1"],
    "Rosenbrock": Classic(rosenbrock, zigzag),
}
"""Classic functions by name, Rosenbrock's chained."""


def classic(name: str, d: int) -> Task:
    """A classic function from its usual start."""
    fun, start = FUNCTIONS[name]
    return solved(Task(name, _alone(fun), np.zeros(0), start(d), 0.0, 0.0))


def _alone(fun: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    def of(x: Any, data: Any) -> Any:
        del data
        return fun(x)

    return of


# --- with bounds ----------------------------------------------------------------------------------

Box = tuple[float, float]
"""Lower and upper bound of every coordinate."""


def bounded(d: int, rows: int) -> list[tuple[Task, Box, int]]:
    """Problems whose bounds are active at the optimum, and how many of the parameters lie there."""
    boxed: list[tuple[Task, Box]] = [
        *((quadratic(spectrum, True, d), (-0.5, 0.5)) for spectrum in SPECTRA),
        (sparse_logistic(d, rows), (-0.3, 0.3)),
        (classic("ENGVAL1", d), (0.9, 3.0)),
    ]
    found = []
    for task, box in boxed:
        with_box = solved(replace(task, name=f"{task.name}, in [{box[0]:g}, {box[1]:g}]"), box)
        found.append((with_box, box, _active(with_box, box)))
    return found


def _active(task: Task, box: Box) -> int:
    at = _ended(task, box).x
    return int(np.sum((at <= box[0]) | (at >= box[1])))


def solved(task: Task, box: Box | None = None) -> Task:
    """The task with its values at the start and where L-BFGS-B with exact gradients ends."""
    found = _ended(task, box)
    return replace(
        task, start=float(task.objective()(jnp.asarray(task.x0))), optimum=float(found.fun)
    )


def _ended(task: Task, box: Box | None) -> Any:
    data = jax.tree.map(jnp.asarray, task.data)
    both = jax.jit(jax.value_and_grad(lambda x: task.fun(x, data)))
    return _descended(lambda x: tuple(map(np.asarray, both(x))), task.x0, box)  # type: ignore[arg-type]


def _least(
    both: Callable[[np.ndarray], tuple[float, np.ndarray]], x0: np.ndarray, box: Box | None
) -> float:
    return float(_descended(both, x0, box).fun)


def _descended(
    both: Callable[[np.ndarray], tuple[float, np.ndarray]], x0: np.ndarray, box: Box | None
) -> Any:
    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-15, "gtol": 1e-10}
    bounds = None if box is None else [box] * len(x0)
    return scipy.optimize.minimize(
        both, x0, jac=True, method="L-BFGS-B", bounds=bounds, options=options
    )
