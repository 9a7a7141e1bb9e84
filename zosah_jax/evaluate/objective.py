"""The objective of a run: bound to its arguments, checked, and traced once.

Wherever values are asked, the objective runs from one traced program: the user's function is called
once, however many stages ask and however often an evaluator looks at the program. Two traces of the
same program are equal, whoever made the functions, and their constants are arguments of it: so a
run is compiled once for equal programs, and data that has changed since is seen.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import optax

from zosah_jax.bounds import Bounds, projected
from zosah_jax.evaluate.grouped.program import Op, perform
from zosah_jax.jaxprs import function, is_closed, is_literal, is_open
from zosah_jax.pytree import Params, widen, working_dtype

Objective = Callable[[Params], jax.Array]


class Traced:
    """A traced objective, without its constants; equal to another of the same program.

    Attributes:
        jaxpr: the program; its first inputs are the constants, then come the leaves of the point.
    """

    def __init__(self, jaxpr: Any) -> None:
        self.jaxpr = jaxpr
        self._structure = _structure(jaxpr)
        self._hash = hash(self._structure)

    def with_constants(self, constants: list[Any]) -> Objective:
        """The objective, a function of the parameters in float32 or wider."""
        program = function(self.jaxpr, constants)

        def value(point: Params) -> jax.Array:
            (found,) = program(*jax.tree.leaves(point))
            return found

        return value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Traced) and self._structure == other._structure

    def __hash__(self) -> int:
        return self._hash


def trace(
    value_fn: Callable[[Params], Any],
    params: Params,
    bounds: Bounds | None = None,
    value_shape: tuple[int, ...] = (),
) -> tuple[Traced, list[Any]]:
    """Trace an objective of points like the parameters; points are projected onto the bounds.

    Args:
        value_fn: params -> real value.
        params: pytree; only shapes and dtypes matter.
        bounds: or None.
        value_shape: shape that its value must have.

    Returns:
        The program and its constants.

    Raises:
        TypeError, ValueError: the value is not real, or of another shape.
    """
    checked = untraced(value_fn, params, bounds, value_shape)
    closed = jax.make_jaxpr(checked)(widen(params))
    if _jits_with_constants(closed.jaxpr):
        closed = jax.make_jaxpr(partial(_inlined, closed))(*jax.tree.leaves(widen(params)))
    return Traced(closed.jaxpr), list(closed.consts)


def traced(
    value_fn: Callable[[Params], Any],
    params: Params,
    bounds: Bounds | None = None,
    value_shape: tuple[int, ...] = (),
) -> Objective:
    """The objective with its constants; arguments as of `trace`."""
    program, constants = trace(value_fn, params, bounds, value_shape)
    return program.with_constants(constants)


def untraced(
    value_fn: Callable[[Params], Any],
    params: Params,
    bounds: Bounds | None = None,
    value_shape: tuple[int, ...] = (),
) -> Objective:
    """The objective, checked, and traced wherever it is called; arguments as of `trace`."""

    def checked(point: Params) -> jax.Array:
        return checked_value(value_fn, projected(bounds, point), params, value_shape)

    return checked


def checked_value(
    value_fn: Callable[[Params], Any],
    point: Params,
    params: Params,
    value_shape: tuple[int, ...] = (),
) -> jax.Array:
    """Value of the objective at a point, in the working dtype; refuses what is no real value."""
    try:
        value = value_fn(point)
    except Exception as error:
        if has_masked(params):
            raise ValueError(
                "params: the objective failed on parameters of which optax.masked or "
                "optax.partition has hidden some (MaskedNode). Pass value_fn="
                "zosah_jax.transforms.fill_masked(value_fn, params) with the whole parameters."
            ) from error
        raise
    wanted = "a real scalar" if value_shape == () else f"a real array of shape {value_shape}"
    if not jax.tree_util.all_leaves([value]):
        raise TypeError(f"value_fn: got a {type(value).__name__}, wanted {wanted} alone.")
    shape, dtype = jnp.shape(value), jnp.result_type(value)
    if shape != value_shape:
        which = "a scalar, shape ()" if value_shape == () else f"shape {value_shape}"
        raise ValueError(f"value_fn: got a value of shape {shape}, wanted {which}.")
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"value_fn: got a value of dtype {dtype}, wanted a real floating dtype.")
    return jnp.asarray(value).astype(working_dtype(params))


def has_masked(params: Params) -> bool:
    """Whether optax has hidden leaves of the parameters from a transformation."""
    leaves = jax.tree.leaves(params, is_leaf=lambda x: isinstance(x, optax.MaskedNode))
    return any(isinstance(leaf, optax.MaskedNode) for leaf in leaves)


def fill_masked(value_fn: Callable[..., Any], params: Params) -> Callable[..., Any]:
    """Objective of partly hidden parameters: the hidden leaves are filled in from `params`.

    `optax.masked` and `optax.partition` hand a transformation parameters in which frozen leaves
    are replaced by `MaskedNode`; the objective wants them whole.

    Args:
        value_fn: objective of the whole parameters.
        params: the whole parameters.

    Returns:
        An objective that takes the parameters with or without hidden leaves.

    Example:
        >>> import jax, jax.numpy as jnp, optax, zosah_jax
        >>> params = {"w": jnp.ones(2), "frozen": jnp.ones(2)}
        >>> f = lambda p: (p["w"] ** 2).sum() + p["frozen"].sum()
        >>> tx = optax.masked(zosah_jax.zosah(1.0), {"w": True, "frozen": False})
        >>> zeros = jax.tree.map(jnp.zeros_like, params)
        >>> value_fn = zosah_jax.transforms.fill_masked(f, params)
        >>> updates, _ = tx.update(zeros, tx.init(params), params, value_fn=value_fn)
        >>> [float(u) for u in updates["frozen"]]
        [0.0, 0.0]
    """

    def is_masked(node: Any) -> bool:
        return isinstance(node, optax.MaskedNode)

    def filled(point: Params, **extra: Any) -> Any:
        whole = jax.tree.map(
            lambda part, full: full if is_masked(part) else part, point, params, is_leaf=is_masked
        )
        return value_fn(whole, **extra)

    filled.__signature__ = inspect.signature(value_fn)  # type: ignore[attr-defined]
    return filled


def bind_extra(value_fn: Any, extra: dict[str, Any]) -> Callable[..., Any]:
    """Objective of the parameters alone: extra arguments of `update` that it names are bound.

    This is optax's own convention for the objectives of its line searches.
    """
    if value_fn is None:
        raise ValueError(
            "value_fn: got nothing, wanted the objective. Call "
            "tx.update(updates, state, params, value_fn=f) where f(params) is a scalar."
        )
    if not callable(value_fn):
        raise TypeError(f"value_fn: got {type(value_fn).__name__}, wanted a callable f(params).")
    try:
        names = list(inspect.signature(value_fn).parameters)[1:]
    except (TypeError, ValueError):  # some built-in callables have no signature
        return value_fn
    bound = {name: extra[name] for name in names if name in extra}
    return (lambda point: value_fn(point, **bound)) if bound else value_fn


# --- constants of jitted functions ----------------------------------------------------------------

_JIT = frozenset(["jit", "pjit"])


def _jits_with_constants(jaxpr: Any) -> bool:
    """Whether a program calls jitted functions that keep what they close over to themselves."""
    inner = [eqn.params["jaxpr"] for eqn in jaxpr.eqns if eqn.primitive.name in _JIT]
    return any(part.consts or _jits_with_constants(part.jaxpr) for part in inner)


def _inlined(closed: Any, *operands: Any) -> list[Any]:
    """Results of a program, such jitted functions inlined: their constants become its own."""
    jaxpr = closed.jaxpr
    names = (*jaxpr.constvars, *jaxpr.invars)
    values = dict(zip(names, (*closed.consts, *operands), strict=True))

    def value(atom: Any) -> Any:
        return atom.val if is_literal(atom) else values[atom]

    for eqn in jaxpr.eqns:
        given = [value(atom) for atom in eqn.invars]
        inner = eqn.params["jaxpr"] if eqn.primitive.name in _JIT else None
        if inner is not None and (inner.consts or _jits_with_constants(inner.jaxpr)):
            results = _inlined(inner, *given)
        else:
            results = perform(Op(eqn, (), ()), given)
        values.update(zip(eqn.outvars, results, strict=True))
    return [value(atom) for atom in jaxpr.outvars]


# --- when two programs are the same ---------------------------------------------------------------

# Operations that only wrap a program; what they add are rules of differentiation, which are made
# anew by every trace.
_DERIVATIVE_RULES = frozenset(["custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"])


class _Same:
    """Something that equals itself alone, and lives as long as what refers to it."""

    def __init__(self, what: Any) -> None:
        self.what = what

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.what is other.what

    def __hash__(self) -> int:
        return id(self.what)


def _structure(jaxpr: Any) -> tuple[Any, ...]:
    """A jaxpr as nested tuples that compare: its variables by number.

    Constants within (of a jitted function in a loop) are compared by their contents where they can
    be written to, else by identity.
    """
    number: dict[Any, int] = {}

    def define(variables: Any) -> tuple[Any, ...]:
        for var in variables:
            number[var] = len(number)
        return tuple(var.aval for var in variables)

    def use(atom: Any) -> Any:
        if is_literal(atom):
            return str(atom.aval), np.asarray(atom.val).tobytes()
        return number[atom]

    inputs = define([*jaxpr.constvars, *jaxpr.invars])
    lines = []
    for eqn in jaxpr.eqns:
        operands = tuple(map(use, eqn.invars))
        params = eqn.params
        if eqn.primitive.name in _DERIVATIVE_RULES:
            params = {k: v for k, v in params.items() if k in ("call_jaxpr", "fun_jaxpr")}
        parts = tuple((name, _comparable(value)) for name, value in sorted(params.items()))
        lines.append((eqn.primitive, operands, parts, define(eqn.outvars)))
    return inputs, tuple(lines), tuple(map(use, jaxpr.outvars))


def _comparable(param: Any) -> Any:
    if is_closed(param):
        return _structure(param.jaxpr), tuple(map(_constant, param.consts))
    if is_open(param):
        return _structure(param)
    if isinstance(param, tuple | list):
        return type(param), tuple(map(_comparable, param))
    if isinstance(param, dict):
        return tuple((key, _comparable(value)) for key, value in param.items())
    try:
        hash(param)
    except TypeError:
        return _Same(param)
    return param


def _constant(value: Any) -> Any:
    if isinstance(value, jax.Array):
        return _Same(value)
    array = np.asarray(value)
    return array.shape, str(array.dtype), array.tobytes()
