"""Face 1: a method as an optax transformation (ask, answer, tell)."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from zosah_jax import counting
from zosah_jax.automatic import automatic
from zosah_jax.box import Box, Boxed
from zosah_jax.evaluate import Evaluator, bind_extra
from zosah_jax.lanes import lane_by_lane
from zosah_jax.method import Method, Round, State, values_per_step
from zosah_jax.params import Params, check_params, working_dtype
from zosah_jax.probes import CoordinateUpdate
from zosah_jax.transcript import Transcript


class Info(NamedTuple):
    """What was seen at the last step; nothing depends on it.

    Attributes:
        base_value: value of the objective at the parameters before the step, scalar; NaN before
            the first step.
        num_missing: how many values of the step were not finite, int32.
    """

    base_value: jax.Array
    num_missing: jax.Array


class ZerothOrderState(NamedTuple):
    """State of any transformation of this library.

    Attributes:
        method: the method's own state.
        num_evaluations: values asked so far, two uint32 words (read it with `num_evaluations`).
        next_num_evaluations: values that the next step will ask, int32.
        info: what was seen at the last step.
    """

    method: State
    num_evaluations: jax.Array
    next_num_evaluations: jax.Array
    info: Info


def as_transformation(
    method: Method, evaluator: Evaluator | None = None
) -> optax.GradientTransformationExtraArgs:
    """A method as an optax transformation.

    Its `update(updates, state, params, *, value_fn)` ignores the incoming updates (zeros or None
    will do) and returns the method's, in the dtypes of the parameters and the direction of a
    gradient. Call it under `jax.jit`: called bare, it is compiled anew at every step.

    Args:
        method: what to ask and what to make of the answers.
        evaluator: how to answer; None picks by the size of the parameters.

    Returns:
        A `GradientTransformationExtraArgs`.

    Raises:
        ValueError: `params` or `value_fn` is missing, or `value_fn` returns no scalar.
        TypeError: a parameter is not real floating, or `value_fn` no callable or not real-valued.
    """
    answer = automatic() if evaluator is None else evaluator
    if not callable(answer):
        raise TypeError(f"evaluator: got {type(answer).__name__}, wanted an evaluator or None.")

    def upcoming(state: State, params: Params) -> jax.Array:
        costs = jnp.asarray(values_per_step(method, params), jnp.int32)
        return costs[method.kind(state)]

    def init(params: Params) -> ZerothOrderState:
        check_params(params)
        state = method.init(params)
        info = Info(jnp.full((), jnp.nan, working_dtype(params)), jnp.zeros((), jnp.int32))
        return ZerothOrderState(state, counting.words(0), upcoming(state, params), info)

    def update(
        updates: Any,
        state: ZerothOrderState,
        params: Params | None = None,
        *,
        value_fn: Any = None,
        **extra: Any,
    ) -> tuple[Any, ZerothOrderState]:
        del updates
        check_params(params)
        box = value_fn.box if isinstance(value_fn, Boxed | Transcript) else None
        if isinstance(value_fn, Transcript):
            number = value_fn.enter(method, state.method)
            if number is None:
                return jax.tree.map(jnp.zeros_like, params), state
            step = partial(_take_step, method.kinds[number], state.method, params)
            new_updates, after, info = step(partial(value_fn.answer, params), box)
        else:
            objective = bind_extra(value_fn, extra)

            def run(kind: tuple[Round, ...], before: State) -> tuple[Params, State, Info]:
                return _take_step(kind, before, params, partial(answer, objective, params), box)

            new_updates, after, info = _switch(method, run, state.method)
        count = counting.add(state.num_evaluations, state.next_num_evaluations)
        return new_updates, ZerothOrderState(after, count, upcoming(after, params), info)

    return optax.GradientTransformationExtraArgs(init, update)  # type: ignore[arg-type]


def _switch(method: Method, run: Any, state: State) -> Any:
    """The step of the kind that the state calls for; the others' values are not evaluated."""
    if len(method.kinds) == 1:
        return run(method.kinds[0], state)
    branches = [partial(run, kind) for kind in method.kinds]
    return lane_by_lane(lambda s: jax.lax.switch(method.kind(s), branches, s), state)


def _take_step(
    kind: tuple[Round, ...], state: State, params: Params, answer: Any, box: Box | None
) -> tuple[Params, State, Info]:
    """Ask, answer, tell, for each round of a step."""
    missing, told = jnp.zeros((), jnp.int32), None
    for round_ in kind:
        probes = round_.ask(state, params)
        if box is not None:
            probes = box.confine(probes, params)
        values = answer(probes)
        told = round_.tell(state, params, probes, values)
        state = told.state
        missing += jnp.sum(~jnp.isfinite(values)).astype(jnp.int32)
    assert told is not None
    updates = told.updates
    if isinstance(updates, CoordinateUpdate):
        updates = updates.dense(params)
    updates = jax.tree.map(lambda u, p: u.astype(jnp.result_type(p)), updates, params)
    return updates, state, Info(told.value, missing)


def is_zeroth_order(node: Any) -> bool:
    """Whether a node of an optimizer state is the state of a transformation of this library."""
    return isinstance(node, ZerothOrderState)


def zeroth_order_states(state: Any) -> list[ZerothOrderState]:
    """The states of this library's transformations within any optimizer state."""
    nodes = jax.tree.leaves(state, is_leaf=is_zeroth_order)
    return [node for node in nodes if is_zeroth_order(node)]


def num_evaluations(state: Any) -> Any:
    """Values of the objective asked so far, by all transformations of this library in `state`.

    Args:
        state: any optimizer state that holds one: of a chain, a wrapper, a Flax TrainState.

    Returns:
        An int, exact beyond 2**32. Of a batch of states, a NumPy int64 array. Inside a jitted
        function, a uint32 that stops at 2**32 - 1.

    Raises:
        ValueError: there is none in `state`.

    Example:
        >>> import jax.numpy as jnp, optax, zosah_jax
        >>> tx = optax.chain(zosah_jax.scale_by_rspg(), optax.scale(-0.1))
        >>> x = jnp.ones(3)
        >>> _, state = tx.update(x, tx.init(x), x, value_fn=lambda x: (x**2).sum())
        >>> zosah_jax.num_evaluations(state)
        2
    """
    counts = [counting.to_integer(s.num_evaluations) for s in zeroth_order_states(state)]
    if not counts:
        raise ValueError("state: got none that counts evaluations, wanted this library's.")
    return sum(counts[1:], start=counts[0])
