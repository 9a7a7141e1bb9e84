"""Gradient estimator: forward differences along the coordinates of V, and lengths of probes."""

import jax
import jax.numpy as jnp


def sample_radius(
    precision: float, base: jax.Array, hessian: jax.Array, *, symmetric: bool
) -> jax.Array:
    """Relative radius of the fresh Hessian samples that balances rounding and truncation.

    A second difference over a distance l errs by about precision |f| / l^2 and, one-sided, by a
    multiple of l, symmetric, of l^2: l = (precision |f| / |A|)^(1/3) or ^(1/4), kept within
    precision^0.4 .. precision^0.25, with f and A from the step before. Where there is none,
    |f| / |A| counts as 1.

    Args:
        precision: machine epsilon of a value of f.
        base: last base value, scalar; not finite if there is none.
        hessian: entries of A as last fitted, shape (J, 3); zeros if there is none.
        symmetric: whether the samples are.

    Returns:
        Scalar, in units of max(1, |x_i|).
    """
    size = jnp.sqrt(jnp.mean(hessian**2))
    ratio = jnp.abs(base) / jnp.where(size > 0, size, 1)
    ratio = jnp.where(jnp.isfinite(ratio) & (size > 0), ratio, 1)
    power = 1 / 4 if symmetric else 1 / 3
    return jnp.clip((precision * ratio) ** power, precision**0.4, precision**0.25)


def noisy_length(noise: jax.Array, base: jax.Array, hessian: jax.Array) -> jax.Array:
    """Relative length of all probes where values have noise.

    A central difference over l errs by about sigma / l and, with a third derivative of about the
    size of the second, by |A| l^2: l = (sigma / |A|)^(1/3). Forward probes of that length, too, are
    central differences together with the fresh samples, and what bias is left of them elsewhere is
    counted by the joint fit; shorter ones, as for rounding, would measure nothing but noise.

    Args:
        noise: sigma, scalar, positive.
        base: last base value, scalar; not finite if there is none.
        hessian: entries of A as last fitted, shape (J, 3); zeros if there is none.

    Returns:
        Scalar, in units of max(1, |x_i|), at most 1/4. Where there is no fit, |A| counts as |f|,
        and where there is no value, sigma / |A| as 1e-3.
    """
    size = jnp.sqrt(jnp.mean(hessian**2))
    size = jnp.where(size > 0, size, jnp.abs(base))
    ratio = noise / jnp.where(size > 0, size, 1)
    known = jnp.isfinite(ratio) & jnp.isfinite(size) & (size > 0)
    return jnp.minimum(jnp.where(known, ratio, 1e-3) ** (1 / 3), 0.25).astype(noise.dtype)


def forward_differences(base: jax.Array, values: jax.Array, smoothing: jax.Array) -> jax.Array:
    """Forward differences g_i = (f(x + eps_i e_i) - f(x)) / eps_i; NaN where a value is missing.

    Args:
        base: f(x), scalar.
        values: f(x + eps_i e_i), shape (J, s).
        smoothing: eps_i, shape (J, s).

    Returns:
        Shape (J, s).
    """
    difference = (values - base) / smoothing
    return jnp.where(jnp.isfinite(difference), difference, jnp.nan)
