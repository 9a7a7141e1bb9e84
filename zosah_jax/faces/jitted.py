"""A run as one compiled loop over a traced objective.

Its program is kept by what it is made of - the traced objective, the method's options, shapes - and
never by the identity of an object. Constants of the objective (data that it closes over), the
start, the key, the budget, the target, the bounds, the noise and the learning rate are its
arguments: none of them compiles it anew.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from zosah_jax.drive import PATIENCE, After, advance, point_of, updates_of
from zosah_jax.evaluate.evaluators import Evaluator, traces_itself
from zosah_jax.evaluate.objective import Objective, Traced, trace, untraced
from zosah_jax.faces.compiling import is_little_work, quick_options
from zosah_jax.faces.live import called_back, show, watched
from zosah_jax.faces.progress import Callback
from zosah_jax.faces.restarts import restart
from zosah_jax.faces.transformation import as_count
from zosah_jax.method import Known, Method, Problem, Stage, values_per_stage, without_key
from zosah_jax.pytree import Params, widen, working_dtype
from zosah_jax.result import History, Result, Status, is_success
from zosah_jax.switch import switch

HISTORY = 1000
"""Most entries of a history: one for every so many values."""
_KEPT = 32  # compiled runs that are kept; the least recently used leave first


class Plan(NamedTuple):
    """What a run is compiled for.

    Attributes:
        method: its key is not used.
        after: what comes after its direction.
        evaluator: how its probes are answered.
        whole_steps: whether its steps are taken as they are (a learning rate of 1 and nothing after
            it), so that a method that owns its x knows the value where the run stands.
        calls_back: whether a callback is told of every step.
        shows: whether a bar is.
        restarts: whether it begins again where it has converged.
    """

    method: Method
    after: After
    evaluator: Evaluator
    whole_steps: bool
    calls_back: bool
    shows: bool
    restarts: bool


class Inputs(NamedTuple):
    """What a run is given each time.

    Attributes:
        x0: where it begins.
        key: typed PRNG key.
        rate: the learning rate, where that is a number.
        budget: most values, uint32.
        target: the run ends at a value of at most this; -inf for none.
        problem: what is known of the objective.
        ticket: number of what watches the run, uint32.
        known: values that are there already, or None.
        restarts: most of them, uint32.
    """

    x0: Params
    key: jax.Array
    rate: jax.Array
    budget: jax.Array
    target: jax.Array
    problem: Problem
    ticket: jax.Array
    known: Known | None
    restarts: jax.Array


class _Run(NamedTuple):
    """Loop state."""

    params: Params
    state: Any
    after: Any
    best_params: Params
    best_value: jax.Array
    num_evaluations: jax.Array
    history: History
    steps: jax.Array
    silent: jax.Array  # successive batches without a value at the parameters
    restarts: jax.Array
    status: jax.Array


class _Found(NamedTuple):
    """What a batch brought."""

    state: Any
    updates: Params
    value: jax.Array
    best_params: Params
    best_value: jax.Array
    asked: jax.Array
    missing: jax.Array


_Ended = tuple[_Run, jax.Array]  # and the value at the last point, inf where it was not asked


def run(
    fun: Callable[[Params], Any],
    plan: Plan,
    inputs: Inputs,
    budget: int,
    has_target: bool,
    callback: Callback | None,
) -> Result:
    """Minimise a traceable function; see `minimize`."""
    if not (plan.calls_back or plan.shows):
        return _run(fun, plan, inputs, budget, has_target)
    with watched(callback, budget, plan.shows) as watcher:
        inputs = inputs._replace(ticket=watcher.ticket)
        return watcher.ended(_run(fun, plan, inputs, budget, has_target))


def _run(
    fun: Callable[[Params], Any], plan: Plan, inputs: Inputs, budget: int, has_target: bool
) -> Result:
    problem = inputs.problem
    plan = plan._replace(method=without_key(plan.method))
    if traces_itself(plan.evaluator):  # compiled anew at each call: nobody sees its program
        sizes = values_per_stage(plan.method, inputs.x0, problem)
        check_budget(budget, sizes[0])
        objective = untraced(fun, inputs.x0, problem.bounds, problem.value_shape)
        done = jax.jit(partial(_loop, plan, sizes, objective))(inputs)
        return _result(done, has_target, traced=isinstance(done[1], jax.core.Tracer))
    program, constants = trace(fun, inputs.x0, problem.bounds, problem.value_shape)
    leaves, treedef = jax.tree.flatten(inputs)
    if any(isinstance(leaf, jax.core.Tracer) for leaf in (*leaves, *constants)):
        sizes = values_per_stage(plan.method, inputs.x0, problem)
        check_budget(budget, sizes[0])
        done = _loop(plan, sizes, program.with_constants(constants), inputs)
        return _result(done, has_target, traced=True)
    shapes = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
    quick = not plan.method.keeps_bits and is_little_work(program.jaxpr, budget)
    compiled, sizes = _program(
        program, plan, treedef, shapes, quick, bool(jax.config.read("jax_enable_x64"))
    )
    check_budget(budget, sizes[0])
    return _result(compiled(constants, inputs), has_target, traced=False)


def check_budget(budget: int, first: int) -> None:
    """Refuse a budget that the first batch and the last point do not fit."""
    if budget < first + 1:
        raise ValueError(
            f"budget: got {budget}, wanted at least {first + 1}: the first step takes {first} "
            "values or more, and the last point one."
        )


@lru_cache(maxsize=_KEPT)
def _program(
    program: Traced, plan: Plan, treedef: Any, shapes: tuple[Any, ...], quick: bool, x64: bool
) -> tuple[Callable[..., _Ended], tuple[int, ...]]:
    """The compiled run, and the number of values of each stage."""
    del x64  # of which the shapes and dtypes within depend
    described = jax.tree.unflatten(treedef, [jax.ShapeDtypeStruct(*shape) for shape in shapes])
    sizes = values_per_stage(plan.method, described.x0, described.problem)

    def compiled(constants: list[Any], inputs: Inputs) -> _Ended:
        return _loop(plan, sizes, program.with_constants(constants), inputs)

    return jax.jit(compiled, compiler_options=quick_options() if quick else None), sizes


def _loop(plan: Plan, sizes: tuple[int, ...], objective: Objective, inputs: Inputs) -> _Ended:
    method, after, x0 = plan.method, plan.after, inputs.x0
    dtype = working_dtype(x0)
    stages = method.stages(x0)
    moves = [stage.moves for stage in stages]
    costs = jnp.asarray(sizes, jnp.uint32)
    state, least = method.init(x0, inputs.key), jnp.full((), jnp.inf, dtype)
    if inputs.known is not None:
        state = method.informed(state, x0, inputs.problem, inputs.known)
        least = jnp.min(inputs.known.values)
    knows_value = plan.whole_steps and method.position(state) is not None
    kept = np.uint32(0 if knows_value else 1)  # for the last point
    run = _Run(
        params=x0,
        state=state,
        after=after.init(x0),
        best_params=widen(x0),
        best_value=least,
        num_evaluations=jnp.zeros((), jnp.uint32),
        history=_blank_history(dtype),
        steps=jnp.zeros((), jnp.int32),
        silent=jnp.zeros((), jnp.int32),
        restarts=jnp.zeros((), jnp.uint32),
        status=jnp.full((), int(Status.RUNNING), jnp.int32),
    )

    def goes_on(run: _Run) -> jax.Array:
        cost = costs[method.next_stage(run.state)]
        fits = run.num_evaluations + cost + kept <= inputs.budget
        return (run.status == int(Status.RUNNING)) & fits

    def take(number: int, run: _Run) -> _Found:
        return _take(plan, stages[number], objective, inputs.problem, run)

    def step(run: _Run) -> _Run:
        number = method.next_stage(run.state)
        chosen = jnp.where(goes_on(run), number, -1)  # a lane of a vmap that has ended runs nothing
        found = switch(chosen, [partial(take, n) for n in range(len(stages))], run)
        moved = jnp.asarray(moves)[number]
        return _taken(plan, inputs, run, found, None if all(moves) else moved)

    run = jax.lax.while_loop(goes_on, step, run)
    if knows_value:
        position = method.position(run.state)
        assert position is not None
        ended = run.status == int(Status.RUNNING)
        status = jnp.where(ended, int(Status.BUDGET_SPENT), run.status).astype(jnp.int32)
        run = run._replace(status=status)
        if method.weighs_noise:  # the point of the least value is a lucky one
            found, best = position, (run.best_params, run.best_value)
            known = jnp.isfinite(position[1])
            found = jax.tree.map(lambda here, other: jnp.where(known, here, other), found, best)
            run = run._replace(best_params=found[0], best_value=found[1])
        return run, position[1]
    return _last_value(method, objective, inputs, run)


def _take(plan: Plan, stage: Stage, objective: Objective, problem: Problem, run: _Run) -> _Found:
    """One batch, and the best point of it if that is the best so far."""
    method = plan.method
    taken = advance(stage, run.state, run.params, problem, plan.evaluator, objective)
    merit = method.merit(taken.values)
    came = jnp.isfinite(merit)
    merit = jnp.where(came, merit, jnp.inf)
    least = jnp.argmin(merit)
    best = jax.lax.cond(
        merit[least] < run.best_value,
        lambda: point_of(taken.batch, least, run.params, problem.bounds),
        lambda: run.best_params,
    )
    updates = jax.tree.map(jnp.zeros_like, run.params)
    if stage.moves:
        updates = updates_of(method, taken.outcome, run.params)
    return _Found(
        state=taken.outcome.state,
        updates=updates,
        value=taken.outcome.value,
        best_params=best,
        best_value=jnp.minimum(run.best_value, merit[least]),
        asked=jnp.asarray(len(merit), jnp.uint32),
        missing=jnp.sum(~came).astype(jnp.uint32),
    )


def _taken(plan: Plan, inputs: Inputs, run: _Run, found: _Found, moved: Any) -> _Run:
    """The run after a batch; `moved` None: after a batch that moves, always."""

    def move(run: _Run) -> tuple[Params, Any]:
        return plan.after.move(
            found.updates,
            run.after,
            run.params,
            rate=inputs.rate,
            value=found.value,
            bounds=inputs.problem.bounds,
        )

    if moved is None:
        params, after = move(run)
    else:
        params, after = jax.lax.cond(moved, move, lambda run: (run.params, run.after), run)
    before, count = run.num_evaluations, run.num_evaluations + found.asked
    silent = jnp.where(jnp.isfinite(found.value), 0, run.silent + 1)
    nothing = (run.num_evaluations == 0) & (found.missing == found.asked)
    met = found.best_value <= inputs.target
    status = jnp.where((silent >= PATIENCE) | nothing, int(Status.NOT_FINITE), run.status)
    run = run._replace(
        params=params,
        state=found.state,
        after=after,
        best_params=found.best_params,
        best_value=found.best_value,
        num_evaluations=count,
        history=_noted(run.history, inputs.budget, found.value, found.best_value, count),
        steps=run.steps + (1 if moved is None else moved.astype(jnp.int32)),
        silent=silent.astype(jnp.int32),
    )
    if plan.shows:
        show(inputs.ticket, inputs.budget, before, count, run.best_value)
    if plan.calls_back:
        stops = jnp.zeros((), bool) if moved is None else ~moved
        told = (run.steps, run.best_params, run.best_value, run.params, found.value, count)
        stops = called_back(inputs.ticket, stops, told)
        status = jnp.where(stops, int(Status.STOPPED), status)
    if (converged := plan.method.converged(run.state)) is not None:
        again = jnp.zeros((), bool)
        if plan.restarts:
            again = converged & (run.restarts < inputs.restarts)
            run = jax.lax.cond(again, partial(_begun_again, plan, inputs), lambda run: run, run)
        status = jnp.where(converged & ~again, int(Status.CONVERGED), status)
    status = jnp.where(met, int(Status.TARGET_REACHED), status)
    return run._replace(status=status.astype(jnp.int32))


def _begun_again(plan: Plan, inputs: Inputs, run: _Run) -> _Run:
    """The run at another start; the best point and all counts stay."""
    params, key = restart(inputs.x0, inputs.problem.bounds, inputs.key, run.num_evaluations)
    return run._replace(
        params=params,
        state=plan.method.init(params, key),
        after=plan.after.init(params),
        silent=jnp.zeros((), jnp.int32),
        restarts=run.restarts + 1,
    )


def _last_value(method: Method, objective: Objective, inputs: Inputs, run: _Run) -> _Ended:
    """Spend the value that was kept for the last point, if the run spent its budget."""
    wide = widen(run.params)
    missing = jnp.full((), jnp.inf, run.best_value.dtype)
    ends = run.status == int(Status.RUNNING)
    value = jax.lax.cond(ends, lambda: method.merit(objective(wide)[None])[0], lambda: missing)
    better = value < run.best_value
    best_value = jnp.where(better, value, run.best_value)
    count = run.num_evaluations + ends.astype(jnp.uint32)
    met = best_value <= inputs.target
    ended = jnp.where(met, int(Status.TARGET_REACHED), int(Status.BUDGET_SPENT))
    noted = _noted(run.history, inputs.budget, value, best_value, count)
    run = run._replace(
        best_params=jax.tree.map(
            lambda here, best: jnp.where(better, here, best), wide, run.best_params
        ),
        best_value=best_value,
        num_evaluations=count,
        history=jax.tree.map(lambda new, old: jnp.where(ends, new, old), noted, run.history),
        status=jnp.where(ends, ended, run.status).astype(jnp.int32),
    )
    return run, value


def _blank_history(dtype: jax.typing.DTypeLike) -> History:
    return History(
        jnp.full(HISTORY, jnp.inf, dtype),
        jnp.full(HISTORY, jnp.inf, dtype),
        jnp.zeros(HISTORY, jnp.uint32),
    )


def _noted(
    history: History, budget: jax.Array, value: jax.Array, best: jax.Array, count: jax.Array
) -> History:
    """The history with an entry, in the place for so many values; the later of two stays."""
    stride = (budget + np.uint32(HISTORY - 1)) // np.uint32(HISTORY)
    place = (count - 1) // jnp.maximum(stride, 1)
    entry = History(value, best, count)
    return jax.tree.map(lambda all_, new: all_.at[place].set(new), history, entry)


def _result(ended: _Ended, has_target: bool, *, traced: bool) -> Result:
    """The result; what is not known is inf within (`jax_debug_nans`), and NaN here."""
    done, last_value = ended
    value, best, spent = done.history
    xp: Any = jnp if traced else np
    value, last_value = (xp.where(xp.isfinite(x), x, xp.nan) for x in (value, last_value))
    status, least = xp.asarray(done.status), xp.asarray(done.best_value)
    success = is_success(status, least, has_target)  # NumPy's arithmetic compiles nothing
    if not traced:
        used = np.asarray(spent) > 0
        value, best, spent = (np.asarray(part)[used] for part in (value, best, spent))
        status, success = Status(int(status)), bool(success)
    return Result(
        params=done.best_params,
        value=done.best_value,
        last_params=done.params,
        last_value=last_value,
        success=success,
        status=status,
        num_evaluations=as_count(done.num_evaluations),
        history=History(value, best, as_count(spent)),
        state=done.state,
    )
