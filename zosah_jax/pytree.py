"""Parameters as an addressed pytree: no copy of all of them is ever flattened.

A coordinate is addressed by its leaf and its place within that leaf. Reading or moving m
coordinates costs O(m) arithmetic, whatever the number of parameters.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Params = Any  # a pytree of floating-point arrays

_LARGEST = 2**32  # places are unsigned 32-bit integers, so that they need no x64 mode


class Address(NamedTuple):
    """Where coordinates lie.

    Attributes:
        leaf: number of the leaf in `jax.tree.leaves` order, int32, any shape.
        index: place within that leaf in row-major order, uint32, same shape.
    """

    leaf: jax.Array
    index: jax.Array


def check_params(params: Params) -> None:
    """Refuse what is no non-empty pytree of real floating-point arrays."""
    if params is None:
        raise ValueError(
            "params: got None, wanted the current parameters: zeroth-order methods evaluate the "
            "objective around them. Call tx.update(updates, state, params, value_fn=...)."
        )
    leaves = jax.tree.leaves_with_path(params)
    if not leaves:
        raise ValueError("params: got a pytree without leaves, wanted at least one float array.")
    for path, leaf in leaves:
        what = _not_floating(leaf)
        if what is not None:
            name = jax.tree_util.keystr(path) or "the array itself"
            raise TypeError(
                f"params: got {what} at {name}, wanted a real floating-point dtype. Keep counters, "
                "functions and other state out of the parameters, or freeze them (optax.masked)."
            )
    if dimension(params) == 0:
        raise ValueError("params: got arrays without elements, wanted at least one parameter.")


def _not_floating(leaf: Any) -> str | None:
    """What a leaf is, where it is no real floating-point array."""
    if isinstance(leaf, str | bytes):
        return f"a {type(leaf).__name__}"
    try:
        dtype = jnp.result_type(leaf)
    except (TypeError, ValueError):
        return f"a {type(leaf).__name__}"
    return None if jnp.issubdtype(dtype, jnp.floating) else f"dtype {dtype}"


def as_params(x0: Params) -> Params:
    """A start as JAX can take it: NumPy arrays in native byte order, and in float64 at most.

    Raises:
        TypeError, ValueError: it is no non-empty pytree of real floating-point arrays.
    """

    def native(leaf: Any) -> Any:
        if not isinstance(leaf, np.ndarray | np.floating) or leaf.dtype.kind != "f":
            return leaf
        with np.errstate(all="ignore"):  # a longdouble may lie beyond float64
            return np.asarray(leaf, min(leaf.dtype.newbyteorder("="), np.dtype(np.float64)))

    x0 = jax.tree.map(native, x0)
    check_params(x0)
    return x0


def dimension(params: Params) -> int:
    """Number d of scalar parameters."""
    return sum(math.prod(jnp.shape(leaf)) for leaf in jax.tree.leaves(params))


def working_dtype(params: Params) -> Any:
    """Dtype in which probes are perturbed and differences taken: float32 or wider.

    In bfloat16 1 + 1e-3 is 1, so narrow parameters are perturbed as float32 copies.
    """
    dtypes = [jnp.result_type(leaf) for leaf in jax.tree.leaves(params)]
    return np.result_type(np.float32, *(d for d in dtypes if d.itemsize > 4))


def precision(params: Params) -> float:
    """Machine epsilon that differences suffer from: that of the coarsest leaf, float32 or finer."""
    return max(float(jnp.finfo(working_dtype(leaf)).eps) for leaf in jax.tree.leaves(params))


def widen(params: Params) -> Params:
    """Copy of the parameters as the objective sees them: each leaf in float32 or wider."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf).astype(working_dtype(leaf)), params)


def address_of(params: Params, position: jax.Array) -> Address:
    """Address of the coordinates at `position` (uint32) in the concatenation of all leaves."""
    sizes = [math.prod(jnp.shape(leaf)) for leaf in jax.tree.leaves(params)]
    if sum(sizes) >= _LARGEST:
        raise ValueError(f"params: got {sum(sizes)} parameters, wanted fewer than {_LARGEST}.")
    starts = jnp.asarray(np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.uint32))
    leaf = jnp.searchsorted(starts, position, side="right").astype(jnp.int32) - 1
    return Address(leaf, position - starts[leaf])


def place_of(params: Params, address: Address) -> jax.Array:
    """Places (uint32) of addressed coordinates in the concatenation of all leaves."""
    sizes = [math.prod(jnp.shape(leaf)) for leaf in jax.tree.leaves(params)]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.uint32)
    return jnp.asarray(starts)[address.leaf] + address.index


def flattened(tree: Params) -> jax.Array:
    """All coordinates in one vector of the working dtype, shape (d,), in the order of the leaves.

    For the methods that keep such vectors; to move a few coordinates, `add_at` takes no copy.
    """
    dtype = working_dtype(tree)
    return jnp.concatenate([jnp.ravel(leaf).astype(dtype) for leaf in jax.tree.leaves(tree)])


def unflattened(params: Params, point: jax.Array) -> Params:
    """A vector of all coordinates as a pytree like the parameters, in float32 or wider."""
    leaves, treedef = jax.tree.flatten(params)
    ends = np.cumsum([math.prod(jnp.shape(leaf)) for leaf in leaves])
    parts = jnp.split(point, ends[:-1])
    shaped = [
        jnp.reshape(part, jnp.shape(leaf)).astype(working_dtype(leaf))
        for part, leaf in zip(parts, leaves, strict=True)
    ]
    return jax.tree.unflatten(treedef, shaped)


def gather(params: Params, address: Address) -> jax.Array:
    """Values of the addressed coordinates, in the working dtype; shape of the address."""
    total = jnp.zeros(address.leaf.shape, working_dtype(params))
    for number, leaf in enumerate(jax.tree.leaves(params)):
        if jnp.size(leaf) == 0:  # nothing of it is ever addressed
            continue
        here, place = _within(address, number, jnp.shape(leaf))
        values = jnp.asarray(leaf)[place].astype(total.dtype)
        total = jnp.where(here, values, total)
    return total


def add_at(params: Params, address: Address, amounts: jax.Array) -> Params:
    """Parameters with `amounts` added at the addressed coordinates; each leaf keeps its dtype."""
    leaves, treedef = jax.tree.flatten(params)
    for number, leaf in enumerate(leaves):
        if jnp.size(leaf) == 0:
            continue
        here, place = _within(address, number, jnp.shape(leaf))
        added = jnp.where(here, amounts, 0).astype(jnp.result_type(leaf))
        if jnp.ndim(leaf) == 0:
            leaves[number] = leaf + added.sum()
        else:
            leaves[number] = jnp.asarray(leaf).at[place].add(added)
    return jax.tree.unflatten(treedef, leaves)


def _within(address: Address, number: int, shape: tuple[int, ...]) -> tuple[jax.Array, Any]:
    """Mask of the coordinates that lie in leaf `number`, and their places in it (0 elsewhere)."""
    here = address.leaf == number
    if not shape:
        return here, ()
    rest = jnp.where(here, address.index, 0)
    place = []
    for size in reversed(shape):  # by hand: jnp.unravel_index is limited to int32 places
        place.append((rest % np.uint32(size)).astype(jnp.int32))
        rest = rest // np.uint32(size)
    return here, tuple(reversed(place))
