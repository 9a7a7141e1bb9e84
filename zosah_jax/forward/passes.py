"""A pass of the batch, with noise or without, and what becomes of it in a parameter."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.evaluate.grouped.program import Op, Slot, Values, operand, perform, places
from zosah_jax.forward import factors, products, taps
from zosah_jax.forward.program import Axis, Program
from zosah_jax.forward.sites import Plan, Site

Arrays = dict[Slot, jax.Array]
"""By the slot of a site, or of a leaf that is copied (examples along its first axis)."""


def base(
    plan: Plan, leaves: Iterable[jax.Array], data: Iterable[jax.Array], *, whole: bool
) -> Values:
    """What no noise changes, the parameters' part of the program; and, if whole, a clean pass."""
    program = plan.program
    values = {
        **program.constants,
        **dict(zip(program.leaves, leaves, strict=True)),
        **dict(zip(program.data, data, strict=True)),
    }
    for op in program.ops:
        still = plan.moved.isdisjoint(places(op))
        if whole or still or not plan.chain.isdisjoint(op.outputs):
            results = perform(op, [operand(place, values) for place in op.inputs])
            values.update(zip(op.outputs, results, strict=True))
    return values


class Noise(NamedTuple):
    """Noise of a pass but for its size.

    Attributes:
        signs: by slot.
        factors: of the signs of a copied leaf, where they are an outer product: one for each of
            its axes, shapes (B, entries along it).
    """

    signs: Arrays
    factors: dict[Slot, list[jax.Array]]

    @property
    def opposite(self) -> "Noise":
        """The same with all signs changed."""
        factors = {slot: [-first, *rest] for slot, (first, *rest) in self.factors.items()}
        return Noise({slot: -sign for slot, sign in self.signs.items()}, factors)


def noisy(
    plan: Plan, values: Values, noise: Noise, reach: Callable[[Slot, jax.Array], jax.Array]
) -> tuple[Values, Values]:
    """A pass with noise.

    Args:
        plan: what to do.
        values: of `base`.
        noise: to be added.
        reach: (slot, its value without noise) -> size of the noise.

    Returns:
        What the noise changed; and what the sites were before it was added.
    """
    program, own, before, signs = plan.program, {}, {}, noise.signs
    for leaf in plan.lifted:
        slot = program.leaves[leaf]
        own[slot] = values[slot][None] + reach(slot, values[slot]) * signs[slot]
    for op in program.ops:
        if not plan.moved.isdisjoint(places(op)) and not plan.moved.isdisjoint(op.outputs):
            if factors.applies(program, op, noise.factors):
                found = [_of_factors(plan, op, own, values, noise, reach)]
            else:
                found = _results(plan, op, own, values)
            own.update(zip(op.outputs, found, strict=True))
        for slot in op.outputs:
            if slot in signs:
                before[slot] = found = own.get(slot, values.get(slot))
                own[slot] = found + (reach(slot, found) * signs[slot]).astype(found.dtype)
    return own, before


def after(plan: Plan, values: Values, site: Site, value: jax.Array) -> jax.Array:
    """The losses with another value of a site, all else as it is."""
    own = {site.slot: value}
    for op in plan.program.ops:
        if own.keys().isdisjoint(places(op)) or plan.moved.isdisjoint(op.outputs):
            continue
        parts = [operand(p, own if isinstance(p, Slot) and p in own else values) for p in op.inputs]
        own.update(zip(op.outputs, perform(op, parts), strict=True))
    return own[plan.program.output]


def _results(plan: Plan, op: Op, own: Values, values: Values) -> list[jax.Array]:
    operands = [operand(p, own if isinstance(p, Slot) and p in own else values) for p in op.inputs]
    copied = [isinstance(p, Slot) and p in plan.copied for p in op.inputs]
    return _of_copies(plan.program, op, operands, copied) if any(copied) else perform(op, operands)


def _of_factors(
    plan: Plan,
    op: Op,
    own: Values,
    values: Values,
    noise: Noise,
    reach: Callable[[Slot, jax.Array], jax.Array],
) -> jax.Array:
    """Result of a convolution whose kernel has noise that is an outer product."""
    inputs, kernel = op.inputs
    given = own if inputs in own else values
    known = given is values and op.outputs[0] in values
    clean = values[op.outputs[0]] if known else perform(op, [given[inputs], values[kernel]])[0]
    change = factors.convolved(plan.program, op, given[inputs], noise.factors[kernel])
    return clean + (reach(kernel, values[kernel]) * change).astype(clean.dtype)


def _of_copies(
    program: Program, op: Op, operands: list[Any], copied: list[bool]
) -> list[jax.Array]:
    """Results of an operation that has operands of which there is a copy for each example."""
    axes = [None if copy else program.axis(p) for copy, p in zip(copied, op.inputs, strict=True)]
    apart = [_apart(x, axis, program.size) for x, axis in zip(operands, axes, strict=True)]
    where = [
        None if axis is None and not copy else 0 for axis, copy in zip(axes, copied, strict=True)
    ]
    out = program.axis(op.outputs[0])
    params = {}
    if op.name == "broadcast_in_dim" and out is not None:
        shape = op.eqn.params["shape"]
        params["shape"] = (*shape[: out.dim], out.inner, *shape[out.dim + 1 :])

    def one(*parts: Any) -> list[jax.Array]:
        return perform(op, parts, **params)

    results = jax.vmap(one, in_axes=where)(*apart)
    return [_together(x, program.axis(slot)) for x, slot in zip(results, op.outputs, strict=True)]


def _apart(value: Any, axis: Axis | None, size: int) -> Any:
    """Examples along a first axis of their own; what each has stays where it was."""
    if axis is None:
        return value
    shape = value.shape
    split = value.reshape(*shape[: axis.dim], size, axis.inner, *shape[axis.dim + 1 :])
    return jnp.moveaxis(split, axis.dim, 0)


def _together(value: jax.Array, axis: Axis | None) -> jax.Array:
    """The inverse of `_apart`."""
    if axis is None:
        return value
    moved = jnp.moveaxis(value, 0, axis.dim)
    shape = moved.shape
    return moved.reshape(*shape[: axis.dim], -1, *shape[axis.dim + 2 :])


# --- what becomes of a site -----------------------------------------------------------------------


def weighted(program: Program, slot: Slot, weights: jax.Array, value: jax.Array) -> jax.Array:
    """A value times a weight for each example."""
    axis = program.axes[slot]
    shape = [1] * value.ndim
    shape[axis.dim] = program.size * axis.inner
    return value * jnp.repeat(weights, axis.inner).astype(value.dtype).reshape(shape)


def summed(program: Program, slot: Slot, value: jax.Array) -> jax.Array:
    """Sum over the entries of each example, shape (B,)."""
    apart = _apart(value, program.axes[slot], program.size)
    return apart.reshape(program.size, -1).sum(1)


def flat(program: Program, slot: Slot, value: jax.Array) -> jax.Array:
    """Entries of each example in a row, shape (B, n)."""
    return _apart(value, program.axes[slot], program.size).reshape(program.size, -1)


def unflat(program: Program, slot: Slot, rows: jax.Array) -> jax.Array:
    """The inverse of `flat`."""
    axis, shape = program.axes[slot], program.avals[slot].shape
    rest = (*shape[: axis.dim], axis.inner, *shape[axis.dim + 1 :])
    return _together(rows.reshape(program.size, *rest), axis)


def gates(site: Site, values: Values, before: jax.Array, reach: jax.Array) -> tuple[Any, Any]:
    """How a site acts on what comes after it, entry by entry, between noise up and noise down.

    Args:
        site: the site.
        values: of the operands that no noise changes.
        before: the site without its noise.
        reach: size of its noise.

    Returns:
        Where it acts at all, bool; and the mean slope there, if one value says it. Either is None
        where it is not known: it may act everywhere, with slope one.
    """
    if not site.ends:
        return None, None
    above, below = (_through(site, values, before + step) for step in (reach, -reach))
    pairs = list(zip(above, below, strict=True))
    acts = jnp.any(jnp.stack([up != down for up, down in pairs]), axis=0)
    up, down = pairs[0]
    smooth = len(pairs) == 1 and jnp.issubdtype(up.dtype, jnp.floating)
    return acts, (up - down) / (2 * reach) if smooth else None


def _through(site: Site, values: Values, start: jax.Array) -> list[jax.Array]:
    own = {site.slot: start}
    for op in site.gate:
        parts = [operand(p, own if isinstance(p, Slot) and p in own else values) for p in op.inputs]
        own.update(zip(op.outputs, perform(op, parts), strict=True))
    return [own[slot] for slot in site.ends]


def transposed(plan: Plan, site: Site, values: Values, cotangent: jax.Array) -> list[jax.Array]:
    """The transpose, in the leaves that a site serves, of the operations that lead there.

    Args:
        plan: what was done.
        site: the site.
        values: of all that these operations read.
        cotangent: like the site.

    Returns:
        One array for each of `site.leaves`.
    """
    slots = [plan.program.leaves[leaf] for leaf in site.leaves]
    on_cpu = jax.default_backend() == "cpu"  # elsewhere the library of the device does it

    def local(*leaves: jax.Array) -> jax.Array:
        own = dict(zip(slots, leaves, strict=True))
        for op in site.ops:
            parts = [
                operand(p, own if isinstance(p, Slot) and p in own else values) for p in op.inputs
            ]
            if on_cpu and op.inputs[0] not in own and taps.applies(op):
                found = [taps.convolved(op, *parts)]
            elif on_cpu and op.inputs[0] not in own and products.applies(op):
                found = [products.multiplied(op, *parts)]
            else:
                found = perform(op, parts)
            own.update(zip(op.outputs, found, strict=True))
        return own[site.slot]

    start = [values[slot] for slot in slots]
    linear = jax.linearize(local, *start)[1]
    return list(jax.linear_transpose(linear, *start)(cotangent))
