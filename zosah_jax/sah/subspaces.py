"""Subspace selector: m coordinates of V, paired into m/2 disjoint two-dimensional subspaces W_j."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.blocks import BlockOrder, Blocks, block_at, split_blocks
from zosah_jax.params import Address, Params, address_of, dimension
from zosah_jax.permutation import grid, permute, permute_cells
from zosah_jax.sah.options import Options


def default_subspace_dim(d: int) -> int:
    """Dimension m of V where the user gives none: about d/2, even, from 2 to 16."""
    return min(16, 2 * ((d + 3) // 4))


def default_period(d: int) -> int:
    """Period T where the user gives none: 5, but 1 where a single pair is all there is (d = 2).

    There the blocks leave nothing out and fresh samples make the step exactly Newton's, while a
    Hessian fitted to older values lags behind in a curved valley.
    """
    return 1 if d == 2 else 5


def check_subspace_dim(m: int | None, d: int) -> int:
    """The subspace dimension, refused where it is not even or not in 2 .. d."""
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


Draw = Callable[[jax.Array, jax.Array], Address]


def choose_subspaces(options: Options, params: Params, m: int) -> Draw:
    """How subspaces are drawn: (key, number of the period) -> address, shape (m/2, 2)."""
    if options.blocks is None:
        return partial(draw_subspaces, params=params, m=m)
    blocks = split_blocks(params, options.blocks, at_least=m)
    return partial(draw_in_block, params=params, m=m, blocks=blocks, order=options.block_order)


def draw_subspaces(key: jax.Array, number: jax.Array, params: Params, m: int) -> Address:
    """Subspaces of period `number`: m distinct coordinates in pairs.

    The coordinates of successive periods are successive stretches of one permutation of all d
    (a sweep), so that each is visited once a sweep; where m does not divide d, the last stretch of
    a sweep is filled up from its beginning. Each sweep has a permutation of its own.

    Args:
        key: typed PRNG key.
        number: number of the period, int32 scalar.
        params: pytree of d parameters; only shapes matter.
        m: dimension of V, even.

    Returns:
        Address of shape (m/2, 2): the two coordinates of each W_j.
    """
    coordinates = draw_coordinates(key, number, params, m)
    return Address(*(part.reshape(m // 2, 2) for part in coordinates))


def draw_coordinates(key: jax.Array, number: jax.Array, params: Params, m: int) -> Address:
    """The m coordinates of period `number`, in random order; see `draw_subspaces`.

    Args:
        key: typed PRNG key.
        number: number of the period, int32 scalar.
        params: pytree of d parameters; only shapes matter.
        m: how many, at most d.

    Returns:
        Address of shape (m,).
    """
    d = dimension(params)
    draws = np.uint32(-(-d // m))  # a sweep
    number = number.astype(jnp.uint32)
    place = _stretch(number % draws, np.uint32(d), m)
    return address_of(params, permute(jax.random.fold_in(key, number // draws), place, d))


def _stretch(number: jax.Array, size: jax.Array | np.uint32, m: int) -> jax.Array:
    """Places of a draw within its sweep over `size` places, uint32, shape (m,)."""
    offset = number * np.uint32(m)
    left = size - offset
    step = jnp.arange(m, dtype=jnp.uint32)
    return jnp.where(step >= left, step - left, offset + step)


def draw_in_block(
    key: jax.Array,
    number: jax.Array,
    params: Params,
    m: int,
    blocks: Blocks,
    order: BlockOrder,
) -> Address:
    """Subspaces of period `number` within the block whose turn it is.

    As `draw_subspaces`, with a sweep of its own for each block; where blocks come at random, the
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
    place = _stretch(visit % draws, size, m)
    position = permute_cells(key_sweep, place, size, (rows, columns))
    return _address_in_block(params, blocks, block, position.reshape(m // 2, 2))


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
