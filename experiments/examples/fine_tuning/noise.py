"""Noise at the layers: each example its own, and Adam by what it tells of the gradient."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from experiments.examples.fine_tuning.runs import Data, Task, Tuning, judged
from zosah_jax.forward import num_passes, value_and_grad
from zosah_jax.forward.estimate import Options, direct_passes, outline, prepared
from zosah_jax.pytree import dimension

RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1)
"""Learning rates of Adam that are tried, as many as for each method."""

LABEL = "noise at the layers"

_SMOOTHING = 1e-2
_STEPS = 4  # between looks at the loss


def tuned(task: Task, data: Data, tuning: Tuning, bar: tqdm) -> dict[str, Any]:
    """The learning rate with the least training loss in the tuning, and runs with it."""
    price = passes_a_step(task, data)
    advance = jax.jit(partial(_advance, task, data.batch_size))
    first = (len(RATES) - min(tuning.grid_points, len(RATES))) // 2
    grid = RATES[first : first + tuning.grid_points]

    def run(rate: float, seed: int, passes: int) -> dict[str, Any]:
        bar.set_description(f"noise, d = {dimension(task.params)}")
        found = _run(task, partial(advance, rate=jnp.float32(rate)), data, seed, passes, price)
        bar.update()
        return found

    tried = {rate: run(rate, tuning.tuning_seed, tuning.tuning_budget)["loss"][-1] for rate in grid}
    best = min(grid, key=lambda rate: tried[rate] if np.isfinite(tried[rate]) else np.inf)
    return {
        "passes_a_step": price,
        "learning_rate": best,
        "at_edge": len(grid) > 1 and best in (grid[0], grid[-1]),
        "tuning": {f"{rate:g}": loss for rate, loss in tried.items()},
        "runs": [run(best, seed, tuning.budget) for seed in tuning.seeds],
    }


def passes_a_step(task: Task, data: Data) -> float:
    """Forward passes of the batch in a step, the direct search for slopes included."""
    size = data.batch_size
    batch = (jnp.asarray(data.train.tokens)[:size], jnp.asarray(data.train.labels)[:size])
    options = Options(_SMOOTHING, two_sided=False, num_noises=1, direct=0.5)
    found = outline(partial(_losses, task), *prepared(task.params, batch), options)
    return num_passes() + direct_passes(found)


def reached(run: dict[str, Any], goal: float) -> float | None:
    """Passes until the training loss was first at a goal; None if it never was."""
    return next((s for s, x in zip(run["spent"], run["loss"], strict=True) if x <= goal), None)


def _losses(task: Task, params: Any, tokens: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(task.logits(params, tokens), labels)


def _run(
    task: Task, advance: Any, data: Data, seed: int, passes: int, price: float
) -> dict[str, Any]:
    tokens, labels = jnp.asarray(data.train.tokens), jnp.asarray(data.train.labels)
    start = judged(task, task.params, data.train)[0]
    found: dict[str, list[Any]] = {"spent": [0.0], "steps": [0], "loss": [round(start, 5)]}
    params, moments = task.params, optax.adam(1.0).init(task.params)
    for steps in range(_STEPS, int(passes / price) + 1, _STEPS):
        params, moments = advance(
            params, moments, jax.random.key(seed), steps - _STEPS, tokens, labels
        )
        found["spent"].append(round(steps * price, 1))
        found["steps"].append(steps)
        found["loss"].append(round(judged(task, params, data.train)[0], 5))
    return {**found, "accuracy": judged(task, params, data.test)[1]}


def _advance(
    task: Task,
    batch_size: int,
    params: Any,
    moments: Any,
    key: jax.Array,
    first: jax.Array,
    tokens: jax.Array,
    labels: jax.Array,
    *,
    rate: jax.Array,
) -> tuple[Any, Any]:
    """A few steps; batches are those of the other methods' steps."""
    estimate_of = value_and_grad(partial(_losses, task), smoothing=_SMOOTHING)
    tx = optax.adam(rate)

    def step(carry: Any, number: jax.Array) -> tuple[Any, None]:
        params, moments = carry
        own = jax.random.fold_in(key, number)
        at = jax.random.randint(own, (batch_size,), 0, len(labels))
        noise = jax.random.fold_in(own, 1)
        _, estimate = estimate_of(params, noise, tokens[at], labels[at])
        updates, moments = tx.update(estimate, moments)
        return (optax.apply_updates(params, updates), moments), None

    return jax.lax.scan(step, (params, moments), first + jnp.arange(_STEPS))[0]
