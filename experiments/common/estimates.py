"""Runs of a network by estimates of the gradient, in the form of `training`: counted in passes."""

from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments.common import training
from experiments.common.errors import InputError
from experiments.common.image_data import ImageData, Part
from experiments.common.networks import NETWORKS, Shape
from experiments.common.training import Passes, Setting, State, Training
from zosah_jax.forward import num_passes, value_and_grad, with_feedback
from zosah_jax.integrations.flax import losses_fn, update_statistics


def backpropagation(losses_fn: Any) -> Any:
    """As `zosah_jax.forward.value_and_grad`, from the derivative."""
    derivative = jax.value_and_grad(lambda params, *batch: losses_fn(params, *batch).mean())
    return lambda params, key, *batch: derivative(params, *batch)


ESTIMATES: dict[str, Any] = {
    "forward": value_and_grad,
    "forward_feedback": with_feedback,
    "backpropagation": backpropagation,
}
"""Ways to train that are no method of the library; Adam makes steps of them."""

_BACKWARD = 3  # passes that a step of backpropagation is counted as
_NOISE = 1  # what is folded into the key of the batches for that of the noise


def prepare(setting: Setting, data: ImageData) -> Training:
    """Runs of a setting with any seed, by a method of the library or by an estimate.

    Runs by estimates that differ in seed, learning rate or budget alone are compiled once.

    Raises:
        InputError: as `training.prepare`.
    """
    if setting.method not in ESTIMATES:
        return training.prepare(setting, data)
    if setting.momentum is not None:
        raise InputError(
            f"momentum: got {setting.momentum}, wanted None for {setting.method}: it has Adam's."
        )
    total, height, width, channels = data.train.images.shape
    if setting.batch_size is not None and setting.batch_size > total:
        raise InputError(f"batch_size: got {setting.batch_size}, wanted at most {total} images.")
    same = replace(setting, budget=1, points=1, seed=0, learning_rate=1.0)
    try:
        price = _price(setting)
        ESTIMATES[setting.method](training.losses_of, **dict(setting.options))  # checks them
        run = _runs(same, (height, width, channels), data.classes)
    except (TypeError, ValueError) as error:
        raise InputError(f"{setting.method}: {error}") from error
    if price > setting.budget:
        raise InputError(
            f"budget: got {setting.budget}, wanted at least the {price} passes of a step of "
            f"{setting.method}."
        )
    train = jax.tree.map(jnp.asarray, data.train)

    def start(seed: int, learning_rate: float | None = None) -> State:
        state = run.start(seed, train)
        rate = setting.learning_rate if learning_rate is None else learning_rate
        return state._replace(rate=jnp.float32(rate))

    first = jax.eval_shape(partial(run.start, 0), train)
    return Training(
        start=start,
        dimension=sum(leaf.size for leaf in jax.tree.leaves(first.params)),
        advance=lambda state, mark: run.advance(
            train, state, np.uint32(mark), np.uint32(setting.budget)
        ),
        judge=partial(training.judge, run.mistakes, data.test),
        value=run.value,
        settle=run.settle,
    )


class _Runs:
    """What runs share that differ in seed, learning rate and budget alone."""

    def __init__(self, setting: Setting, shape: Shape, classes: int) -> None:
        self._setting, self._shape, self._classes = setting, shape, classes
        self._graphdef = graphdef = self._network(0)[0]
        self.advance = jax.jit(self._advance)
        self.mistakes = jax.jit(partial(training.mistakes, graphdef))
        self.value = jax.jit(partial(training.value, graphdef))
        self.settle = jax.jit(partial(training.settle, graphdef))

    def _network(self, seed: int) -> tuple[Any, Any, Any]:
        model = NETWORKS[self._setting.network](self._shape, self._classes, nnx.Rngs(seed))
        graphdef, params, others = nnx.split(model, nnx.Param, ...)
        return graphdef, nnx.as_pure(params), nnx.as_pure(others)

    def start(self, seed: int, train: Part) -> State:
        """The first state, at a learning rate of 1."""
        _, params, others = self._network(seed)
        like = [jnp.asarray(array[: self._setting.batch_size]) for array in train]
        feedback = _Learner(self._setting).init(self._losses(params, others), params, *like)
        moments = _adam(self._setting).init(params)
        return State(
            params,
            others,
            Passes(moments, feedback, jnp.uint32(0)),
            key=jax.random.key(seed),
            step=jnp.int32(0),
            rate=jnp.float32(1),
            loss=jnp.float32(jnp.nan),
        )

    def _losses(self, params: Any, others: Any) -> Any:
        return losses_fn(nnx.merge(self._graphdef, params, others), training.losses_of)

    def _advance(self, train: Part, state: State, mark: jax.Array, budget: jax.Array) -> State:
        """Steps until the mark is reached or the next step would exceed the budget."""
        price = np.uint32(_price(self._setting))

        def goes_on(carry: tuple[State, jax.Array]) -> jax.Array:
            count = carry[0].optimizer.spent
            return (count < mark) & (count + price <= budget)

        def one_more(carry: tuple[State, jax.Array]) -> tuple[State, jax.Array]:
            before, steps = carry
            after = self._step(train, before, budget)
            mean = before.loss + (after.loss - before.loss) / (steps + 1)
            return after._replace(loss=jnp.where(steps == 0, after.loss, mean)), steps + 1

        return jax.lax.while_loop(goes_on, one_more, (state, jnp.float32(0)))[0]

    def _step(self, train: Part, state: State, budget: jax.Array) -> State:
        """One step, and a pass that moves the BatchNorm statistics on."""
        batch, own = training.batch_of(self._setting, train, state), state.optimizer
        key = jax.random.fold_in(jax.random.fold_in(state.key, _NOISE), state.step)
        losses = self._losses(state.params, state.others)
        learner = _Learner(self._setting)
        (loss, estimate), feedback = learner.value_and_grad(
            losses, state.params, own.feedback, key, *batch
        )
        direction, moments = _adam(self._setting).update(estimate, own.moments, state.params)
        part = own.spent.astype(jnp.float32) / budget.astype(jnp.float32)
        falls = self._setting.schedule == "cosine"
        rate = state.rate * (0.5 * (1 + jnp.cos(jnp.float32(np.pi) * part)) if falls else 1)
        params = optax.apply_updates(
            state.params, jax.tree.map(lambda leaf: -rate.astype(leaf.dtype) * leaf, direction)
        )
        model = nnx.merge(self._graphdef, params, state.others)
        update_statistics(model, training.loss_fn, *batch)
        return state._replace(
            params=params,
            others=nnx.as_pure(nnx.state(model, nnx.Not(nnx.Param))),
            optimizer=Passes(moments, feedback, own.spent + np.uint32(_price(self._setting))),
            step=state.step + 1,
            loss=loss.astype(jnp.float32),
        )


@lru_cache(maxsize=8)  # so that runs which differ in what is no shape find what was compiled
def _runs(setting: Setting, shape: Shape, classes: int) -> _Runs:
    return _Runs(setting, shape, classes)


class _Learner:
    """Any way to estimate: (losses, params, state, key, *batch) -> ((loss, estimate), state)."""

    def __init__(self, setting: Setting) -> None:
        self._make, self._options = ESTIMATES[setting.method], dict(setting.options)
        self._learns = self._make is with_feedback

    def init(self, losses: Any, params: Any, *batch: Any) -> Any:
        if not self._learns:
            return ()
        return self._make(losses, **self._options).init(params, *batch)

    def value_and_grad(self, losses: Any, params: Any, state: Any, key: Any, *batch: Any) -> Any:
        made = self._make(losses, **self._options)
        if self._learns:
            return made.value_and_grad(params, state, key, *batch)
        return made(params, key, *batch), state


def _adam(setting: Setting) -> optax.GradientTransformation:
    parts = [optax.scale_by_adam()]
    if setting.weight_decay is not None:
        parts.append(optax.add_decayed_weights(setting.weight_decay))
    return optax.chain(*parts)


def _price(setting: Setting) -> int:
    """Passes that a step is counted as; slopes found directly, a part of a pass, are not."""
    if setting.method == "backpropagation":
        return _BACKWARD
    options = dict(setting.options)
    counted = {name: options[name] for name in ("two_sided", "num_noises") if name in options}
    return num_passes(**counted)
