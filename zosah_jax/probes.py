"""What is asked: points described by how they differ from the parameters, not materialised.

Probes are a pytree of arrays with a common leading axis, one entry a probe. `jax.lax.map` or
`jax.vmap` over that axis yields single probes, which apply themselves to the parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.low_rank import Distribution, Law, LowRank, add_low_rank, draw
from zosah_jax.pytree import Address, Params, add_at, widen, working_dtype


class Probes(Protocol):
    """n probes, described."""

    def __len__(self) -> int:
        """Number n of probes (static)."""
        ...

    def apply(self, params: Params) -> Params:
        """Point of a single probe (one entry of the leading axis), in float32 or wider."""
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CoordinateProbes:
    """Probes that each move a few addressed coordinates.

    Attributes:
        address: the coordinates that each probe moves, leaves of shape (n, s).
        offset: how far, shape (n, s), in the working dtype; zeros are the parameters themselves.
    """

    address: Address
    offset: jax.Array

    def __len__(self) -> int:
        return self.offset.shape[0]

    def apply(self, params: Params) -> Params:
        """Point of a single probe."""
        return add_at(widen(params), self.address, self.offset)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PointProbes:
    """Probes that are points of their own: as much memory as n copies of the parameters.

    Attributes:
        point: pytree like the parameters in float32 or wider, its leaves with the leading axis n.
    """

    point: Params

    def __len__(self) -> int:
        return jax.tree.leaves(self.point)[0].shape[0]

    def apply(self, params: Params) -> Params:
        """Point of a single probe."""
        del params
        return self.point


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CoordinateUpdate:
    """An update of a few addressed coordinates, described: it takes no memory for the others.

    Attributes:
        address: the coordinates, distinct, leaves of any shape.
        amount: how much, same shape, in the working dtype and the direction of a gradient.
    """

    address: Address
    amount: jax.Array

    def dense(self, params: Params) -> Params:
        """The update as a pytree like the parameters, in float32 or wider; zero elsewhere."""
        zeros = jax.tree.map(lambda x: jnp.zeros(jnp.shape(x), working_dtype(x)), params)
        return add_at(zeros, self.address, self.amount)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DirectionProbes:
    """Probes along random directions, regenerated from their keys and never stored.

    A probe moves by the sum over k of scale_k u_k, times the scaling where there is one.

    Attributes:
        key: typed keys of the directions u_k that each probe combines, shape (n, k).
        scale: how far along each, shape (n, k), in the working dtype; zeros are the parameters
            themselves.
        scaling: factor of every coordinate, a pytree like the parameters, in float32 or wider, its
            leaves with the leading axis n but the same for every probe; None is 1.
        distribution: of the directions (static): that of their independent coordinates, or
            `low_rank.LowRank`.
    """

    key: jax.Array
    scale: jax.Array
    scaling: Params | None = None
    distribution: Law = field(default="normal", metadata={"static": True})

    def __len__(self) -> int:
        return self.scale.shape[0]

    def apply(self, params: Params) -> Params:
        """Point of a single probe."""
        wide = widen(params)
        if self.scaling is None:
            return add_directions(wide, self.key, self.scale, self.distribution)
        move = combine_directions(self.key, self.scale, params, self.distribution)
        return jax.tree.map(lambda x, s, u: x + s * u, wide, self.scaling, move)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class BlockProbes:
    """Probes along standard normal directions within a block of leaves; the others stay in place.

    Attributes:
        key: typed key of each direction, shape (n,).
        scale: step along it, shape (n,), in the working dtype.
        block: number of the block that each probe moves, int32, shape (n,).
        blocks: numbers of the leaves of every block (static).
    """

    key: jax.Array
    scale: jax.Array
    block: jax.Array
    blocks: tuple[tuple[int, ...], ...] = field(metadata={"static": True})

    def __len__(self) -> int:
        return self.scale.shape[0]

    def apply(self, params: Params) -> Params:
        """Point of a single probe."""
        return move_block(widen(params), self.key, self.scale, self.block, self.blocks)


def split_shared(probes: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Split off the arrays that all probes share.

    Returns:
        The probes without them, and a function that restores them to one probe. An evaluator that
        maps over the former keeps a single copy of what is shared.
    """
    if isinstance(probes, DirectionProbes) and probes.scaling is not None:
        scaling = jax.tree.map(lambda leaf: leaf[0], probes.scaling)
        return replace(probes, scaling=None), lambda one: replace(one, scaling=scaling)
    return probes, lambda one: one


def tree_broadcast(tree: Params, n: int) -> Params:
    """The tree with a leading axis of n equal entries."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (n, *jnp.shape(leaf))), tree)


def direction(key: jax.Array, params: Params, distribution: Law = "normal") -> Params:
    """Random direction of a key: uncorrelated coordinates of mean 0 and variance 1.

    Args:
        key: typed PRNG key.
        params: pytree; only shapes and dtypes matter.
        distribution: of independent coordinates: "normal", N(0, 1), or "rademacher", +1 or -1 with
            equal chances; or `low_rank.LowRank`, of matrices that are products of factors.

    Returns:
        A pytree like `params`, in float32 or wider.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> u = direction(jax.random.key(0), {"w": jnp.zeros(3)}, "rademacher")
        >>> [abs(float(x)) for x in u["w"]]
        [1.0, 1.0, 1.0]
    """
    one = jnp.ones(1, working_dtype(params))
    return combine_directions(key[None], one, params, distribution)


def combine_directions(
    key: jax.Array, weight: jax.Array, params: Params, distribution: Law = "normal"
) -> Params:
    """Sum over k of weight_k u_k, like `params` in float32 or wider; see `add_directions`."""
    return add_directions(jax.tree.map(jnp.zeros_like, widen(params)), key, weight, distribution)


def add_directions(
    tree: Params, key: jax.Array, weight: jax.Array, distribution: Law = "normal"
) -> Params:
    """The tree with weight_k u_k added for every k, one direction at a time.

    No direction is ever there as a whole: it is drawn in parts, which are added in place. Those of
    low rank are added up together, each matrix by one product of all its factors.

    Args:
        tree: pytree in float32 or wider.
        key: typed keys, shape (k,).
        weight: shape (k,).
        distribution: of the directions.

    Returns:
        A pytree like `tree`.
    """
    leaves, treedef = jax.tree.flatten(tree)
    if isinstance(distribution, LowRank):
        return jax.tree.unflatten(treedef, add_low_rank(leaves, key, weight, distribution))

    def add(leaves: list[jax.Array], each: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
        return _moved(leaves, *each, distribution), None

    if len(weight) == 1:
        leaves, _ = add(leaves, (key[0], weight[0]))
    else:
        leaves, _ = jax.lax.scan(add, leaves, (key, weight))
    return jax.tree.unflatten(treedef, leaves)


def move_block(
    tree: Params,
    key: jax.Array,
    weight: jax.Array,
    block: jax.Array,
    blocks: tuple[tuple[int, ...], ...],
) -> Params:
    """The tree with weight u added to the leaves of one block, u ~ N(0, I) of a key.

    Random numbers are drawn for these leaves alone (under `vmap` over blocks, for all).

    Args:
        tree: pytree in float32 or wider.
        key: typed key.
        weight: scalar.
        block: number of the block, int32 scalar.
        blocks: numbers of the leaves of every block.
    """
    leaves, treedef = jax.tree.flatten(tree)

    def moved(part: list[jax.Array]) -> list[jax.Array]:
        return _moved(part, key, weight, "normal")

    for number, members in enumerate(blocks):
        part = [leaves[n] for n in members]
        part = jax.lax.cond(block == number, moved, lambda part: part, part)
        for n, leaf in zip(members, part, strict=True):
            leaves[n] = leaf
    return jax.tree.unflatten(treedef, leaves)


# --- how directions are drawn ---------------------------------------------------------------------

# Coordinates that are drawn at once, at least. XLA on a CPU makes all draws of a step before it
# uses the first, unless they are in loops: with 2**16, a step had twice the memory.
_PART = 2**12
_PARTS = 16  # of a leaf at most: on an accelerator every part is a launch


def _moved(
    leaves: list[jax.Array], key: jax.Array, weight: jax.Array, distribution: Distribution
) -> list[jax.Array]:
    """Leaves with weight u added. Small ones share a draw, a large one takes several."""
    moved: list[jax.Array] = []
    for number, group in enumerate(_groups(leaves)):
        own = jax.random.fold_in(key, number)
        move = _move_large if len(group) == 1 and group[0].size >= 2 * _PART else _move_small
        moved += move(group, own, weight, distribution)
    return moved


def _groups(leaves: list[jax.Array]) -> list[list[jax.Array]]:
    """Leaves in their order, in groups of at most about twice what is drawn at once."""
    groups: list[list[jax.Array]] = []
    size = 2 * _PART
    for leaf in leaves:
        if size + leaf.size > 2 * _PART:
            groups, size = [*groups, []], 0
        groups[-1].append(leaf)
        size += leaf.size
    return groups


def _move_small(
    leaves: list[jax.Array], key: jax.Array, weight: jax.Array, distribution: Distribution
) -> list[jax.Array]:
    u = draw(key, sum(leaf.size for leaf in leaves), working_dtype(leaves), distribution)
    ends = np.cumsum([leaf.size for leaf in leaves])
    parts = jnp.split(u, ends[:-1]) if len(leaves) > 1 else [u]
    return [
        leaf + weight.astype(leaf.dtype) * part.astype(leaf.dtype).reshape(leaf.shape)
        for leaf, part in zip(leaves, parts, strict=True)
    ]


def _move_large(
    leaves: list[jax.Array], key: jax.Array, weight: jax.Array, distribution: Distribution
) -> list[jax.Array]:
    (leaf,) = leaves
    parts = min(_PARTS, leaf.size // _PART)
    size, weight = leaf.size // parts, weight.astype(leaf.dtype)

    def add(part: jax.Array, flat: jax.Array, size: int = size) -> jax.Array:
        start = (part * (leaf.size // parts),)
        u = draw(jax.random.fold_in(key, part), size, leaf.dtype, distribution)
        moved = jax.lax.dynamic_slice(flat, start, (size,)) + weight * u
        return jax.lax.dynamic_update_slice(flat, moved, start)

    flat = jax.lax.fori_loop(0, parts, add, leaf.reshape(-1))
    if left := leaf.size - parts * size:
        flat = add(jnp.asarray(parts, jnp.int32), flat, left)
    return [flat.reshape(leaf.shape)]
