"""Face 2: a jitted run with an exact budget."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import optax

from zosah_jax import counting
from zosah_jax.box import Box, Boxed, box_of
from zosah_jax.checks import check_count, check_number, typed_key
from zosah_jax.evaluate import checked_value
from zosah_jax.lanes import lane_by_lane
from zosah_jax.params import Params, check_params, widen, working_dtype
from zosah_jax.recommended import recommended
from zosah_jax.transform import is_zeroth_order, zeroth_order_states

PATIENCE = 10  # successive steps without a base value before a run is given up


class Status(IntEnum):
    """Why a run ended."""

    RUNNING = 0
    BUDGET_SPENT = 1
    TARGET_REACHED = 2
    NOT_FINITE = 3
    STOPPED = 4


_MESSAGES = {
    Status.RUNNING: "still running",
    Status.BUDGET_SPENT: "budget spent",
    Status.TARGET_REACHED: "target reached",
    Status.NOT_FINITE: "stopped: the objective has no finite value where the run stands",
    Status.STOPPED: "stopped by the callback",
}


class History(NamedTuple):
    """What was known after how many values.

    Where the run is traced (`jit`, `vmap`), entries that were not used hold NaN, inf and 0.

    Attributes:
        value: value at the parameters (NaN where missing), shape (n,).
        best_value: smallest value so far, shape (n,).
        num_evaluations: values spent when it was known, itself included, shape (n,).
    """

    value: Any
    best_value: Any
    num_evaluations: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Result:
    """What `minimize` found.

    Attributes:
        params: the last point, or the one that met the target; dtypes of `x0`.
        value: value of the objective there; NaN if it has none.
        best_params: the point with the smallest value among those that the run stood at.
        best_value: that value.
        num_evaluations: values of the objective spent, the last point's included.
        history: values against evaluations.
        status: why the run ended, a `Status`.
        state: the optimizer's last state.
    """

    params: Params
    value: jax.Array | np.ndarray
    best_params: Params
    best_value: jax.Array | np.ndarray
    num_evaluations: Any
    history: History
    status: Any
    state: Any

    @property
    def message(self) -> Any:
        """The status in words; of a batch of runs, a list."""
        return jax.tree.map(lambda s: _MESSAGES[Status(s)], np.asarray(self.status).tolist())


class _Run(NamedTuple):
    """Loop state.

    The history is thinned to every second entry, and the stride doubled, whenever it is full.
    """

    params: Params
    state: Any
    best_params: Params
    best_value: jax.Array
    history: History
    entries: jax.Array  # entries of the history that are in use
    stride: jax.Array  # steps from one entry to the next
    step: jax.Array
    silent: jax.Array  # successive steps without a base value
    status: jax.Array


class _Task(NamedTuple):
    """What is static about a run."""

    fun: Callable[[Params], Any]
    tx: optax.GradientTransformation
    budget: int
    capacity: int


def minimize(
    fun: Callable[[Params], Any],
    x0: Params,
    tx: optax.GradientTransformation | None = None,
    *,
    budget: int,
    target: float | None = None,
    bounds: Any = None,
    key: Any = None,
    max_history: int = 10_000,
) -> Result:
    """Minimise a JAX function from at most `budget` of its values.

    The run is one jitted loop of `tx.update`. It ends when the next step would not leave a value
    for the last point, or at a point whose value is at most `target`. Repeated calls with the same
    `fun` and `tx` objects do not compile again. Under `jax.vmap` over `x0`, `key` or what `fun`
    closes over, the runs follow one another, so that a run that has ended evaluates nothing.

    Args:
        fun: objective, params -> scalar, traceable by JAX.
        x0: pytree of real floating arrays.
        tx: a transformation of this library, or an optax chain around one. None: `zopqn()`, which
            needs the fewest values where `fun` is smooth and without noise
            (`experiments/fewer_values`), for at most 256 parameters without bounds, else
            `zosah()`, which has no dense model. Name `zosah()` for noise and mini-batches.
        budget: most values of `fun` to spend, a static int; base values and the last point's count.
        target: stop at a point with a value of at most this.
        bounds: (lower, upper), each a number or a pytree like `x0`: every point evaluated and every
            point that the run stands at is within them; static. None: no bounds.
        key: int or typed key that replaces the transformation's own; None keeps that.
        max_history: most entries of the history; longer runs keep every k-th step.

    Returns:
        A `Result`; unless traced, its history holds the steps taken and no padding.

    Raises:
        ValueError: the budget is below what one step takes, `tx` holds no transformation of
            this library, `x0` is outside the bounds, or the bounds are crossed.
        TypeError: an argument is of the wrong kind, by name.

    Example:
        >>> import jax, jax.numpy as jnp, zosah_jax
        >>> f = lambda x: ((x - jnp.arange(6.0)) ** 2).sum()
        >>> out = zosah_jax.minimize(f, jnp.zeros(6), budget=200)
        >>> bool(out.best_value < 1e-10), out.num_evaluations <= 200, out.message
        (True, True, 'budget spent')
        >>> runs = jax.vmap(lambda k: zosah_jax.minimize(f, jnp.zeros(6), budget=60, key=k))
        >>> runs(jax.random.split(jax.random.key(0), 3)).best_value.shape
        (3,)
    """
    check_params(x0)
    if not callable(fun):
        raise TypeError(f"fun: got {type(fun).__name__}, wanted a callable f(params).")
    check_count("budget", budget)
    check_count("max_history", max_history)
    if target is not None:
        check_number("target", target)
    if isinstance(budget, jax.core.Tracer):
        raise TypeError("budget: got a traced value, wanted an int (it sizes the history).")
    tx = recommended(x0, bounds is not None) if tx is None else tx
    if not isinstance(tx, optax.GradientTransformation):
        raise TypeError(f"tx: got {type(tx).__name__}, wanted an optax transformation or None.")
    box = None if bounds is None else _box(bounds, x0)
    x0 = jax.tree.map(jnp.asarray, x0)
    first = _first_cost(tx, x0)
    if budget < first + 1:
        raise ValueError(
            f"budget: got {budget}, wanted at least {first + 1}: the first step takes {first} "
            "values, and the last point one."
        )
    task = _Task(_hashable(fun), tx, int(budget), max(2, min(int(max_history), int(budget))))
    goal = None if target is None else jnp.asarray(target, working_dtype(x0))
    run, count = _run(task, x0, goal, None if key is None else typed_key(key), box)
    return _result(run, count)


def _box(bounds: Any, x0: Params) -> Box | None:
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((bounds, x0))):
        raise TypeError("bounds: got them with traced values, wanted x0 and bounds that are known.")
    return box_of(bounds, x0)


def _hashable(fun: Callable[[Params], Any]) -> Callable[[Params], Any]:
    try:
        hash(fun)
    except TypeError:
        return lambda params: fun(params)
    return fun


def _first_cost(tx: optax.GradientTransformation, x0: Params) -> int:
    """Values that the first step takes; known even where `x0` is traced, as only shapes matter."""
    with jax.ensure_compile_time_eval():
        state = tx.init(jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), x0))
        costs = [s.next_num_evaluations for s in zeroth_order_states(state)]
        if not costs:
            raise ValueError(
                "tx: got a transformation that asks for no function values, wanted one of this "
                "library's, or an optax chain around one."
            )
        return int(sum(costs))


@partial(jax.jit, static_argnums=0)
def _run(
    task: _Task, x0: Params, target: jax.Array | None, key: jax.Array | None, box: Box | None
) -> tuple[_Run, jax.Array]:
    return lane_by_lane(partial(_loop, task), x0, target, key, box)


def _loop(
    task: _Task, x0: Params, target: jax.Array | None, key: jax.Array | None, box: Box | None
) -> tuple[_Run, jax.Array]:
    """The run, and the count of its values."""
    task = task if box is None else task._replace(fun=Boxed(task.fun, box))
    dtype = working_dtype(x0)
    zero = jnp.zeros((), jnp.int32)
    run = _Run(
        params=x0,
        state=reseeded(task.tx.init(x0), key),
        best_params=x0,
        best_value=jnp.full((), jnp.inf, dtype),
        history=_blank_history(task.capacity, dtype),
        entries=zero,
        stride=zero + 1,
        step=zero,
        silent=zero,
        status=zero,
    )

    def goes_on(run: _Run) -> jax.Array:
        count, cost = _counted(run.state)
        fits = counting.at_most(counting.add(count, cost), task.budget - 1)
        return (run.status == Status.RUNNING) & fits

    run = jax.lax.while_loop(goes_on, partial(_step, task, target), run)
    return _last_value(task, target, run)


def _step(task: _Task, target: jax.Array | None, run: _Run) -> _Run:
    """One step, unless the target is met where the run stands."""
    count, cost = _counted(run.state)
    zeros = jax.tree.map(jnp.zeros_like, run.params)
    updates, state = task.tx.update(zeros, run.state, run.params, value_fn=task.fun)  # type: ignore[call-arg]
    info = zeroth_order_states(state)[0].info
    missing = ~jnp.isfinite(info.base_value)
    silent = jnp.where(missing, run.silent + 1, 0)
    lost = (silent >= PATIENCE) | ((run.step == 0) & (info.num_missing >= cost))
    met = _meets(info.base_value, target)
    run = _remember(run, info.base_value, counting.add(count, 1), always=met)
    moved = optax.apply_updates(run.params, updates)
    moved = task.fun.box.project(moved) if isinstance(task.fun, Boxed) else moved
    return run._replace(
        params=jax.tree.map(lambda old, new: jnp.where(met, old, new), run.params, moved),
        state=state,
        step=run.step + 1,
        silent=silent,
        status=_status(
            met, Status.TARGET_REACHED, _status(lost, Status.NOT_FINITE, Status.RUNNING)
        ),
    )


def _last_value(task: _Task, target: jax.Array | None, run: _Run) -> tuple[_Run, jax.Array]:
    """Spend the value that was kept for the last point, unless it is known already."""
    count, _ = _counted(run.state)

    def evaluate(run: _Run) -> tuple[_Run, jax.Array]:
        value = checked_value(task.fun, widen(run.params), run.params)
        spent = counting.add(count, 1)
        met = _meets(value, target)
        ended = _status(met, Status.TARGET_REACHED, Status.BUDGET_SPENT)
        status = jnp.where(run.status == Status.RUNNING, ended, run.status)
        run = _remember(run, value, spent, always=jnp.ones((), bool))
        return run._replace(status=status), spent

    known = run.status == Status.TARGET_REACHED
    return jax.lax.cond(known, lambda run: (run, count), evaluate, run)


def _remember(run: _Run, value: jax.Array, spent: jax.Array, always: jax.Array) -> _Run:
    """The run with its present point's value taken into the best and the history.

    The history takes every stride-th step, and one that is marked `always`: the last.
    """
    better = jnp.isfinite(value) & (value < run.best_value)
    best_value = jnp.where(better, value, run.best_value)
    run = run._replace(
        best_value=best_value,
        best_params=jax.tree.map(
            lambda best, here: jnp.where(better, here, best), run.best_params, run.params
        ),
    )
    full = run.entries == run.history.value.shape[0]
    run = jax.lax.cond(full, _thinned, lambda run: run, run)
    kept = always | (run.step % run.stride == 0)
    at = jnp.where(kept, run.entries, run.history.value.shape[0])  # beyond the end: dropped
    entry = History(value, best_value, spent)
    history = jax.tree.map(lambda all_, new: all_.at[at].set(new, mode="drop"), run.history, entry)
    return run._replace(history=history, entries=run.entries + kept.astype(jnp.int32))


def _blank_history(capacity: int, dtype: jax.typing.DTypeLike) -> History:
    return History(
        jnp.full(capacity, jnp.nan, dtype),
        jnp.full(capacity, jnp.inf, dtype),
        jnp.zeros((capacity, 2), jnp.uint32),
    )


def _thinned(run: _Run) -> _Run:
    """The run with every second entry of a full history."""
    capacity = run.history.value.shape[0]
    kept = -(-capacity // 2)
    blank = _blank_history(capacity, run.history.value.dtype)
    history = jax.tree.map(lambda all_, new: new.at[:kept].set(all_[::2]), run.history, blank)
    return run._replace(history=history, entries=run.entries * 0 + kept, stride=run.stride * 2)


def _meets(value: jax.Array, target: jax.Array | None) -> jax.Array:
    """Whether a value is there and at most the target; -inf is a missing value too."""
    if target is None:
        return jnp.zeros((), bool)
    return jnp.isfinite(value) & (value <= target)


def _status(condition: jax.Array, yes: Status, no: Status | jax.Array) -> jax.Array:
    return jnp.where(condition, yes, no).astype(jnp.int32)


def _counted(state: Any) -> tuple[jax.Array, jax.Array]:
    """Values spent, as two words, and values that the next step takes."""
    first, *others = zeroth_order_states(state)
    count, cost = first.num_evaluations, first.next_num_evaluations
    for other in others:
        # their counts fit one word: a run with several is a handful of blocks
        count = counting.add(count, other.num_evaluations[1])
        cost += other.next_num_evaluations
    return count, cost


def reseeded(state: Any, key: jax.Array | None) -> Any:
    """The optimizer state with the keys of this library's transformations replaced."""
    if key is None:
        return state
    nodes, treedef = jax.tree.flatten(state, is_leaf=is_zeroth_order)
    for number, node in enumerate(nodes):
        if is_zeroth_order(node):
            own = jax.random.fold_in(key, number) if number else key
            nodes[number] = node._replace(method=node.method._replace(key=own))
    return jax.tree.unflatten(treedef, nodes)


def _result(run: _Run, count: jax.Array) -> Result:
    traced = isinstance(count, jax.core.Tracer)
    used = slice(None) if traced else slice(0, int(run.entries))
    value, best, spent = (part[used] for part in run.history)
    last = jnp.where(run.entries > 0, run.entries - 1, 0)
    return Result(
        params=run.params,
        value=run.history.value[last],
        best_params=run.best_params,
        best_value=run.best_value,
        num_evaluations=counting.to_integer(count),
        history=History(value, best, counting.to_integer(spent)),
        status=run.status if traced else Status(int(run.status)),
        state=run.state,
    )
