"""State of ZO-SAH: what a step needs to know of those before it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.checks import typed_key
from zosah_jax.params import Address, Params, dimension, working_dtype
from zosah_jax.sah.cache import Cache, empty_cache
from zosah_jax.sah.coupling import empty_coupling
from zosah_jax.sah.isotropy import Isotropy, is_isotropic, unknown_isotropy
from zosah_jax.sah.options import Options, is_learnt
from zosah_jax.sah.samples import sample_grid
from zosah_jax.sah.subspaces import check_subspace_dim, choose_subspaces, default_period
from zosah_jax.sah.unknowns import number_of


class SAHInfo(NamedTuple):
    """Diagnostics of the last step; nothing depends on them.

    Attributes:
        eigenvalues: of each fitted s x s Hessian, largest first, before the floor, shape (m/s, s).
        gradient: estimated gradient in each subspace, shape (m/s, s).
    """

    eigenvalues: jax.Array
    gradient: jax.Array


class SAHState(NamedTuple):
    """State of ZO-SAH. J = m/s, s = 2 but for an option; floats are in the working dtype.

    Attributes:
        key: typed PRNG key, never advanced: the subspaces follow from it and the step.
        step: number k of the coming step, int32.
        period: T, int32.
        subspaces: the coordinates of each W_j, leaves of shape (J, s).
        cache: the values of the two preceding steps.
        hessian: (a11, a12, a22) of each W_j as last fitted, shape (J, s (s + 1) / 2).
        noise: standard deviation of a value of f beside rounding, scalar; 0 until it is set.
        info: diagnostics.
        isotropy: what is known of it; None unless the option asks for it.
        coupling: what is known of the whole Hessian, shape (d, d); None unless pairs are learnt.
    """

    key: jax.Array
    step: jax.Array
    period: jax.Array
    subspaces: Address
    cache: Cache
    hessian: jax.Array
    noise: jax.Array
    info: SAHInfo
    isotropy: Isotropy | None = None
    coupling: jax.Array | None = None


def initial_state(options: Options, params: Params) -> SAHState:
    """State of a run that has seen nothing."""
    d, dim = dimension(params), options.hessian_dim
    dtype = working_dtype(params)
    subspaces = check_subspace_dim(options.subspace_dim, d, dim) // dim
    choose_subspaces(options, params, dim * subspaces)  # what cannot be drawn is refused here
    period = default_period(d, dim) if options.period is None else options.period
    shape = (subspaces, dim)
    return SAHState(
        key=typed_key(options.key),
        step=jnp.zeros((), jnp.int32),
        period=jnp.asarray(period, jnp.int32),
        subspaces=Address(jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.uint32)),
        cache=empty_cache(subspaces, len(sample_grid(options.grid, dim)), dtype, dim),
        hessian=jnp.zeros((subspaces, number_of(dim)), dtype),
        noise=jnp.zeros((), dtype),
        info=SAHInfo(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)),
        isotropy=None if options.isotropy is None else unknown_isotropy(dtype),
        coupling=empty_coupling(params, dtype) if is_learnt(options.pairing) else None,
    )


def kind_of(options: Options, state: SAHState) -> jax.Array:
    """0 at a switching step, 1 at any other, 2 at a switching step without fresh samples."""
    following = (state.step % state.period != 0).astype(jnp.int32)
    if options.isotropy is None or state.isotropy is None:
        return following
    blind = is_isotropic(state.isotropy, options.isotropy)
    return jnp.where((following == 0) & blind, 2, following)
