"""A choice among branches that stays a choice under `jax.vmap`.

Under `vmap`, `lax.switch` on a batched index runs every branch for every lane: all stages of a
method would be asked at every turn, though most lanes call for one of them. Here a branch runs (for
all lanes; those that call for it take its results) only if some lane calls for it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from zosah_jax.checks import is_typed_key
from zosah_jax.jaxprs import close, function

Branch = Callable[..., Any]


def switch(index: jax.Array, branches: Sequence[Branch], *operands: Any) -> Any:
    """`jax.lax.switch(index, branches, *operands)`, see above.

    Args:
        index: number of the branch, int32 scalar. Under `vmap`, a lane with a negative one runs
            nothing, and what it returns is of no use.
        branches: functions of the operands that return alike; they may close over traced values.
        *operands: pytrees.
    """
    if len(branches) == 1:
        return branches[0](*operands)
    leaves, in_tree = jax.tree.flatten(operands)
    flat, consts = _Flat.of(branches, in_tree, leaves)

    def alone(index: jax.Array, consts: Any, leaves: Any) -> list[Any]:
        return jax.lax.switch(index, flat.runs(consts), *leaves)

    def in_lanes(size: int, index: jax.Array, batched: Any, consts: Any, leaves: Any) -> Any:
        runs = flat.runs_in_lanes(size, batched, consts, leaves)
        shapes = jax.eval_shape(runs[0])
        found = [jnp.zeros(leaf.shape, leaf.dtype) for leaf in shapes]
        for number, run in enumerate(runs):
            here = index == number

            def taken(found: list[Any], here: Any = here, run: Any = run) -> list[Any]:
                return [_select(here, new, old) for new, old in zip(run(), found, strict=True)]

            found = jax.lax.cond(jnp.any(here), taken, lambda found: found, found)
        return found

    return flat.result(_with_lanes(alone, in_lanes)(index, consts, leaves))


def _select(here: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    return jnp.where(here.reshape(-1, *[1] * (new.ndim - 1)), new, old)


def _with_lanes(alone: Branch, in_lanes: Branch) -> Branch:
    """`alone(index, consts, leaves)`; under `vmap`, `in_lanes` with what is batched beside it."""
    chosen = jax.custom_batching.custom_vmap(alone)

    @chosen.def_vmap
    def rule(size: int, batched: Any, index: jax.Array, consts: Any, leaves: Any) -> Any:
        index_batched, *rest = batched
        lanes = index if index_batched else jnp.broadcast_to(index, (size,))
        found = in_lanes(size, lanes, rest, consts, leaves)
        return found, [True] * len(found)

    return chosen


class _Flat:
    """Branches as functions of arrays alone: what they close over is hoisted into arguments.

    It holds no array: what is compiled refers to it, and would keep traced values alive.
    """

    def __init__(self) -> None:
        self._jaxprs: list[Any] = []
        self._out_tree: Any = None
        self._keys: list[Any] = []

    @classmethod
    def of(
        cls, branches: Sequence[Branch], in_tree: Any, leaves: list[Any]
    ) -> "tuple[_Flat, list[list[Any]]]":
        """The branches, and what each of them closes over."""
        self = cls()

        def flattened(branch: Branch) -> Branch:
            def run(*leaves: jax.Array) -> list[jax.Array]:
                out = branch(*jax.tree.unflatten(in_tree, leaves))
                found, self._out_tree = jax.tree.flatten(out)
                self._keys = [jax.random.key_impl(x) if is_typed_key(x) else None for x in found]
                return [jax.random.key_data(x) if is_typed_key(x) else x for x in found]

            return run

        closed = [jax.make_jaxpr(flattened(branch))(*leaves) for branch in branches]
        consts = [list(part.consts) for part in closed]
        # from jax 0.12 on a jaxpr has its constants with it: nothing in their place
        self._jaxprs = [
            close(part.jaxpr, [None] * len(own)).jaxpr
            for part, own in zip(closed, consts, strict=True)
        ]
        return self, consts

    def _run(self, number: int, consts: list[Any], leaves: Any) -> list[Any]:
        return function(self._jaxprs[number], consts)(*leaves)

    def runs(self, consts: list[list[Any]]) -> list[Branch]:
        """The branches, of the leaves."""
        return [
            lambda *leaves, number=number, own=own: self._run(number, own, leaves)
            for number, own in enumerate(consts)
        ]

    def runs_in_lanes(
        self, size: int, batched: Any, consts: list[list[Any]], leaves: list[Any]
    ) -> list[Branch]:
        """The branches for all lanes at once, of nothing."""

        def in_lanes(number: int) -> Branch:
            axes = jax.tree.map(lambda b: 0 if b else None, (batched[0][number], batched[1]))

            def run(own: list[Any], leaves: list[Any]) -> list[Any]:
                return self._run(number, own, leaves)

            return lambda: jax.vmap(run, axes, axis_size=size)(consts[number], leaves)

        return [in_lanes(number) for number in range(len(consts))]

    def result(self, leaves: list[Any]) -> Any:
        """What a branch returned, of its leaves."""
        wrapped = [
            leaf if impl is None else jax.random.wrap_key_data(leaf, impl=impl)
            for leaf, impl in zip(leaves, self._keys, strict=True)
        ]
        return jax.tree.unflatten(self._out_tree, wrapped)
