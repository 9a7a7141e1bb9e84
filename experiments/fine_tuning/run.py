"""The measurement: pretrain once, fine-tune by every method, and time their steps in turns."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from experiments.fine_tuning.model import (
    Pretrained,
    adapted,
    adapters,
    label_logits,
    layer_of,
    pretrain,
)
from experiments.fine_tuning.text import Snippets, corpora, snippets
from experiments.timing import in_turns
from zosah_jax import METHODS, num_evaluations, one_by_one
from zosah_jax.params import dimension
from zosah_jax.transform import zeroth_order_states

GRIDS = {
    "mezo": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
    "mezo_bcd": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1),
    "hizoo": (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3),
    "fzoo": (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3),
    "zosah": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
}
"""Learning rates that are tried, as many for each method: they are of different units."""

_POINTS = 10  # at which a run is looked at
_RANK_SCALE = 2.0
_CEILING_RATES = (3e-4, 1e-3, 3e-3, 1e-2)
_CEILING_STEPS = 200


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


def measure(
    *,
    methods: tuple[str, ...],
    width: int,
    layers: int,
    length: int,
    pretraining_steps: int,
    rank: int,
    subspace_dim: int,
    examples: int,
    batch_size: int,
    budget: int,
    tuning_budget: int,
    grid_points: int,
    tuning_seed: int,
    seeds: tuple[int, ...],
    timed_batches: tuple[int, ...],
    repeats: int,
) -> dict[str, Any]:
    """Pretrain, fine-tune, time.

    Args:
        methods: by name.
        width: of the model.
        layers: of the model.
        length: bytes of a snippet and the byte that asks for its label.
        pretraining_steps: by backpropagation.
        rank: of the adapters.
        subspace_dim: ZO-SAH's m.
        examples: snippets of each kind to learn from.
        batch_size: snippets of a value.
        budget: values of a run.
        tuning_budget: values of a run of the tuning.
        grid_points: learning rates tried for each method, from the middle of its grid outwards.
        tuning_seed: on which they are tried.
        seeds: that are reported.
        timed_batches: batch sizes at which steps are timed.
        repeats: rounds of the timing.

    Returns:
        For JSON: accuracy, values and losses by method and by what is trained; times of a step.
    """
    found = corpora()
    model = pretrain(
        [corpus.train for corpus in found.values()],
        width=width,
        layers=layers,
        heads=4,
        length=length,
        steps=pretraining_steps,
        batch_size=32,
        learning_rate=3e-3,
        seed=0,
    )
    train = snippets(found, "train", examples, length - 1, seed=1)
    test = snippets(found, "test", 100, length - 1, seed=2)
    tasks = {"all weights": _whole(model), "adapters": _low_rank(model, rank)}
    total = len(tasks) * len(methods) * (grid_points + len(seeds))
    results: dict[str, Any] = {
        "kinds": {n: len(c.train.tokens) + len(c.test.tokens) for n, c in found.items()},
        "pretraining_loss": model.loss,
        "title_loss": model.title_loss,
        "examples": len(train.labels),
        "test": len(test.labels),
        "budget": budget,
        "tuning_budget": tuning_budget,
        "seeds": list(seeds),
        "tuning_seed": tuning_seed,
        "trained": {},
    }
    with tqdm(total=total, unit="run") as bar:
        for name, task in tasks.items():
            start = _judged(task, task.params, test)
            entry: dict[str, Any] = {
                "dimension": dimension(task.params),
                "accuracy_at_start": start[1],
                "ceiling": _ceiling(task, train, test, batch_size, tuning_seed),
            }
            entry["methods"] = {
                method: _tuned(
                    task,
                    method,
                    subspace_dim,
                    train,
                    test,
                    batch_size,
                    budget,
                    tuning_budget,
                    _middle(GRIDS[method], grid_points),
                    tuning_seed,
                    seeds,
                    bar,
                )
                for method in methods
            }
            results["trained"][name] = entry | {"steps_to_the_loss_of_mezo": _steps(entry)}
    results["times"] = {
        str(size): _times(tasks["all weights"], methods, subspace_dim, train, size, repeats)
        for size in timed_batches
    }
    results["tokens_of_a_value"] = {str(size): size * length for size in timed_batches}
    return results


def _middle(grid: tuple[float, ...], points: int) -> tuple[float, ...]:
    first = (len(grid) - min(points, len(grid))) // 2
    return grid[first : first + points]


# --- what is trained -----------------------------------------------------------------------------


def _whole(model: Pretrained) -> Task:
    return _task(model.params, partial(label_logits, model))


def _low_rank(model: Pretrained, rank: int) -> Task:
    def logits(own: Any, tokens: jax.Array) -> jax.Array:
        return label_logits(model, adapted(model.params, own, _RANK_SCALE), tokens)

    return _task(adapters(model.params, rank, seed=0), logits)


def _task(params: Any, logits: Callable[[Any, jax.Array], jax.Array]) -> Task:
    def value(params: Any, tokens: jax.Array, labels: jax.Array) -> jax.Array:
        each = optax.softmax_cross_entropy_with_integer_labels(logits(params, tokens), labels)
        return jnp.mean(each)

    return Task(params, value, jax.jit(logits))


def _judged(task: Task, params: Any, test: Snippets) -> tuple[float, float]:
    """Loss and accuracy; they are no values, as no method sees them."""
    logits = task.logits(params, jnp.asarray(test.tokens))
    each = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(test.labels))
    right = np.argmax(np.asarray(logits), axis=-1) == test.labels
    return float(jnp.mean(each)), float(np.mean(right))


def _ceiling(
    task: Task, train: Snippets, test: Snippets, batch_size: int, seed: int
) -> dict[str, Any]:
    """What backpropagation and Adam make of the same task: the rate with the least training loss.

    Its passes are no values, and it is no competitor: it says what there is to be had.
    """
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
    best = min(found, key=lambda rate: _judged(task, found[rate], train)[0])
    return {
        "learning_rate": best,
        "steps": _CEILING_STEPS,
        "loss": _judged(task, found[best], train)[0],
        "accuracy": _judged(task, found[best], test)[1],
    }


# --- runs ----------------------------------------------------------------------------------------


def _constructor(method: str, subspace_dim: int) -> Callable[..., Any]:
    options: dict[str, dict[str, Any]] = {
        "zosah": {"subspace_dim": subspace_dim},
        "mezo_bcd": {"blocks": layer_of},
    }
    # one by one, as MeZO-BCD needs it, and as a step's memory is to be that of a forward pass
    return partial(METHODS[method], evaluator=one_by_one(), **options.get(method, {}))


def _tuned(
    task: Task,
    method: str,
    subspace_dim: int,
    train: Snippets,
    test: Snippets,
    batch_size: int,
    budget: int,
    tuning_budget: int,
    grid: tuple[float, ...],
    tuning_seed: int,
    seeds: tuple[int, ...],
    bar: tqdm,
) -> dict[str, Any]:
    """The learning rate with the least training loss in the tuning, and runs with it."""
    advance = jax.jit(partial(_advance, task, _constructor(method, subspace_dim), batch_size))

    def run(rate: float, seed: int, values: int) -> dict[str, Any]:
        bar.set_description(f"{method}, d = {dimension(task.params)}")
        result = _run(task, advance, method, subspace_dim, rate, seed, train, test, values)
        bar.update()
        return result

    tried = {rate: run(rate, tuning_seed, tuning_budget)["loss"][-1] for rate in grid}
    best = min(grid, key=lambda rate: tried[rate] if np.isfinite(tried[rate]) else np.inf)
    runs = [run(best, seed, budget) for seed in seeds]
    return {
        "learning_rate": best,
        "at_edge": len(grid) > 1 and best in (grid[0], grid[-1]),
        "tuning": {f"{rate:g}": loss for rate, loss in tried.items()},
        "runs": runs,
    }


class _State(NamedTuple):
    params: Any
    optimizer: Any
    key: jax.Array
    step: jax.Array


def _run(
    task: Task,
    advance: Any,
    method: str,
    subspace_dim: int,
    rate: float,
    seed: int,
    train: Snippets,
    test: Snippets,
    budget: int,
) -> dict[str, Any]:
    key = jax.random.key(seed)
    optimizer = _constructor(method, subspace_dim)(1.0, key=seed).init(task.params)
    state = _State(task.params, optimizer, key, jnp.int32(0))
    tokens, labels = jnp.asarray(train.tokens), jnp.asarray(train.labels)
    found: dict[str, list[Any]] = {"spent": [], "steps": [], "loss": []}
    for mark in np.linspace(0, budget, _POINTS + 1).astype(int):
        state = advance(state, tokens, labels, jnp.float32(rate), jnp.uint32(mark))
        found["spent"].append(num_evaluations(state.optimizer))
        found["steps"].append(int(state.step))
        found["loss"].append(round(_judged(task, state.params, train)[0], 5))
    return {**found, "accuracy": _judged(task, state.params, test)[1]}


def _advance(
    task: Task,
    constructor: Callable[..., Any],
    batch_size: int,
    state: _State,
    tokens: jax.Array,
    labels: jax.Array,
    rate: jax.Array,
    mark: jax.Array,
) -> _State:
    """Steps until the next would go beyond the mark."""
    tx = constructor(rate)

    def goes_on(state: _State) -> jax.Array:
        coming = zeroth_order_states(state.optimizer)[0].next_num_evaluations
        return num_evaluations(state.optimizer) + coming.astype(jnp.uint32) <= mark

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


def _steps(entry: dict[str, Any]) -> dict[str, Any] | None:
    """Steps of MeZO and MeZO-BCD to the loss at which the worst of their runs ended, by seed."""
    pair = ("mezo", "mezo_bcd")
    if not all(name in entry["methods"] for name in pair):
        return None
    runs = {name: entry["methods"][name]["runs"] for name in pair}
    goal = max(min(run["loss"]) for name in pair for run in runs[name])
    steps = {
        name: [
            next(s for s, loss in zip(run["steps"], run["loss"], strict=True) if loss <= goal)
            for run in runs[name]
        ]
        for name in pair
    }
    return {"loss": goal, **steps}


# --- times ---------------------------------------------------------------------------------------


def _times(
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
        tx = _constructor(method, subspace_dim)(1e-6)
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


_TIMED_STEPS = 20  # whole periods of ZO-SAH, and of the blocks of up to three decoder layers
