"""Isotropy, seen online: whether fresh Hessian samples pay.

Where all curvatures are alike, a gradient step of the right length is Newton's, and the fresh
samples of a period buy nothing. The condition of the fitted blocks says so, at no cost.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.sah.unknowns import diagonal_of, dimension_of

LOOK_AGAIN = 8  # periods without fresh samples, at most, before one with them


class Isotropy(NamedTuple):
    """What is known of it.

    Attributes:
        condition: of the fitted blocks: largest over smallest eigenvalue of all; infinite where
            one is not positive or none was fitted. It rises at once and falls by halves (of its
            logarithm).
        blind: periods begun without fresh samples since the last with them, int32.
    """

    condition: jax.Array
    blind: jax.Array


def unknown_isotropy(dtype: jax.typing.DTypeLike) -> Isotropy:
    """Before the first fit."""
    return Isotropy(jnp.full((), jnp.inf, dtype), jnp.zeros((), jnp.int32))


def is_isotropic(seen: Isotropy, most: float) -> jax.Array:
    """Whether the coming period does without fresh samples, bool scalar."""
    known = jnp.isfinite(seen.condition)
    return known & (seen.condition <= most) & (seen.blind < LOOK_AGAIN)


def after_fit(seen: Isotropy, eigenvalues: jax.Array) -> Isotropy:
    """What is known after another fit, by its eigenvalues, shape (J, s)."""
    least, largest = jnp.min(eigenvalues), jnp.max(eigenvalues)
    now = jnp.where(least > 0, largest / jnp.where(least > 0, least, 1), jnp.inf)
    halfway = jnp.sqrt(now * seen.condition)
    fallen = jnp.where(jnp.isfinite(halfway), halfway, now)
    return seen._replace(condition=jnp.maximum(now, fallen))


def round_hessian(hessian: jax.Array) -> jax.Array:
    """Unknowns of a I for every W_j, a the mean curvature of the last fit; shape of `hessian`."""
    at = diagonal_of(dimension_of(hessian))
    mean = jnp.mean(hessian[:, at])
    return jnp.zeros_like(hessian).at[:, at].set(mean)
