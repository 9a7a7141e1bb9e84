"""What operations do to a perturbed matrix: as far as the rules know how, it stays two parts.

Everything else is done on the whole array, which is right and costs what a copy of it costs.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.evaluate.factored.loops import LOOPS
from zosah_jax.evaluate.factored.perturbed import (
    Perturbed,
    Squared,
    along,
    is_apart,
    renumbered,
    scaled,
    spread,
)
from zosah_jax.evaluate.factored.products import product
from zosah_jax.evaluate.grouped.program import Flat, Op, flatten, operand, perform

Rule = Callable[[Op, Sequence[Any]], list[Any] | None]


def interpret(flat: Flat, operands: Sequence[Any]) -> list[Any]:
    """Results of a flat program, some of whose operands are perturbed matrices."""
    values: dict[int, Any] = {**flat.constants, **dict(zip(flat.inputs, operands, strict=True))}
    for op in flat.ops:
        results = _results(op, [operand(place, values) for place in op.inputs])
        values.update(zip(op.outputs, results, strict=True))
    return [operand(place, values) for place in flat.outputs]


def _results(op: Op, operands: list[Any]) -> list[Any]:
    if not any(map(is_apart, operands)):
        return perform(op, operands)
    if op.name != "reduce_sum":
        operands = [spread(value) if isinstance(value, Squared) else value for value in operands]
    if op.name in LOOPS:
        return LOOPS[op.name](op, operands, _body)
    rule = _RULES.get(op.name)
    results = rule(op, operands) if rule is not None else None
    return perform(op, [spread(value) for value in operands]) if results is None else results


def _body(closed: Any) -> Callable[[Sequence[Any]], list[Any]]:
    """What a loop does in a turn, or a branch: a function of operands, its results whole arrays."""
    flat = flatten(closed)
    return lambda operands: [jnp.asarray(spread(value)) for value in interpret(flat, operands)]


def _on_base(op: Op, value: Perturbed, **params: Any) -> jax.Array:
    """The operation on the part that is shared."""
    (base,) = perform(op, [value.base], **params)
    return base


# --- entries stay where they are ------------------------------------------------------------------


def _convert(op: Op, operands: Sequence[Any]) -> list[Any] | None:
    (value,), to = operands, np.dtype(op.eqn.params["new_dtype"])
    if not jnp.issubdtype(to, jnp.floating):
        return None
    if to.itemsize < value.dtype.itemsize:  # rounded where it is used
        return [replace(value, dtype=to)]
    if value.dtype != value.base.dtype:
        return None
    factors = jax.tree.map(lambda factor: factor.astype(to), value.factors)
    return [replace(value, base=value.base.astype(to), factors=factors, dtype=to)]


def _same(op: Op, operands: Sequence[Any]) -> list[Any]:
    del op
    return [operands[0]]


def _negated(op: Op, operands: Sequence[Any]) -> list[Any]:
    (value,) = operands
    return [replace(value, base=_on_base(op, value), factors=scaled(value.factors, -1))]


def _times(op: Op, operands: Sequence[Any]) -> list[Any] | None:
    """Product with a number, or quotient by one; the square."""
    if op.name == "mul" and operands[0] is operands[1]:
        return _square(op, operands)
    numbers = [n for n, value in enumerate(operands) if jnp.ndim(value) == 0]
    value = operands[0] if isinstance(operands[0], Perturbed) else operands[1]
    if not numbers or value.dtype != value.base.dtype:
        return None
    if op.name == "div" and numbers != [1]:
        return None
    number = operands[numbers[0]]
    whole = [value.base if isinstance(each, Perturbed) else each for each in operands]
    by = 1 / number if op.name == "div" else number
    return [replace(value, base=perform(op, whole)[0], factors=scaled(value.factors, by))]


def _square(op: Op, operands: Sequence[Any]) -> list[Any] | None:
    if op.eqn.params.get("y", 2) != 2 or operands[0].dtype != operands[0].base.dtype:
        return None
    return [Squared(operands[0])]


def _plus(op: Op, operands: Sequence[Any]) -> list[Any] | None:
    """Sum with an array that is no perturbed matrix, or the difference."""
    one, other = operands
    if isinstance(one, Perturbed) and isinstance(other, Perturbed):
        return None
    value = one if isinstance(one, Perturbed) else other
    if value.dtype != value.base.dtype:
        return None
    whole = [each.base if isinstance(each, Perturbed) else each for each in operands]
    by = -1 if op.name == "sub" and value is other else 1
    return [replace(value, base=perform(op, whole)[0], factors=scaled(value.factors, by))]


# --- sums -----------------------------------------------------------------------------------------


def _sum(op: Op, operands: Sequence[Any]) -> list[Any] | None:
    """Sum of entries, or of squares over all axes: a penalty on the size of the weights."""
    value, axes = operands[0], op.eqn.params["axes"]
    if isinstance(value, Squared):
        return [_sum_of_squares(value.of)] if len(axes) == value.of.ndim else None
    if value.dtype != value.base.dtype:
        return None
    added = value.factors.total(axes, value.shape).astype(value.dtype)
    return [_on_base(op, value) + added]


def _sum_of_squares(value: Perturbed) -> jax.Array:
    r"""Of W + D: that of W, twice the product of the two, and that of D, which has factors, too."""
    base, factors = value.base, value.factors
    square = factors.square().total(range(value.ndim), value.shape).astype(base.dtype)
    return jnp.sum(base**2) + 2 * factors.inner(base) + square


# --- axes are moved, made, cut --------------------------------------------------------------------


def _transpose(op: Op, operands: Sequence[Any]) -> list[Any]:
    (value,), order = operands, op.eqn.params["permutation"]
    to = {axis: place for place, axis in enumerate(order)}
    factors = renumbered(value.factors, to, value.ndim)
    return [replace(value, base=_on_base(op, value), factors=factors)]


def _squeeze(op: Op, operands: Sequence[Any]) -> list[Any]:
    (value,), gone = operands, op.eqn.params["dimensions"]
    kept = [axis for axis in range(value.ndim) if axis not in gone]
    to = {axis: place for place, axis in enumerate(kept)}
    factors = renumbered(value.factors, to, len(kept))
    return [replace(value, base=_on_base(op, value), factors=factors)]


def _broadcast(op: Op, operands: Sequence[Any]) -> list[Any]:
    value, shape = operands[0], op.eqn.params["shape"]
    places = op.eqn.params["broadcast_dimensions"]
    to = {n: at for n, at in enumerate(places) if value.shape[n] == shape[at]}
    factors = renumbered(value.factors, to, len(shape))
    (base,) = perform(op, [value.base, *operands[1:]])
    return [replace(value, base=base, factors=factors)]


def _reshape(op: Op, operands: Sequence[Any]) -> list[Any] | None:
    """Axes are split and merged as long as those that are merged belong to the same factors."""
    if len(operands) > 1 or op.eqn.params["dimensions"] is not None:
        return None
    (value,), after = operands, op.eqn.params["new_sizes"]
    factors, axes = value.factors, ([], [])
    for old, new in _matched(value.shape, after):
        owners = {
            (n in factors.left_axes, n in factors.right_axes) for n in old if value.shape[n] > 1
        }
        if len(owners) > 1:
            return None
        for owned, mine in zip(owners.pop() if owners else (False, False), axes, strict=True):
            mine.extend(new if owned else [])
    parts = [
        factor.reshape(*(after[n] for n in mine), factor.shape[-1])
        for factor, mine in zip((factors.left, factors.right), axes, strict=True)
    ]
    factors = replace(
        factors, left=parts[0], right=parts[1], left_axes=tuple(axes[0]),
        right_axes=tuple(axes[1]), ndim=len(after),
    )  # fmt: skip
    return [replace(value, base=_on_base(op, value), factors=factors)]


def _matched(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The smallest groups of axes before and after a reshape that hold the same entries."""
    ends = [
        {math.prod(shape[:n]) for n in range(1, len(shape) + 1)} | {1} for shape in (before, after)
    ]
    cuts = sorted(ends[0] & ends[1])

    def group(shape: Sequence[int], start: int, stop: int) -> list[int]:
        sizes = [math.prod(shape[: n + 1]) for n in range(len(shape))]
        return [n for n, size in enumerate(sizes) if start < size <= stop]

    return [
        (group(before, start, stop), group(after, start, stop))
        for start, stop in zip([0, *cuts], cuts, strict=False)
    ]


def _slice(op: Op, operands: Sequence[Any]) -> list[Any]:
    (value,), p = operands, op.eqn.params
    factors, strides = value.factors, p["strides"] or (1,) * value.ndim
    limits = zip(p["start_indices"], p["limit_indices"], strides, strict=True)
    for axis, (start, stop, stride) in enumerate(limits):

        def cut(factor: jax.Array, place: int, start=start, stop=stop, stride=stride) -> jax.Array:
            return jax.lax.slice_in_dim(factor, start, stop, stride, place)

        factors = along(factors, axis, cut)
    return [replace(value, base=_on_base(op, value), factors=factors)]


def _dynamic_slice(op: Op, operands: Sequence[Any]) -> list[Any] | None:
    value, *starts = operands
    if not isinstance(value, Perturbed):
        return None
    factors = value.factors
    for axis, (start, size) in enumerate(zip(starts, op.eqn.params["slice_sizes"], strict=False)):
        if size != value.shape[axis]:
            start = jnp.clip(start, 0, value.shape[axis] - size)

            def cut(factor: jax.Array, place: int, start=start, size=size) -> jax.Array:
                return jax.lax.dynamic_slice_in_dim(factor, start, size, place)

            factors = along(factors, axis, cut)
    (base,) = perform(op, [value.base, *starts])
    return [replace(value, base=base, factors=factors)]


def _gather(op: Op, operands: Sequence[Any]) -> list[Any] | None:
    """Whole rows along one axis, as an embedding looks them up; a row that is not there is zero."""
    value, indices = operands
    numbers, sizes = op.eqn.params["dimension_numbers"], op.eqn.params["slice_sizes"]
    if not isinstance(value, Perturbed) or len(numbers.start_index_map) != 1:
        return None
    (axis,) = numbers.start_index_map
    whole = all(size == value.shape[n] for n, size in enumerate(sizes) if n != axis)
    if numbers.collapsed_slice_dims != (axis,) or not whole or numbers.operand_batching_dims:
        return None
    rows = indices[..., 0]
    last = value.shape[axis] - 1
    there = (rows >= 0) & (rows <= last)
    ndim = len(numbers.offset_dims) + rows.ndim
    batch = [n for n in range(ndim) if n not in numbers.offset_dims]
    others = [n for n in range(value.ndim) if n != axis]
    to = dict(zip(others, numbers.offset_dims, strict=True))

    def look_up(factor: jax.Array, axes: tuple[int, ...]) -> tuple[jax.Array, tuple[int, ...]]:
        new = [to.get(n, -1) for n in axes]
        if axis in axes:
            place = axes.index(axis)
            seen = jnp.take(factor, jnp.clip(rows, 0, last), axis=place, mode="clip")
            mask = there.reshape([1] * place + [*rows.shape] + [1] * (factor.ndim - place - 1))
            factor = jnp.where(mask, seen, 0) if _drops(op) else seen
            new[place : place + 1] = batch
        order = sorted(range(len(new)), key=lambda n: new[n])
        return jax.lax.transpose(factor, (*order, len(new))), tuple(new[n] for n in order)

    left, left_axes = look_up(value.factors.left, value.factors.left_axes)
    right, right_axes = look_up(value.factors.right, value.factors.right_axes)
    factors = replace(
        value.factors, left=left, right=right, left_axes=left_axes, right_axes=right_axes, ndim=ndim
    )
    (base,) = perform(op, [value.base, indices])
    return [replace(value, base=base, factors=factors)]


def _drops(op: Op) -> bool:
    return op.eqn.params["mode"] == jax.lax.GatherScatterMode.FILL_OR_DROP


_RULES: dict[str, Rule] = {
    "convert_element_type": _convert,
    "copy": _same,
    "copy_p": _same,
    "stop_gradient": _same,
    "neg": _negated,
    "reduce_sum": _sum,
    "square": _square,
    "integer_pow": _square,
    "mul": _times,
    "div": _times,
    "add": _plus,
    "add_any": _plus,
    "sub": _plus,
    "transpose": _transpose,
    "squeeze": _squeeze,
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "slice": _slice,
    "dynamic_slice": _dynamic_slice,
    "gather": _gather,
    "dot_general": product,
}
