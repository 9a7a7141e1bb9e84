"""Blocks of parameters (layers, leaves), and the order in which steps or periods visit them.

A method that stays within one block for a while perturbs and updates that part of the parameters
alone; evaluators then redo only what comes after it.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.checks import check_choice
from zosah_jax.permutation import permute
from zosah_jax.pytree import Params

BlockOrder = Literal["cyclic", "reshuffled", "random"]
BlockRule = Literal["layer", "leaf"] | Callable[[str], str] | Any


class Blocks(NamedTuple):
    """A partition of the leaves of the parameters; static.

    Attributes:
        names: name of each block.
        leaves: numbers of the leaves of each block, in `jax.tree.leaves` order.
        sizes: number of scalar parameters of each block.
    """

    names: tuple[str, ...]
    leaves: tuple[tuple[int, ...], ...]
    sizes: tuple[int, ...]


def split_blocks(params: Params, blocks: BlockRule = "layer", at_least: int = 1) -> Blocks:
    """Blocks of the parameters.

    Args:
        params: pytree of arrays; only shapes and paths matter.
        blocks: "layer": leaves with the same parent (a kernel and its bias); a layer of fewer than
            `at_least` parameters joins the one before it. "leaf": every leaf. A function from a
            leaf's path (as `jax.tree_util.keystr` writes it) to the name of its block. Or a pytree
            of names, like `params` or a prefix of it (as `optax.partition` takes).
        at_least: fewest parameters of a block.

    Returns:
        The blocks, in the order of their first leaves. Empty leaves are in none.

    Raises:
        ValueError: a block that was asked for by name, or by leaf, is too small.
        TypeError: `blocks` is none of these.

    Example:
        >>> import jax.numpy as jnp
        >>> params = {"in": {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}, "out": {"w": jnp.ones(3)}}
        >>> split_blocks(params).names, split_blocks(params).sizes
        (("['in']", "['out']"), (9, 3))
        >>> split_blocks(params, "leaf").sizes
        (3, 6, 3)
    """
    paths, leaves = zip(*jax.tree.leaves_with_path(params), strict=True)
    sizes = [math.prod(jnp.shape(leaf)) for leaf in leaves]
    names = _names(params, paths, blocks)
    members: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        if sizes[number]:
            members.setdefault(name, []).append(number)
    if isinstance(blocks, str) and blocks == "layer":
        members = _joined(members, sizes, at_least)
    total = {name: sum(sizes[n] for n in part) for name, part in members.items()}
    for name, size in total.items():
        if size < at_least:
            raise ValueError(
                f"blocks: got a block {name!r} of {size} parameters, wanted at least {at_least} "
                "(the dimension of the subspace within it)."
            )
    return Blocks(tuple(members), tuple(map(tuple, members.values())), tuple(total.values()))


def _names(params: Params, paths: tuple[Any, ...], blocks: Any) -> list[str]:
    if isinstance(blocks, str):
        check_choice("blocks", blocks, ("layer", "leaf"))
        return [jax.tree_util.keystr(p[:-1] if blocks == "layer" else p) for p in paths]
    if callable(blocks):
        return [str(blocks(jax.tree_util.keystr(path))) for path in paths]
    wanted = "'layer', 'leaf', a function from a leaf's path to a name, or a pytree of names"
    try:
        names = jax.tree.leaves(jax.tree.broadcast(blocks, params))
    except ValueError as error:
        raise ValueError(f"blocks: got {blocks!r}, wanted {wanted} like the parameters.") from error
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"blocks: got {blocks!r}, wanted {wanted}.")
    return names


def _joined(members: dict[str, list[int]], sizes: list[int], at_least: int) -> dict[str, list[int]]:
    """Blocks in which those that are too small have joined the one before (the first, the next)."""
    joined: dict[str, list[int]] = {}
    waiting: list[int] = []
    for name, part in members.items():
        if sum(sizes[n] for n in waiting + part) >= at_least:
            joined[name], waiting = waiting + part, []
        elif joined:
            joined[next(reversed(joined))] += part
        else:
            waiting += part
    return joined or dict.fromkeys(list(members)[:1], waiting)


def check_blocks(blocks: BlockRule | None, order: str) -> None:
    """Refuse what is no rule or no order, as far as can be seen without parameters."""
    check_choice("block_order", order, get_args(BlockOrder))
    if isinstance(blocks, str):
        check_choice("blocks", blocks, ("layer", "leaf"))


def block_at(order: BlockOrder, key: jax.Array, number: jax.Array, count: int) -> jax.Array:
    """Number of the block that is visited at turn `number`.

    Args:
        order: "cyclic" 0, 1, 2, ...; "reshuffled": each once a sweep of `count` turns, in an order
            of its own; "random": independent, uniform.
        key: typed PRNG key; the order follows from it.
        number: turn, int32 or uint32 scalar.
        count: number of blocks.

    Returns:
        int32 scalar below `count`.

    Example:
        >>> import jax
        >>> sweep = [int(block_at("reshuffled", jax.random.key(0), n, 3)) for n in range(3)]
        >>> sorted(sweep)
        [0, 1, 2]
    """
    turn = jnp.asarray(number).astype(jnp.uint32)
    if order == "random":
        return jax.random.randint(jax.random.fold_in(key, turn), (), 0, count, jnp.int32)
    place, sweep = turn % np.uint32(count), turn // np.uint32(count)
    if order == "reshuffled":
        place = permute(jax.random.fold_in(key, sweep), place, count)
    return place.astype(jnp.int32)
