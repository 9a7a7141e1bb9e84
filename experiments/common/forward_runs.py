"""A network trained by estimates of one kind or another, passes counted."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.common.forward_tasks import Data, Task
from zosah_jax.forward import num_passes, value_and_grad, with_feedback
from zosah_jax.forward.estimate import Options, direct_passes, outline, prepared


class Variant(NamedTuple):
    """A way to estimate the gradient.

    Attributes:
        label: in words.
        feedback: whether by `with_feedback`.
        options: of it.
    """

    label: str
    feedback: bool
    options: dict[str, Any]


VARIANTS = {
    "feedback": Variant("with feedback", True, {}),
    "feedback_4": Variant("with feedback, four noises a batch", True, {"num_noises": 4}),
    "noise": Variant("noise alone", False, {}),
    "noise_4": Variant("noise alone, four a batch", False, {"num_noises": 4}),
    "noise_only": Variant("noise alone, at the logits too", False, {"direct": 0.0}),
    "two_sided": Variant(
        "noise alone, at the logits too, two-sided", False, {"direct": 0.0, "two_sided": True}
    ),
    "backpropagation": Variant("backpropagation (a step counted as three passes)", False, {}),
}
"""By name."""


def passes_a_step(task: Task, name: str, data: Data) -> float:
    """Forward passes of the batch, the direct search for slopes included."""
    if name == "backpropagation":
        return 3.0
    variant = VARIANTS[name]
    options = {**dict(task.options), **variant.options}
    shapes = jax.eval_shape(task.init, jax.random.key(0))
    batch = (data.x[:2], data.y[:2])
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    two_sided, direct = options.get("two_sided", False), options.get("direct", 0.5)
    noise = Options(options.get("smoothing", 1e-2), two_sided, 1, direct)
    found = outline(task.losses, *prepared(zeros, batch), noise)
    clean = num_passes(two_sided=two_sided, num_noises=options.get("num_noises", 1))
    needless = two_sided and not direct and not variant.feedback
    return clean - needless + direct_passes(found)


def train(
    task: Task,
    name: str,
    data: Data,
    seeds: Sequence[int],
    passes: int,
    points: int,
    feedback_rate: float,
) -> list[dict[str, Any]]:
    """Runs of Adam with a rate that falls to zero, batches drawn anew.

    Returns:
        For each seed the passes spent and the test accuracy at each look, and the seconds in all,
        but for those of compiling.
    """
    price = passes_a_step(task, name, data)
    steps = max(points, int(passes / price))
    length = steps // points
    tx = optax.adam(optax.cosine_decay_schedule(task.rate, steps))
    learner = _learner(task, name, optax.cosine_decay_schedule(feedback_rate, steps))

    def advance(carry: Any, data: Data, keys: jax.Array, first: jax.Array) -> Any:
        def step(carry: Any, number: jax.Array) -> tuple[Any, None]:
            params, moments, state = carry
            own = jax.random.fold_in(keys[1], number)
            batch = _batch(task, data, jax.random.fold_in(keys[0], number))
            (_, estimate), state = learner.value_and_grad(params, state, own, *batch)
            updates, moments = tx.update(estimate, moments, params)
            return (optax.apply_updates(params, updates), moments, state), None

        carry, _ = jax.lax.scan(step, carry, first + jnp.arange(length))
        right = task.logits(carry[0], data.x_test).argmax(-1) == data.y_test
        return carry, right.mean()

    found, ready = [], None
    for seed in seeds:
        keys = jax.random.split(jax.random.key(seed), 3)
        params = task.init(keys[0])
        state = (params, tx.init(params), learner.init(params, *_batch(task, data, keys[1])))
        if ready is None:
            ready = jax.jit(advance).lower(state, data, keys[1:], jnp.asarray(0)).compile()
        begin, accuracy = time.perf_counter(), []
        for point in range(points):
            state, right = ready(state, data, keys[1:], jnp.asarray(point * length))
            accuracy.append(round(float(right), 4))
        spent = [round((point + 1) * length * price, 1) for point in range(points)]
        seconds = round(time.perf_counter() - begin, 1)
        found.append({"passes": spent, "accuracy": accuracy, "seconds": seconds})
    return found


def _batch(task: Task, data: Data, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    if task.batch is None:
        return data.x, data.y
    places = jax.random.randint(key, (task.batch,), 0, len(data.y))
    return data.x[places], data.y[places]


class _Learner(NamedTuple):
    init: Any
    value_and_grad: Any


def _learner(task: Task, name: str, feedback_rate: Any) -> Any:
    """Any variant in the form of `with_feedback`."""
    variant = VARIANTS[name]
    options = {**dict(task.options), **variant.options}
    if name != "backpropagation" and variant.feedback:
        return with_feedback(task.losses, feedback_rate=feedback_rate, **options)
    if name == "backpropagation":
        derivative = jax.value_and_grad(lambda params, *batch: task.losses(params, *batch).mean())

        def estimate(params: Any, key: Any, *batch: Any) -> Any:
            del key
            return derivative(params, *batch)
    else:
        estimate = value_and_grad(task.losses, **options)

    def with_state(params: Any, state: Any, key: Any, *batch: Any) -> Any:
        return estimate(params, key, *batch), state

    return _Learner(lambda params, *batch: (), with_state)


def reached(history: dict[str, Any], goal: float) -> int | None:
    """Passes until the test accuracy was first at a goal; None if it never was."""
    there = np.flatnonzero(np.array(history["accuracy"]) >= goal)
    return round(history["passes"][there[0]]) if there.size else None
