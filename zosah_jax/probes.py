"""What is asked: points described by how they differ from the parameters, not materialised.

Probes are a pytree of arrays with a common leading axis, one entry a probe. `jax.lax.map` or
`jax.vmap` over that axis yields single probes, which apply themselves to the parameters.
"""

from dataclasses import dataclass
from typing import Protocol

import jax
import jax.numpy as jnp

from zosah_jax.params import Address, Params, add_at, widen, working_dtype


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
        bound: 1 where the parameters are at the upper bound of the coordinate, -1 at the lower, 0
            elsewhere, int32 of shape (n, s); None where there are no bounds.
    """

    address: Address
    offset: jax.Array
    bound: jax.Array | None = None

    def __len__(self) -> int:
        return self.offset.shape[0]

    def apply(self, params: Params) -> Params:
        """Point of a single probe."""
        return add_at(widen(params), self.address, self.offset)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GaussianProbes:
    """Probes along standard normal directions, regenerated from their keys and never stored.

    Attributes:
        key: typed key of each direction, shape (n,).
        scale: step along it, shape (n,), in the working dtype; 0 is the parameters themselves.
    """

    key: jax.Array
    scale: jax.Array

    def __len__(self) -> int:
        return self.scale.shape[0]

    def apply(self, params: Params) -> Params:
        """Point of a single probe."""
        direction = gaussian_direction(self.key, params)
        return jax.tree.map(
            lambda leaf, along: leaf + self.scale.astype(leaf.dtype) * along,
            widen(params),
            direction,
        )


def gaussian_direction(key: jax.Array, params: Params) -> Params:
    """Standard normal direction u ~ N(0, I) of a key, a pytree like `params`, float32 or wider."""
    leaves, treedef = jax.tree.flatten(params)
    return jax.tree.unflatten(
        treedef,
        [
            jax.random.normal(jax.random.fold_in(key, number), jnp.shape(leaf), working_dtype(leaf))
            for number, leaf in enumerate(leaves)
        ],
    )
