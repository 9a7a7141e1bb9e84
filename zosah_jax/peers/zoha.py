"""ZOHA: gradients estimated in the metric of an estimated Hessian, with a check of descent."""

from typing import Any, get_args

import optax

from zosah_jax.checks import (
    check_choice,
    check_count,
    check_positive,
    check_static_count,
    typed_key,
)
from zosah_jax.evaluate import Evaluator
from zosah_jax.peers.zoha_step import Hessian, Options, zoha_method
from zosah_jax.transform import as_transformation


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
    descent_length: optax.ScalarOrSchedule = 1.0,
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
    of descent acts within the step, before it is taken.

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
        descent_check: c (static), how many of the lengths a, a/2, a/4 ... of the step are tried
            (paper: 1). v, half of it, a quarter ... is returned, by which of them has the lowest
            value, if that is below f(x), and else zero. 0 is no check.
        descent_length: a, or a schedule of it: what the learning rate that follows will make of the
            step, so that the check sees it as it is taken. A method does not know; `zoha` says it.
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
    options = Options(
        num_directions,
        hessian_directions,
        period,
        damping,
        smoothing,
        hessian,
        rank,
        power_rounds,
        descent_check,
        descent_length,
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
        learning_rate: or a schedule of it. The descent check is of the step with it.
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
        descent_length=learning_rate,
        key=key,
        evaluator=evaluator,
    )
    return optax.chain(direction, optax.scale_by_learning_rate(learning_rate))  # type: ignore[return-value]
