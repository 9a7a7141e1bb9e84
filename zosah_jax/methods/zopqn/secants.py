r"""Secant pairs, which take over from the living gradient where a run is long.

From whole gradients at two points come pairs of a move s and a change of gradient y, and from all
pairs of a run the inverse Hessian by BFGS, here kept in two parts,

.. math:: H = C / \theta + R, \quad C \leftarrow E C E^T, \quad R \leftarrow E R E^T
          + s s^T / s^T y, \quad E = I - s y^T / s^T y,

so that theta, the size of what no pair has told, can be that of the newest pair, \|y\| / \|s\|,
however far back the first lies. Coordinates are in their units. Where the Hessian changes along
the way, the pairs predict changes of the gradient better than the model, which holds on to
curvatures of somewhere else; where it hardly changes, the model does. `evidence` says which.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.methods.zopqn.model import Model

_MOST_CERTAIN = 3.0  # logarithm of a quotient of errors that counts at most
_RATE = 0.3  # at which evidence is gathered
_MODEL_BETTER = -1.0  # evidence below which the model's Hessian is taken
_FLATTEST = 1e-8  # least cosine between s and y


class Secants(NamedTuple):
    """The pairs of a run. D coordinates, in their units.

    Attributes:
        prior: C, shape (D, D).
        rest: R, shape (D, D).
        size: theta, scalar; 0 before the first pair.
        evidence: mean logarithm of the error of the model's Hessian over that of the pairs'.
    """

    prior: jax.Array
    rest: jax.Array
    size: jax.Array
    evidence: jax.Array


def no_pairs(dim: int, dtype: jax.typing.DTypeLike) -> Secants:
    """Before the first pair."""
    zeros = jnp.zeros((dim, dim), dtype)
    return Secants(jnp.eye(dim, dtype=dtype), zeros, jnp.zeros((), dtype), jnp.zeros((), dtype))


def believed(secants: Secants) -> jax.Array:
    """Whether the pairs' Hessian is taken, not the model's."""
    return (secants.size > 0) & (secants.evidence > _MODEL_BETTER)


def learn_pair(
    secants: Secants,
    model: Model,
    unit: jax.Array,
    step: jax.Array,
    change: jax.Array,
    noise: jax.Array,
) -> Secants:
    """The pairs and one more, if it shows a curvature beyond its noise.

    Args:
        secants: the pairs so far.
        model: the model before it has learnt of this one.
        unit: length of a unit along each coordinate, shape (D,).
        step: s, shape (D,).
        change: y, shape (D,).
        noise: variance of the error of each derivative, shape (D,).
    """
    secants = secants._replace(evidence=_weighed(secants, model, unit, step, change))
    move, pull = step / unit, change * unit
    product = move @ pull
    doubt = 2 * jnp.sqrt(jnp.sum(step**2 * 2 * noise))
    flattest = _FLATTEST * jnp.linalg.norm(move) * jnp.linalg.norm(pull)
    told = product > jnp.maximum(flattest, doubt)
    product = jnp.where(told, product, 1)

    def followed(matrix: jax.Array) -> jax.Array:  # E M E', M symmetric
        along = matrix @ pull / product
        crossed = jnp.outer(move, along)
        return matrix - crossed - crossed.T + along @ pull / product * jnp.outer(move, move)

    learnt = secants._replace(
        prior=followed(secants.prior),
        rest=followed(secants.rest) + jnp.outer(move, move) / product,
        size=jnp.linalg.norm(pull) / jnp.where(told, jnp.linalg.norm(move), 1),
    )
    return jax.tree.map(lambda new, old: jnp.where(told, new, old), learnt, secants)


def _weighed(
    secants: Secants, model: Model, unit: jax.Array, step: jax.Array, change: jax.Array
) -> jax.Array:
    """Evidence, with one more change of the gradient that model and pairs have predicted."""

    def off(guess: jax.Array) -> jax.Array:
        return jnp.sum((change - guess) ** 2 / jnp.where(model.scale > 0, model.scale, 1))

    score = jnp.log(off(model.hessian @ step) / off(product_with(secants, unit, step))) / 2
    told = (secants.size > 0) & jnp.isfinite(score)
    score = jnp.clip(jnp.where(told, score, 0), -_MOST_CERTAIN, _MOST_CERTAIN)
    gathered = (1 - _RATE) * secants.evidence + _RATE * score
    return jnp.where(told, gathered, secants.evidence)


def product_with(secants: Secants, unit: jax.Array, step: jax.Array) -> jax.Array:
    """B s by the pairs, shape (D,)."""
    factor = jax.scipy.linalg.cho_factor(inverse_of(secants))
    return jax.scipy.linalg.cho_solve(factor, step / unit) / unit


def inverse_of(secants: Secants) -> jax.Array:
    """H = C / theta + R, the inverse Hessian by the pairs, shape (D, D)."""
    inverse = secants.prior / jnp.where(secants.size > 0, secants.size, 1) + secants.rest
    return (inverse + inverse.T) / 2
