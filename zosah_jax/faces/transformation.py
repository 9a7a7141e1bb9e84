"""A method as an optax transformation: one update runs stages until the first that moves."""

import inspect
import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import optax

from zosah_jax.checks import typed_key
from zosah_jax.drive import Advance, advance, updates_of
from zosah_jax.evaluate.automatic import automatic
from zosah_jax.evaluate.evaluators import Evaluator, traces_itself
from zosah_jax.evaluate.objective import bind_extra, traced, untraced
from zosah_jax.method import Method, Problem, State, exact_problem
from zosah_jax.methods import METHODS
from zosah_jax.pytree import Params, check_params, working_dtype
from zosah_jax.switch import switch


class Info(NamedTuple):
    """What was seen at the last update; nothing depends on it.

    Attributes:
        base_value: value of the objective at the parameters before the update, scalar; inf before
            the first.
        num_missing: how many values of the update were not finite, int32.
    """

    base_value: jax.Array
    num_missing: jax.Array


class ZerothOrderState(NamedTuple):
    """State of any transformation of this library.

    Attributes:
        method: the method's own state.
        num_evaluations: values asked so far, uint32.
        info: what was seen at the last update.
    """

    method: State
    num_evaluations: jax.Array
    info: Info


class MethodTransformation(optax.GradientTransformationExtraArgs):
    """An optax transformation that says which method it is made of, and what comes after it.

    `minimize` and `AskTell` take it apart again: they run the method, not `update`.

    Attributes:
        method: the method.
        learning_rate: or a schedule of it; None of a bare direction (`scale_by_...`).
        evaluator: how its probes are answered.
    """

    method: Method
    learning_rate: optax.ScalarOrSchedule | None
    evaluator: Evaluator


def as_optax(
    method: Method,
    learning_rate: optax.ScalarOrSchedule | None = None,
    evaluator: Evaluator | None = None,
) -> MethodTransformation:
    """A method as an optax transformation.

    Its `update(updates, state, params, *, value_fn, problem=None)` ignores the incoming updates
    (zeros or None will do) and returns the method's. Call it under `jax.jit`: called bare, it is
    compiled anew at every step.

    Args:
        method: a `Method`.
        learning_rate: or a schedule of it: the updates are x <- x - learning_rate * direction.
            None: they are the direction, that of a gradient, for chains of your own.
        evaluator: how probes are answered; None picks by the size of the parameters.

    Returns:
        A `GradientTransformationExtraArgs`. Its state holds a `ZerothOrderState`.

    Raises:
        TypeError: an argument is of the wrong kind. In `update`: a parameter is not real floating,
            or `value_fn` no callable or not real-valued.
        ValueError: in `update`: `params` or `value_fn` is missing, or `value_fn` returns no scalar.

    Example:
        >>> import jax.numpy as jnp, optax, zosah_jax
        >>> tx = zosah_jax.as_optax(zosah_jax.methods.zosah(key=3), learning_rate=1.0)
        >>> x = jnp.ones(3)
        >>> updates, state = tx.update(None, tx.init(x), x, value_fn=lambda x: (x**2).sum())
        >>> bool((optax.apply_updates(x, updates) ** 2).sum() < 3)
        True
    """
    if not isinstance(method, Method):
        raise TypeError(
            f"method: got {type(method).__name__}, wanted a method (zosah_jax.methods)."
        )
    evaluator = automatic() if evaluator is None else evaluator
    if not callable(evaluator):
        raise TypeError(f"evaluator: got {type(evaluator).__name__}, wanted an evaluator or None.")
    tx = _direction(method, evaluator)
    if learning_rate is not None:
        tx = optax.chain(tx, optax.scale_by_learning_rate(learning_rate))
    found = MethodTransformation(tx.init, tx.update)
    found.method, found.learning_rate, found.evaluator = method, learning_rate, evaluator
    return found


def _direction(method: Method, evaluator: Evaluator) -> optax.GradientTransformationExtraArgs:
    def init(params: Params) -> ZerothOrderState:
        check_params(params)
        info = Info(jnp.full((), jnp.inf, working_dtype(params)), jnp.zeros((), jnp.int32))
        state = method.init(params, typed_key(method.key))
        return ZerothOrderState(state, jnp.zeros((), jnp.uint32), info)

    def update(
        updates: Any,
        state: ZerothOrderState,
        params: Params | None = None,
        *,
        value_fn: Any = None,
        problem: Problem | None = None,
        **extra: Any,
    ) -> tuple[Any, ZerothOrderState]:
        del updates
        check_params(params)
        problem = exact_problem(params) if problem is None else problem
        prepare = untraced if traces_itself(evaluator) else traced
        fun = bind_extra(value_fn, extra)
        objective = prepare(fun, params, problem.bounds, problem.value_shape)
        stages = method.stages(params)

        def take(number: int, before: ZerothOrderState) -> tuple[Advance, ZerothOrderState]:
            taken = advance(stages[number], before.method, params, problem, evaluator, objective)
            missing = jnp.sum(~jnp.isfinite(method.merit(taken.values))).astype(jnp.int32)
            count = before.num_evaluations + np.uint32(len(taken.batch.probes))
            info = Info(taken.outcome.value, before.info.num_missing + missing)
            return taken, ZerothOrderState(taken.outcome.state, count, info)

        def look(number: int, before: ZerothOrderState) -> ZerothOrderState:
            return take(number, before)[1]

        def move(number: int, before: ZerothOrderState) -> tuple[Params, ZerothOrderState]:
            taken, after = take(number, before)
            return updates_of(method, taken.outcome, params), after

        def among(numbers: list[int], state: ZerothOrderState) -> jax.Array:
            place = np.zeros(len(stages), np.int32)
            place[numbers] = np.arange(len(numbers))
            return jnp.asarray(place)[method.next_stage(state.method)]

        looks = [number for number, stage in enumerate(stages) if not stage.moves]
        moves = [number for number, stage in enumerate(stages) if stage.moves]
        state = state._replace(
            info=state.info._replace(num_missing=jnp.zeros_like(state.info.num_missing))
        )
        if looks:
            is_look = jnp.asarray([not stage.moves for stage in stages])
            state = jax.lax.while_loop(
                lambda state: is_look[method.next_stage(state.method)],
                lambda state: switch(among(looks, state), [partial(look, n) for n in looks], state),
                state,
            )
        return switch(among(moves, state), [partial(move, n) for n in moves], state)

    return optax.GradientTransformationExtraArgs(init, update)  # type: ignore[arg-type]


def taken_apart(method: Any) -> tuple[Method, optax.ScalarOrSchedule, Evaluator]:
    """Method, learning rate and evaluator of a method or of its optax form.

    Raises:
        TypeError: it is neither; a chain is told what to do.
    """
    if isinstance(method, Method):
        return method, 1.0, automatic()
    if isinstance(method, MethodTransformation):
        rate = 1.0 if method.learning_rate is None else method.learning_rate
        return method.method, rate, method.evaluator
    if isinstance(method, optax.GradientTransformation):
        raise TypeError(
            "method: got an optax chain or wrapper, wanted a method (zosah_jax.methods.zosah()) or "
            "its optax form (zosah_jax.zosah(1.0)) alone. What comes after it in the chain goes to "
            "post=, e.g. post=optax.trace(0.9); parameters are frozen by bounds with lower = upper."
        )
    raise TypeError(
        f"method: got {type(method).__name__}, wanted a method (zosah_jax.methods.zosah()), its "
        "optax form (zosah_jax.zosah(1.0)) or None."
    )


def zeroth_order_states(state: Any) -> list[ZerothOrderState]:
    """The states of this library's transformations within any optimizer state."""

    def is_one(node: Any) -> bool:
        return isinstance(node, ZerothOrderState)

    return [node for node in jax.tree.leaves(state, is_leaf=is_one) if is_one(node)]


def num_evaluations(state: Any) -> Any:
    """Values of the objective asked so far, by all transformations of this library in `state`.

    Args:
        state: any optimizer state that holds one: of a chain, a wrapper, a Flax TrainState.

    Returns:
        An int; of a batch of states a NumPy array; inside a jitted function uint32. The count of
        one transformation is exact below 2**32.

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
    counts = [as_count(node.num_evaluations) for node in zeroth_order_states(state)]
    if not counts:
        raise ValueError("state: got none that counts evaluations, wanted this library's.")
    return sum(counts[1:], start=counts[0])


def as_count(count: Any) -> Any:
    """A count as an int, or as a NumPy array of several; a traced one as it is."""
    if isinstance(count, jax.core.Tracer):
        return count
    whole = np.asarray(count).astype(np.int64)
    return int(whole) if whole.ndim == 0 else whole


# --- aliases --------------------------------------------------------------------------------------

_EVALUATOR = "evaluator: how probes are answered; None picks by the size of the parameters."
_RETURNS = (
    "A `GradientTransformationExtraArgs`; `update` wants `params` and the keyword `value_fn`. "
    "The state holds a `ZerothOrderState` around the method's own."
)


def scale_by(name: str) -> Callable[..., MethodTransformation]:
    """Constructor of the direction of a method: its options, and `evaluator`."""
    method = METHODS[name]

    def make(*args: Any, evaluator: Evaluator | None = None, **options: Any) -> Any:
        return as_optax(method(*args, **options), None, evaluator)

    return _described(make, method, f"scale_by_{name}", with_rate=False)


def optimizer(name: str) -> Callable[..., MethodTransformation]:
    """Constructor of a method as an optimizer: a learning rate, its options, and `evaluator`."""
    method = METHODS[name]
    option, default = method.learning_rate_option, method.default_learning_rate

    def make(
        learning_rate: optax.ScalarOrSchedule | None = default,
        *args: Any,
        evaluator: Evaluator | None = None,
        **options: Any,
    ) -> Any:
        if learning_rate is None:
            raise TypeError("learning_rate: got None, wanted a number or a schedule of it.")
        if option is not None:
            options[option] = learning_rate
        return as_optax(method(*args, **options), learning_rate, evaluator)

    return _described(make, method, name, with_rate=True)


def _described(make: Any, method: type[Method], name: str, *, with_rate: bool) -> Any:
    """The constructor with a signature and a docstring made of the method's."""
    empty, keyword = inspect.Parameter.empty, inspect.Parameter.KEYWORD_ONLY
    own = list(inspect.signature(method).parameters.values())
    if with_rate:
        own = [p for p in own if p.name != method.learning_rate_option]
        default = method.default_learning_rate
        rate = inspect.Parameter(
            "learning_rate",
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=empty if default is None else default,
        )
        own.insert(0, rate)
    own.append(inspect.Parameter("evaluator", keyword, default=None))
    make.__signature__ = inspect.Signature(own)
    make.__name__ = make.__qualname__ = name
    make.__module__ = "zosah_jax"
    make.__doc__ = _docstring(inspect.getdoc(method) or "", method if with_rate else None)
    return make


def _docstring(text: str, optimizer_of: type[Method] | None) -> str:
    """The method's docstring, with the arguments of the optax form and what that returns."""
    if optimizer_of is not None:
        if option := optimizer_of.learning_rate_option:  # it is the learning rate
            text = re.sub(rf"^    {option}: .*\n(?:     .*\n)*", "", text, flags=re.MULTILINE)
        first = "    learning_rate: or a schedule of it: x <- x - learning_rate * direction.\n"
        text = text.replace("Args:\n", "Args:\n" + first, 1)
    returns = f"    {_EVALUATOR}\n\nReturns:\n    {_RETURNS}\n\nRaises:\n"
    return text.replace("\nRaises:\n", returns, 1)
