"""The step of ZO-SAH (arXiv 2507.06125): the boxes of the paper's diagram, in their order.

    subspaces -> cache -> gradient -> hessian -> spectrum -> update

State k at x: 1. every T steps, m coordinates in m/2 pairs; 2. forward differences along them;
3. samples for each pair's Hessian, fresh at the switching step and cached after it; 4. a quadratic
fitted to them; 5. |eigenvalues|, floored; 6. v_j = A_j^-1 g_j for every pair at once.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.checks import typed_key
from zosah_jax.method import Method, Round, Told
from zosah_jax.params import Address, Params, dimension, gather, precision, working_dtype
from zosah_jax.probes import CoordinateProbes, CoordinateUpdate
from zosah_jax.sah.cache import Cache, Visit, begin, empty_cache, push
from zosah_jax.sah.gradient import forward_differences, noisy_length, sample_radius, step_length
from zosah_jax.sah.hessian import determined, equations, fit_hessian, settled
from zosah_jax.sah.options import Options
from zosah_jax.sah.spectrum import held, newton_direction
from zosah_jax.sah.subspaces import check_subspace_dim, choose_subspaces, default_period

# Points of the fresh samples in units of the radius. Three unknowns need three; the paper's "small
# grid" is read as the eight neighbours.
_GRIDS = {
    "minimal": np.array([(-1, 0), (0, -1), (1, 1)]),
    "paper": np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]),
}


class SAHInfo(NamedTuple):
    """Diagnostics of the last step; nothing depends on them.

    Attributes:
        eigenvalues: of each fitted 2x2 Hessian, largest first, before the floor, shape (m/2, 2).
        gradient: estimated gradient in each subspace, shape (m/2, 2).
    """

    eigenvalues: jax.Array
    gradient: jax.Array


class SAHState(NamedTuple):
    """State of ZO-SAH. J = m/2; floats are in the working dtype, float32 or wider.

    Attributes:
        key: typed PRNG key, never advanced: the subspaces follow from it and the step.
        step: number k of the coming step, int32.
        period: T, int32.
        subspaces: the coordinates of each W_j, leaves of shape (J, 2).
        cache: the values of the two preceding steps.
        hessian: (a11, a12, a22) of each W_j as last fitted, shape (J, 3).
        noise: standard deviation of a value of f beside rounding, scalar; 0 until it is set.
        info: diagnostics.
    """

    key: jax.Array
    step: jax.Array
    period: jax.Array
    subspaces: Address
    cache: Cache
    hessian: jax.Array
    noise: jax.Array
    info: SAHInfo


def zosah_method(options: Options) -> Method:
    """ZO-SAH by the protocol of `method.py`."""
    switching = Round(partial(_ask_switching, options), partial(_tell_switching, options))
    following = Round(partial(_ask_following, options), partial(_tell_following, options))
    return Method(partial(_init, options), ((switching,), (following,)), _kind)


def _init(options: Options, params: Params) -> SAHState:
    d = dimension(params)
    pairs = check_subspace_dim(options.subspace_dim, d) // 2
    choose_subspaces(options, params, 2 * pairs)  # a block that is too small is refused here
    period = default_period(d) if options.period is None else options.period
    dtype = working_dtype(params)
    return SAHState(
        key=typed_key(options.key),
        step=jnp.zeros((), jnp.int32),
        period=jnp.asarray(period, jnp.int32),
        subspaces=Address(jnp.zeros((pairs, 2), jnp.int32), jnp.zeros((pairs, 2), jnp.uint32)),
        cache=empty_cache(pairs, len(_GRIDS[options.grid]), dtype),
        hessian=jnp.zeros((pairs, 3), dtype),
        noise=jnp.zeros((), dtype),
        info=SAHInfo(jnp.zeros((pairs, 2), dtype), jnp.zeros((pairs, 2), dtype)),
    )


def _kind(state: SAHState) -> jax.Array:
    """0 at a switching step, 1 at any other."""
    return (state.step % state.period != 0).astype(jnp.int32)


# --- ask ------------------------------------------------------------------------------------------


def _ask_switching(options: Options, state: SAHState, params: Params) -> CoordinateProbes:
    """The parameters, a forward probe a coordinate, and a grid in each new subspace."""
    pairs = len(state.subspaces.leaf)
    draw = choose_subspaces(options, params, 2 * pairs)
    subspaces = draw(state.key, state.step // state.period)
    position = gather(params, subspaces)
    relative = sample_radius(
        precision(params),
        state.cache.previous.base,
        state.hessian,
        symmetric=options.grid == "paper",
    )
    relative = jnp.where(state.noise > 0, _noisy_length(state), relative)
    radius = step_length(position, options.radius, relative)
    grid = jnp.asarray(_GRIDS[options.grid], radius.dtype)
    offset = grid[None] * radius[:, None, :]
    forward = _diagonal(_forward(options, state, params, position))
    return _probes(subspaces, jnp.concatenate([forward, offset], axis=1))


def _ask_following(options: Options, state: SAHState, params: Params) -> CoordinateProbes:
    """The parameters and a forward probe a coordinate, each of one coordinate: cheap to answer."""
    subspaces = Address(*(x.reshape(-1, 1) for x in state.subspaces))
    length = _forward(options, state, params, gather(params, state.subspaces))
    return _probes(subspaces, length.reshape(-1, 1, 1))


def _forward(options: Options, state: SAHState, params: Params, position: jax.Array) -> jax.Array:
    """Lengths of the forward probes, shape (J, 2)."""
    rounding = jnp.asarray(precision(params) ** 0.5, position.dtype)
    relative = jnp.where(state.noise > 0, _noisy_length(state), rounding)
    return step_length(position, options.smoothing, relative)


def _diagonal(length: jax.Array) -> jax.Array:
    """Offsets (J, 2, 2) of forward probes of these lengths (J, 2)."""
    return length[:, :, None] * jnp.eye(2, dtype=length.dtype)[None]


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


# --- tell -----------------------------------------------------------------------------------------


def _seen(params: Params, subspaces: Address, offset: jax.Array, values: jax.Array) -> Visit:
    """What was seen around the parameters at these offsets in each subspace, shape (J, n, 2)."""
    pairs, samples, _ = offset.shape
    return Visit(
        position=gather(params, subspaces),
        base=values[0],
        offset=offset,
        value=values[1:].reshape(pairs, samples),
    )


def _part(visit: Visit, samples: slice) -> Visit:
    return visit._replace(offset=visit.offset[:, samples], value=visit.value[:, samples])


def _tell_switching(
    options: Options,
    state: SAHState,
    params: Params,
    probes: CoordinateProbes,
    values: jax.Array,
) -> Told:
    pairs = len(state.subspaces.leaf)
    samples = (len(probes) - 1) // pairs
    subspaces = Address(*(x[1::samples] for x in probes.address))
    visit = _seen(params, subspaces, probes.offset[1:].reshape(pairs, samples, 2), values)
    now, fresh = _part(visit, slice(0, 2)), _part(visit, slice(2, None))
    differences = _differences(now)
    known = determined(fresh, differences)
    gradient, hessian = _fit(options, state, params, now, [fresh], None)
    hessian = settled(hessian, known)
    missing = ~jnp.isfinite(differences) | ~known.diagonal
    if dimension(params) == 2:  # there is no other pair, and so nothing to forget
        gradient, hessian, missing = jax.tree.map(
            partial(jnp.where, known.complete | ~jnp.any(state.hessian != 0)),
            (gradient, hessian, missing),
            _completed(options, state, params, now, fresh, subspaces),
        )
    told = _newton(
        options,
        state._replace(subspaces=subspaces, cache=begin(now, fresh)),
        now,
        gradient,
        hessian,
        missing,
        bound=None if probes.bound is None else probes.bound[1::samples],
    )
    return _or_retreat(told, state, params, next_step=state.step)


def _completed(
    options: Options,
    state: SAHState,
    params: Params,
    now: Visit,
    fresh: Visit,
    subspaces: Address,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gradient, A and missing slopes of the same pair as before, by what was seen of it then."""
    swapped = jnp.any(
        (state.subspaces.leaf != subspaces.leaf) | (state.subspaces.index != subspaces.index)
    )
    turned = jax.tree.map(
        lambda visit: visit._replace(
            position=visit.position[:, ::-1], offset=visit.offset[..., ::-1]
        ),
        [state.cache.previous, state.cache.before],
        is_leaf=lambda node: isinstance(node, Visit),
    )
    cached, hessian = jax.tree.map(
        partial(jnp.where, swapped),
        (turned, state.hessian[:, ::-1]),
        ([state.cache.previous, state.cache.before], state.hessian),
    )
    gradient, hessian = _fit(options, state, params, now, [fresh, *cached], hessian)
    return gradient, hessian, ~jnp.isfinite(_differences(now))


def _tell_following(
    options: Options,
    state: SAHState,
    params: Params,
    probes: CoordinateProbes,
    values: jax.Array,
) -> Told:
    offset = _diagonal(probes.offset[1:].reshape(-1, 2))
    now = _seen(params, state.subspaces, offset, values)
    gradient, hessian = _fit(options, state, params, now, list(state.cache), state.hessian)
    told = _newton(
        options,
        state._replace(cache=push(state.cache, now)),
        now,
        gradient,
        hessian,
        missing=~jnp.isfinite(_differences(now)),
        bound=None if probes.bound is None else probes.bound[1:].reshape(-1, 2),
    )
    return _or_retreat(told, state, params, next_step=state.step + 1)


def _or_retreat(told: Told, state: SAHState, params: Params, *, next_step: jax.Array) -> Told:
    """The step, unless its base value is missing: differences without a centre tell nothing.

    Then nothing is learnt, a switch is put off to the next step, and the parameters go half the way
    back to where they last had a value, if anywhere.
    """
    lost = ~jnp.isfinite(told.value)
    last = state.cache.previous
    away = (gather(params, state.subspaces) - last.position) / 2
    back = CoordinateUpdate(state.subspaces, jnp.where(jnp.isfinite(last.base), away, 0))

    def unless_lost(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda n, o: jnp.where(lost, o, n), new, old)

    changed = ("step", "subspaces", "cache", "hessian", "info")
    before = state._replace(step=next_step)
    after = {
        name: unless_lost(getattr(told.state, name), getattr(before, name)) for name in changed
    }
    return Told(unless_lost(told.updates, back), told.state._replace(**after), told.value)


def _differences(now: Visit) -> jax.Array:
    return forward_differences(now.base, now.value, _lengths(now))


def _lengths(now: Visit) -> jax.Array:
    """Lengths of the forward probes, shape (J, 2)."""
    return jnp.diagonal(now.offset, axis1=1, axis2=2)


def _fit(
    options: Options,
    state: SAHState,
    params: Params,
    now: Visit,
    samples: list[Visit],
    previous: jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
    """Gradient and A of every pair's quadratic."""
    largest = jnp.max(jnp.where(jnp.isfinite(now.value), jnp.abs(now.value), 0))
    noise = jnp.maximum(precision(params) * largest, state.noise)
    return fit_hessian(
        [equations(visit, now.position, now.base, options.cached) for visit in samples],
        _differences(now),
        _lengths(now),
        previous,
        fit=options.fit,
        prior=options.prior,
        ridge=options.ridge,
        noise=noise,
    )


def _newton(
    options: Options,
    state: SAHState,
    now: Visit,
    gradient: jax.Array,
    hessian: jax.Array,
    missing: jax.Array,
    bound: jax.Array | None,
) -> Told:
    """Step to every quadratic's minimum, but for coordinates of which something is missing.

    One at a bound that f falls beyond stays, too.
    """
    stays = missing
    if bound is not None:
        stays |= bound.astype(gradient.dtype) * gradient < 0
    # what noise of the values makes of a second difference over the probes' length
    lengths = _lengths(now)
    shortest = jnp.min(jnp.abs(lengths), initial=jnp.inf, where=lengths != 0)
    slope, curvature = held(gradient, hessian, stays)
    direction, eigenvalues = newton_direction(
        slope, curvature, options.eigenvalue_floor, options.floor, 2 * state.noise / shortest**2
    )
    state = state._replace(
        step=state.step + 1, hessian=hessian, info=SAHInfo(eigenvalues, gradient)
    )
    return Told(CoordinateUpdate(state.subspaces, direction), state, now.base)
