"""The step of ZOHA: looks at the Hessian, the gradient in its metric, the check of descent.

The functions are the stages of `ZOHA`; `o` is the method, that is, its options.
"""

from typing import TYPE_CHECKING, Literal, NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.method import Batch, Outcome, Problem
from zosah_jax.methods.estimate import mean_weights
from zosah_jax.methods.zoha_hessian import (
    damping_of,
    gaussian_kernel,
    inner_products,
    mean_square,
    orthonormal,
    ritz_kernel,
)
from zosah_jax.probes import DirectionProbes, combine_directions, tree_broadcast
from zosah_jax.pytree import Params, dimension, precision, widen, working_dtype

if TYPE_CHECKING:
    from zosah_jax.methods.zoha import ZOHA

Hessian = Literal["gauss", "diag", "power"]


class ZOHAState(NamedTuple):
    """State of ZOHA: b directions for the Hessian, q for the gradient; floats in the working dtype.

    Attributes:
        key: typed PRNG key, never advanced: all directions follow from it and the step.
        step: number k of the coming step, int32.
        stage: number of the stage that comes next, int32.
        period: p, int32.
        kernel: K of the inverse root lambda^-1/2 I + U K U', shape (b, b); zeros for "diag".
        damping: lambda, scalar.
        scaling: the diagonal's inverse root, a pytree like the parameters; None but for "diag".
        base: value at the parameters, scalar.
        seen: f(x + mu u_i) at the last refresh, shape (b,).
        basis: rows a_j of the power iteration's v_j = U a_j, shape (rank, b).
        move: weights of the q + b directions that the step combines, q of them for "diag".
    """

    key: jax.Array
    step: jax.Array
    stage: jax.Array
    period: jax.Array
    kernel: jax.Array
    damping: jax.Array
    scaling: Params | None
    base: jax.Array
    seen: jax.Array
    basis: jax.Array
    move: jax.Array


REFRESH, UNKNOWN, KNOWN, CHECK = range(4)
"""Stages: the Hessian estimated anew; the gradient, f(x) not yet known; f(x) known; the check."""


def _first_power(o: "ZOHA") -> int:
    """Number of the first power round; they come after the check of descent, if there is one."""
    return CHECK + 1 if o.descent_check else CHECK


def _begin(state: ZOHAState) -> jax.Array:
    """The first stage of the coming step."""
    refresh = state.step % state.period == 0
    return jnp.where(refresh, REFRESH, UNKNOWN).astype(jnp.int32)


def _at(state: ZOHAState, stage: int) -> ZOHAState:
    return state._replace(stage=jnp.full_like(state.stage, stage))


def initial_state(o: "ZOHA", params: Params, key: jax.Array) -> ZOHAState:
    """The state before the first step."""
    dtype, b = working_dtype(params), o.hessian_directions
    diagonal = o.hessian == "diag"
    return ZOHAState(
        key=key,
        step=jnp.zeros((), jnp.int32),
        stage=jnp.zeros((), jnp.int32),
        period=jnp.asarray(o.period, jnp.int32),
        kernel=jnp.zeros((b, b), dtype),
        damping=jnp.ones((), dtype),
        scaling=jax.tree.map(jnp.ones_like, widen(params)) if diagonal else None,
        base=jnp.full((), jnp.inf, dtype),
        seen=jnp.zeros(b, dtype),
        basis=jnp.eye(min(o.rank, b), b, dtype=dtype),
        move=jnp.zeros(o.num_directions + (0 if diagonal else b), dtype),
    )


def _hessian_keys(o: "ZOHA", state: ZOHAState) -> jax.Array:
    key = jax.random.fold_in(jax.random.split(state.key)[0], state.step // state.period)
    return jax.random.split(key, o.hessian_directions)


def _gradient_keys(o: "ZOHA", state: ZOHAState) -> jax.Array:
    key = jax.random.fold_in(jax.random.split(state.key)[1], state.step)
    return jax.random.split(key, o.num_directions)


def _length(o: "ZOHA", params: Params, power: float) -> jax.Array:
    mu = precision(params) ** power if o.smoothing is None else o.smoothing
    return jnp.asarray(mu, working_dtype(params))


# --- the Hessian ----------------------------------------------------------------------------------


def ask_curvature(o: "ZOHA", state: ZOHAState, params: Params, problem: Problem) -> Batch:
    """The parameters, and a step forth and back along each of b directions."""
    keys = _hessian_keys(o, state)
    mu = jnp.full(o.hessian_directions, _length(o, params, 0.25))
    scale = jnp.concatenate([jnp.zeros_like(mu[:1]), mu, -mu])
    return Batch(DirectionProbes(jnp.concatenate([keys[:1], keys, keys])[:, None], scale[:, None]))


def tell_curvature(
    o: "ZOHA", state: ZOHAState, params: Params, problem: Problem, batch: Batch, values: jax.Array
) -> Outcome:
    """Curvatures |f(x + mu u) + f(x - mu u) - 2 f(x)| / (2 mu^2), and the model made of them."""
    base, (forth, back), mu = values[0], jnp.split(values[1:], 2), batch.probes.scale[1, 0]
    curvature = jnp.abs(forth + back - 2 * base) / (2 * mu**2)
    curvature = jnp.where(jnp.isfinite(curvature), curvature, 0)
    damping = damping_of(curvature, dimension(params), o.damping)
    state = _at(state._replace(damping=damping, base=base, seen=forth), KNOWN)
    keys = batch.probes.key[1 : o.hessian_directions + 1, 0]
    if o.hessian == "diag":
        diagonal = mean_square(keys, curvature, params)
        scaling = jax.tree.map(lambda h: jax.lax.rsqrt(h + damping.astype(h.dtype)), diagonal)
        return Outcome(state._replace(scaling=scaling), None, base)
    gram = inner_products(keys, keys, params)
    if o.hessian == "gauss":
        kernel = gaussian_kernel(curvature, gram, damping)
        return Outcome(state._replace(kernel=kernel), None, base)
    first = jnp.eye(*state.basis.shape, dtype=gram.dtype)
    state = state._replace(basis=orthonormal(first, gram))
    return Outcome(_at(state, _first_power(o)), None, base)


def ask_power(o: "ZOHA", state: ZOHAState, params: Params, problem: Problem) -> Batch:
    """Steps along each v_j, then along each v_j and each u_i together; v_j as long as a u_i."""
    keys, mu = _hessian_keys(o, state), _length(o, params, 0.25)
    rank, b = state.basis.shape
    along = state.basis * jnp.asarray(dimension(params) ** 0.5, mu.dtype)
    both = along[:, None, :] + jnp.eye(b, dtype=mu.dtype)[None]
    scale = mu * jnp.concatenate([along, both.reshape(rank * b, b)])
    return Batch(DirectionProbes(jnp.broadcast_to(keys, scale.shape), scale))


def tell_power(
    o: "ZOHA",
    number: int,
    state: ZOHAState,
    params: Params,
    problem: Problem,
    batch: Batch,
    values: jax.Array,
) -> Outcome:
    """u_i'H v_j by mixed differences; then the next basis, or the Ritz values of this one."""
    del problem, batch
    rank, b = state.basis.shape
    mu = _length(o, params, 0.25)
    along, both = values[:rank], values[rank:].reshape(rank, b)
    mixed = both - along[:, None] - state.seen[None] + state.base
    products = mixed.T / (mu**2 * jnp.asarray(dimension(params) ** 0.5, mu.dtype))
    products = jnp.where(jnp.isfinite(products), products, 0)
    if number == o.power_rounds - 1:
        kernel = ritz_kernel(state.basis, products, state.damping)
        return Outcome(_at(state._replace(kernel=kernel), KNOWN), None, state.base)
    keys = _hessian_keys(o, state)
    basis = orthonormal(products.T / b, inner_products(keys, keys, params))
    state = _at(state._replace(basis=basis), _first_power(o) + number + 1)
    return Outcome(state, None, state.base)


# --- the step -------------------------------------------------------------------------------------


def ask_gradient(
    o: "ZOHA", with_base: bool, state: ZOHAState, params: Params, problem: Problem
) -> Batch:
    """The parameters where their value is not known yet, and a step along each H^-1/2 u."""
    keys, mu = _gradient_keys(o, state)[:, None], _length(o, params, 0.5)
    if o.hessian == "diag":
        scale = jnp.full(keys.shape, mu)
    else:
        others = _hessian_keys(o, state)
        within = inner_products(keys[:, 0], others, params) @ state.kernel
        own = jnp.full(keys.shape, jax.lax.rsqrt(state.damping))
        scale = mu * jnp.concatenate([own, within], axis=1)
        keys = jnp.concatenate([keys, jnp.broadcast_to(others, within.shape)], axis=1)
    if with_base:
        keys = jnp.concatenate([keys[:1], keys])
        scale = jnp.concatenate([jnp.zeros_like(scale[:1]), scale])
    scaling = None if state.scaling is None else tree_broadcast(state.scaling, len(scale))
    return Batch(DirectionProbes(keys, scale, scaling))


def tell_gradient(
    o: "ZOHA",
    with_base: bool,
    state: ZOHAState,
    params: Params,
    problem: Problem,
    batch: Batch,
    values: jax.Array,
) -> Outcome:
    """Mean of H^-1/2 u (f(x + mu H^-1/2 u) - f(x)) / mu, as weights of the directions."""
    del problem
    probes = batch.probes
    base, values = (values[0], values[1:]) if with_base else (state.base, values)
    mu = _length(o, params, 0.5)
    weight = mean_weights((values - base) / mu)
    scale = probes.scale[len(probes) - o.num_directions :] / mu
    move = jnp.concatenate([weight * scale[:, 0], weight @ scale[:, 1:]])
    state = state._replace(base=base, move=move)
    if o.descent_check:
        return Outcome(_at(state, CHECK), None, base)
    own, others = probes.key[-o.num_directions :, 0], probes.key[-1, 1:]
    return _moved(state, params, jnp.concatenate([own, others]), jnp.ones((), move.dtype))


def ask_descent(o: "ZOHA", state: ZOHAState, params: Params, problem: Problem) -> Batch:
    """The whole step as it is taken, half of it, a quarter ..."""
    keys, weight = _gradient_keys(o, state), state.move
    if o.hessian != "diag":
        keys = jnp.concatenate([keys, _hessian_keys(o, state)])
    length = o.descent_length(state.step) if callable(o.descent_length) else o.descent_length
    part = jnp.asarray(length, weight.dtype) * 0.5 ** jnp.arange(
        o.descent_check, dtype=weight.dtype
    )
    scale = -part[:, None] * weight[None]
    scaling = None if state.scaling is None else tree_broadcast(state.scaling, len(scale))
    return Batch(DirectionProbes(jnp.broadcast_to(keys, scale.shape), scale, scaling))


def tell_descent(
    o: "ZOHA", state: ZOHAState, params: Params, problem: Problem, batch: Batch, values: jax.Array
) -> Outcome:
    """The part of the step with the lowest value, if that is below the present one."""
    values = jnp.where(jnp.isfinite(values), values, jnp.inf)
    best = jnp.argmin(values)
    part = jnp.where(values[best] < state.base, 0.5 ** best.astype(values.dtype), 0)
    return _moved(state, params, batch.probes.key[0], part)


def _moved(state: ZOHAState, params: Params, keys: jax.Array, part: jax.Array) -> Outcome:
    """A part of the step, whose weights the state has."""
    update = combine_directions(keys, part * state.move, params)
    if state.scaling is not None:
        update = jax.tree.map(jnp.multiply, state.scaling, update)
    state = state._replace(step=state.step + 1)
    return Outcome(state._replace(stage=_begin(state)), update, state.base)
