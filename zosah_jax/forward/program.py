"""The losses of a batch as a flat list of operations, with the axis of the examples in each value.

A function is traced at two sizes of the batch. The axes whose sizes differ are those along which
the examples lie: no rule of any operation is needed to find them. Loops whose results depend on the
parameters are unrolled, so that every use of a parameter is an operation of its own.
"""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.evaluate.grouped.program import Op, Slot, Values, places, scan_parts, wrapped
from zosah_jax.jaxprs import is_closed, is_literal

MOST_STEPS = 1024
"""Longest loop that is unrolled."""


class Axis(NamedTuple):
    """Where the examples of a value lie.

    Attributes:
        dim: the axis.
        inner: how many entries along it belong to each example, one after the other.
    """

    dim: int
    inner: int


class Program(NamedTuple):
    """The losses of a batch, traced and flat.

    Attributes:
        ops: what they need, in an order in which it can be done.
        leaves: slots of the leaves of the parameters.
        data: slots of the leaves of the batch.
        constants: values of the slots that nothing computes.
        output: slot of the losses.
        avals: shape and dtype of every slot.
        axes: of every slot along which examples lie; a text where they do in no way that is known.
        tainted: slots that depend on the parameters.
        size: B, number of examples.
    """

    ops: tuple[Op, ...]
    leaves: tuple[Slot, ...]
    data: tuple[Slot, ...]
    constants: Values
    output: Slot
    avals: dict[Slot, Any]
    axes: dict[Slot, Any]
    tainted: frozenset[Slot]
    size: int

    def axis(self, place: Any) -> Any:
        """Axis of the examples of an operand; None if it has none."""
        return self.axes.get(place) if isinstance(place, Slot) else None

    def components(self, slot: Slot) -> int:
        """Entries of a value that belong to each example."""
        return math.prod(self.avals[slot].shape) // self.size


def trace(losses_fn: Callable[..., Any], params: Any, batch: Any, size: int) -> Program:
    """The program of `losses_fn(params, *batch)`.

    Raises:
        ValueError, TypeError: it does not return one real loss an example, or not for other sizes
            of the batch.
    """
    here = _flattened(losses_fn, params, batch, size)
    there = _other_size(losses_fn, params, batch, size)
    same = len(here.ops) == len(there.ops) and all(
        a.name == b.name and a.outputs == b.outputs
        for a, b in zip(here.ops, there.ops, strict=True)
    )
    if not same:
        raise ValueError(
            "losses_fn: got other operations for another number of examples, wanted a function "
            "that does the same for any."
        )
    axes = {
        slot: _axis(here.avals[slot].shape, there.avals[slot].shape, size)
        for slot in here.avals
        if here.avals[slot].shape != there.avals[slot].shape
    }
    ops = _needed(here.ops, here.output)
    return Program(
        ops,
        here.leaves,
        here.data,
        here.constants,
        here.output,
        here.avals,
        axes,
        frozenset(here.tainted),
        size,
    )


def _axis(shape: tuple[int, ...], other: tuple[int, ...], size: int) -> Any:
    if len(shape) != len(other):
        return "its number of axes depends on how many examples there are"
    dims = [dim for dim, (a, b) in enumerate(zip(shape, other, strict=True)) if a != b]
    (dim, *more) = dims
    if more:
        return f"examples lie along its axes {dims}"
    if shape[dim] % size or shape[dim] // size * (size + 1) != other[dim]:
        return f"its axis {dim} has {shape[dim]} entries for {size} examples"
    return Axis(dim, shape[dim] // size)


def _other_size(losses_fn: Callable[..., Any], params: Any, batch: Any, size: int) -> Any:
    def longer(leaf: Any) -> Any:
        shape = jnp.shape(leaf)
        return jax.ShapeDtypeStruct((size + 1, *shape[1:]) if shape else (), _dtype(leaf))

    try:
        return _flattened(losses_fn, params, jax.tree.map(longer, batch), size + 1)
    except Exception as error:
        raise ValueError(
            f"losses_fn: works for {size} examples and failed for {size + 1}; wanted a function "
            "of batches of any size, to which all data of the examples come as arguments."
        ) from error


def _dtype(leaf: Any) -> Any:
    return leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf)


def _flattened(losses_fn: Callable[..., Any], params: Any, batch: Any, size: int) -> "_Flattening":
    def checked(params: Any, batch: Any) -> jax.Array:
        return _losses(losses_fn(params, *batch), size)

    closed = jax.make_jaxpr(checked)(params, batch)
    return _Flattening(closed, len(jax.tree.leaves(params)))


def _losses(found: Any, size: int) -> jax.Array:
    """What the user's function returned, if it is one real loss an example."""
    wanted = f"one loss for each of the {size} examples, an array of shape ({size},)"
    if not jax.tree_util.all_leaves([found]):
        raise TypeError(f"losses_fn: got a {type(found).__name__}, wanted {wanted} alone.")
    shape, dtype = jnp.shape(found), jnp.result_type(found)
    if shape != (size,):
        raise ValueError(f"losses_fn: got a value of shape {shape}, wanted {wanted}.")
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"losses_fn: got losses of dtype {dtype}, wanted a real floating dtype.")
    return jnp.asarray(found)


class _Flattening:
    """Gives every value a slot of its own, and unrolls the loops that parameters enter."""

    def __init__(self, closed: Any, num_leaves: int) -> None:
        self.ops: list[Op] = []
        self.constants: Values = {}
        self.avals: dict[Slot, Any] = {}
        self.tainted: set[Slot] = set()
        slots = [self._slot(var.aval) for var in closed.jaxpr.invars]
        self.leaves, self.data = tuple(slots[:num_leaves]), tuple(slots[num_leaves:])
        self.tainted.update(self.leaves)
        (self.output,) = self._inline(closed.jaxpr, closed.consts, slots)

    def _slot(self, aval: Any) -> Slot:
        self.avals[len(self.avals)] = aval
        return len(self.avals) - 1

    def _inline(self, jaxpr: Any, consts: Iterable[Any], operands: Iterable[Any]) -> list[Any]:
        place: dict[Any, Any] = dict(zip(jaxpr.invars, operands, strict=True))
        for var, const in zip(jaxpr.constvars, consts, strict=True):
            place[var] = self._slot(var.aval)
            self.constants[place[var]] = const

        def where(atom: Any) -> Any:
            return atom if is_literal(atom) else place[atom]

        for eqn in jaxpr.eqns:
            found = self._outputs(eqn, tuple(where(atom) for atom in eqn.invars))
            place.update(zip(eqn.outvars, found, strict=True))
        return [where(atom) for atom in jaxpr.outvars]

    def _outputs(self, eqn: Any, inputs: tuple[Any, ...]) -> list[Any]:
        inner = wrapped(eqn)
        if is_closed(inner):
            return self._inline(inner.jaxpr, inner.consts, inputs)
        if inner is not None:
            return self._inline(inner, (), inputs)
        tainted = not self.tainted.isdisjoint(p for p in inputs if isinstance(p, Slot))
        if tainted and eqn.primitive.name == "scan":
            return self._unrolled(eqn, inputs)
        outputs = [self._slot(var.aval) for var in eqn.outvars]
        self.ops.append(Op(eqn, inputs, tuple(outputs)))
        if tainted:
            self.tainted.update(outputs)
        return outputs

    def _unrolled(self, eqn: Any, inputs: tuple[Any, ...]) -> list[Any]:
        length, body = eqn.params["length"], eqn.params["jaxpr"]
        if length > MOST_STEPS:
            raise ValueError(
                f"losses_fn: got a loop (scan) of {length} steps that parameters enter, wanted at "
                f"most {MOST_STEPS}."
            )
        first, second = scan_parts(eqn)
        consts, stacked = inputs[:first], inputs[first + second :]
        carry, kept = list(inputs[first : first + second]), {}
        for step in reversed(range(length)) if eqn.params["reverse"] else range(length):
            slices = [self._done(partial(_entry, step), each)[0] for each in stacked]
            found = self._inline(body.jaxpr, body.consts, [*consts, *carry, *slices])
            carry, kept[step] = found[:second], found[second:]
        ys = zip(*(kept[step] for step in range(length)), strict=True)
        return [*carry, *(self._done(lambda *y: jnp.stack(y), *y)[0] for y in ys)]

    def _done(self, fun: Callable[..., Any], *operands: Any) -> list[Any]:
        """Results of a function of operands, its operations appended."""
        avals: list[Any] = [p.aval if is_literal(p) else self.avals[p] for p in operands]
        shapes = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in avals]
        closed = jax.make_jaxpr(fun)(*shapes)
        return self._inline(closed.jaxpr, closed.consts, operands)


def _needed(ops: list[Op], output: Any) -> tuple[Op, ...]:
    wanted, kept = {output}, []
    for op in reversed(ops):
        if wanted.intersection(op.outputs):
            kept.append(op)
            wanted.update(places(op))
    return tuple(reversed(kept))


def _entry(step: int, stacked: jax.Array) -> jax.Array:
    return jax.lax.index_in_dim(stacked, step, keepdims=False)
