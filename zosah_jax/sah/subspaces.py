"""Subspace selector: m coordinates of V in m/s disjoint subspaces W_j: pairs, s = 2, or larger."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.blocks import BlockOrder, Blocks, block_at, split_blocks
from zosah_jax.params import Address, Params, address_of, dimension
from zosah_jax.permutation import grid, permute, permute_cells
from zosah_jax.sah.coupling import matched
from zosah_jax.sah.options import Options, is_learnt, is_random


def default_subspace_dim(d: int, dim: int = 2) -> int:
    """Dimension m of V where the user gives none: about d/2, a multiple of s, from s to 16 or s."""
    m = min(16, 2 * ((d + 3) // 4))
    return dim * max(1, m // dim)


def default_period(d: int, dim: int = 2) -> int:
    """Period T where the user gives none: 5, but 1 where a single pair is all there is (d = 2).

    There the blocks leave nothing out and fresh samples make the step exactly Newton's, while a
    Hessian fitted to older values lags behind in a curved valley.
    """
    return 1 if d == dim else 5


def check_subspace_dim(m: int | None, d: int, dim: int = 2) -> int:
    """The subspace dimension, refused where it is no multiple of s or not in s .. d."""
    if d < dim:
        a_pair = "a subspace is a pair" if dim == 2 else "hessian_dim of them make a subspace"
        raise ValueError(f"params: got {d} parameter, wanted at least {dim}: {a_pair}.")
    if m is None:
        return default_subspace_dim(d, dim)
    if isinstance(m, bool) or not isinstance(m, int | np.integer):
        raise TypeError(
            f"subspace_dim: got {m!r}, wanted an int (it is a shape: under "
            "optax.inject_hyperparams name it in static_args)."
        )
    if m < dim or m % dim or m > d:
        kind = "an even int" if dim == 2 else f"a multiple of hessian_dim = {dim}"
        raise ValueError(f"subspace_dim: got {m}, wanted {kind} from {dim} to d = {d}.")
    return int(m)


Draw = Callable[[jax.Array, jax.Array], Address]


def choose_subspaces(
    options: Options, params: Params, m: int, coupling: jax.Array | None = None
) -> Draw:
    """How subspaces are drawn: (key, number of the period) -> address, shape (m/s, s)."""
    dim = options.hessian_dim
    if options.blocks is not None:
        blocks = split_blocks(params, options.blocks, at_least=m)
        return partial(
            draw_in_block, params=params, m=m, blocks=blocks, order=options.block_order, dim=dim
        )
    if is_random(options.pairing):
        return partial(draw_subspaces, params=params, m=m, dim=dim)
    if is_learnt(options.pairing):
        return partial(draw_coupled, params=params, m=m, dim=dim, coupling=coupling)  # type: ignore[arg-type]
    groups = check_groups(options.pairing, dimension(params))
    return partial(draw_groups, params=params, m=m, groups=groups)


def draw_subspaces(
    key: jax.Array, number: jax.Array, params: Params, m: int, dim: int = 2
) -> Address:
    """Subspaces of period `number`: m distinct coordinates in pairs, or in s at a time.

    The coordinates of successive periods are successive stretches of one permutation of all d
    (a sweep), so that each is visited once a sweep; where m does not divide d, the last stretch of
    a sweep is filled up from its beginning. Each sweep has a permutation of its own.

    Args:
        key: typed PRNG key.
        number: number of the period, int32 scalar.
        params: pytree of d parameters; only shapes matter.
        m: dimension of V, a multiple of s.
        dim: s.

    Returns:
        Address of shape (m/s, s): the coordinates of each W_j.
    """
    coordinates = draw_coordinates(key, number, params, m)
    return Address(*(part.reshape(-1, dim) for part in coordinates))


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
    return address_of(params, _sweep(key, number, dimension(params), m))


def _sweep(key: jax.Array, number: jax.Array, size: int, m: int) -> jax.Array:
    """Draw `number` of m places out of so many, without replacement within a sweep, uint32."""
    draws = np.uint32(-(-size // m))  # a sweep
    number = number.astype(jnp.uint32)
    place = _stretch(number % draws, np.uint32(size), m)
    return permute(jax.random.fold_in(key, number // draws), place, size)


def draw_groups(
    key: jax.Array, number: jax.Array, params: Params, m: int, groups: np.ndarray
) -> Address:
    """Subspaces of period `number` out of given groups, swept as coordinates are.

    Args:
        key: typed PRNG key.
        number: number of the period, int32 scalar.
        params: pytree of d parameters; only shapes matter.
        m: dimension of V, a multiple of s.
        groups: places of the coordinates of each group, ints of shape (d/s, s).

    Returns:
        Address of shape (m/s, s).
    """
    chosen = _sweep(key, number, len(groups), m // groups.shape[1])
    return address_of(params, jnp.asarray(groups, jnp.uint32)[chosen])


def draw_coupled(
    key: jax.Array, number: jax.Array, params: Params, m: int, dim: int, coupling: jax.Array
) -> Address:
    """Subspaces of period `number` of coordinates that are coupled, see `coupling.matched`.

    Args:
        key: typed PRNG key.
        number: number of the period, int32 scalar.
        params: pytree of d parameters; only shapes matter.
        m: dimension of V, a multiple of s.
        dim: s.
        coupling: what is known of the Hessian, shape (d, d).

    Returns:
        Address of shape (m/s, s).
    """
    first, ties = draw_first(key, number, dimension(params), m)
    return address_of(params, matched(coupling, first, ties.astype(coupling.dtype), dim))


def draw_first(key: jax.Array, number: jax.Array, d: int, m: int) -> tuple[jax.Array, jax.Array]:
    """Places that groups may begin with, uint32 (m,), and random numbers for ties, (d,)."""
    key_sweep, key_ties = jax.random.split(key)
    ties = jax.random.uniform(jax.random.fold_in(key_ties, number), (d,))
    return _sweep(key_sweep, number, d, m), ties


def check_groups(groups: Any, d: int) -> np.ndarray:
    """Groups of coordinates, refused unless every one of d is in exactly one of them."""
    found = np.asarray(groups)
    if not np.array_equal(np.sort(found, axis=None), np.arange(d)):
        raise ValueError(
            f"pairing: got groups of {found.size} places, wanted every place from 0 to {d - 1} of "
            "the parameters in exactly one group."
        )
    return found


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
    dim: int = 2,
) -> Address:
    """Subspaces of period `number` within the block whose turn it is.

    As `draw_subspaces`, with a sweep of its own for each block; where blocks come at random, the
    draws of a block are independent of each other.

    Args:
        key: typed PRNG key.
        number: number of the period, int32 scalar.
        params: pytree of parameters; only shapes matter.
        m: dimension of V, a multiple of s, at most the size of the smallest block.
        blocks: the blocks.
        order: which comes when.
        dim: s.

    Returns:
        Address of shape (m/s, s).
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
    return _address_in_block(params, blocks, block, position.reshape(-1, dim))


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
