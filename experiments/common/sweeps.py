"""Runs of `zosah_jax.minimize` that differ in data, seed and one number, side by side."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp

import zosah_jax
from experiments.common.curves import Curve, curves_of, outline
from experiments.common.problems import Task

Constructor = Callable[..., Any]
"""(option=value) -> a method, or its optax form."""


@cache
def constructor(name: str, *rate: float, **options: Any) -> Constructor:
    """The optax form of a method; the same object for the same options, to compile once."""
    return partial(getattr(zosah_jax, name), *rate, **options)


def lanes(
    task: Task,
    constructor: Constructor,
    seeds: Sequence[int],
    budget: int,
    option: str | None = None,
    values: Sequence[float] | None = None,
) -> list[Curve]:
    """Runs on one problem, lane by lane.

    Args:
        task: what is minimised.
        constructor: the same object compiles once.
        seeds: of the method's key, one a lane.
        budget: values of a run.
        option: a number of the constructor that may be traced, or None.
        values: of it, one a lane.

    Returns:
        A curve a lane.
    """
    values = [0.0] * len(seeds) if values is None else values
    return _curves([task], constructor, seeds, budget, option, values)[0]


def sweep(
    tasks: Sequence[Task],
    constructor: Constructor,
    seeds: Sequence[int],
    budget: int,
    option: str | None = None,
    values: Sequence[float] = (0.0,),
) -> list[list[list[Curve]]]:
    """Every seed with every value of an option on every problem, in one compiled program.

    Args:
        tasks: problems of one objective, their data of one shape.
        constructor: as in `lanes`.
        seeds: keys.
        budget: values of a run, in units of d.
        option: a number of the constructor that may be traced, or None.
        values: of it.

    Returns:
        Curves by task, value of the option, and seed.
    """
    number = len(seeds)
    each = [value for value in values for _ in seeds]
    most = budget * tasks[0].dimension
    found = _curves(tasks, constructor, [*seeds] * len(values), most, option, each)
    return [[of[n : n + number] for n in range(0, len(of), number)] for of in found]


def _curves(
    tasks: Sequence[Task],
    constructor: Constructor,
    seeds: Sequence[int],
    budget: int,
    option: str | None,
    values: Sequence[float],
) -> list[list[Curve]]:
    """Curves by task and lane."""
    stacked = jax.tree.map(
        lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]),
        *((task.data, task.x0) for task in tasks),
    )
    results = _run(
        tasks[0].fun,
        constructor,
        budget,
        option,
        *stacked,
        jnp.asarray(values, float),
        jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32)),
    )
    return [curves_of(jax.tree.map(lambda x: x[n], results)) for n in range(len(tasks))]  # noqa: B023


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _run(
    fun: Callable[[Any, Any], Any],
    constructor: Constructor,
    budget: int,
    option: str | None,
    data: Any,
    x0: jax.Array,
    values: jax.Array,
    keys: jax.Array,
) -> zosah_jax.Result:
    def run(data: Any, x0: jax.Array, value: jax.Array, key: jax.Array) -> zosah_jax.Result:
        method = constructor(**({} if option is None else {option: value}))
        found = zosah_jax.minimize(lambda x: fun(x, data), x0, method, budget=budget, key=key)
        return outline(found)

    over_lanes = jax.vmap(run, (None, None, 0, 0))
    return jax.vmap(over_lanes, (0, 0, None, None))(data, x0, values, keys)
