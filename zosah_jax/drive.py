"""The driver: one batch of a method, and what becomes of its step. All faces run on it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from zosah_jax.bounds import Bounds, projected
from zosah_jax.evaluate.evaluators import Evaluator
from zosah_jax.evaluate.objective import Objective
from zosah_jax.method import Batch, Method, Outcome, Problem, Stage, State
from zosah_jax.probes import CoordinateUpdate
from zosah_jax.pytree import Params, widen

PATIENCE = 10  # successive batches without a value at the parameters before a run is given up


class Advance(NamedTuple):
    """One batch.

    Attributes:
        outcome: what the method made of it.
        batch: what was asked.
        values: what came, shape (n, *value_shape).
    """

    outcome: Outcome
    batch: Batch
    values: jax.Array


def advance(
    stage: Stage,
    state: State,
    params: Params,
    problem: Problem,
    evaluator: Evaluator,
    objective: Objective,
) -> Advance:
    """Ask, answer, tell."""
    batch = stage.ask(state, params, problem)
    values = evaluator(objective, origin_of(batch, params), batch.probes)
    return Advance(stage.tell(state, params, problem, batch, values), batch, values)


def origin_of(batch: Batch, params: Params) -> Params:
    """What the probes of a batch differ from."""
    return params if batch.origin is None else batch.origin


def points_of(batch: Batch, params: Params, bounds: Bounds | None) -> Params:
    """The points of a batch, with a leading axis, in float32 or wider."""
    origin = origin_of(batch, params)
    return jax.vmap(lambda probe: projected(bounds, probe.apply(origin)))(batch.probes)


def point_of(batch: Batch, number: jax.Array, params: Params, bounds: Bounds | None) -> Params:
    """A single point of a batch, in float32 or wider."""
    probe: Any = jax.tree.map(lambda x: x[number], batch.probes)
    return projected(bounds, probe.apply(origin_of(batch, params)))


def updates_of(method: Method, outcome: Outcome, params: Params) -> Params:
    """The step of an outcome as optax has it: like the parameters, in the direction of a gradient.

    A method that owns its x asks for whatever leads the parameters to where it stands. What is not
    finite (finite values may be as absurd as 1e300) means to stay.
    """
    position = method.position(outcome.state)
    if position is not None:
        step = jax.tree.map(jnp.subtract, widen(params), position[0])
    elif isinstance(outcome.step, CoordinateUpdate):
        step = outcome.step.dense(params)
    else:
        step = outcome.step

    def finite(u: jax.Array, p: jax.Array) -> jax.Array:
        u = u.astype(jnp.result_type(p))
        return jnp.where(jnp.isfinite(u), u, 0)

    return jax.tree.map(finite, step, params)


def check_post(post: Any) -> None:
    """Refuse what is neither an optax transformation nor None."""
    if post is not None and not isinstance(post, optax.GradientTransformation):
        raise TypeError(f"post: got {type(post).__name__}, wanted an optax transformation or None.")


class After(NamedTuple):
    """What comes after a method's direction; static.

    Attributes:
        schedule: of the learning rate, step -> rate; None where it is a number.
        post: an optax transformation that comes after the learning rate, or None.
    """

    schedule: Callable[[Any], Any] | None = None
    post: optax.GradientTransformation | None = None

    def _transformations(self) -> list[optax.GradientTransformationExtraArgs]:
        first = [] if self.schedule is None else [optax.scale_by_learning_rate(self.schedule)]
        last = [] if self.post is None else [self.post]
        return [optax.with_extra_args_support(tx) for tx in (*first, *last)]

    def init(self, params: Params) -> tuple[Any, ...]:
        """State of the schedule and of `post`."""
        return tuple(tx.init(params) for tx in self._transformations())

    def move(
        self,
        updates: Params,
        states: tuple[Any, ...],
        params: Params,
        *,
        rate: jax.Array,
        value: jax.Array,
        bounds: Bounds | None,
        share: jax.Array | None = None,
    ) -> tuple[Params, tuple[Any, ...]]:
        """The parameters after a step.

        Args:
            updates: the method's direction.
            states: what `init` or the step before returned.
            params: before the step.
            rate: the learning rate, where it is a number.
            value: at the parameters before the step; handed to `post` as `value=`.
            bounds: onto which the parameters are projected, or None.
            share: part of the step that is taken; None: all of it.

        Returns:
            The parameters and the states after it.
        """
        if self.schedule is None:
            updates = jax.tree.map(lambda u: -rate.astype(u.dtype) * u, updates)
        after = []
        for tx, state in zip(self._transformations(), states, strict=True):
            updates, state = tx.update(updates, state, params, value=value)
            after.append(state)
        if share is not None:
            updates = jax.tree.map(lambda u: share.astype(u.dtype) * u, updates)
        return projected(bounds, optax.apply_updates(params, updates)), tuple(after)
