"""Runs over seeds and a number of the method, compiled once, and the problems they are on."""

from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize

from experiments import datasets
from experiments.curves import Curve, from_history
from experiments.fewer_values.valleys import rosenbrock
from experiments.logistic_regression.problem import loss, prepare
from zosah_jax import History, minimize, zosah
from zosah_jax.method import Method
from zosah_jax.sah.options import Options
from zosah_jax.sah.step import zosah_method
from zosah_jax.transform import as_transformation

Constructor = Callable[..., optax.GradientTransformationExtraArgs]


class Task(NamedTuple):
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


# --- problems -------------------------------------------------------------------------------------


def logistic(name: str, rows: int, data_dir: Path | None) -> Task:
    """Regularised logistic regression from w = 0."""
    problem = prepare(name, rows, data_dir, 1e-4)
    zeros = np.zeros(problem.dimension)
    return Task(name, _logistic, problem.margins, zeros, problem.start, problem.optimum)


def network(rows: int) -> Task:
    """A perceptron with four tanh units on breast cancer, from random weights; not convex.

    Its optimum is what L-BFGS-B with exact gradients reaches from there.
    """
    data = datasets.load("breast_cancer", rows)
    width = data.features.shape[1]
    draw = np.random.default_rng(0)
    x0 = np.concatenate([draw.standard_normal(4 * width) / width**0.5, draw.standard_normal(4) / 2])
    task = Task("network", _network, (data.features, data.labels), x0, 0.0, 0.0)
    with jax.enable_x64(True):
        both = jax.jit(jax.value_and_grad(lambda w: _network(w, task.data)))
        found = scipy.optimize.minimize(
            lambda w: tuple(map(np.asarray, both(w))), x0, jac=True, method="L-BFGS-B"
        )
        return task._replace(start=float(both(x0)[0]), optimum=float(found.fun))


def valley(d: int = 20) -> Task:
    """Rosenbrock's function, from (-1.2, 1, -1.2, ...)."""
    x0 = np.resize([-1.2, 1.0], d)
    start = np.sum(100 * (x0[1:] - x0[:-1] ** 2) ** 2 + (1 - x0[:-1]) ** 2)
    return Task("Rosenbrock", _rosenbrock, np.zeros(0), x0, float(start), 0.0)


def quadratic(name: str, hessian: np.ndarray) -> Task:
    """X'Hx / 2 from random coordinates."""
    x0 = np.random.default_rng(1).standard_normal(len(hessian))
    return Task(name, _quadratic, hessian, x0, float(x0 @ hessian @ x0 / 2), 0.0)


def dense(condition: float, d: int) -> Task:
    """A quadratic whose eigenvalues go from 1 to `condition`, in a random orthonormal basis."""
    draw = np.random.default_rng(0)
    basis, _ = np.linalg.qr(draw.standard_normal((d, d)))
    hessian = (basis * np.geomspace(1, condition, d)) @ basis.T
    return quadratic(f"condition {condition:g}", (hessian + hessian.T) / 2)


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
    return quadratic(f"blocks of {size}", hessian), groups


def _logistic(w: Any, margins: Any) -> Any:
    return loss(w, jnp.asarray(margins), 1e-4)


def _network(w: Any, data: Any) -> Any:
    features, labels = map(jnp.asarray, data)
    hidden = jnp.tanh(features @ w[:-4].reshape(-1, 4))
    return jnp.mean(jax.nn.softplus(-labels * (hidden @ w[-4:]))) + 5e-4 * (w @ w)


def _rosenbrock(x: Any, data: Any) -> Any:
    del data
    return rosenbrock(x)


def _quadratic(x: Any, hessian: Any) -> Any:
    return x @ (jnp.asarray(hessian) @ x) / 2


# --- methods --------------------------------------------------------------------------------------


@cache
def make(**options: Any) -> Constructor:
    """ZO-SAH at learning rate 1; the same object for the same options, to compile once."""
    return partial(zosah, 1.0, **options)


@cache
def second_differences(period: int) -> Constructor:
    """ZO-SAH whose every step takes fresh second differences and fits nothing to older values.

    The subspaces are kept for the period all the same: its switching step, again and again.
    """

    def constructor(
        learning_rate: Any = 1.0, **options: Any
    ) -> optax.GradientTransformationExtraArgs:
        method = zosah_method(Options(period=period, **options))
        fresh = Method(method.init, method.kinds[:1], lambda state: jnp.zeros((), jnp.int32))
        direction = as_transformation(fresh)
        return optax.chain(direction, optax.scale_by_learning_rate(learning_rate))  # type: ignore[return-value]

    return constructor


# --- runs -----------------------------------------------------------------------------------------


def sweep(
    tasks: Iterable[Task],
    constructor: Constructor,
    seeds: Iterable[int],
    budget: int,
    option: str | None = None,
    values: Iterable[float] = (0.0,),
) -> list[list[list[Curve]]]:
    """Runs of `zosah_jax.minimize`, one after another within one compiled program.

    Args:
        tasks: problems of one objective, their data of one shape.
        constructor: (option=value) -> transformation.
        seeds: keys.
        budget: values of a run, in units of d.
        option: a number of the constructor that may be traced, or None.
        values: of it.

    Returns:
        Curves by task, value of the option, and seed.
    """
    tasks, values, seeds = list(tasks), list(values), list(seeds)
    history = _histories(
        tasks[0].fun,
        constructor,
        budget * tasks[0].dimension,
        option,
        jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(x) for x in leaves]), *_data(tasks)),
        jnp.stack([jnp.asarray(task.x0) for task in tasks]),
        jnp.asarray(values, float),
        jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32)),
    )
    history = jax.tree.map(np.asarray, history)

    def curve(*at: int) -> Curve:
        return from_history(jax.tree.map(lambda x: x[at], history))

    return [
        [[curve(t, v, s) for s in range(len(seeds))] for v in range(len(values))]
        for t in range(len(tasks))
    ]


def _data(tasks: list[Task]) -> list[Any]:
    return [task.data for task in tasks]


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _histories(
    fun: Callable[[Any, Any], Any],
    constructor: Constructor,
    budget: int,
    option: str | None,
    data: Any,
    x0: jax.Array,
    values: jax.Array,
    keys: jax.Array,
) -> History:
    def run(data: Any, x0: jax.Array, value: jax.Array, key: jax.Array) -> History:
        tx = constructor(**({} if option is None else {option: value}))
        return minimize(
            lambda x: fun(x, data), x0, tx, budget=budget, key=key, max_history=2_000
        ).history

    over_seeds = jax.vmap(run, (None, None, None, 0))
    over_values = jax.vmap(over_seeds, (None, None, 0, None))
    return jax.vmap(over_values, (0, 0, None, None))(data, x0, values, keys)
