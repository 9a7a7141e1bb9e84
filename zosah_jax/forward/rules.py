"""What is known of operations: which keep the examples apart, and which are linear in what."""

import math
from collections.abc import Callable
from typing import Any

from zosah_jax.evaluate.grouped.program import Op, Slot
from zosah_jax.forward.program import Axis, Program

ELEMENTWISE = frozenset(
    """abs acos acosh add add_any and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil
    clamp convert_element_type copy copy_p cos cosh digamma div eq erf erf_inv erfc exp exp2 expm1
    floor ge gt igamma imag integer_pow is_finite le lgamma log log1p logistic lt max min mul ne
    neg nextafter not optimization_barrier or population_count pow real reduce_precision
    rem round rsqrt select_n shift_left shift_right_arithmetic shift_right_logical sign sin sinh
    sqrt square stop_gradient sub tan tanh xor""".split()  # noqa: SIM905
)

_REDUCTIONS = frozenset(
    """reduce_sum reduce_max reduce_min reduce_prod reduce_and reduce_or reduce_xor argmax
    argmin""".split()  # noqa: SIM905
)
_TOGETHER = _REDUCTIONS | {"dot_general"}  # with which statistics of a batch are made
_ALONG_ONE = frozenset(["cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"])

REDUCED = "reduced"
"""Verdict on an operation whose result no longer has an axis of examples."""


# --- examples kept apart --------------------------------------------------------------------------


def mixing(program: Program, op: Op) -> str | None:
    """How an operation mixes examples.

    Returns:
        None if the part of the result that belongs to an example depends on that example alone;
        `REDUCED` if it takes all examples together into values without their axis; else a text.
    """
    axes = [program.axis(place) for place in op.inputs]
    outs = [program.axis(slot) for slot in op.outputs]
    told = next((axis for axis in (*axes, *outs) if isinstance(axis, str)), None)
    if told is not None:
        return told
    if all(axis is None for axis in axes):
        return None
    if all(axis is None for axis in outs):
        return REDUCED if op.name in _TOGETHER else "it takes some of the examples out of it"
    if any(axis is None for axis in outs):
        return "some of its results have no axis of examples"
    kept = _RULES.get(op.name, _kept_elementwise if op.name in ELEMENTWISE else None)
    if kept is None:
        return "it is none that is known to keep examples apart"
    return None if kept(program, op, axes, outs[0]) else "it works along the axis of examples"


def _kept_elementwise(program: Program, op: Op, axes: list[Any], out: Axis) -> bool:
    del program, op
    return all(axis in (None, out) for axis in axes)


def _kept_along(name: str, *, places: bool = False) -> Callable[..., bool]:
    """Of operations along some axes, by the name of their parameter: not that of the examples."""

    def kept(program: Program, op: Op, axes: list[Any], out: Axis) -> bool:
        del program, out
        given = op.eqn.params[name]
        along = given if places else (given,)
        return all(axis is None or axis.dim not in along for axis in axes)

    return kept


def _kept_concatenate(program: Program, op: Op, axes: list[Any], out: Axis) -> bool:
    del program
    return out.dim != op.eqn.params["dimension"] and all(axis in (None, out) for axis in axes)


def _kept_stack(program: Program, op: Op, axes: list[Any], out: Axis) -> bool:
    del program
    along = op.eqn.params["axis"]
    before = Axis(out.dim - (along < out.dim), out.inner)
    return along != out.dim and all(axis in (None, before) for axis in axes)


def _kept_tile(program: Program, op: Op, axes: list[Any], out: Axis) -> bool:
    del program
    return axes[0] == out and op.eqn.params["reps"][out.dim] == 1


def _kept_broadcast(program: Program, op: Op, axes: list[Any], out: Axis) -> bool:
    del program
    axis = axes[0]
    kept = op.eqn.params["broadcast_dimensions"][axis.dim] == out.dim
    return kept and axis.inner == out.inner


def _kept_reshape(program: Program, op: Op, axes: list[Any], out: Axis) -> bool:
    """Row-major order: the same examples as long as equally many entries come before them."""
    shape, new = program.avals[op.inputs[0]].shape, op.eqn.params["new_sizes"]
    return math.prod(shape[: axes[0].dim]) == math.prod(new[: out.dim])


def _kept_transpose(program: Program, op: Op, axes: list[Any], out: Axis) -> bool:
    del program
    return op.eqn.params["permutation"][out.dim] == axes[0].dim


def _kept_dot(program: Program, op: Op, axes: list[Any], out: Axis) -> bool:
    """Examples along a batch axis of both, or along a free axis of one."""
    (contracted, batched) = op.eqn.params["dimension_numbers"]
    left, right = axes[:2]
    if left is not None and right is not None:
        where = [
            list(dims).index(axis.dim) if axis.dim in dims else -1
            for dims, axis in zip(batched, (left, right), strict=True)
        ]
        return where[0] == where[1] == out.dim and left.inner == right.inner == out.inner
    side = 0 if right is None else 1
    dim = axes[side].dim
    return dim not in contracted[side] and dim not in batched[side]


def _kept_conv(program: Program, op: Op, axes: list[Any], out: Axis) -> bool:
    del program
    spec = op.eqn.params["dimension_numbers"]
    left, right = axes[:2]
    alone = op.eqn.params["batch_group_count"] == 1
    return alone and right is None and left.dim == spec.lhs_spec[0] and out.dim == spec.out_spec[0]


def _kept_gather(program: Program, op: Op, axes: list[Any], out: Axis) -> bool:
    numbers = op.eqn.params["dimension_numbers"]
    table, places = axes[:2]
    if table is None:  # rows of a shared table
        return out.dim not in numbers.offset_dims
    if places is None:  # the same places of every example
        whole = (
            op.eqn.params["slice_sizes"][table.dim] == program.avals[op.inputs[0]].shape[table.dim]
        )
        gone = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
        free = [d for d in range(len(op.eqn.params["slice_sizes"])) if d not in gone]
        is_free = table.dim in free
        return whole and is_free and numbers.offset_dims[free.index(table.dim)] == out.dim
    pairs = zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True)
    return (table.dim, places.dim) in pairs


def _kept_slice(program: Program, op: Op, axes: list[Any], out: Axis) -> bool:
    shape, axis = program.avals[op.inputs[0]].shape, axes[0]
    if axis is None:
        return False
    strides = op.eqn.params.get("strides")
    whole = program.avals[op.outputs[0]].shape[axis.dim] == shape[axis.dim]
    return axis == out and whole and (strides is None or strides[axis.dim] == 1)


def _kept_update(program: Program, op: Op, axes: list[Any], out: Axis) -> bool:
    whole, part = axes[:2]
    return all(axis is None for axis in axes[2:]) and whole == out and part in (None, out)


def _kept_pad(program: Program, op: Op, axes: list[Any], out: Axis) -> bool:
    del program
    axis = axes[0]
    return axis == out and op.eqn.params["padding_config"][axis.dim] == (0, 0, 0)


def _kept_place(program: Program, op: Op, axes: list[Any], out: Axis) -> bool:
    """Axes of size one come or go: the examples stay in order."""
    del program, op
    return axes[0].inner == out.inner


def _kept_top(program: Program, op: Op, axes: list[Any], out: Axis) -> bool:
    last = len(program.avals[op.inputs[0]].shape) - 1
    return axes[0] == out and out.dim != last


def _kept_window(program: Program, op: Op, axes: list[Any], out: Axis) -> bool:
    del program
    return axes[0] == out and op.eqn.params["window_dimensions"][out.dim] == 1


_RULES: dict[str, Callable[..., bool]] = {
    **dict.fromkeys(_REDUCTIONS, _kept_along("axes", places=True)),
    **dict.fromkeys(_ALONG_ONE, _kept_along("axis")),
    "sort": _kept_along("dimension"),
    "split": _kept_along("axis"),
    "unstack": _kept_along("axis"),
    "stack": _kept_stack,
    "tile": _kept_tile,
    "rev": _kept_along("dimensions", places=True),
    "concatenate": _kept_concatenate,
    "broadcast_in_dim": _kept_broadcast,
    "reshape": _kept_reshape,
    "squeeze": _kept_place,
    "expand_dims": _kept_place,
    "transpose": _kept_transpose,
    "dot_general": _kept_dot,
    "conv_general_dilated": _kept_conv,
    "gather": _kept_gather,
    "slice": _kept_slice,
    "dynamic_slice": _kept_slice,
    "dynamic_update_slice": _kept_update,
    "pad": _kept_pad,
    "top_k": _kept_top,
    **dict.fromkeys(("reduce_window_sum", "reduce_window_max"), _kept_window),
}


# --- linear in an operand -------------------------------------------------------------------------

_ALL = frozenset(
    """add add_any sub neg reshape squeeze expand_dims transpose broadcast_in_dim copy copy_p slice
    concatenate reduce_sum rev convert_element_type pad cumsum stack unstack split tile""".split()  # noqa: SIM905
)
_ONE = frozenset(["mul", "dot_general"])
_ONLY = {
    "div": {0},
    "conv_general_dilated": {1},
    "gather": {0},
    "dynamic_slice": {0},
    "dynamic_update_slice": {0, 1},
}


def is_affine(program: Program, op: Op, positions: set[int]) -> bool:
    """Whether an operation is linear, up to a constant, in the operands at these positions."""
    if op.name == "convert_element_type":
        kinds = (program.avals[op.inputs[0]].dtype.kind, op.eqn.params["new_dtype"].kind)
        return all(kind in "fV" for kind in kinds)  # bfloat16 is of kind V
    if op.name in _ALL:
        return True
    if op.name in _ONE:
        return len(positions) == 1
    if op.name == "select_n":
        return 0 not in positions
    return positions <= _ONLY.get(op.name, set())


# Operations through which noise may be handed on: what came before them needs none of its own.
_PASSING = frozenset(
    """add add_any sub neg convert_element_type reshape squeeze expand_dims transpose""".split()  # noqa: SIM905
)


def hands_on(program: Program, op: Op, slot: Slot) -> bool:
    """Whether noise on the result serves an operand as well as noise on the operand itself."""
    if op.name not in _PASSING or not is_affine(program, op, {op.inputs.index(slot)}):
        return False
    return program.components(op.outputs[0]) == program.components(slot)
