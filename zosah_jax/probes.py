"""What is asked: points described by how they differ from the parameters, not materialised.

Probes are a pytree of arrays with a common leading axis, one entry a probe. `jax.lax.map` or
`jax.vmap` over that axis yields single probes, which apply themselves to the parameters.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, Protocol

import jax
import jax.numpy as jnp

from zosah_jax.params import Address, Params, add_at, widen, working_dtype

Distribution = Literal["normal", "rademacher"]


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
class DirectionProbes:
    """Probes along random directions, regenerated from their keys and never stored.

    A probe moves by the sum over k of scale_k u_k, times the scaling where there is one.

    Attributes:
        key: typed keys of the directions u_k that each probe combines, shape (n, k).
        scale: how far along each, shape (n, k), in the working dtype; zeros are the parameters
            themselves.
        scaling: factor of every coordinate, a pytree like the parameters, in float32 or wider, its
            leaves with the leading axis n but the same for every probe; None is 1.
        distribution: of the directions' coordinates (static).
    """

    key: jax.Array
    scale: jax.Array
    scaling: Params | None = None
    distribution: Distribution = field(default="normal", metadata={"static": True})

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
        block_of_leaf: number of the block of every leaf (static).
    """

    key: jax.Array
    scale: jax.Array
    block: jax.Array
    block_of_leaf: tuple[int, ...] = field(metadata={"static": True})

    def __len__(self) -> int:
        return self.scale.shape[0]

    def apply(self, params: Params) -> Params:
        """Point of a single probe."""
        return move_block(self.key, self.scale, self.block, self.block_of_leaf, widen(params))


def set_alike_apart(probes: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Probes without what is the same in all, and how a single one of them gets it back.

    An evaluator that maps over the first and closes over what the second holds keeps one copy of it
    where mapping over the probes keeps n (compiled, the n copies are then never made).
    """
    if isinstance(probes, DirectionProbes) and probes.scaling is not None:
        scaling = jax.tree.map(lambda leaf: leaf[0], probes.scaling)
        return replace(probes, scaling=None), lambda one: replace(one, scaling=scaling)
    return probes, lambda one: one


def alike(tree: Params, n: int) -> Params:
    """The tree with a leading axis of n equal entries."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (n, *jnp.shape(leaf))), tree)


def direction(key: jax.Array, params: Params, distribution: Distribution = "normal") -> Params:
    """Random direction of a key: independent coordinates of mean 0 and variance 1.

    Args:
        key: typed PRNG key.
        params: pytree; only shapes and dtypes matter.
        distribution: "normal", N(0, 1), or "rademacher", +1 or -1 with equal chances.

    Returns:
        A pytree like `params`, in float32 or wider.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> u = direction(jax.random.key(0), {"w": jnp.zeros(3)}, "rademacher")
        >>> [abs(float(x)) for x in u["w"]]
        [1.0, 1.0, 1.0]
    """
    zeros = jax.tree.map(jnp.zeros_like, widen(params))
    leaves, treedef = jax.tree.flatten(zeros)
    one = jnp.ones((), working_dtype(params))
    drawn = [_moved(leaf, key, n, one, distribution) for n, leaf in enumerate(leaves)]
    return jax.tree.unflatten(treedef, drawn)


def add_directions(
    tree: Params, key: jax.Array, weight: jax.Array, distribution: Distribution = "normal"
) -> Params:
    """The tree with weight_k u_k added for every k, one direction at a time.

    Large leaves are gone through in parts, so that no direction is ever there as a whole.

    Args:
        tree: pytree in float32 or wider.
        key: typed keys, shape (k,).
        weight: shape (k,).
        distribution: of the directions.

    Returns:
        A pytree like `tree`.
    """

    def add(total: Params, each: tuple[jax.Array, jax.Array]) -> tuple[Params, None]:
        leaves, treedef = jax.tree.flatten(total)
        moved = [_moved(leaf, each[0], n, each[1], distribution) for n, leaf in enumerate(leaves)]
        return jax.tree.unflatten(treedef, moved), None

    if len(weight) == 1:
        return add(tree, (key[0], weight[0]))[0]
    return jax.lax.scan(add, tree, (key, weight))[0]


def combine_directions(
    key: jax.Array, weight: jax.Array, params: Params, distribution: Distribution = "normal"
) -> Params:
    """Sum over k of weight_k u_k, like `params` in float32 or wider; see `add_directions`."""
    return add_directions(jax.tree.map(jnp.zeros_like, widen(params)), key, weight, distribution)


_PART = 2**16  # coordinates; smaller leaves are drawn at once
_PARTS = 16  # at most: on an accelerator every part is a launch


def _moved(
    leaf: jax.Array, key: jax.Array, number: int, weight: jax.Array, distribution: Distribution
) -> jax.Array:
    """A leaf with weight u added, u its part of the direction of a key."""
    draw = jax.random.normal if distribution == "normal" else jax.random.rademacher
    key, weight = jax.random.fold_in(key, number), weight.astype(leaf.dtype)
    parts = min(_PARTS, leaf.size // _PART)
    if parts < 2:
        return leaf + weight * draw(key, leaf.shape, leaf.dtype)
    size = leaf.size // parts

    def add(part: jax.Array | int, flat: jax.Array, size: int = size) -> jax.Array:
        start = jnp.asarray(part, jnp.int32) * (leaf.size // parts)
        old = jax.lax.dynamic_slice(flat, (start,), (size,))
        new = old + weight * draw(jax.random.fold_in(key, part), (size,), leaf.dtype)
        return jax.lax.dynamic_update_slice(flat, new, (start,))

    flat = jax.lax.fori_loop(0, parts, add, leaf.reshape(-1))
    if left := leaf.size - parts * size:
        flat = add(parts, flat, left)
    return flat.reshape(leaf.shape)


def move_block(
    key: jax.Array,
    weight: jax.Array,
    block: jax.Array,
    block_of_leaf: tuple[int, ...],
    tree: Params,
) -> Params:
    """The tree with weight u added to the leaves of one block.

    Random numbers are drawn for these leaves alone (under `vmap` over blocks, for all).

    Args:
        key: typed key of u ~ N(0, I); a leaf's part of u is the same whatever the blocks are.
        weight: scalar.
        block: number of the block, int32 scalar.
        block_of_leaf: number of the block of every leaf.
        tree: pytree in float32 or wider.
    """
    leaves, treedef = jax.tree.flatten(tree)

    def moved(number: int, leaf: jax.Array) -> jax.Array:
        return _moved(leaf, key, number, weight, "normal")

    new = [
        jax.lax.cond(block == own, partial(moved, number), lambda leaf: leaf, leaf)
        for number, (own, leaf) in enumerate(zip(block_of_leaf, leaves, strict=True))
    ]
    return jax.tree.unflatten(treedef, new)
