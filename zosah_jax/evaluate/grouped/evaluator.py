"""The grouped evaluator: a pass at the parameters, and what each probe changes of it."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from zosah_jax.checks import check_count
from zosah_jax.evaluate.evaluators import Evaluator, InChunks, ValueFn
from zosah_jax.evaluate.grouped.change import Changed, Entries, carry, spread
from zosah_jax.evaluate.grouped.plan import Group, Plan, make_plan
from zosah_jax.evaluate.grouped.program import Program, Values, operand, run, trace
from zosah_jax.probes import CoordinateProbes, Probes
from zosah_jax.pytree import Address, Params, add_at, gather, widen

_MAX_GROUPS = 16
_STAGES = 4  # groups for what has none of its own


def grouped(chunk: int = 1, max_groups: int = _MAX_GROUPS) -> Evaluator:
    r"""Evaluator that redoes, for each probe, only what the moved coordinates change.

    The objective is traced once and evaluated once at the parameters, every intermediate result
    kept. A probe of a coordinate then redoes only what depends on it: nothing before its layer; of
    its layer one output feature, a multiple of one input feature; the rest of the network from
    there. It does so for any model, with no change to it; on a ResNet-20 a value at a random
    coordinate costs about a fifth of a forward pass (`experiments/speed/README.md`).

    The largest kernels have a group each, and the others share up to four stages of the program.
    How many probes a group gets is not known before they are drawn, so each group is a loop of as
    many turns as it has probes: every probe is evaluated exactly once, whatever is drawn, and
    nothing is compiled again. Each group compiles what it redoes: compile time grows with
    `max_groups`, on the average by that of half the objective a group (see also JAX's persistent
    compilation cache, `jax.config.update("jax_compilation_cache_dir", path)`).

    The pass at the parameters is the value of the probes that move nothing (the base probe of all
    methods here); where it meets NaN or infinity on the way, so do the probes after it. Probes
    other than coordinates, and objectives that call functions on the host, are answered one by one.

    Args:
        chunk: probes of a group that are answered together (static); what does not fill a chunk is
            answered one by one. 1 is best on a CPU unless activations are tiny.
        max_groups: most groups.

    Returns:
        An evaluator. Values agree with those of `one_by_one` to rounding, not to the last bit.

    Raises:
        TypeError, ValueError: an argument is no positive int.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> tx = zosah_jax.zosah(1.0, evaluator=zosah_jax.evaluate.grouped())
        >>> f = lambda p: (jnp.cosh(p["a"]) - 1).sum() + (p["b"] ** 2).sum()
        >>> x0 = {"a": jnp.ones((2, 2)), "b": jnp.ones(2)}
        >>> bool(zosah_jax.minimize(f, x0, tx, budget=200).value < 0.01)
        True
    """
    check_count("chunk", chunk)
    check_count("max_groups", max_groups)

    return Grouped(chunk, max_groups)


@dataclass(frozen=True)
class Grouped:
    """See `grouped`."""

    chunk: int
    max_groups: int

    def __call__(self, value_fn: ValueFn, params: Params, probes: Probes) -> jax.Array:
        """Values of the probes."""
        if not isinstance(probes, CoordinateProbes):
            return InChunks(1)(value_fn, params, probes)
        program = program_of(value_fn, params)
        if not program.is_pure:
            return InChunks(1)(value_fn, params, probes)
        plan = make_objective_plan(program, params, self.max_groups)
        return _answer(program, plan, self.chunk, params, probes)


def program_of(value_fn: ValueFn, params: Params) -> Program:
    """The program of an objective of the leaves of the parameters, as a probe shows them to it."""
    leaves, treedef = jax.tree.flatten(widen(params))
    return trace(lambda *leaves: value_fn(jax.tree.unflatten(treedef, leaves)), leaves)


def make_objective_plan(program: Program, params: Params, max_groups: int = _MAX_GROUPS) -> Plan:
    """The groups of an objective's probes."""
    sizes = tuple(jnp.size(leaf) for leaf in jax.tree.leaves(params))
    return make_plan(program, sizes, max_groups, _STAGES)


def _answer(
    program: Program, plan: Plan, chunk: int, params: Params, probes: CoordinateProbes
) -> jax.Array:
    base = run(program, jax.tree.leaves(widen(params)))
    at_base = jnp.asarray(operand(program.output, base))
    answers = [partial(_value, program, group, base) for group in plan.groups]

    group = _group_of(plan, probes)
    order = jnp.argsort(group)
    bounds = jnp.searchsorted(group[order], jnp.arange(len(answers) + 1, dtype=group.dtype))
    values = jnp.broadcast_to(at_base, (len(probes), *at_base.shape))
    for number, answer in enumerate(answers):
        values = _in_turn(answer, chunk, probes, order, bounds[number], bounds[number + 1], values)
    return values


def _group_of(plan: Plan, probes: CoordinateProbes) -> jax.Array:
    """Group of each probe; the number of groups for probes that move nothing."""
    moved = probes.offset != 0
    turn = jnp.where(moved, jnp.asarray(plan.order)[probes.address.leaf], len(plan.order))
    first = jnp.take_along_axis(probes.address.leaf, jnp.argmin(turn, axis=1)[:, None], 1)[:, 0]
    several = jnp.sum(moved, axis=1) > 1
    group = jnp.where(several, jnp.asarray(plan.common)[first], jnp.asarray(plan.own)[first])
    return jnp.where(jnp.any(moved, axis=1), group, len(plan.groups))


def _in_turn(
    answer: Any,
    chunk: int,
    probes: CoordinateProbes,
    order: jax.Array,
    start: jax.Array,
    stop: jax.Array,
    values: jax.Array,
) -> jax.Array:
    """Values with those of the probes order[start:stop] filled in."""

    def together(turn: jax.Array, values: jax.Array) -> jax.Array:
        picked = jax.lax.dynamic_slice_in_dim(order, start + turn * chunk, chunk)
        part = jax.tree.map(lambda x: x[picked], probes)
        return values.at[picked].set(jax.vmap(answer)(part))

    def alone(turn: jax.Array, values: jax.Array) -> jax.Array:
        picked = order[turn]
        return values.at[picked].set(answer(jax.tree.map(lambda x: x[picked], probes)))

    done = start
    if 1 < chunk <= len(probes):
        chunks = (stop - start) // chunk
        values = jax.lax.fori_loop(0, chunks, together, values)
        done = start + chunks * chunk
    return jax.lax.fori_loop(done, stop, alone, values)


def _value(program: Program, group: Group, base: Values, probe: CoordinateProbes) -> jax.Array:
    """Value of a single probe of a group."""
    changed = _changed_leaves(program, group, base, probe)
    for op in group.ops:
        operands = {n: changed[at] for n, at in enumerate(op.inputs) if _is_in(at, changed)}
        changed.update(zip(op.outputs, carry(op, operands, base), strict=True))
    if not _is_in(program.output, changed):
        return jnp.asarray(operand(program.output, base))  # these leaves do not matter
    return spread(changed[program.output], base[program.output])


def _is_in(place: Any, changed: dict[int, Changed]) -> bool:
    return isinstance(place, int) and place in changed


def _changed_leaves(
    program: Program, group: Group, base: Values, probe: CoordinateProbes
) -> dict[int, Changed]:
    """The leaves that a probe of a group moves, by their slots."""
    if not group.single:
        moved = add_at([base[slot] for slot in program.leaves], probe.address, probe.offset)
        return {program.leaves[leaf]: moved[leaf] for leaf in group.leaves}
    slot = program.leaves[group.leaves[0]]
    if len(program.leaves) > 1:  # the group of probes that move one coordinate
        at = jnp.argmax(probe.offset != 0)
        probe = jax.tree.map(lambda x: x[at][None], probe)
    address, leaf = Address(jnp.zeros_like(probe.address.leaf), probe.address.index), base[slot]
    old = gather(leaf, address).astype(leaf.dtype)
    new = old + probe.offset.astype(leaf.dtype)
    return {slot: Entries(address.index, old, new, leaf.shape)}
