r"""Secant pairs, which take over from the living gradient where a run is long.

From whole gradients at two points come pairs of a move s and a change of gradient y, and from all
pairs of a run the inverse Hessian by BFGS, here kept in two parts,

.. math:: H = C / \theta + R, \quad C \leftarrow E C E^T, \quad R \leftarrow E R E^T
          + s s^T / s^T y, \quad E = I - s y^T / s^T y,

so that theta, the size of what no pair has told, can be that of the newest pair, \|y\| / \|s\|,
however far back the first lies. Coordinates are in their units.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

_FLATTEST = 1e-8  # least cosine between s and y


class Secants(NamedTuple):
    """The pairs of a run. D coordinates, in their units.

    Attributes:
        prior: C, shape (D, D).
        rest: R, shape (D, D).
        size: theta, scalar; 0 before the first pair.
    """

    prior: jax.Array
    rest: jax.Array
    size: jax.Array


def no_pairs(dim: int, dtype: jax.typing.DTypeLike) -> Secants:
    """Before the first pair."""
    zeros = jnp.zeros((dim, dim), dtype)
    return Secants(jnp.eye(dim, dtype=dtype), zeros, jnp.zeros((), dtype))


def learn_pair(secants: Secants, unit: jax.Array, step: jax.Array, change: jax.Array) -> Secants:
    """The pairs and one more, if f curves upwards along it.

    Args:
        secants: the pairs so far.
        unit: length of a unit along each coordinate, shape (D,).
        step: s, shape (D,).
        change: y, shape (D,).
    """
    move, pull = step / unit, change * unit
    product = move @ pull
    told = product > _FLATTEST * jnp.linalg.norm(move) * jnp.linalg.norm(pull)
    product = jnp.where(told, product, 1)

    def followed(matrix: jax.Array) -> jax.Array:  # E M E', M symmetric
        along = matrix @ pull / product
        crossed = jnp.outer(move, along)
        return matrix - crossed - crossed.T + along @ pull / product * jnp.outer(move, move)

    learnt = Secants(
        prior=followed(secants.prior),
        rest=followed(secants.rest) + jnp.outer(move, move) / product,
        size=jnp.linalg.norm(pull) / jnp.where(told, jnp.linalg.norm(move), 1),
    )
    return jax.tree.map(lambda new, old: jnp.where(told, new, old), learnt, secants)


def product_with(secants: Secants, unit: jax.Array, step: jax.Array) -> jax.Array:
    """B s by the pairs, shape (D,)."""
    factor = jax.scipy.linalg.cho_factor(inverse_of(secants))
    return jax.scipy.linalg.cho_solve(factor, step / unit) / unit


def inverse_of(secants: Secants) -> jax.Array:
    """H = C / theta + R, the inverse Hessian by the pairs, shape (D, D)."""
    inverse = secants.prior / jnp.where(secants.size > 0, secants.size, 1) + secants.rest
    return (inverse + inverse.T) / 2
