"""What ZO-SAH asks: forward probes, and where a period begins a grid of samples a subspace."""

import jax
import jax.numpy as jnp

from zosah_jax.params import Address, Params, gather, precision
from zosah_jax.probes import CoordinateProbes
from zosah_jax.sah.gradient import noisy_length, sample_radius, step_length
from zosah_jax.sah.options import Options
from zosah_jax.sah.samples import sample_grid
from zosah_jax.sah.state import SAHState
from zosah_jax.sah.subspaces import choose_subspaces


def _drawn(options: Options, state: SAHState, params: Params) -> Address:
    """The subspaces of the period that begins."""
    draw = choose_subspaces(options, params, state.subspaces.leaf.size, state.coupling)
    return draw(state.key, state.step // state.period)


def ask_switching(options: Options, state: SAHState, params: Params) -> CoordinateProbes:
    """The parameters, a forward probe a coordinate, and a grid in each new subspace."""
    subspaces = _drawn(options, state, params)
    position = gather(params, subspaces)
    relative = sample_radius(
        precision(params),
        state.cache.previous.base,
        state.hessian,
        symmetric=options.grid == "paper",
    )
    relative = jnp.where(state.noise > 0, _noisy_length(state), relative)
    radius = step_length(position, options.radius, relative)
    grid = jnp.asarray(sample_grid(options.grid, options.hessian_dim), radius.dtype)
    offset = grid[None] * radius[:, None, :]
    forward = diagonal_offsets(_forward(options, state, params, position))
    return _probes(subspaces, jnp.concatenate([forward, offset], axis=1))


def ask_following(options: Options, state: SAHState, params: Params) -> CoordinateProbes:
    """The parameters and a forward probe a coordinate, each of one coordinate: cheap to answer."""
    return _ask_forward(options, state, params, state.subspaces)


def ask_blind(options: Options, state: SAHState, params: Params) -> CoordinateProbes:
    """The same in new subspaces."""
    return _ask_forward(options, state, params, _drawn(options, state, params))


def _ask_forward(
    options: Options, state: SAHState, params: Params, subspaces: Address
) -> CoordinateProbes:
    length = _forward(options, state, params, gather(params, subspaces))
    alone = Address(*(x.reshape(-1, 1) for x in subspaces))
    return _probes(alone, length.reshape(-1, 1, 1))


def _forward(options: Options, state: SAHState, params: Params, position: jax.Array) -> jax.Array:
    """Lengths of the forward probes, shape (J, s)."""
    rounding = jnp.asarray(precision(params) ** 0.5, position.dtype)
    relative = jnp.where(state.noise > 0, _noisy_length(state), rounding)
    return step_length(position, options.smoothing, relative)


def diagonal_offsets(length: jax.Array) -> jax.Array:
    """Offsets (J, s, s) of forward probes of these lengths (J, s)."""
    return length[:, :, None] * jnp.eye(length.shape[-1], dtype=length.dtype)[None]


def _noisy_length(state: SAHState) -> jax.Array:
    return noisy_length(state.noise, state.cache.previous.base, state.hessian)


def _probes(subspaces: Address, offset: jax.Array) -> CoordinateProbes:
    """The base probe, then n probes in each of K subspaces of dimension s: offsets (K, n, s)."""
    _, samples, dim = offset.shape

    def each(x: jax.Array) -> jax.Array:
        return jnp.concatenate([x[:1], jnp.repeat(x, samples, axis=0)])

    flat = offset.reshape(-1, dim)
    address = Address(each(subspaces.leaf), each(subspaces.index))
    return CoordinateProbes(address, jnp.concatenate([jnp.zeros_like(flat[:1]), flat]))
