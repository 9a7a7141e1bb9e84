"""The step that is planned: by the secant pairs, or by the model."""

import jax
import jax.numpy as jnp

from zosah_jax.linear_algebra import eigh
from zosah_jax.method import Problem
from zosah_jax.methods.zopqn.secants import inverse_of
from zosah_jax.methods.zopqn.state import ZOPQNState, is_carried
from zosah_jax.methods.zopqn.trust_region import (
    Spectrum,
    scaled_hessian,
    spectrum_of_inverse,
    trust_region_step,
)

_FIRST_RADIUS = 2.0  # units


def trust_radius(state: ZOPQNState) -> jax.Array:
    """Radius of the trust region of the model; two units at the first step."""
    largest = jnp.sqrt(jnp.max(state.model.scale * state.unit**2))
    return jnp.where(jnp.isfinite(state.radius), state.radius, _FIRST_RADIUS * largest)


def continues(state: ZOPQNState) -> jax.Array:
    """Whether the next step continues the last one along its line."""
    return jnp.any(state.along != 0)


def _fixed(state: ZOPQNState) -> jax.Array:
    """Which coordinates are at a bound beyond which f falls, bool, shape (D,)."""
    gradient = state.model.gradient
    return state.at_bound.astype(gradient.dtype) * gradient < 0


def by_pairs(state: ZOPQNState, problem: Problem) -> jax.Array:
    """Whether the secant pairs propose the step; at a bound the model does."""
    return ~is_carried(state, problem) & (state.secants.size > 0) & ~jnp.any(_fixed(state))


def planned_step(state: ZOPQNState, problem: Problem) -> tuple[jax.Array, jax.Array]:
    """The step that the pairs or the model propose, and the decrease that they promise."""
    fixed, model = _fixed(state), state.model

    paired = by_pairs(state, problem)
    apart = fixed[:, None] | fixed[None, :]
    hessian = jnp.where(apart, jnp.diag(model.scale), model.hessian)
    scaled, root = scaled_hessian(hessian, model.scale)
    # one decomposition: of the pairs' inverse Hessian, or of the model's Hessian
    values, vectors = eigh(jnp.where(paired, inverse_of(state.secants), scaled))
    view = jax.tree.map(
        lambda pairs, plain: jnp.where(paired, pairs, plain),
        spectrum_of_inverse(values, vectors, state.unit),
        Spectrum(values, vectors, root),
    )
    radius = jnp.where(paired, state.reach, trust_radius(state))
    step, decrease = trust_region_step(view, jnp.where(fixed, 0, model.gradient), radius)
    finite = jnp.all(jnp.isfinite(step)) & jnp.isfinite(decrease)
    return jnp.where(finite, step, 0), jnp.where(finite, decrease, 0)
