"""What is minimised of the residuals: their squares, or a loss that forgives outliers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from zosah_jax.checks import check_choice

Loss = Callable[[jax.Array], jax.Array]
"""rho: squared residual -> its share of the sum, elementwise; rho(0) = 0, rho'(0) = 1."""


def _soft_l1(z: jax.Array) -> jax.Array:
    return 2 * (jnp.sqrt(1 + z) - 1)


def _huber(z: jax.Array) -> jax.Array:
    return jnp.where(z <= 1, z, 2 * jnp.sqrt(jnp.maximum(z, 1)) - 1)


LOSSES: dict[str, Loss] = {
    "linear": lambda z: z,
    "soft_l1": _soft_l1,
    "huber": _huber,
    "cauchy": jnp.log1p,
    "arctan": jnp.arctan,
}
"""SciPy's losses by their names there."""


def loss_of(loss: Any) -> Any:
    """The loss of a name, or a function as it is.

    Raises:
        ValueError, TypeError: it is neither.
    """
    if callable(loss):
        return loss
    check_choice("loss", loss, tuple(LOSSES))
    return LOSSES[loss]


def total(loss: Any, residuals: jax.Array) -> jax.Array:
    """Sum over the residuals of rho(r^2), shape (...,) of residuals of shape (..., k).

    Residuals that are missing (not finite) count as the mean of the others; where all are, so is
    the sum.
    """
    came = jnp.isfinite(residuals)
    share = loss_of(loss)(jnp.where(came, residuals, 0) ** 2)
    number = jnp.sum(came, axis=-1).astype(share.dtype)
    mean = jnp.sum(jnp.where(came, share, 0), axis=-1) / number  # 0 / 0 where all are missing
    return jnp.where(number > 0, mean * came.shape[-1], jnp.nan)


def weights(loss: Any, residuals: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Derivatives of half the sum: rho' of each residual, and rho' + 2 rho'' r^2, not below 0.

    The gradient is J' (rho' r), the Gauss-Newton matrix J' diag(rho' + 2 rho'' r^2) J.
    """
    rho, z = loss_of(loss), residuals**2
    slope = jax.grad(lambda z: jnp.sum(rho(z)))
    first, second = jax.jvp(slope, (z,), (jnp.ones_like(z),))  # elementwise: rho', rho''
    return first, jnp.maximum(first + 2 * second * z, 0)
