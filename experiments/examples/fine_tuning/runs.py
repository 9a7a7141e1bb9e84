"""Runs of a method on a task: tuned on one seed, looked at in equal distances of values."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

import zosah_jax
from experiments.common.sweeps import constructor
from experiments.common.timing import in_turns
from experiments.common.training import coming_values
from experiments.examples.fine_tuning.model import layer_of
from experiments.examples.fine_tuning.text import Snippets
from zosah_jax import num_evaluations
from zosah_jax.pytree import dimension

GRIDS = {
    "mezo": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    "mezo_bcd": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1),
    "hizoo": (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3),
    "fzoo": (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3),
    "zosah": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
    "zosah_dense": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0),  # in random directions of all parameters
}
"""Learning rates that are tried, as many for each method: they are of different units."""

_POINTS = 10  # at which a run is looked at
_CEILING_RATES = (3e-4, 1e-3, 3e-3, 1e-2)
_CEILING_STEPS = 200
_TIMED_STEPS = 20  # whole periods of ZO-SAH, and of the blocks of up to three decoder layers


class Task(NamedTuple):
    """What is fine-tuned: weights, the objective of them, and how they are judged.

    Attributes:
        params: at the start.
        value: (params, tokens, labels) -> loss on a batch.
        logits: (params, tokens) -> logits of the labels.
    """

    params: Any
    value: Callable[[Any, jax.Array, jax.Array], jax.Array]
    logits: Callable[[Any, jax.Array], jax.Array]


class Data(NamedTuple):
    """Snippets to learn from, and to be judged by; and how many of the former are a value."""

    train: Snippets
    test: Snippets
    batch_size: int


@dataclass(frozen=True)
class Tuning:
    """How a method is tuned and run.

    Attributes:
        subspace_dim: ZO-SAH's m.
        budget: values of a run.
        tuning_budget: values of a run of the tuning.
        grid_points: learning rates that are tried, from the middle of the grid outwards.
        tuning_seed: on which they are tried.
        seeds: that are reported.
    """

    subspace_dim: int
    budget: int
    tuning_budget: int
    grid_points: int
    tuning_seed: int
    seeds: tuple[int, ...]


def judged(task: Task, params: Any, test: Snippets) -> tuple[float, float]:
    """Loss and accuracy; they are no values, as no method sees them."""
    logits = task.logits(params, jnp.asarray(test.tokens))
    each = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(test.labels))
    right = np.argmax(np.asarray(logits), axis=-1) == test.labels
    return float(jnp.mean(each)), float(np.mean(right))


def ceiling(task: Task, data: Data, seed: int) -> dict[str, Any]:
    """What backpropagation and Adam make of the same task: the rate with the least training loss.

    Its passes are no values, and it is no competitor: it says what there is to be had.
    """
    train, test, batch_size = data
    tokens, labels = jnp.asarray(train.tokens), jnp.asarray(train.labels)

    @jax.jit
    def tuned(rate: jax.Array) -> Any:
        tx = optax.adam(rate)

        def step(carry: Any, key: jax.Array) -> tuple[Any, None]:
            params, state = carry
            at = jax.random.randint(key, (batch_size,), 0, len(labels))
            gradient = jax.grad(task.value)(params, tokens[at], labels[at])
            updates, state = tx.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), None

        keys = jax.random.split(jax.random.key(seed), _CEILING_STEPS)
        return jax.lax.scan(step, (task.params, tx.init(task.params)), keys)[0][0]

    found = {rate: tuned(jnp.float32(rate)) for rate in _CEILING_RATES}
    best = min(found, key=lambda rate: judged(task, found[rate], train)[0])
    return {
        "learning_rate": best,
        "steps": _CEILING_STEPS,
        "loss": judged(task, found[best], train)[0],
        "accuracy": judged(task, found[best], test)[1],
    }


# --- runs ----------------------------------------------------------------------------------------


def _optimizer(method: str, subspace_dim: int) -> Callable[..., Any]:
    options: dict[str, dict[str, Any]] = {
        "zosah": {"subspace_dim": subspace_dim},
        "zosah_dense": {"subspace_dim": subspace_dim, "basis": "dense"},
        "mezo_bcd": {"blocks": layer_of},
    }
    # one by one, as MeZO-BCD needs it, and as a step's memory is to be that of a forward pass
    name = method.removesuffix("_dense")
    return constructor(name, evaluator=zosah_jax.one_by_one(), **options.get(method, {}))


def tuned(task: Task, method: str, data: Data, tuning: Tuning, bar: tqdm) -> dict[str, Any]:
    """The learning rate with the least training loss in the tuning, and runs with it."""
    optimizer = _optimizer(method, tuning.subspace_dim)
    advance = jax.jit(partial(_advance, task, optimizer, data.batch_size))
    first = (len(GRIDS[method]) - min(tuning.grid_points, len(GRIDS[method]))) // 2
    grid = GRIDS[method][first : first + tuning.grid_points]

    def run(rate: float, seed: int, values: int) -> dict[str, Any]:
        bar.set_description(f"{method}, d = {dimension(task.params)}")
        state = optimizer(1.0, key=seed).init(task.params)
        start = _State(task.params, state, jax.random.key(seed), jnp.int32(0))
        result = _run(task, partial(advance, rate=jnp.float32(rate)), start, data, values)
        bar.update()
        return result

    tried = {rate: run(rate, tuning.tuning_seed, tuning.tuning_budget)["loss"][-1] for rate in grid}
    best = min(grid, key=lambda rate: tried[rate] if np.isfinite(tried[rate]) else np.inf)
    return {
        "learning_rate": best,
        "at_edge": len(grid) > 1 and best in (grid[0], grid[-1]),
        "tuning": {f"{rate:g}": loss for rate, loss in tried.items()},
        "runs": [run(best, seed, tuning.budget) for seed in tuning.seeds],
    }


class _State(NamedTuple):
    params: Any
    optimizer: Any
    key: jax.Array
    step: jax.Array


def _run(task: Task, advance: Any, state: _State, data: Data, budget: int) -> dict[str, Any]:
    tokens, labels = jnp.asarray(data.train.tokens), jnp.asarray(data.train.labels)
    found: dict[str, list[Any]] = {"spent": [], "steps": [], "loss": []}
    for mark in np.linspace(0, budget, _POINTS + 1).astype(int):
        state = advance(state, tokens, labels, mark=jnp.uint32(mark))
        found["spent"].append(num_evaluations(state.optimizer))
        found["steps"].append(int(state.step))
        found["loss"].append(round(judged(task, state.params, data.train)[0], 5))
    return {**found, "accuracy": judged(task, state.params, data.test)[1]}


def _advance(
    task: Task,
    optimizer: Callable[..., Any],
    batch_size: int,
    state: _State,
    tokens: jax.Array,
    labels: jax.Array,
    *,
    rate: jax.Array,
    mark: jax.Array,
) -> _State:
    """Steps until the next would go beyond the mark."""
    tx = optimizer(rate)

    def goes_on(state: _State) -> jax.Array:
        coming = coming_values(optimizer(1.0), state.params, state.optimizer)
        return num_evaluations(state.optimizer) + coming <= mark

    def one_more(state: _State) -> _State:
        own = jax.random.fold_in(state.key, state.step)
        at = jax.random.randint(own, (batch_size,), 0, len(labels))
        return _step(task, tx, state, tokens[at], labels[at])

    return jax.lax.while_loop(goes_on, one_more, state)


def _step(task: Task, tx: Any, state: _State, tokens: jax.Array, labels: jax.Array) -> _State:
    zeros = jax.tree.map(jnp.zeros_like, state.params)
    updates, optimizer = tx.update(
        zeros, state.optimizer, state.params, value_fn=lambda p: task.value(p, tokens, labels)
    )
    params = optax.apply_updates(state.params, updates)
    return _State(params, optimizer, state.key, state.step + 1)


# --- times ---------------------------------------------------------------------------------------


def times_of(
    task: Task,
    methods: tuple[str, ...],
    subspace_dim: int,
    train: Snippets,
    batch_size: int,
    repeats: int,
) -> dict[str, Any]:
    """Time of a step over MeZO's, median over rounds (smallest, largest); over whole periods."""
    at = jnp.arange(batch_size) % len(train.labels)
    tokens, labels = jnp.asarray(train.tokens)[at], jnp.asarray(train.labels)[at]
    functions = {}
    for method in methods:
        tx = _optimizer(method, subspace_dim)(1e-6)
        start = _State(task.params, tx.init(task.params), jax.random.key(0), jnp.int32(0))

        @jax.jit
        def run(state: _State, tx: Any = tx) -> _State:
            return jax.lax.fori_loop(
                0, _TIMED_STEPS, lambda _, s: _step(task, tx, s, tokens, labels), state
            )

        functions[method] = partial(lambda run, start: run(start).params, run, start)
    functions["forward"] = jax.jit(lambda: task.value(task.params, tokens, labels))
    times = in_turns(functions, repeats)
    times = {
        name: seconds / (1 if name == "forward" else _TIMED_STEPS)
        for name, seconds in times.items()
    }
    base = times["mezo"] if "mezo" in times else times["forward"]
    return {
        name: [float(f(seconds / base)) for f in (np.median, np.min, np.max)]
        for name, seconds in times.items()
    }
