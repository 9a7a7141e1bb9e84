"""Subspace selector: m coordinates of V in m/2 disjoint pairs W_j."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from zosah_jax.blocks import BlockOrder, BlockRule, Blocks, block_at, split_blocks
from zosah_jax.permutation import draw_places, grid, permute_cells, stretch
from zosah_jax.pytree import Address, Params, address_of, dimension

Draw = Callable[[jax.Array, jax.Array], Address]


def default_subspace_dim(d: int) -> int:
    """Dimension m of V where the user gives none: about d/2, even, from 2 to 16."""
    return min(16, 2 * ((d + 3) // 4))


def default_period(d: int) -> int:
    """Period T where the user gives none: 5, but 1 where a single pair is all there is (d = 2).

    There the pairs leave nothing out and fresh samples make the step exactly Newton's, while a
    Hessian fitted to older values lags behind in a curved valley.
    """
    return 1 if d == 2 else 5


def check_subspace_dim(m: int | None, d: int) -> int:
    """The subspace dimension, refused where it is odd or not in 2 .. d."""
    if d < 2:
        raise ValueError(f"params: got {d} parameter, wanted at least 2: a subspace is a pair.")
    if m is None:
        return default_subspace_dim(d)
    if isinstance(m, bool) or not isinstance(m, int | np.integer):
        raise TypeError(
            f"subspace_dim: got {m!r}, wanted an int (it is a shape: under "
            "optax.inject_hyperparams name it in static_args)."
        )
    if m < 2 or m % 2 or m > d:
        raise ValueError(f"subspace_dim: got {m}, wanted an even int from 2 to d = {d}.")
    return int(m)


def choose_draw(
    params: Params,
    m: int,
    groups: Any = None,
    blocks: BlockRule | None = None,
    block_order: BlockOrder = "cyclic",
) -> Draw:
    """How pairs are drawn: (key, number of the period) -> address, shape (m/2, 2)."""
    if blocks is not None:
        split = split_blocks(params, blocks, at_least=m)
        return partial(draw_in_block, params=params, m=m, blocks=split, order=block_order)
    if groups is None:
        return partial(draw_pairs, params=params, m=m)
    known = _all_grouped(np.asarray(groups), dimension(params))
    return partial(draw_groups, params=params, m=m, groups=known)


def draw_pairs(key: jax.Array, number: jax.Array, params: Params, m: int) -> Address:
    """Pairs of period `number`: m distinct coordinates, each once a sweep (`draw_places`).

    Args:
        key: typed PRNG key.
        number: number of the period, int32 scalar.
        params: pytree of d parameters; only shapes matter.
        m: dimension of V, even.

    Returns:
        Address of shape (m/2, 2): the coordinates of each W_j.
    """
    coordinates = address_of(params, draw_places(key, number, dimension(params), m))
    return Address(*(part.reshape(-1, 2) for part in coordinates))


def draw_groups(
    key: jax.Array, number: jax.Array, params: Params, m: int, groups: np.ndarray
) -> Address:
    """Pairs of period `number` that the user has named, swept as coordinates are.

    Args:
        key: typed PRNG key.
        number: number of the period, int32 scalar.
        params: pytree of d parameters; only shapes matter.
        m: dimension of V, even.
        groups: places of the coordinates of each pair, ints of shape (d/2, 2).

    Returns:
        Address of shape (m/2, 2).
    """
    chosen = draw_places(key, number, len(groups), m // 2)
    return address_of(params, jnp.asarray(groups, jnp.uint32)[chosen])


def check_groups(groups: Any) -> None:
    """Refuse what is neither None nor an array of pairs of ints."""
    if groups is None:
        return
    wanted = "pairs of places, ints of shape (d/2, 2), or None"
    if isinstance(groups, jax.core.Tracer):
        raise TypeError(f"groups: got a traced value, wanted {wanted}.")
    found = np.asarray(groups)
    if not np.issubdtype(found.dtype, np.integer):
        raise TypeError(f"groups: got dtype {found.dtype}, wanted {wanted}.")
    if found.ndim != 2 or found.shape[1] != 2:
        raise ValueError(f"groups: got shape {found.shape}, wanted {wanted}.")


def _all_grouped(groups: np.ndarray, d: int) -> np.ndarray:
    """The groups, refused unless every one of d coordinates is in exactly one of them."""
    if not np.array_equal(np.sort(groups, axis=None), np.arange(d)):
        raise ValueError(
            f"groups: got {groups.size} places, wanted every place from 0 to {d - 1} of the "
            "parameters in exactly one pair."
        )
    return groups


def draw_in_block(
    key: jax.Array,
    number: jax.Array,
    params: Params,
    m: int,
    blocks: Blocks,
    order: BlockOrder,
) -> Address:
    """Subspaces of period `number` within the block whose turn it is.

    As `draw_pairs`, with a sweep of its own for each block; where blocks come at random, the
    draws of a block are independent of each other.

    Args:
        key: typed PRNG key.
        number: number of the period, int32 scalar.
        params: pytree of parameters; only shapes matter.
        m: dimension of V, even, at most the size of the smallest block.
        blocks: the blocks.
        order: which comes when.

    Returns:
        Address of shape (m/2, 2).
    """
    count = len(blocks.sizes)
    key_order, key_draw = jax.random.split(key)
    block = block_at(order, key_order, number, count)
    size = jnp.asarray(blocks.sizes, jnp.uint32)[block]
    rows, columns = (
        jnp.asarray(side)[block] for side in zip(*map(grid, blocks.sizes), strict=True)
    )
    draws = (size + np.uint32(m - 1)) // np.uint32(m)  # a sweep
    number = number.astype(jnp.uint32)
    visit = number if order == "random" else number // np.uint32(count)
    sweep = number if order == "random" else visit // draws
    key_sweep = jax.random.fold_in(jax.random.fold_in(key_draw, block), sweep)
    place = stretch(visit % draws, size, m)
    position = permute_cells(key_sweep, place, size, (rows, columns))
    return _address_in_block(params, blocks, block, position.reshape(-1, 2))


def _address_in_block(
    params: Params, blocks: Blocks, block: jax.Array, position: jax.Array
) -> Address:
    """Address of positions in the concatenation of a block's leaves."""
    sizes = [jnp.size(leaf) for leaf in jax.tree.leaves(params)]
    widest = max(map(len, blocks.leaves))
    starts = np.full((len(blocks.leaves), widest), 2**32 - 1, np.uint32)
    numbers = np.zeros((len(blocks.leaves), widest), np.int32)
    for row, leaves in enumerate(blocks.leaves):
        numbers[row, : len(leaves)] = leaves
        starts[row, : len(leaves)] = np.cumsum([0, *(sizes[leaf] for leaf in leaves[:-1])])
    begin = jnp.asarray(starts)[block]
    slot = jnp.searchsorted(begin, position, side="right").astype(jnp.int32) - 1
    return Address(jnp.asarray(numbers)[block][slot], position - begin[slot])
