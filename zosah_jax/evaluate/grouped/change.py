"""What one changed entry of the parameters does to the operations after it.

An entry of a kernel changes one output feature of its layer, by a multiple of one input feature.
What is done to that feature alone (a normalisation, an activation) needs no other; a sum over
features adds the difference. So a value is carried as what it was plus a *change* of a slice, as
far as the rules here know how, and as a whole array from there on.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.evaluate.grouped.program import Op, Values, operand, perform


class Entries(NamedTuple):
    """k entries of a leaf and their new values; all other entries are as they were.

    Attributes:
        place: place of each entry in row-major order, uint32, shape (k,).
        old: their values before, shape (k,).
        new: their values now, shape (k,).
        shape: shape of the leaf (static).
    """

    place: jax.Array
    old: jax.Array
    new: jax.Array
    shape: tuple[int, ...]


class Slice(NamedTuple):
    """New values of one slice of an array; all else is as it was.

    Attributes:
        index: axis (static) -> index of the slice along it, int32 scalar.
        new: the slice's new values, of size 1 along these axes.
    """

    index: dict[int, jax.Array]
    new: jax.Array


Changed = Entries | Slice | jax.Array  # an array is changed all over
Rule = Callable[[Op, dict[int, Any], Values], Any]


def carry(op: Op, changed: Mapping[int, Changed], base: Values) -> list[Changed]:
    """Results of an operation, some of whose operands changed.

    Args:
        op: the operation.
        changed: the operands that changed, by their position.
        base: every value of the program at the parameters.

    Returns:
        The changed results.
    """
    rule = _RULES.get(op.name)
    if rule is not None and not any(isinstance(new, jax.Array) for new in changed.values()):
        result = rule(op, dict(changed), base)
        if result is not None:
            return [result]
    whole = {place: spread(new, operand(op.inputs[place], base)) for place, new in changed.items()}
    places = range(len(op.inputs))
    return list(perform(op, [whole[n] if n in whole else _old(op, n, base) for n in places]))


def spread(changed: Changed, old: jax.Array) -> jax.Array:
    """A changed value as a whole array."""
    if isinstance(changed, Entries):
        added = changed.new - changed.old
        return old.at[_unravelled(changed)].add(added) if old.ndim else old + jnp.sum(added)
    if isinstance(changed, Slice):
        here = jnp.ones((1,) * old.ndim, bool)
        for axis, index in changed.index.items():
            here &= _along(axis, jnp.arange(old.shape[axis]) == index, old.ndim)
        return jnp.where(here, changed.new, old)
    return changed


def _old(op: Op, place: int, base: Values) -> Any:
    return operand(op.inputs[place], base)


def _along(axis: int, vector: jax.Array, ndim: int) -> jax.Array:
    return vector.reshape([-1 if n == axis else 1 for n in range(ndim)])


def _unravelled(entries: Entries) -> tuple[jax.Array, ...]:
    """Indices of the entries, int32, an array of shape (k,) an axis."""
    rest, indices = entries.place, []
    for size in reversed(entries.shape):  # jnp.unravel_index is limited to int32 places
        indices.append((rest % np.uint32(size)).astype(jnp.int32))
        rest = rest // np.uint32(size)
    return tuple(reversed(indices))


def _sliced(old: jax.Array, index: Mapping[int, jax.Array]) -> jax.Array:
    """The slice of an array before it changed."""
    for axis, at in index.items():
        old = jax.lax.dynamic_slice_in_dim(old, at, 1, axis)
    return old


# --- one slice in, the same slice out ------------------------------------------------------------


def _elementwise(op: Op, changed: dict[int, Any], base: Values) -> Changed | None:
    if all(isinstance(new, Entries) for new in changed.values()):
        return _entrywise(op, changed)
    slices = list(changed.values())
    index = slices[0].index
    if not all(isinstance(s, Slice) and _same(s.index, index) for s in slices):
        return None
    operands = [
        changed[n].new if n in changed else _beside(_old(op, n, base), index)
        for n in range(len(op.inputs))
    ]
    return Slice(index, perform(op, operands)[0])


def _same(one: Mapping[int, Any], other: Mapping[int, Any]) -> bool:
    return one.keys() == other.keys() and all(one[axis] is other[axis] for axis in one)


def _beside(old: Any, index: Mapping[int, jax.Array]) -> Any:
    """The part of an unchanged operand that meets a slice; scalars meet all."""
    return _sliced(old, index) if jnp.ndim(old) else old


def _entrywise(op: Op, changed: dict[int, Any]) -> Changed | None:
    """Casts and the like of a leaf, before it is used."""
    if len(op.inputs) != 1:
        return None
    (entries,) = changed.values()
    return entries._replace(old=perform(op, [entries.old])[0], new=perform(op, [entries.new])[0])


def _broadcast(op: Op, changed: dict[int, Any], base: Values) -> Changed | None:
    del base
    moved = _as_slice(changed)
    if moved is None or len(changed) > 1:
        return None
    to, shape = op.eqn.params["broadcast_dimensions"], list(op.eqn.params["shape"])
    before = op.eqn.invars[0].aval.shape
    index = {to[axis]: at for axis, at in moved.index.items() if before[axis] > 1}
    for axis in index:
        shape[axis] = 1
    return Slice(index, jax.lax.broadcast_in_dim(moved.new, shape, to)) if index else None


def _as_slice(changed: dict[int, Any]) -> Slice | None:
    """The first operand's change as a slice; an entry of a vector is one."""
    if 0 not in changed or isinstance(changed[0], Slice):
        return changed.get(0)
    entries = changed[0]
    if len(entries.shape) != 1 or entries.place.shape != (1,):
        return None
    return Slice({0: entries.place[0].astype(jnp.int32)}, entries.new)


def _reshape(op: Op, changed: dict[int, Any], base: Values) -> Changed | None:
    del base
    before, after = op.eqn.invars[0].aval.shape, op.eqn.outvars[0].aval.shape
    if isinstance(changed[0], Entries) and len(before) != 1:
        return changed[0]._replace(shape=after)
    moved = _as_slice(changed)
    if moved is None or op.eqn.params["dimensions"] is not None:
        return None
    index, shape = {}, list(after)
    for axis, at in moved.index.items():
        ahead = math.prod(before[:axis])
        kept = [n for n in range(len(after)) if math.prod(after[:n]) == ahead]
        kept = [n for n in kept if after[n] == before[axis]]
        if not kept:
            return None
        index[kept[0]], shape[kept[0]] = at, 1
    return Slice(index, moved.new.reshape(shape))


def _transpose(op: Op, changed: dict[int, Any], base: Values) -> Changed | None:
    del base
    order = op.eqn.params["permutation"]
    if isinstance(changed[0], Entries):
        entries = changed[0]
        shape = tuple(entries.shape[axis] for axis in order)
        index, place = _unravelled(entries), jnp.zeros_like(entries.place)
        for axis in order:
            place = place * np.uint32(entries.shape[axis]) + index[axis].astype(jnp.uint32)
        return entries._replace(place=place, shape=shape)
    index = {order.index(axis): at for axis, at in changed[0].index.items()}
    return Slice(index, jax.lax.transpose(changed[0].new, order))


def _squeeze(op: Op, changed: dict[int, Any], base: Values) -> Changed | None:
    del base
    gone = op.eqn.params["dimensions"]
    moved = _as_slice(changed)
    if moved is None or any(axis in gone for axis in moved.index):
        return None
    index = {axis - sum(g < axis for g in gone): at for axis, at in moved.index.items()}
    return Slice(index, jax.lax.squeeze(moved.new, gone))


def _slice(op: Op, changed: dict[int, Any], base: Values) -> Changed | None:
    del base
    moved = _as_slice(changed)
    if moved is None or op.eqn.invars[0].aval.shape == op.eqn.outvars[0].aval.shape:
        return moved
    p, before = op.eqn.params, op.eqn.invars[0].aval.shape
    limits, strides = list(p["limit_indices"]), p["strides"] or (1,) * len(before)
    for axis in moved.index:
        if (p["start_indices"][axis], limits[axis], strides[axis]) != (0, before[axis], 1):
            return None
        limits[axis] = 1
    return Slice(moved.index, jax.lax.slice(moved.new, p["start_indices"], limits, strides))


def _pad(op: Op, changed: dict[int, Any], base: Values) -> Changed | None:
    if set(changed) != {0} or isinstance(changed[0], Entries):
        return None
    config, index = list(op.eqn.params["padding_config"]), {}
    for axis, at in changed[0].index.items():
        low, high, interior = config[axis]
        if min(low, high) < 0 or interior:
            return None
        index[axis], config[axis] = at + low, (0, 0, 0)
    return Slice(index, jax.lax.pad(changed[0].new, _old(op, 1, base), config))


def _reduce(op: Op, changed: dict[int, Any], base: Values) -> Changed | None:
    moved = _as_slice(changed)
    axes = op.eqn.params["axes"]
    if moved is None or len(changed) > 1:
        return None
    if not any(axis in axes for axis in moved.index):
        index = {axis - sum(a < axis for a in axes): at for axis, at in moved.index.items()}
        return Slice(index, perform(op, [moved.new])[0])
    if op.name != "reduce_sum" or not all(axis in axes for axis in moved.index):
        return None
    difference = moved.new - _sliced(_old(op, 0, base), moved.index)
    return base[op.outputs[0]] + perform(op, [difference])[0]


# --- products ------------------------------------------------------------------------------------


def _product(op: Op, changed: dict[int, Any], base: Values) -> Changed | None:
    if len(changed) != 1:
        return None
    ((side, new),) = changed.items()
    if isinstance(new, Entries):
        return _product_of_entries(op, side, new, base)
    contracted, batch = (pair[side] for pair in op.eqn.params["dimension_numbers"])
    if set(new.index) <= set(contracted):
        return _added_product(op, side, new, base)
    free = [n for n in range(new.new.ndim) if n not in contracted and n not in batch]
    if not set(new.index) <= set(free):
        return None
    operands = [_old(op, 0, base), _old(op, 1, base)]
    operands[side] = new.new
    first = len(batch) if side == 0 else base[op.outputs[0]].ndim - len(free)
    index = {first + free.index(axis): at for axis, at in new.index.items()}
    return Slice(index, perform(op, operands)[0])


def _added_product(op: Op, side: int, new: Slice, base: Values) -> jax.Array:
    """A slice along contracted axes adds the product of its difference."""
    contracted, _ = op.eqn.params["dimension_numbers"]
    opposite = dict(zip(contracted[side], contracted[1 - side], strict=True))
    operands = [_old(op, 0, base), _old(op, 1, base)]
    operands[side] = new.new - _sliced(operands[side], new.index)
    index = {opposite[axis]: at for axis, at in new.index.items()}
    operands[1 - side] = _sliced(operands[1 - side], index)
    return base[op.outputs[0]] + perform(op, operands)[0]


def _product_of_entries(op: Op, side: int, new: Entries, base: Values) -> Changed:
    """Each entry adds a multiple of a slice of the other operand."""
    (contracted, batch), other = op.eqn.params["dimension_numbers"], 1 - side
    numbers = [pair[side] for pair in (contracted, batch)]
    free = [n for n in range(len(new.shape)) if n not in numbers[0] and n not in numbers[1]]
    before, old = base[op.outputs[0]], _old(op, other, base)
    kept = [n for n in range(old.ndim) if n not in contracted[other] and n not in batch[other]]
    first = len(batch[side]) if side == 0 else before.ndim - len(free)
    entries = _unravelled(new)

    def part(k: int) -> tuple[dict[int, jax.Array], jax.Array]:
        at = [index[k] for index in entries]
        met = dict(zip(contracted[other], (at[n] for n in contracted[side]), strict=True))
        met |= dict(zip(batch[other], (at[n] for n in batch[side]), strict=True))
        index = {n: at[axis] for n, axis in enumerate(batch[side])}
        index |= {first + n: at[axis] for n, axis in enumerate(free)}
        shape = [1] * before.ndim
        places = [n for n in range(len(batch[side]), before.ndim) if n not in index]
        for n, axis in zip(places, kept, strict=True):
            shape[n] = old.shape[axis]
        return index, _sliced(old, met).reshape(shape)

    return _added(before, new, part)


def _added(before: jax.Array, new: Entries, part: Any) -> Changed:
    """The result with (new - old) times the part of each entry added to the part's slice."""
    amounts = (new.new - new.old).astype(before.dtype)
    if amounts.shape == (1,):
        index, slope = part(0)
        return Slice(index, _sliced(before, index) + amounts[0] * slope.astype(before.dtype))
    total = before
    for k in range(len(amounts)):
        index, slope = part(k)
        added = amounts[k] * slope.astype(before.dtype)
        for axis, at in index.items():
            here = jnp.arange(before.shape[axis]) == at
            added = jnp.where(_along(axis, here, before.ndim), added, 0)
        total = total + added
    return total


# --- convolutions --------------------------------------------------------------------------------


def _convolution(op: Op, changed: dict[int, Any], base: Values) -> Changed | None:
    p = op.eqn.params
    if len(changed) != 1 or p["batch_group_count"] != 1:
        return None
    ((side, new),) = changed.items()
    if side == 1:
        plain = isinstance(new, Entries) and all(n == 1 for n in p["lhs_dilation"])
        return _convolution_of_entries(op, new, base) if plain else None
    numbers = p["dimension_numbers"]
    feature, kernel = numbers.lhs_spec[1], _old(op, 1, base)
    if set(new.index) != {feature} or p["feature_group_count"] != 1:
        return None
    difference = new.new - _sliced(_old(op, 0, base), new.index)
    met = _sliced(kernel, {numbers.rhs_spec[1]: new.index[feature]})
    return base[op.outputs[0]] + perform(op, [difference, met])[0]


def _convolution_of_entries(op: Op, new: Entries, base: Values) -> Changed:
    """An entry of a kernel adds a multiple of one input feature, shifted, to one output feature."""
    p, numbers = op.eqn.params, op.eqn.params["dimension_numbers"]
    to_in, to_kernel, to_out = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
    image, before, entries = _old(op, 0, base), base[op.outputs[0]], _unravelled(new)
    config = [(0, 0, 0)] * image.ndim
    for axis, (low, high) in zip(to_in[2:], p["padding"], strict=True):
        config[axis] = (low, high, 0)
    padded = jax.lax.pad(image, jnp.zeros((), image.dtype), config)
    features, per_group = (new.shape[axis] for axis in to_kernel[:2])
    order = [to_in[to_out.index(n)] for n in range(image.ndim)]

    def part(k: int) -> tuple[dict[int, jax.Array], jax.Array]:
        at = [index[k] for index in entries]
        group = at[to_kernel[0]] // (features // p["feature_group_count"])
        start = [jnp.zeros((), jnp.int32)] * image.ndim
        size, stride = list(padded.shape), [1] * image.ndim
        start[to_in[1]], size[to_in[1]] = group * per_group + at[to_kernel[1]], 1
        for n, axis in enumerate(to_in[2:], start=2):
            start[axis] = at[to_kernel[n]] * p["rhs_dilation"][n - 2]
            stride[axis] = p["window_strides"][n - 2]
            size[axis] = (before.shape[to_out[n]] - 1) * stride[axis] + 1
        seen = jax.lax.dynamic_slice(padded, start, size)
        seen = jax.lax.slice(seen, [0] * image.ndim, seen.shape, stride)
        return {to_out[1]: at[to_kernel[0]]}, jax.lax.transpose(seen, order)

    return _added(before, new, part)


_ELEMENTWISE = """
    add sub mul div max min pow rem atan2 nextafter neg sign abs exp exp2 log log1p expm1 tanh
    logistic sqrt rsqrt cbrt square integer_pow erf erfc erf_inv sin cos tan asin acos atan sinh
    cosh asinh acosh atanh floor ceil round is_finite not and or xor eq ne lt le gt ge select_n
    convert_element_type reduce_precision stop_gradient copy copy_p clamp
""".split()  # noqa: SIM905

_RULES: dict[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(["reduce_sum", "reduce_max", "reduce_min", "reduce_prod"], _reduce),
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "transpose": _transpose,
    "squeeze": _squeeze,
    "slice": _slice,
    "pad": _pad,
    "dot_general": _product,
    "conv_general_dilated": _convolution,
}
