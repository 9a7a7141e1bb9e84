"""The step of ZO-SAH (arXiv 2507.06125): the boxes of the paper's diagram, in their order.

    subspaces -> cache -> gradient -> hessian -> spectrum -> update

State k at x: 1. every T steps, m coordinates in m/2 pairs (m/s subspaces of dimension s);
2. forward differences along them; 3. samples for each pair's Hessian, fresh at the switching step
and cached after it; 4. a quadratic fitted to them; 5. |eigenvalues|, floored; 6. v_j = A_j^-1 g_j
for every pair at once.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.method import Method, Round, Told
from zosah_jax.params import Address, Params, dimension, gather, place_of, precision
from zosah_jax.probes import CoordinateProbes, CoordinateUpdate
from zosah_jax.sah.ask import ask_blind, ask_following, ask_switching, diagonal_offsets
from zosah_jax.sah.cache import Visit, begin, push
from zosah_jax.sah.coupling import with_blocks, with_secant
from zosah_jax.sah.gradient import forward_differences
from zosah_jax.sah.hessian import equations, fit_hessian, slopes
from zosah_jax.sah.isotropy import Isotropy, after_fit, round_hessian
from zosah_jax.sah.options import Options
from zosah_jax.sah.samples import determined, settled
from zosah_jax.sah.spectrum import held, newton_direction
from zosah_jax.sah.state import SAHInfo, SAHState, initial_state, kind_of
from zosah_jax.sah.unknowns import matrix_of, unknowns_of


def zosah_method(options: Options) -> Method:
    """ZO-SAH by the protocol of `method.py`."""
    switching = Round(partial(ask_switching, options), partial(_tell_switching, options))
    following = Round(partial(ask_following, options), partial(_tell_following, options))
    kinds: tuple[tuple[Round, ...], ...] = ((switching,), (following,))
    if options.isotropy is not None:
        kinds += ((Round(partial(ask_blind, options), partial(_tell_blind, options)),),)
    return Method(partial(initial_state, options), kinds, partial(kind_of, options))


class _Fitted(NamedTuple):
    """What the values say of every quadratic: slopes, A, and which coordinates lack something."""

    gradient: jax.Array
    hessian: jax.Array
    lacks: jax.Array


def _seen(params: Params, subspaces: Address, offset: jax.Array, values: jax.Array) -> Visit:
    """What was seen around the parameters at these offsets in each subspace, shape (J, n, s)."""
    return Visit(
        position=gather(params, subspaces),
        base=values[0],
        offset=offset,
        value=values[1:].reshape(offset.shape[:2]),
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
    count, dim = state.subspaces.leaf.shape
    samples = (len(probes) - 1) // count
    subspaces = Address(*(x[1::samples] for x in probes.address))
    visit = _seen(params, subspaces, probes.offset[1:].reshape(count, samples, dim), values)
    now, fresh = _part(visit, slice(0, dim)), _part(visit, slice(dim, None))
    known = determined(fresh, _differences(now))
    gradient, hessian, lacks = _fit(options, state, params, now, [fresh], None)
    fitted = _Fitted(gradient, settled(hessian, known), lacks | ~known.diagonal)
    if dimension(params) == dim:  # there is no other subspace, and so nothing to forget
        whole = jnp.all(known.unknown) | ~jnp.any(state.hessian != 0)
        again = _completed(options, state, params, now, fresh, subspaces)
        fitted = jax.tree.map(partial(jnp.where, whole), fitted, again)
    told = _newton(
        options,
        state._replace(subspaces=subspaces, cache=begin(state.cache, now, fresh)),
        params,
        now,
        fitted,
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
) -> _Fitted:
    """The fit in the only subspace there is, with what was seen in it before the switch."""
    old = jax.tree.map(lambda x: x[0], state.subspaces)
    same = [new[0][:, None] == there[None, :] for new, there in zip(subspaces, old, strict=True)]
    order = jnp.argmax(same[0] & same[1], axis=1)  # it may come in another one
    cached = [
        visit._replace(position=visit.position[:, order], offset=visit.offset[..., order])
        for visit in state.cache
    ]
    previous = unknowns_of(matrix_of(state.hessian)[:, order][:, :, order])
    return _fit(options, state, params, now, [fresh, *cached], previous)


def _tell_following(
    options: Options,
    state: SAHState,
    params: Params,
    probes: CoordinateProbes,
    values: jax.Array,
) -> Told:
    shape = state.subspaces.leaf.shape
    now = _seen(params, state.subspaces, diagonal_offsets(probes.offset[1:].reshape(shape)), values)
    gradient, hessian, lacks = _fit(options, state, params, now, list(state.cache), state.hessian)
    # where no curvature at all was measured at the switch, what is left of it says nothing
    none = ~jnp.any(state.hessian != 0)
    fitted = _Fitted(gradient, jnp.where(none, state.hessian, hessian), lacks | none)
    told = _newton(
        options,
        state._replace(cache=push(state.cache, now)),
        params,
        now,
        fitted,
        bound=None if probes.bound is None else probes.bound[1:].reshape(shape),
        before=state.cache.previous,
    )
    return _or_retreat(told, state, params, next_step=state.step + 1)


def _tell_blind(
    options: Options,
    state: SAHState,
    params: Params,
    probes: CoordinateProbes,
    values: jax.Array,
) -> Told:
    """A gradient step by the mean curvature, in new subspaces."""
    shape = state.subspaces.leaf.shape
    subspaces = Address(*(x[1:].reshape(shape) for x in probes.address))
    now = _seen(params, subspaces, diagonal_offsets(probes.offset[1:].reshape(shape)), values)
    hessian, differences = round_hessian(state.hessian), _differences(now)
    gradient = slopes(differences, _lengths(now), hessian, options.fit)
    told = _newton(
        options,
        state._replace(subspaces=subspaces, cache=begin(state.cache, now, None)),
        params,
        now,
        _Fitted(gradient, hessian, ~jnp.isfinite(differences)),
        bound=None if probes.bound is None else probes.bound[1:].reshape(shape),
        blind=True,
    )
    return _or_retreat(told, state, params, next_step=state.step)


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

    changed = ("step", "subspaces", "cache", "hessian", "info", "isotropy", "coupling")
    before = state._replace(step=next_step)
    after = {
        name: unless_lost(getattr(told.state, name), getattr(before, name)) for name in changed
    }
    return Told(unless_lost(told.updates, back), told.state._replace(**after), told.value)


def _differences(now: Visit) -> jax.Array:
    return forward_differences(now.base, now.value, _lengths(now))


def _lengths(now: Visit) -> jax.Array:
    """Lengths of the forward probes, shape (J, s)."""
    return jnp.diagonal(now.offset, axis1=1, axis2=2)


def _noise_of_values(state: SAHState, params: Params, now: Visit) -> jax.Array:
    """Standard deviation of a value: that of its rounding, or more."""
    largest = jnp.max(jnp.where(jnp.isfinite(now.value), jnp.abs(now.value), 0))
    return jnp.maximum(precision(params) * largest, state.noise)


def _fit(
    options: Options,
    state: SAHState,
    params: Params,
    now: Visit,
    samples: list[Visit],
    previous: jax.Array | None,
) -> _Fitted:
    """Every subspace's quadratic."""
    differences = _differences(now)
    gradient, hessian = fit_hessian(
        [equations(visit, now.position, now.base, options.cached) for visit in samples],
        differences,
        _lengths(now),
        previous,
        fit=options.fit,
        prior=options.prior,
        ridge=options.ridge,
        noise=_noise_of_values(state, params, now),
    )
    return _Fitted(gradient, hessian, ~jnp.isfinite(differences))


def _newton(
    options: Options,
    state: SAHState,
    params: Params,
    now: Visit,
    fitted: _Fitted,
    *,
    bound: jax.Array | None,
    before: Visit | None = None,
    blind: bool = False,
) -> Told:
    """Step to every quadratic's minimum, but for coordinates that lack something.

    One at a bound that f falls beyond stays, too.
    """
    gradient, hessian, stays = fitted
    if bound is not None:
        stays |= bound.astype(gradient.dtype) * gradient < 0
    # what noise of the values makes of a second difference over the probes' length
    lengths = _lengths(now)
    shortest = jnp.min(jnp.abs(lengths), initial=jnp.inf, where=lengths != 0)
    direction, eigenvalues = newton_direction(
        *held(gradient, hessian, stays),
        options.eigenvalue_floor,
        options.floor,
        2 * state.noise / shortest**2,
    )
    state = state._replace(
        step=state.step + 1, hessian=hessian, info=SAHInfo(eigenvalues, gradient)
    )
    if state.isotropy is not None:
        state = state._replace(isotropy=_isotropy(state.isotropy, eigenvalues, before, blind))
    if state.coupling is not None:
        state = state._replace(coupling=_coupling(state, params, now, before, blind))
    return Told(CoordinateUpdate(state.subspaces, direction), state, now.base)


def _isotropy(
    seen: Isotropy, eigenvalues: jax.Array, before: Visit | None, blind: bool
) -> Isotropy:
    """What is known of isotropy after a step: a switching one begins a period, blind or not."""
    if blind:
        return seen._replace(blind=seen.blind + 1)
    if before is None:
        seen = seen._replace(blind=jnp.zeros_like(seen.blind))
    return after_fit(seen, eigenvalues)


def _coupling(
    state: SAHState, params: Params, now: Visit, before: Visit | None, blind: bool
) -> jax.Array:
    """What is known of the whole Hessian after a step, `before` the one before it in V, if any."""
    assert state.coupling is not None
    place = place_of(params, state.subspaces)
    if before is None:
        return state.coupling if blind else with_blocks(state.coupling, place, state.hessian)
    noise = _noise_of_values(state, params, now) / jnp.max(jnp.abs(_lengths(now)))
    size = jnp.sqrt(jnp.mean(state.hessian**2))
    return with_secant(
        state.coupling,
        place,
        now.position - before.position,
        _differences(now) - _differences(before),
        jnp.where(size > 0, 2 * noise / jnp.where(size > 0, size, 1), 0) ** 2,
    )
