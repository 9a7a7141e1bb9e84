"""ZOHA: gradients estimated in the metric of an estimated Hessian, with a check of descent."""

from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax

from zosah_jax.checks import (
    check_choice,
    check_count,
    check_positive,
    check_static_count,
    typed_key,
)
from zosah_jax.estimate import mean_weights
from zosah_jax.evaluate import Evaluator
from zosah_jax.method import Method, Round, Told
from zosah_jax.params import Params, dimension, precision, widen, working_dtype
from zosah_jax.peers.zoha_hessian import (
    damping_of,
    gaussian_kernel,
    inner_products,
    mean_square,
    orthonormal,
    ritz_kernel,
)
from zosah_jax.probes import DirectionProbes, alike, combine_directions
from zosah_jax.transform import as_transformation

Hessian = Literal["gauss", "diag", "power"]


class ZOHAState(NamedTuple):
    """State of ZOHA: b directions for the Hessian, q for the gradient; floats in the working dtype.

    Attributes:
        key: typed PRNG key, never advanced: all directions follow from it and the step.
        step: number k of the coming step, int32.
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
    period: jax.Array
    kernel: jax.Array
    damping: jax.Array
    scaling: Params | None
    base: jax.Array
    seen: jax.Array
    basis: jax.Array
    move: jax.Array


class _Options(NamedTuple):
    num_directions: int
    hessian_directions: int
    period: int
    damping: float | None
    smoothing: float | None
    hessian: Hessian
    rank: int
    power_rounds: int
    descent_check: int
    key: Any


def zoha_method(options: _Options) -> Method:
    """ZOHA by the protocol of `method.py`."""
    o = options
    refresh = [Round(partial(_ask_curvature, o), partial(_tell_curvature, o))]
    if o.hessian == "power":
        for number in range(o.power_rounds):
            last = number == o.power_rounds - 1
            refresh.append(Round(partial(_ask_power, o), partial(_tell_power, o, last)))
    check = []
    if o.descent_check:
        check.append(Round(partial(_ask_descent, o), partial(_tell_descent, o)))
    known = Round(partial(_ask_gradient, o, False), partial(_tell_gradient, o, False))
    unknown = Round(partial(_ask_gradient, o, True), partial(_tell_gradient, o, True))
    return Method(partial(_init, o), ((*refresh, known, *check), (unknown, *check)), _kind)


def _kind(state: ZOHAState) -> jax.Array:
    """0 where the Hessian is looked at anew, 1 elsewhere."""
    return (state.step % state.period != 0).astype(jnp.int32)


def _init(o: _Options, params: Params) -> ZOHAState:
    dtype, b = working_dtype(params), o.hessian_directions
    diagonal = o.hessian == "diag"
    return ZOHAState(
        key=typed_key(o.key),
        step=jnp.zeros((), jnp.int32),
        period=jnp.asarray(o.period, jnp.int32),
        kernel=jnp.zeros((b, b), dtype),
        damping=jnp.ones((), dtype),
        scaling=jax.tree.map(jnp.ones_like, widen(params)) if diagonal else None,
        base=jnp.full((), jnp.nan, dtype),
        seen=jnp.zeros(b, dtype),
        basis=jnp.eye(min(o.rank, b), b, dtype=dtype),
        move=jnp.zeros(o.num_directions + (0 if diagonal else b), dtype),
    )


def _hessian_keys(o: _Options, state: ZOHAState) -> jax.Array:
    key = jax.random.fold_in(jax.random.split(state.key)[0], state.step // state.period)
    return jax.random.split(key, o.hessian_directions)


def _gradient_keys(o: _Options, state: ZOHAState) -> jax.Array:
    key = jax.random.fold_in(jax.random.split(state.key)[1], state.step)
    return jax.random.split(key, o.num_directions)


def _length(o: _Options, params: Params, power: float) -> jax.Array:
    mu = precision(params) ** power if o.smoothing is None else o.smoothing
    return jnp.asarray(mu, working_dtype(params))


# --- the Hessian ----------------------------------------------------------------------------------


def _ask_curvature(o: _Options, state: ZOHAState, params: Params) -> DirectionProbes:
    """The parameters, and a step forth and back along each of b directions."""
    keys = _hessian_keys(o, state)
    mu = jnp.full(o.hessian_directions, _length(o, params, 0.25))
    scale = jnp.concatenate([jnp.zeros_like(mu[:1]), mu, -mu])
    return DirectionProbes(jnp.concatenate([keys[:1], keys, keys])[:, None], scale[:, None])


def _tell_curvature(
    o: _Options, state: ZOHAState, params: Params, probes: DirectionProbes, values: jax.Array
) -> Told:
    base, (forth, back), mu = values[0], jnp.split(values[1:], 2), probes.scale[1, 0]
    curvature = jnp.abs(forth + back - 2 * base) / (2 * mu**2)
    curvature = jnp.where(jnp.isfinite(curvature), curvature, 0)
    damping = damping_of(curvature, dimension(params), o.damping)
    state = state._replace(damping=damping, base=base, seen=forth)
    keys = probes.key[1 : o.hessian_directions + 1, 0]
    if o.hessian == "diag":
        diagonal = mean_square(keys, curvature, params)
        scaling = jax.tree.map(lambda h: jax.lax.rsqrt(h + damping.astype(h.dtype)), diagonal)
        return Told(None, state._replace(scaling=scaling), base)
    gram = inner_products(keys, keys, params)
    if o.hessian == "gauss":
        kernel = gaussian_kernel(curvature, gram, damping)
        return Told(None, state._replace(kernel=kernel), base)
    first = jnp.eye(*state.basis.shape, dtype=gram.dtype)
    return Told(None, state._replace(basis=orthonormal(first, gram)), base)


def _ask_power(o: _Options, state: ZOHAState, params: Params) -> DirectionProbes:
    """Steps along each v_j, then along each v_j and each u_i together; v_j as long as a u_i."""
    keys, mu = _hessian_keys(o, state), _length(o, params, 0.25)
    rank, b = state.basis.shape
    along = state.basis * jnp.asarray(dimension(params) ** 0.5, mu.dtype)
    both = along[:, None, :] + jnp.eye(b, dtype=mu.dtype)[None]
    scale = mu * jnp.concatenate([along, both.reshape(rank * b, b)])
    return DirectionProbes(jnp.broadcast_to(keys, scale.shape), scale)


def _tell_power(
    o: _Options,
    last: bool,
    state: ZOHAState,
    params: Params,
    probes: DirectionProbes,
    values: jax.Array,
) -> Told:
    """u_i'H v_j by mixed differences; then the next basis, or the Ritz values of this one."""
    del probes
    rank, b = state.basis.shape
    mu = _length(o, params, 0.25)
    along, both = values[:rank], values[rank:].reshape(rank, b)
    mixed = both - along[:, None] - state.seen[None] + state.base
    products = mixed.T / (mu**2 * jnp.asarray(dimension(params) ** 0.5, mu.dtype))
    products = jnp.where(jnp.isfinite(products), products, 0)
    if last:
        kernel = ritz_kernel(state.basis, products, state.damping)
        return Told(None, state._replace(kernel=kernel), state.base)
    keys = _hessian_keys(o, state)
    basis = orthonormal(products.T / b, inner_products(keys, keys, params))
    return Told(None, state._replace(basis=basis), state.base)


# --- the step -------------------------------------------------------------------------------------


def _ask_gradient(
    o: _Options, with_base: bool, state: ZOHAState, params: Params
) -> DirectionProbes:
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
    scaling = None if state.scaling is None else alike(state.scaling, len(scale))
    return DirectionProbes(keys, scale, scaling)


def _tell_gradient(
    o: _Options,
    with_base: bool,
    state: ZOHAState,
    params: Params,
    probes: DirectionProbes,
    values: jax.Array,
) -> Told:
    """Mean of H^-1/2 u (f(x + mu H^-1/2 u) - f(x)) / mu, as weights of the directions."""
    base, values = (values[0], values[1:]) if with_base else (state.base, values)
    mu = _length(o, params, 0.5)
    weight = mean_weights((values - base) / mu)
    scale = probes.scale[len(probes) - o.num_directions :] / mu
    move = jnp.concatenate([weight * scale[:, 0], weight @ scale[:, 1:]])
    state = state._replace(base=base, move=move)
    if o.descent_check:
        return Told(None, state, base)
    own, others = probes.key[-o.num_directions :, 0], probes.key[-1, 1:]
    return _moved(state, params, jnp.concatenate([own, others]), jnp.ones((), move.dtype))


def _ask_descent(o: _Options, state: ZOHAState, params: Params) -> DirectionProbes:
    """The whole step, half of it, a quarter ..."""
    keys, weight = _gradient_keys(o, state), state.move
    if o.hessian != "diag":
        keys = jnp.concatenate([keys, _hessian_keys(o, state)])
    part = 0.5 ** jnp.arange(o.descent_check, dtype=weight.dtype)
    scale = -part[:, None] * weight[None]
    scaling = None if state.scaling is None else alike(state.scaling, len(scale))
    return DirectionProbes(jnp.broadcast_to(keys, scale.shape), scale, scaling)


def _tell_descent(
    o: _Options, state: ZOHAState, params: Params, probes: DirectionProbes, values: jax.Array
) -> Told:
    """The part of the step with the lowest value, if that is below the present one."""
    values = jnp.where(jnp.isfinite(values), values, jnp.inf)
    best = jnp.argmin(values)
    part = jnp.where(values[best] < state.base, 0.5 ** best.astype(values.dtype), 0)
    return _moved(state, params, probes.key[0], part)


def _moved(state: ZOHAState, params: Params, keys: jax.Array, part: jax.Array) -> Told:
    """A part of the step, whose weights the state has."""
    update = combine_directions(keys, part * state.move, params)
    if state.scaling is not None:
        update = jax.tree.map(jnp.multiply, state.scaling, update)
    return Told(update, state._replace(step=state.step + 1), state.base)


def scale_by_zoha(
    num_directions: int = 8,
    hessian_directions: int = 8,
    period: int = 10,
    damping: float | None = None,
    smoothing: float | None = None,
    *,
    hessian: Hessian = "gauss",
    rank: int = 2,
    power_rounds: int = 2,
    descent_check: int = 1,
    key: Any = 0,
    evaluator: Evaluator | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Gradient estimated and scaled in the metric of an estimated Hessian.

    Every p steps, from b directions u ~ N(0, I),

    .. math:: \tilde H = \frac{1}{b} \sum_i \frac{|f(x + \mu u_i) + f(x - \mu u_i) - 2 f(x)|}
        {2 \mu^2} u_i u_i' + \lambda I

    ("gauss"), its diagonal ("diag"), or the leading eigenpairs of H by power iteration ("power");
    and at every step, from q fresh directions,

    .. math:: v = \frac{1}{q} \sum_j \tilde H^{-1/2} u_j
        \frac{f(x + \mu \tilde H^{-1/2} u_j) - f(x)}{\mu}

    A step takes q + 1 + c values, with c of the descent check; the first of a period 2 b more, and
    r k (b + 1) more for "power". No direction is stored: H^-1/2 is kept as a b x b matrix in the
    basis of the u_i, which are regenerated from their keys, q b of them a step. "diag" keeps one
    number a parameter.

    There is no official code. What the descriptions at hand leave open is decided here: the check
    of descent acts within the step, as a method does not know the learning rate that follows.

    Args:
        num_directions: q (static).
        hessian_directions: b (static).
        period: p, steps between looks at the Hessian.
        damping: lambda, absolute. None: the mean eigenvalue of H, as the differences tell it.
        smoothing: mu, absolute. None: the square root of the machine epsilon of the parameters for
            the gradient, its fourth root for the Hessian.
        hessian: "gauss", "diag" or "power".
        rank: k of "power", how many eigenpairs (static).
        power_rounds: r of "power" (static): products of H with its k vectors, by mixed differences
            f(x + mu u_i + mu v_j) - f(x + mu u_i) - f(x + mu v_j) + f(x); the vectors stay in the
            span of the u_i, and the eigenvalues are the last product's Ritz values.
        descent_check: c (static), how many of the lengths 1, 1/2, 1/4 ... of the step are tried
            (paper: 1). The one with the lowest value is taken, if that is below f(x), and else the
            step is zero. 0 is no check.
        key: an int or a typed PRNG key; the directions follow from it.
        evaluator: how probes are answered; None picks by the size of the parameters.

    Returns:
        A `GradientTransformationExtraArgs`; `update` wants `params` and the keyword `value_fn`.
        Values that are not finite are left out. The state is a `ZerothOrderState` around a
        `ZOHAState`.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> tx = zosah_jax.scale_by_zoha(4, 6, hessian="diag")
        >>> x = jnp.ones(3)
        >>> updates, state = tx.update(x, tx.init(x), x, value_fn=lambda x: (x**2).sum())
        >>> updates.shape, zosah_jax.num_evaluations(state), int(state.next_num_evaluations)
        ((3,), 18, 6)

    References:
        Ye et al., `Hessian-Aware Zeroth-Order Optimization for Black-Box Adversarial Attack
        <https://arxiv.org/abs/1812.11377>`_, 2018; IEEE TPAMI 47(6), 2025.
    """
    check_static_count("num_directions", num_directions)
    check_static_count("hessian_directions", hessian_directions)
    check_count("period", period)
    check_positive("damping", damping, optional=True)
    check_positive("smoothing", smoothing, optional=True)
    check_choice("hessian", hessian, get_args(Hessian))
    check_static_count("rank", rank)
    check_static_count("power_rounds", power_rounds)
    if descent_check is not False and descent_check != 0:
        check_static_count("descent_check", descent_check)
    typed_key(key)
    options = _Options(
        num_directions,
        hessian_directions,
        period,
        damping,
        smoothing,
        hessian,
        rank,
        power_rounds,
        descent_check,
        key,
    )
    return as_transformation(zoha_method(options), evaluator)


def zoha(
    learning_rate: optax.ScalarOrSchedule,
    num_directions: int = 8,
    hessian_directions: int = 8,
    period: int = 10,
    damping: float | None = None,
    smoothing: float | None = None,
    *,
    hessian: Hessian = "gauss",
    rank: int = 2,
    power_rounds: int = 2,
    descent_check: int = 1,
    key: Any = 0,
    evaluator: Evaluator | None = None,
) -> optax.GradientTransformationExtraArgs:
    """ZOHA: `scale_by_zoha`, then x <- x - learning_rate * v.

    Args:
        learning_rate: or a schedule of it; 1 is the step that the descent check has checked.
        num_directions: as in `scale_by_zoha`.
        hessian_directions: as in `scale_by_zoha`.
        period: as in `scale_by_zoha`.
        damping: as in `scale_by_zoha`.
        smoothing: as in `scale_by_zoha`.
        hessian: as in `scale_by_zoha`.
        rank: as in `scale_by_zoha`.
        power_rounds: as in `scale_by_zoha`.
        descent_check: as in `scale_by_zoha`.
        key: as in `scale_by_zoha`.
        evaluator: as in `scale_by_zoha`.

    Returns:
        A `GradientTransformationExtraArgs`.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> tx = zosah_jax.zoha(1.0)
        >>> out = zosah_jax.minimize(lambda x: (x**2).sum(), jnp.ones(3), tx, budget=400)
        >>> bool(out.best_value < 1e-2)
        True

    References:
        Ye et al., `Hessian-Aware Zeroth-Order Optimization <https://arxiv.org/abs/1812.11377>`_.
    """
    direction = scale_by_zoha(
        num_directions,
        hessian_directions,
        period,
        damping,
        smoothing,
        hessian=hessian,
        rank=rank,
        power_rounds=power_rounds,
        descent_check=descent_check,
        key=key,
        evaluator=evaluator,
    )
    return optax.chain(direction, optax.scale_by_learning_rate(learning_rate))  # type: ignore[return-value]
