"""Subspace selector: m coordinates of V, paired into m/2 disjoint two-dimensional subspaces W_j."""

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.params import Address, Params, address_of, dimension
from zosah_jax.permutation import permute


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
    d = dimension(params)
    draws = np.uint32(-(-d // m))  # a sweep
    number = number.astype(jnp.uint32)
    offset = (number % draws) * np.uint32(m)
    left = np.uint32(d) - offset
    step = jnp.arange(m, dtype=jnp.uint32)
    place = jnp.where(step >= left, step - left, offset + step)
    coordinates = permute(jax.random.fold_in(key, number // draws), place, d)
    return address_of(params, coordinates.reshape(m // 2, 2))
