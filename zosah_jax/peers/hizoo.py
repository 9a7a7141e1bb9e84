"""HiZOO: MeZO in a metric, a diagonal that is learnt from second differences."""

from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax

from zosah_jax.checks import check_choice, check_positive, typed_key
from zosah_jax.evaluate import Evaluator
from zosah_jax.method import Method, Told, one_kind
from zosah_jax.params import Params, precision, widen, working_dtype
from zosah_jax.probes import DirectionProbes, alike, direction
from zosah_jax.transform import as_transformation

Scaling = Literal["inverse_root", "hessian"]
UpdatedBy = Literal["new", "old"]


class HiZOOState(NamedTuple):
    """State of HiZOO.

    Attributes:
        key: typed PRNG key, never advanced: the directions follow from it and the step.
        step: number k of the coming step, int32.
        hessian: H, the diagonal, like the parameters in float32 or wider; ones at first.
    """

    key: jax.Array
    step: jax.Array
    hessian: Params


class _Options(NamedTuple):
    smoothing: float | None
    hessian_smoothing: float
    scaling: Scaling
    updated_by: UpdatedBy


def _init(key: Any, params: Params) -> HiZOOState:
    ones = jax.tree.map(jnp.ones_like, widen(params))
    return HiZOOState(typed_key(key), jnp.zeros((), jnp.int32), ones)


def _scaled_by(options: _Options, hessian: Params) -> Params:
    if options.scaling == "hessian":
        return hessian
    return jax.tree.map(jax.lax.rsqrt, hessian)


def _ask(options: _Options, state: HiZOOState, params: Params) -> DirectionProbes:
    """The parameters, and a step forth and back along one scaled direction."""
    key = jax.random.fold_in(state.key, state.step)
    epsilon = precision(params) ** 0.25 if options.smoothing is None else options.smoothing
    scale = jnp.asarray([0, 1, -1], working_dtype(params)) * epsilon
    scaling = alike(_scaled_by(options, state.hessian), 3)
    return DirectionProbes(jnp.stack([key] * 3)[:, None], scale[:, None], scaling)


def _tell(
    options: _Options,
    state: HiZOOState,
    params: Params,
    probes: DirectionProbes,
    values: jax.Array,
) -> Told:
    """H moves towards |l+ + l- - 2 l0| / (2 eps^2) H z^2; then (l+ - l-) / (2 eps) z, scaled."""
    base, forth, back = values
    epsilon = probes.scale[1, 0]
    curvature = jnp.abs(forth + back - 2 * base) / (2 * epsilon**2)
    known = jnp.isfinite(curvature)
    curvature = jnp.where(known, curvature, 0)
    rate = jnp.where(known, options.hessian_smoothing, 0).astype(values.dtype)
    slope = (forth - back) / (2 * epsilon)
    slope = jnp.where(jnp.isfinite(slope), slope, 0)
    least = precision(params)  # H of a straight line would fall to 0, and its steps grow for ever
    z = direction(probes.key[0, 0], params)

    def learnt(h: jax.Array, z: jax.Array) -> jax.Array:
        a, c = rate.astype(h.dtype), curvature.astype(h.dtype)
        return jnp.maximum((1 - a) * h + a * c * h * z**2, least)

    hessian = jax.tree.map(learnt, state.hessian, z)
    scaling = _scaled_by(options, hessian if options.updated_by == "new" else state.hessian)
    update = jax.tree.map(lambda s, z: slope.astype(z.dtype) * s * z, scaling, z)
    return Told(update, HiZOOState(state.key, state.step + 1, hessian), base)


def hizoo_method(
    smoothing: float | None = None,
    hessian_smoothing: float = 1e-2,
    scaling: Scaling = "inverse_root",
    updated_by: UpdatedBy = "new",
    key: Any = 0,
) -> Method:
    """HiZOO by the protocol of `method.py`; arguments as in `scale_by_hizoo`."""
    check_positive("smoothing", smoothing, optional=True)
    check_positive("hessian_smoothing", hessian_smoothing)
    check_choice("scaling", scaling, get_args(Scaling))
    check_choice("updated_by", updated_by, get_args(UpdatedBy))
    typed_key(key)
    options = _Options(smoothing, hessian_smoothing, scaling, updated_by)
    return one_kind(partial(_init, key), partial(_ask, options), partial(_tell, options))


def scale_by_hizoo(
    smoothing: float | None = None,
    hessian_smoothing: float = 1e-2,
    *,
    scaling: Scaling = "inverse_root",
    updated_by: UpdatedBy = "new",
    key: Any = 0,
    evaluator: Evaluator | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Two-sided difference along a random direction, in a metric learnt from second differences.

    With z ~ N(0, I), l_0 = f(x) and l_+- = f(x +- epsilon H^-1/2 z),

    .. math:: H \leftarrow (1 - a) H + a \frac{|l_+ + l_- - 2 l_0|}{2 \epsilon^2} H z^2, \qquad
        v = \frac{l_+ - l_-}{2 \epsilon} H^{-1/2} z

    where H is a diagonal. A step takes 3 values (the original asks a fourth for its log alone).

    A trap: the original code's default is a = 0, at which H never changes and this is MeZO at one
    value more; the command of its README has a = 1e-8, which in float32 hardly differs. The default
    here lets H follow within some hundred steps.

    Args:
        smoothing: epsilon, absolute (code: 1e-3). None: the fourth root of the machine epsilon,
            as a second difference needs it.
        hessian_smoothing: a, in (0, 1] (code: 0, README: 1e-8).
        scaling: "inverse_root" scales z by 1/sqrt(H), as paper and code do. "hessian" scales it by
            H, as some reimplementations do.
        updated_by: the H that scales the update: "new", as in the code, or "old", that of the
            probes, with which E[v] = H^-1 grad f on a quadratic.
        key: an int or a typed PRNG key; the directions follow from it.
        evaluator: how probes are answered; None picks by the size of the parameters.

    Returns:
        A `GradientTransformationExtraArgs`; `update` wants `params` and the keyword `value_fn`.
        What needs a value that is not finite stays as it is: the parameters, or H. The state is a
        `ZerothOrderState` around a `HiZOOState`, with a copy of the parameters' size for H.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax, jax.numpy as jnp, zosah_jax
        >>> f = lambda x: (jnp.array([1.0, 100.0]) * x**2).sum() / 2
        >>> tx, x = zosah_jax.scale_by_hizoo(), jnp.ones(2)
        >>> step = jax.jit(lambda state: tx.update(None, state, x, value_fn=f)[1])
        >>> state = tx.init(x)
        >>> for _ in range(500):
        ...     state = step(state)
        >>> flat, steep = state.method.hessian
        >>> bool(steep > 2 * flat)
        True

    References:
        Zhao et al., `Second-Order Fine-Tuning without Pain for LLMs: A Hessian Informed
        Zeroth-Order Optimizer <https://arxiv.org/abs/2402.15173>`_, 2024 (algorithm 1).
    """
    method = hizoo_method(smoothing, hessian_smoothing, scaling, updated_by, key)
    return as_transformation(method, evaluator)


def hizoo(
    learning_rate: optax.ScalarOrSchedule,
    smoothing: float | None = None,
    hessian_smoothing: float = 1e-2,
    *,
    scaling: Scaling = "inverse_root",
    updated_by: UpdatedBy = "new",
    key: Any = 0,
    evaluator: Evaluator | None = None,
) -> optax.GradientTransformationExtraArgs:
    """HiZOO: `scale_by_hizoo`, then x <- x - learning_rate * v.

    Args:
        learning_rate: or a schedule of it.
        smoothing: as in `scale_by_hizoo`.
        hessian_smoothing: as in `scale_by_hizoo`.
        scaling: as in `scale_by_hizoo`.
        updated_by: as in `scale_by_hizoo`.
        key: as in `scale_by_hizoo`.
        evaluator: as in `scale_by_hizoo`.

    Returns:
        A `GradientTransformationExtraArgs`.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> tx = zosah_jax.hizoo(0.1)
        >>> out = zosah_jax.minimize(lambda x: (x**2).sum(), jnp.ones(3), tx, budget=600)
        >>> bool(out.best_value < 1e-2)
        True

    References:
        Zhao et al., `HiZOO <https://arxiv.org/abs/2402.15173>`_, 2024.
    """
    scaled = scale_by_hizoo(
        smoothing,
        hessian_smoothing,
        scaling=scaling,
        updated_by=updated_by,
        key=key,
        evaluator=evaluator,
    )
    return optax.chain(scaled, optax.scale_by_learning_rate(learning_rate))  # type: ignore[return-value]
