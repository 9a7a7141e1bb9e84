"""Which probes are answered together: groups of leaves, and what a probe of each has to redo."""

from typing import NamedTuple

import numpy as np

from zosah_jax.evaluate.grouped.program import (
    PRODUCTS,
    Op,
    Program,
    dependents,
    first_use,
    flops,
    places,
)


class Group(NamedTuple):
    """Probes that redo the same operations.

    Attributes:
        leaves: numbers of the leaves that such a probe may move.
        ops: what it redoes.
        single: whether it moves coordinates of one leaf only, which are carried as changes of
            single entries; otherwise the leaves are copied.
    """

    leaves: tuple[int, ...]
    ops: tuple[Op, ...]
    single: bool


class Plan(NamedTuple):
    """Groups, and which of them answers a probe.

    Attributes:
        groups: all of them.
        own: of each leaf, the group of a probe that moves one coordinate of it and nothing else.
        common: of each leaf, the group of a probe that moves it and leaves used after it.
        order: of each leaf, its place in the order of use.
    """

    groups: tuple[Group, ...]
    own: np.ndarray
    common: np.ndarray
    order: np.ndarray


_WORTH = 1e-3  # of the cost of a value at random coordinates: what a group of its own must save


def make_plan(program: Program, sizes: tuple[int, ...], max_groups: int, stages: int) -> Plan:
    """Groups of a program: one a leaf where that saves most, and one a stage for all else.

    The stages cut the program into parts of about equal cost. A stage's group answers probes of any
    leaves that are used in it or later.

    Args:
        program: the objective.
        sizes: number of coordinates of each leaf.
        max_groups: most groups, at least 1. Each compiles what it redoes.
        stages: most of them that are stages.
    """
    if len(sizes) == 1:
        zero = np.zeros(1, np.int32)
        return Plan((Group((0,), dependents(program, [0]), single=True),), zero, zero, zero)
    costs = np.array([flops(op) for op in program.ops] + [0])
    first = np.array([first_use(program, leaf) for leaf in range(len(sizes))])
    before, total = (np.cumsum(costs) - costs)[first], costs.sum()
    starts = _stage_starts(before, total, min(stages, max_groups))
    stage = np.searchsorted(starts, before, side="right") - 1
    groups = [_stage(program, np.flatnonzero(before >= start)) for start in starts]
    own = stage.copy()
    saved = np.array(sizes) * (before + costs[first] - starts[stage])
    for leaf in np.argsort(-saved, kind="stable")[: max_groups - len(groups)]:
        if saved[leaf] > _WORTH * sum(sizes) * total:
            own[leaf] = len(groups)
            groups.append(Group((int(leaf),), dependents(program, [int(leaf)]), single=True))
    order = np.argsort(np.argsort(first, kind="stable"))
    return Plan(tuple(groups), own, stage, order)


def _stage_starts(before: np.ndarray, total: int, stages: int) -> np.ndarray:
    """Cost of the program before each stage; a stage begins where a leaf is first used."""
    wanted = total * np.arange(stages) / stages
    return np.unique([before[before >= at].min() for at in wanted if (before >= at).any()])


def _stage(program: Program, leaves: np.ndarray) -> Group:
    numbers = tuple(int(leaf) for leaf in leaves)
    return Group(numbers, dependents(program, numbers), single=False)


def expected_cost(program: Program, plan: Plan, sizes: tuple[int, ...]) -> float:
    """Cost of a probe of one random coordinate, in units of the whole program; an upper bound."""
    costs = np.array([_cost(program, group) for group in plan.groups])
    total = max(sum(flops(op) for op in program.ops), 1)
    return float(np.average(costs[plan.own] / total, weights=sizes))


def _cost(program: Program, group: Group) -> int:
    """Cost of a group's probe. The product that a single entry is part of is not done again."""
    cost = sum(flops(op) for op in group.ops)
    if group.single:
        slot = program.leaves[group.leaves[0]]
        products = (op for op in group.ops if op.name in PRODUCTS and slot in places(op))
        cost -= sum(flops(op) for op in products)
    return cost
