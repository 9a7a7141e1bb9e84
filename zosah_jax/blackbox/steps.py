"""A step of an optimizer in two halves, compiled: what it asks, what it makes of the answers."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from zosah_jax.box import Box
from zosah_jax.params import Params
from zosah_jax.transcript import Transcript


def _update(tx: Any, script: Transcript, params: Params, state: Any) -> tuple[Any, Any]:
    zeros = jax.tree.map(jnp.zeros_like, params)
    return tx.update(zeros, state, params, value_fn=script)


def _with_clear_error(fun: Callable[..., Any]) -> Callable[..., Any]:
    """The function; where a wrapper runs `update` in a trace of its own, an error that says so."""

    def wrapped(*args: Any) -> Any:
        try:
            return fun(*args)
        except jax.errors.UnexpectedTracerError as error:
            raise ValueError(
                "tx: got this library's transformation within a wrapper that runs it in a control "
                "flow of its own (optax.MultiSteps, optax.conditionally_transform and the like), "
                "wanted such wrappers after it in an optax.chain: its points cannot be asked."
            ) from error

    return wrapped


@_with_clear_error
@partial(jax.jit, static_argnums=0)
def kinds_of(tx: Any, params: Params, state: Any) -> list[jax.Array]:
    """The kinds of step that the state of an optimizer calls for, as `Transcript` counts them."""
    script = Transcript(None, (), params, None)
    _update(tx, script, params, state)
    return script.found


@_with_clear_error
@partial(jax.jit, static_argnums=(0, 1, 2))
def ask(
    tx: Any,
    kinds: tuple[int, ...],
    number: int,
    params: Params,
    state: Any,
    told: tuple[jax.Array, ...],
    box: Box | None,
) -> Params:
    """The points of a round, with a leading axis of probes."""
    script = Transcript(kinds, told, params, box)
    _update(tx, script, params, state)
    return script.points[number]


@_with_clear_error
@partial(jax.jit, static_argnums=(0, 1))
def tell(
    tx: Any,
    kinds: tuple[int, ...],
    params: Params,
    state: Any,
    values: tuple[jax.Array, ...],
    box: Box | None,
) -> tuple[Params, Any, list[jax.Array]]:
    """The parameters after the step, the optimizer's state, and the kinds of the step to come."""
    updates, state = _update(tx, Transcript(kinds, values, params, box), params, state)
    moved = optax.apply_updates(params, updates)
    moved = moved if box is None else box.project(moved)
    script = Transcript(None, (), moved, None)
    _update(tx, script, moved, state)
    return moved, state, script.found


@lru_cache(maxsize=1024)
def round_sizes(
    tx: Any, kinds: tuple[int, ...], treedef: Any, shapes: tuple[jax.ShapeDtypeStruct, ...]
) -> tuple[int, ...]:
    """Number of points of each round; nothing is computed."""

    def points(params: Params, state: Any) -> list[Params]:
        script = Transcript(kinds, (), params, None)
        _update(tx, script, params, state)
        return script.points

    rounds = _with_clear_error(jax.eval_shape)(points, *jax.tree.unflatten(treedef, shapes))
    return tuple(jax.tree.leaves(round_)[0].shape[0] for round_ in rounds)
