"""A choice among branches that stays a choice under `jax.vmap`.

Under `vmap`, `lax.switch` on a batched index runs every branch for every lane: all stages of a
method would be asked at every turn, though most lanes call for one of them. Here a branch runs (for
all lanes, whose results are taken where they call for it) only if some lane calls for it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun

from zosah_jax.checks import is_typed_key


def switch(index: jax.Array, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """`jax.lax.switch(index, branches, *operands)`, see above.

    Args:
        index: number of the branch, int32 scalar. Under `vmap`, a lane with a negative one runs
            nothing, and what it returns is of no use.
        branches: functions of the operands that return alike; they may close over traced values.
        *operands: pytrees.
    """
    if len(branches) == 1:
        return branches[0](*operands)
    flat, in_tree = jax.tree.flatten(operands)
    closed, keys, out_tree = [], [], None

    def flattened(branch: Callable[..., Any]) -> Callable[..., list[jax.Array]]:
        def run(*flat: jax.Array) -> list[jax.Array]:
            nonlocal keys, out_tree
            leaves, out_tree = jax.tree.flatten(branch(*jax.tree.unflatten(in_tree, flat)))
            keys = [jax.random.key_impl(leaf) if is_typed_key(leaf) else None for leaf in leaves]
            return [jax.random.key_data(leaf) if is_typed_key(leaf) else leaf for leaf in leaves]

        return run

    closed = [jax.make_jaxpr(flattened(branch))(*flat) for branch in branches]
    consts = [part.consts for part in closed]

    def runs(consts: list[Any]) -> list[Callable[..., Any]]:
        return [
            lambda *flat, part=part, own=own: jaxpr_as_fun(part.replace(consts=own))(*flat)
            for part, own in zip(closed, consts, strict=True)
        ]

    @jax.custom_batching.custom_vmap
    def choose(index: jax.Array, consts: list[Any], flat: list[Any]) -> list[Any]:
        return jax.lax.switch(index, runs(consts), *flat)

    @choose.def_vmap
    def choose_in_lanes(
        size: int, batched: Any, index: jax.Array, consts: list[Any], flat: list[Any]
    ) -> Any:
        index_batched, consts_batched, flat_batched = batched
        lanes = jnp.broadcast_to(index, (size,)) if not index_batched else index

        def in_lanes(number: int) -> Callable[[], list[Any]]:
            axes = jax.tree.map(lambda b: 0 if b else None, (consts_batched[number], flat_batched))

            def run(own: list[Any], flat: list[Any]) -> list[Any]:
                return jaxpr_as_fun(closed[number].replace(consts=own))(*flat)

            return lambda: jax.vmap(run, axes, axis_size=size)(consts[number], flat)

        shapes = jax.eval_shape(in_lanes(0))
        found = [jnp.zeros(leaf.shape, leaf.dtype) for leaf in shapes]
        for number in range(len(closed)):
            here = lanes == number

            def taken(found: list[Any], here: jax.Array = here, number: int = number) -> list[Any]:
                return [
                    jnp.where(here.reshape(-1, *[1] * (new.ndim - 1)), new, old)
                    for new, old in zip(in_lanes(number)(), found, strict=True)
                ]

            found = jax.lax.cond(jnp.any(here), taken, lambda found: found, found)
        return found, [True] * len(found)

    leaves = choose(index, consts, flat)
    wrapped = [
        leaf if impl is None else jax.random.wrap_key_data(leaf, impl=impl)
        for leaf, impl in zip(leaves, keys, strict=True)
    ]
    assert out_tree is not None
    return jax.tree.unflatten(out_tree, wrapped)
