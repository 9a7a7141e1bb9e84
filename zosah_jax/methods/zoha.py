"""ZOHA: gradients estimated in the metric of an estimated Hessian, with a check of descent."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, get_args

import jax
import jax.numpy as jnp

from zosah_jax.checks import check_choice, check_count, check_positive, check_static_count
from zosah_jax.method import Method, Stage
from zosah_jax.methods import zoha_step as step
from zosah_jax.methods.zoha_step import Hessian, ZOHAState
from zosah_jax.pytree import Params


@dataclass(frozen=True, eq=False)
class ZOHA(Method):
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
    Values that are not finite are left out.

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

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> tx = zosah_jax.scale_by_zoha(4, 6, hessian="diag")
        >>> x = jnp.ones(3)
        >>> updates, state = tx.update(x, tx.init(x), x, value_fn=lambda x: (x**2).sum())
        >>> updates.shape, zosah_jax.num_evaluations(state)
        ((3,), 18)

    References:
        Ye et al., `Hessian-Aware Zeroth-Order Optimization for Black-Box Adversarial Attack
        <https://arxiv.org/abs/1812.11377>`_, 2018; IEEE TPAMI 47(6), 2025.
    """

    num_directions: int = 8
    hessian_directions: int = 8
    period: int = 10
    damping: float | None = None
    smoothing: float | None = None
    hessian: Hessian = field(default="gauss", kw_only=True)
    rank: int = field(default=2, kw_only=True)
    power_rounds: int = field(default=2, kw_only=True)
    descent_check: int = field(default=1, kw_only=True)
    descent_length: Any = field(default=1.0, kw_only=True)

    learning_rate_option: ClassVar[str | None] = "descent_length"

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_static_count("num_directions", self.num_directions)
        check_static_count("hessian_directions", self.hessian_directions)
        check_count("period", self.period)
        check_positive("damping", self.damping, optional=True)
        check_positive("smoothing", self.smoothing, optional=True)
        check_choice("hessian", self.hessian, get_args(Hessian))
        check_static_count("rank", self.rank)
        check_static_count("power_rounds", self.power_rounds)
        if self.descent_check is not False and self.descent_check != 0:
            check_static_count("descent_check", self.descent_check)

    def init(self, params: Params, key: jax.Array) -> ZOHAState:
        """The state before the first step."""
        return step.initial_state(self, params, key)

    def stages(self, params: Params) -> tuple[Stage, ...]:
        """A refresh of the Hessian, its power rounds, the gradient, and the check of descent.

        Numbers: 0 the refresh; 1 the gradient where f(x) is not known; 2 where the refresh has told
        it; then the check, if there is one, and the power rounds.
        """
        del params
        checked = bool(self.descent_check)
        stages = [
            Stage(partial(step.ask_curvature, self), partial(step.tell_curvature, self), False),
            *(
                Stage(
                    partial(step.ask_gradient, self, with_base),
                    partial(step.tell_gradient, self, with_base),
                    moves=not checked,
                )
                for with_base in (True, False)
            ),
        ]
        if checked:
            stages.append(Stage(partial(step.ask_descent, self), partial(step.tell_descent, self)))
        if self.hessian == "power":
            power = partial(step.ask_power, self)
            for number in range(self.power_rounds):
                tell = partial(step.tell_power, self, number)
                stages.append(Stage(power, tell, moves=False))
        return tuple(stages)

    def next_stage(self, state: ZOHAState) -> jax.Array:
        """The number that the state holds."""
        return jnp.asarray(state.stage)
