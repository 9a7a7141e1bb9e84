"""The one protocol: a method decides where to look and what to make of what was seen.

    params, state --ask--> probes --answer--> values --tell--> updates, state

A method never calls the objective; that is an evaluator's work (`evaluate.py`). A face
(`transform.py`, `minimize.py`) joins the two.

Every round has a static number of probes, so that it compiles. A method whose steps differ in shape
(ZO-SAH looks wider at the first step of a period) lists several *kinds* of step; a method that
looks again within a step (a direction, then several step lengths) lists several *rounds* in a kind.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.params import Params
from zosah_jax.probes import CoordinateUpdate, Probes

State = Any  # a method's own state: a pytree of arrays with a field `key`


class Told(NamedTuple):
    """What a method makes of a round of values.

    Attributes:
        updates: pytree like the parameters, in the working dtype and the direction of a gradient
            (a learning rate with its minus sign comes after), or a description of one that moves
            a few coordinates; None in all but the last round.
        state: the method's next state.
        value: value of the objective at the parameters, or the method's estimate of it, scalar.
    """

    updates: Params | CoordinateUpdate | None
    state: State
    value: jax.Array


class Round(NamedTuple):
    """One look: probes out, values in.

    Attributes:
        ask: (state, params) -> probes. Deterministic: asked again, it answers the same.
        tell: (state, params, probes, values) -> Told. `values` has shape (number of probes,) and
            the working dtype; a value that is not finite is missing.
    """

    ask: Callable[[State, Params], Probes]
    tell: Callable[[State, Params, Any, jax.Array], Told]


class Method(NamedTuple):
    """A zeroth-order method.

    Attributes:
        init: (params) -> state; evaluates nothing.
        kinds: the kinds of step, each the tuple of its rounds in order.
        kind: (state) -> number of the kind of step that comes next, int32 scalar.
    """

    init: Callable[[Params], State]
    kinds: tuple[tuple[Round, ...], ...]
    kind: Callable[[State], jax.Array]


def one_kind(
    init: Callable[[Params], State],
    ask: Callable[[State, Params], Probes],
    tell: Callable[[State, Params, Any, jax.Array], Told],
) -> Method:
    """Method whose steps are all alike and take a single round."""
    return Method(init, ((Round(ask, tell),),), lambda state: jnp.zeros((), jnp.int32))


def values_per_step(method: Method, params: Params) -> tuple[int, ...]:
    """Number of values that one step of each kind takes; evaluates and computes nothing."""
    state = jax.eval_shape(method.init, params)

    def asked(round_: Round) -> int:
        return len(jax.eval_shape(round_.ask, state, params))

    return tuple(sum(asked(round_) for round_ in kind) for kind in method.kinds)
