"""A method, compiled for the host: two functions a stage, none of which runs twice."""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.bounds import Bounds
from zosah_jax.drive import After, points_of, updates_of
from zosah_jax.faces.compiling import quick_options
from zosah_jax.method import Batch, Known, Method, Problem, values_per_stage, without_key
from zosah_jax.pytree import Params, working_dtype

_KEPT = 32  # compiled methods that are kept, the least recently used leave first


class Damping(NamedTuple):
    """How much of a step is taken.

    Attributes:
        share: part of it.
        before: an earlier value; a step is whole where the present one is smaller by more than
        clear: this much.
    """

    share: float
    before: float
    clear: float


WHOLE = Damping(1.0, 0.0, math.inf)


class Told(NamedTuple):
    """What the compiled half of `tell` returns."""

    params: Params
    state: Any
    after: Any
    value: jax.Array
    merit: jax.Array  # shape (n,)
    stage: jax.Array
    converged: jax.Array | None


class Program(NamedTuple):
    """A method, compiled: two functions a stage.

    Attributes:
        begin: (params, key, problem, known or None) -> the method's state, that of what comes
            after, the first stage.
        asks: of each stage, (state, params, problem) -> the batch and its points.
        tells: of each stage, see `_tell`.
        sizes: number of points of each stage.
        moves: whether each stage moves.
    """

    begin: Callable[..., tuple[Any, Any, jax.Array]]
    asks: tuple[Callable[..., tuple[Batch, Params]], ...]
    tells: tuple[Callable[..., Told], ...]
    sizes: tuple[int, ...]
    moves: tuple[bool, ...]


def program_of(method: Method, after: After, params: Params, bounds: Bounds | None) -> Program:
    """The compiled method; the same for equal options and shapes, whoever made them."""
    leaves, treedef = jax.tree.flatten((params, bounds))
    shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
    x64 = jax.config.jax_enable_x64  # type: ignore[attr-defined]
    return _program(without_key(method), after, treedef, shapes, x64)


@lru_cache(maxsize=_KEPT)
def _program(
    method: Method, after: After, treedef: Any, shapes: tuple[Any, ...], x64: bool
) -> Program:
    """Kept by options and shapes: key, noise, bounds and learning rate are arguments."""
    del x64  # of which the dtypes within depend
    leaves = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
    params, bounds = jax.tree.unflatten(treedef, leaves)
    problem = Problem(bounds, jax.ShapeDtypeStruct((), working_dtype(params)))  # type: ignore[arg-type]

    def begin(
        params: Params, key: jax.Array, problem: Problem, known: Known | None
    ) -> tuple[Any, Any, jax.Array]:
        state = method.init(params, key)
        if known is not None:
            state = method.informed(state, params, problem, known)
        return state, after.init(params), method.next_stage(state)

    moves = tuple(stage.moves for stage in method.stages(params))
    options = None if method.keeps_bits else quick_options()
    compiled = partial(jax.jit, compiler_options=options)
    numbers = range(len(moves))
    return Program(
        begin=compiled(begin),
        asks=tuple(compiled(partial(_ask, method, number)) for number in numbers),
        tells=tuple(compiled(partial(_tell, method, after, number)) for number in numbers),
        sizes=values_per_stage(method, params, problem),
        moves=moves,
    )


def _ask(
    method: Method, number: int, state: Any, params: Params, problem: Problem
) -> tuple[Batch, Params]:
    batch = method.stages(params)[number].ask(state, params, problem)
    return batch, points_of(batch, params, problem.bounds)


def _tell(
    method: Method,
    after: After,
    number: int,
    state: Any,
    params: Params,
    states: Any,
    problem: Problem,
    batch: Batch,
    values: jax.Array,
    rate: jax.Array,
    damping: jax.Array,
) -> Told:
    stage = method.stages(params)[number]
    outcome = stage.tell(state, params, problem, batch, values)
    if stage.moves:
        share, before, clear = damping
        gain = before - outcome.value.astype(damping.dtype)
        params, states = after.move(
            updates_of(method, outcome, params),
            states,
            params,
            rate=rate,
            value=outcome.value,
            bounds=problem.bounds,
            share=jnp.where(gain > clear, jnp.ones_like(share), share),
        )
    merit, following = method.merit(values), method.next_stage(outcome.state)
    converged = method.converged(outcome.state)
    return Told(params, outcome.state, states, outcome.value, merit, following, converged)
