"""Runs of a method side by side, compiled once: lanes of seeds, or of learning rates."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import zosah_jax
from experiments.benchmarks.subspaces.entries import Entry
from experiments.benchmarks.subspaces.tasks import Task, judge
from experiments.common.batches import batch_places
from zosah_jax.methods import METHODS


class Lane(NamedTuple):
    """All that a run needs to go on.

    Attributes:
        params: of the network.
        optimizer: of the method.
        key: of the batches.
        rate: learning rate.
        step: number of the coming step.
    """

    params: Any
    optimizer: Any
    key: jax.Array
    rate: jax.Array
    step: jax.Array


class Runs(NamedTuple):
    """Compiled runs of a method.

    Attributes:
        start: (seeds, rates) -> lanes.
        advance: (lanes, mark) -> lanes with as many values spent, and no step more.
        judge: lanes -> training losses and test accuracies.
    """

    start: Callable[[list[int], list[float]], Lane]
    advance: Callable[[Lane, int], Lane]
    judge: Callable[[Lane], tuple[jax.Array, jax.Array]]


def compiled(task: Task, entry: Entry, options: dict[str, Any]) -> Runs:
    """The runs of a method with its options, for any seeds and learning rates."""

    def optimizer(key: Any) -> Any:
        directions = zosah_jax.as_optax(METHODS[entry.method](**options, key=key))
        if entry.momentum is None:
            return directions
        return optax.chain(directions, optax.trace(entry.momentum))

    def start(seeds: list[int], rates: list[float]) -> Lane:
        made = [
            Lane(
                params := task.start(seed),  # type: ignore[arg-type]
                optimizer(seed).init(params),
                jax.random.key(seed),
                jnp.float32(rate),
                jnp.int32(0),
            )
            for seed, rate in zip(seeds, rates, strict=True)
        ]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *made)

    tx = optimizer(0)

    def step(train: Any, lane: Lane) -> Lane:
        images, labels = train
        if task.batch_size is not None:
            number = lane.step // entry.batch_steps
            places = batch_places(lane.key, number, task.batch_size, len(labels))
            images, labels = images[places], labels[places]
        updates, state = tx.update(
            None, lane.optimizer, lane.params, value_fn=lambda p: task.loss(p, images, labels)
        )
        moved = jax.tree.map(lambda leaf: -lane.rate.astype(leaf.dtype) * leaf, updates)
        params = optax.apply_updates(lane.params, moved)
        return lane._replace(params=params, optimizer=state, step=lane.step + 1)

    def advance(train: Any, lane: Lane, mark: jax.Array) -> Lane:
        def goes_on(lane: Lane) -> jax.Array:
            return zosah_jax.num_evaluations(lane.optimizer) < mark

        return jax.lax.while_loop(goes_on, lambda lane: step(train, lane), lane)

    train = jax.tree.map(jnp.asarray, tuple(task.train))
    together = jax.jit(jax.vmap(advance, in_axes=(None, 0, None)))
    judged = jax.jit(jax.vmap(lambda lane: judge(task, lane.params)))
    return Runs(start, lambda lane, mark: together(train, lane, jnp.uint32(mark)), judged)


class OutOfTime(Exception):
    """The time for all runs is over."""


def run(
    runs: Runs,
    seeds: list[int],
    rates: list[float],
    budget: int,
    every: int,
    until: float,
    enough: Callable[[np.ndarray, np.ndarray], bool] = lambda loss, accuracy: False,
    *,
    partly: bool = False,
) -> dict[str, Any]:
    """Lanes from their start to a budget, looked at in equal distances.

    Args:
        runs: of `compiled`.
        seeds: of the lanes.
        rates: of the lanes.
        budget: values of each.
        every: values between looks.
        until: `time.monotonic()` at which to give up.
        enough: whether all that is asked for was reached.
        partly: whether what there was time for is worth having; it is marked `cut`.

    Returns:
        For JSON: `spent` of every look; `loss` and `accuracy`, a list of lanes for each; `seconds`
        of the values alone, and of the first look, which compiles.

    Raises:
        OutOfTime: there is no time left, and a part is not wanted.
    """
    lane = runs.start(seeds, rates)
    found: dict[str, Any] = {"spent": [], "loss": [], "accuracy": [], "seconds": []}
    for mark in range(every, budget + 1, every):
        begun = time.monotonic()
        lane = jax.block_until_ready(runs.advance(lane, mark))
        took = time.monotonic() - begun
        loss, accuracy = (np.asarray(each, np.float64) for each in runs.judge(lane))
        spent = np.asarray(zosah_jax.num_evaluations(lane.optimizer))
        found["spent"].append([int(each) for each in spent])
        found["loss"].append([_number(each) for each in loss])
        found["accuracy"].append([_number(each) for each in accuracy])
        found["seconds"].append(round(took, 4))
        if enough(loss, accuracy):
            break
        if time.monotonic() > until:
            if not partly:
                raise OutOfTime
            found["cut"] = True
            break
    return found


def _number(value: float) -> float | None:
    return round(float(value), 5) if np.isfinite(value) else None
