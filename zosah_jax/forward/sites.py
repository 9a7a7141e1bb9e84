"""Where noise enters a program: at outputs of operations, or at the parameters themselves.

A value that depends on the parameters alone is a *chain*; an operation that joins one with values
of the examples is where the parameter is used. If it is linear in the chain, noise may go to its
output; operations that only add to it hand the noise on, so that x W + b has one noise.
"""

import math
from collections import Counter
from typing import Any, NamedTuple

import jax

from zosah_jax.evaluate.grouped.program import Op, Slot, places
from zosah_jax.forward.program import Program
from zosah_jax.forward.rules import ELEMENTWISE, REDUCED, hands_on, is_affine, mixing

MOST_ENTRIES = 2**27
"""Most entries that copies of parameters, one for each example, may take together."""

COPY_GAIN = 2
"""A parameter gets noise itself where its outputs have more than so many times as many entries.

Beyond one: half the outputs before a rectifier do not act, and need no noise.
"""


class Site(NamedTuple):
    """An output that noise is added to.

    Attributes:
        slot: the value.
        leaves: numbers of the leaves of the parameters that it serves.
        ops: how the value comes of these leaves; all else that they read is a constant.
        reads: what they read beside the leaves, of the values of the examples.
        gate: operations, one by one on the entries of the value, through which alone it acts.
        ends: results of the gate that others read.
    """

    slot: Slot
    leaves: tuple[int, ...]
    ops: tuple[Op, ...]
    reads: tuple[Slot, ...]
    gate: tuple[Op, ...]
    ends: tuple[Slot, ...]


class Plan(NamedTuple):
    """What a pass has to do.

    Attributes:
        program: the losses.
        sites: outputs that get noise, in order.
        lifted: numbers of the leaves that get noise themselves, a copy for each example.
        chain: slots that depend on parameters alone.
        copied: slots of which there is a copy for each example, along a first axis of its own.
        moved: slots that noise changes.
        shared: whether a value of the clean pass is a constant of the others: a reduction over
            the examples.
    """

    program: Program
    sites: tuple[Site, ...]
    lifted: tuple[int, ...]
    chain: frozenset[Slot]
    copied: frozenset[Slot]
    moved: frozenset[Slot]
    shared: bool


class _Uses(NamedTuple):
    """How the parameters enter.

    Attributes:
        chain: slots that depend on parameters alone, with the numbers of the leaves; none where
            `stop_gradient` makes constants of them.
        joined: slots that depend on parameters and examples, and have an axis of these.
        pending: slots that may get noise, with the leaves they serve and the operations since.
        nonlinear: leaves that enter in another way somewhere.
    """

    chain: dict[Slot, frozenset[int]]
    joined: set[Slot]
    pending: dict[Slot, tuple[frozenset[int], tuple[Op, ...]]]
    nonlinear: set[int]


def plan(program: Program, names: list[str]) -> Plan:
    """Where noise goes.

    Args:
        program: the losses.
        names: of the leaves of the parameters, for errors.

    Raises:
        ValueError: a parameter does not reach the losses, or would have to be copied too often; or
            an operation mixes examples in a way that cannot be treated.
    """
    uses = _uses(program)
    sizes = [math.prod(program.avals[slot].shape) for slot in program.leaves]
    lifted = _closed(uses, uses.nonlinear | _small(program, uses, sizes))
    sites = [
        _site(program, uses, slot, leaves - lifted, ops)
        for slot, (leaves, ops) in uses.pending.items()
        if leaves - lifted
    ]
    reached = lifted.union(*(site.leaves for site in sites))
    _check_reached(program, uses, reached, names)
    entries = program.size * sum(sizes[leaf] for leaf in lifted)
    if entries > MOST_ENTRIES:
        listed = ", ".join(names[leaf] for leaf in sorted(lifted))
        raise ValueError(
            f"params: {listed} would need {entries:,} entries, a copy for each example, as no "
            f"operation is linear in them; wanted at most {MOST_ENTRIES:,}. Take a smaller batch, "
            "or freeze them with jax.lax.stop_gradient."
        )
    copied = {slot for slot, leaves in uses.chain.items() if leaves & lifted}
    copied = frozenset(slot for slot in copied if program.axis(slot) is None)
    moved, shared = _moved(program, uses, {site.slot for site in sites}, lifted)
    sites = [_gated(program, site, moved) for site in sites]
    return Plan(
        program, tuple(sites), tuple(sorted(lifted)), frozenset(uses.chain), copied, moved, shared
    )


# --- uses of the parameters -----------------------------------------------------------------------


def _uses(program: Program) -> _Uses:
    chain = {slot: frozenset([n]) for n, slot in enumerate(program.leaves)}
    uses = _Uses(chain, set(), {}, set())
    count = Counter(p for op in program.ops for p in op.inputs if isinstance(p, Slot))
    count[program.output] += 1
    for op in program.ops:
        chained = {n for n, p in enumerate(op.inputs) if _in(p, chain) and chain[p]}
        other = [p for n, p in enumerate(op.inputs) if n not in chained and isinstance(p, Slot)]
        joins = any(program.axis(p) is not None for p in other)  # statistics are constants
        if chained and op.name == "stop_gradient":
            chain[op.outputs[0]] = frozenset()  # a constant, as for a derivative
        elif chained:
            _note(program, uses, op, chained, joins)
        if joins and (chained or any(p in uses.joined for p in other)):
            uses.joined.update(slot for slot in op.outputs if program.axis(slot) is not None)
            _hand_on(program, uses, op, count)
    return uses


def _in(place: Any, slots: Any) -> bool:
    return isinstance(place, Slot) and place in slots


def _note(program: Program, uses: _Uses, op: Op, chained: set[int], joins: bool) -> None:
    sources = frozenset().union(*(uses.chain[op.inputs[n]] for n in chained))
    one = len(op.outputs) == 1 or not joins
    linear = one and is_affine(program, op, chained)
    if not linear:
        uses.nonlinear.update(sources)
    elif joins:
        uses.pending[op.outputs[0]] = (sources, (op,))
    if not joins:
        uses.chain.update(dict.fromkeys(op.outputs, sources))


def _hand_on(program: Program, uses: _Uses, op: Op, count: Counter) -> None:
    """Noise moves on to what its value is only added to."""
    for place in op.inputs:
        if _in(place, uses.pending) and count[place] == 1 and hands_on(program, op, place):
            before, ops = uses.pending.pop(place)
            leaves, more = uses.pending.get(op.outputs[0], (frozenset(), (op,)))
            uses.pending[op.outputs[0]] = (leaves | before, (*ops, *more))


def _small(program: Program, uses: _Uses, sizes: list[int]) -> set[int]:
    """Leaves with far fewer entries than the outputs that would get noise in their place."""
    groups: list[tuple[set[int], int]] = []
    for slot, (leaves, _) in uses.pending.items():
        members, outputs = set(leaves), program.components(slot)
        for group in [group for group in groups if group[0] & members]:
            groups.remove(group)
            members, outputs = members | group[0], outputs + group[1]
        groups.append((members, outputs))
    small = (
        members
        for members, outputs in groups
        if COPY_GAIN * sum(sizes[n] for n in members) < outputs
    )
    return set().union(*small)


def _closed(uses: _Uses, lifted: set[int]) -> frozenset[int]:
    """With all leaves that meet one of these before they meet the examples."""
    while True:
        more = lifted.union(*(sources for sources in uses.chain.values() if sources & lifted))
        if more == lifted:
            return frozenset(lifted)
        lifted = more


def _check_reached(
    program: Program, uses: _Uses, reached: frozenset[int], names: list[str]
) -> None:
    missing = [name for n, name in enumerate(names) if n not in reached]
    if missing or program.output not in uses.joined:
        raise ValueError(
            f"params: the losses do not depend on {', '.join(missing) or 'the examples'}, wanted "
            "parameters that all enter the losses of the examples. Leave the others out of params."
        )


# --- sites ----------------------------------------------------------------------------------------


def _site(
    program: Program, uses: _Uses, slot: Slot, leaves: frozenset[int], since: tuple[Op, ...]
) -> Site:
    wanted = {place for op in since for place in places(op)}
    kept, done = [], {out for op in since for out in op.outputs}
    for op in reversed(program.ops):
        inner = _in(op.outputs[0], uses.chain) and not wanted.isdisjoint(op.outputs)
        if inner and uses.chain[op.outputs[0]] & leaves:
            kept.append(op)
            wanted.update(places(op))
    ops = (*reversed(kept), *(op for op in program.ops if not done.isdisjoint(op.outputs)))
    done.update(out for op in kept for out in op.outputs)
    done.update(program.leaves[leaf] for leaf in leaves)
    reads = {place for op in ops for place in places(op)} - done
    return Site(slot, tuple(sorted(leaves)), ops, tuple(sorted(reads)), (), ())


def _moved(
    program: Program, uses: _Uses, sites: set[Slot], lifted: frozenset[int]
) -> tuple[frozenset[Slot], bool]:
    """Slots that noise changes, and whether anything is taken from the clean pass."""
    moved, shared = {program.leaves[leaf] for leaf in lifted} | set(), False
    for op in program.ops:
        is_moved = not moved.isdisjoint(places(op))
        verdict = None
        if _is_constant(uses, op):
            continue
        if is_moved or not sites.isdisjoint(op.outputs):
            verdict = mixing(program, op)
        if verdict == REDUCED:
            shared = True
        elif verdict is not None:
            raise ValueError(
                f"losses_fn: the operation {op.name} ({_shapes(program, op)}) mixes the examples "
                f"of the batch: {verdict}. Wanted losses that depend on their own example alone, "
                "but for reductions over the examples (statistics of the batch)."
            )
        elif is_moved:
            moved.update(op.outputs)
        moved.update(sites.intersection(op.outputs))
    return frozenset(moved), shared


def _is_constant(uses: _Uses, op: Op) -> bool:
    return op.outputs[0] in uses.chain and not uses.chain[op.outputs[0]]


def _shapes(program: Program, op: Op) -> str:
    shapes = [program.avals[p].shape for p in op.inputs if isinstance(p, Slot)]
    return f"of shapes {', '.join(map(str, shapes))}"


def _gated(program: Program, site: Site, moved: frozenset[Slot]) -> Site:
    """With the operations, entry by entry, that nothing passes by."""
    inside, gate = {site.slot}, []
    for op in program.ops:
        read = places(op)
        local = op.name in ELEMENTWISE and not inside.isdisjoint(read)
        if local and moved.isdisjoint(read - inside) and len(op.outputs) == 1:
            gate.append(op)
            inside.add(op.outputs[0])
    mine = {id(op) for op in gate}
    read = {p for op in program.ops if id(op) not in mine for p in places(op)} | {program.output}
    ends = tuple(sorted(inside & read))
    if site.slot in ends:
        return site
    return site._replace(gate=tuple(gate), ends=ends)


def leaf_names(params: Any) -> list[str]:
    """Names of the leaves, as errors give them."""
    paths = [path for path, _ in jax.tree.leaves_with_path(params)]
    return [jax.tree_util.keystr(path) or "the array itself" for path in paths]
