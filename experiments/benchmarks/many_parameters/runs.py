"""Runs of the library and of L-BFGS-B, and the values that they needed."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import islice
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.many_parameters.problems import Box, logistic
from experiments.common.curves import Curve, curve_of, values_to_reach
from experiments.common.problems import Task
from experiments.common.solvers import ENDLESS, Counted, Over, run_scipy
from zosah_jax import Host, methods, minimize
from zosah_jax.evaluate import all_at_once, grouped
from zosah_jax.probes import CoordinateProbes
from zosah_jax.pytree import address_of

OURS = "block_newton"
PEER = "L-BFGS-B"

STEPS = (1e-8, 1e-6)
"""Lengths of L-BFGS-B's differences: SciPy's own, and one for values whose rounding is larger. Its
tolerances are 0: a run with the usual ones is the same and ends earlier."""

_CHUNK = 250  # points that are evaluated at a time


@cache
def method(name: str) -> Any:
    """A method with its defaults, at learning rate 1; the same object, to compile once."""
    return getattr(methods, name)()


def traced(task: Task, name: str, budget: int, target: float, seed: int) -> Curve:
    """A run of the library as one compiled loop."""
    data = jax.tree.map(jnp.asarray, task.data)
    found = minimize(
        lambda x: task.fun(x, data),
        jnp.asarray(task.x0),
        method(name),
        budget=budget,
        target=target,
        key=seed,
    )
    return curve_of(found)


def by_host(
    task: Task,
    solver: Any,
    budget: int,
    target: float,
    seed: int,
    box: Box | None = None,
    objective: Callable[[Any], Any] | None = None,
) -> Curve:
    """The same where every objective is met once: only the solver is compiled, the same for all."""
    found = minimize(
        task.objective() if objective is None else objective,
        task.x0,
        solver,
        budget=budget,
        target=target,
        bounds=box,
        key=seed,
        noise=0,
        host=Host(retries=0),
    )
    return curve_of(found)


# --- the peer -------------------------------------------------------------------------------------


def peers(task: Task, budget: int, target: float, box: Box | None = None) -> list[Curve]:
    """L-BFGS-B by each of its steps, until the target is met."""
    return [_lbfgsb(task, budget, target, box, step) for step in STEPS]


def _lbfgsb(task: Task, budget: int, target: float, box: Box | None, step: float) -> Curve:
    """SciPy's method and its own differences, which are evaluated some at a time and all count."""
    counted = Counted(task.objective(), budget, _asker(task))

    def mapped(_: Any, points: Iterable[np.ndarray]) -> list[float]:
        found: list[float] = []
        for some in _some(points):
            found += counted.all(some)
            if counted.best[0] <= target:
                raise Over
        return found

    options = {"ftol": 0, "gtol": 0, "maxiter": ENDLESS, "maxfun": ENDLESS, "eps": step}
    bounds = None if box is None else [box] * task.dimension
    with suppress(Over):
        run_scipy(counted, task.x0, PEER, bounds, workers=mapped, **options)
    return counted.curve


def _some(points: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    left = iter(points)
    while found := list(islice(left, _CHUNK)):
        yield found


def _asker(task: Task) -> Callable[[Callable[[Any], Any], list[np.ndarray]], list[float]]:
    """(objective, points) -> values, those of a difference in a coordinate each together."""
    data = jax.tree.map(jnp.asarray, task.data)
    # of a logistic regression only a column has to be multiplied anew
    evaluate = grouped(_CHUNK) if task.fun is logistic else all_at_once()

    @jax.jit
    def many(x: jax.Array, place: jax.Array, offset: jax.Array) -> jax.Array:
        probes = CoordinateProbes(address_of(x, place[:, None]), offset[:, None])
        return evaluate(lambda x: task.fun(x, data), x, probes)

    def ask(fun: Callable[[Any], Any], points: list[np.ndarray]) -> list[float]:
        if len(points) < 3:
            return [float(fun(point)) for point in points]
        stacked = np.stack(points)
        # what two of three share is where all of them came from
        x = np.where(stacked[0] == stacked[1], stacked[0], stacked[2])
        changed = stacked != x
        if np.any(changed.sum(axis=1) > 1):
            raise AssertionError("points: wanted one changed coordinate each")
        place = np.argmax(changed, axis=1)
        offset = stacked[np.arange(len(points)), place] - x[place]
        room = (0, _CHUNK - len(points))  # one shape, to compile once
        found = many(jnp.asarray(x), np.pad(place, room).astype(np.uint32), np.pad(offset, room))
        return np.asarray(found)[: len(points)].tolist()

    return ask


# --- what was needed ------------------------------------------------------------------------------


def needed(curves: Sequence[Curve], goals: Sequence[float]) -> list[list[int | None]]:
    """Values to each goal, by goal and curve."""
    return [[values_to_reach(curve, goal) for curve in curves] for goal in goals]


def fewest(curves: Sequence[Curve], goals: Sequence[float]) -> list[int | None]:
    """Fewest values of any of the curves to each goal."""
    return [min((v for v in of if v is not None), default=None) for of in needed(curves, goals)]


def thinned(task: Task, curve: Curve, most: int) -> list[list[float]]:
    """(values / d, part of the gap left) where the curve falls, for a figure."""
    left = (curve.best - task.optimum) / (task.start - task.optimum)
    there = np.flatnonzero(np.isfinite(left) & (left > 0))
    if not there.size:
        return []
    grid = np.geomspace(1 / 8, curve.spent[-1] / task.dimension, most)  # from an eighth of d values
    place = np.searchsorted(curve.spent / task.dimension, grid, side="right") - 1
    place = np.unique(place[place >= there[0]])
    return [
        [float(f"{curve.spent[n] / task.dimension:.3g}"), float(f"{left[n]:.3g}")]
        for n in place
        if left[n] > 0
    ]
