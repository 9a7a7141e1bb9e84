"""How probes are answered. An evaluator never knows which method asks.

    evaluator(value_fn, params, probes) -> values, shape (number of probes,)

Every evaluator answers every probe exactly once. Those here call the objective for each. Further
ones: `grouped/` redoes only what a probe changes, `sharded.py` shares probes out over devices, and
`automatic.py` chooses.
"""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from zosah_jax.checks import check_count
from zosah_jax.params import Params, working_dtype
from zosah_jax.probes import Probes, set_alike_apart

ValueFn = Callable[..., Any]
Evaluator = Callable[[ValueFn, Params, Probes], jax.Array]


def in_chunks(size: int) -> Evaluator:
    r"""Evaluator that answers `size` probes at a time, each on its own copy of the parameters.

    Args:
        size: probes in a chunk (static). 1 is one by one, with the least memory. The remainder
            of a division is a smaller chunk: nothing is evaluated that is not asked.

    Returns:
        An evaluator.

    Raises:
        TypeError, ValueError: `size` is no positive int.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> tx = zosah_jax.zosah(1.0, evaluator=zosah_jax.in_chunks(8))
        >>> out = zosah_jax.minimize(lambda x: (x**2).sum(), jnp.ones(4), tx, budget=40)
        >>> bool(out.best_value < 1e-6)
        True
    """
    check_count("size", size)

    def evaluate(value_fn: ValueFn, params: Params, probes: Probes) -> jax.Array:
        each, whole = set_alike_apart(probes)

        def answer(probe: Any) -> jax.Array:
            return checked_value(value_fn, whole(probe).apply(params), params)

        if size >= len(probes):
            return jax.vmap(answer)(each)
        return jax.lax.map(answer, each, batch_size=size if size > 1 else None)

    return evaluate


def one_by_one() -> Evaluator:
    """Evaluator that answers one probe after another: the memory of a single evaluation."""
    return in_chunks(1)


def all_at_once() -> Evaluator:
    """Evaluator that answers a round in one batch, with as many copies of the parameters."""

    def evaluate(value_fn: ValueFn, params: Params, probes: Probes) -> jax.Array:
        return in_chunks(len(probes))(value_fn, params, probes)

    return evaluate


def checked_value(value_fn: ValueFn, point: Params, params: Params) -> jax.Array:
    """Value of the objective at a point, in the working dtype; refuses what is no real scalar."""
    try:
        value = value_fn(point)
    except Exception as error:
        if has_masked(params):
            raise ValueError(
                "params: the objective failed on parameters of which optax.masked or "
                "optax.partition has hidden some (MaskedNode). Pass "
                "value_fn=zosah_jax.fill_masked(value_fn, params) with the whole parameters."
            ) from error
        raise
    if not jax.tree_util.all_leaves([value]):
        raise TypeError(f"value_fn: got a {type(value).__name__}, wanted a real scalar alone.")
    shape, dtype = jnp.shape(value), jnp.result_type(value)
    if shape != ():
        raise ValueError(f"value_fn: got a value of shape {shape}, wanted a scalar, shape ().")
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"value_fn: got a value of dtype {dtype}, wanted a real floating dtype.")
    return jnp.asarray(value).astype(working_dtype(params))


def has_masked(params: Params) -> bool:
    """Whether optax has hidden leaves of the parameters from a transformation."""
    leaves = jax.tree.leaves(params, is_leaf=lambda x: isinstance(x, optax.MaskedNode))
    return any(isinstance(leaf, optax.MaskedNode) for leaf in leaves)


def fill_masked(value_fn: ValueFn, params: Params) -> ValueFn:
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
        >>> value_fn = zosah_jax.fill_masked(f, params)
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


def bind_extra(value_fn: Any, extra: dict[str, Any]) -> ValueFn:
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
