"""Proximal steps and projections as optax transformations, to come after the learning rate.

A proximal method moves to prox(x - gamma G). In optax a chain's last transformations may look at
the parameters and change the updates (as `optax.keep_params_nonnegative` does); these do.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from zosah_jax.checks import check_positive
from zosah_jax.pytree import Params, check_params, widen


def project(projection: Callable[[Params], Params]) -> optax.GradientTransformation:
    r"""Updates that lead to the projection of where they would have led.

    .. math:: x \leftarrow P(x + u)

    Args:
        projection: params -> params; `optax.projections` has boxes, balls, simplices.

    Returns:
        A `GradientTransformation` for the end of a chain; `update` wants `params`.

    Raises:
        TypeError: `projection` is no callable.
        ValueError: `params` is missing in `update`.

    Example:
        >>> import jax.numpy as jnp, optax, zosah_jax
        >>> box = lambda p: optax.projections.projection_box(p, 0.0, 1.0)
        >>> in_box = zosah_jax.transforms.project(box)
        >>> tx = zosah_jax.deepzero(0.1)
        >>> f = lambda x: ((x - 2) ** 2).sum()
        >>> out = zosah_jax.minimize(f, jnp.full(3, 0.5), tx, budget=200, post=in_box)
        >>> out.last_params.tolist()  # probes go beyond it, and may be the best point
        [1.0, 1.0, 1.0]

    References:
        Ghadimi, Lan, Zhang, `Mini-batch Stochastic Approximation Methods for Nonconvex Stochastic
        Composite Optimization <https://arxiv.org/abs/1308.6594>`_, 2013 (section 2: h the
        indicator of a set).
    """
    if not callable(projection):
        raise TypeError(f"projection: got {type(projection).__name__}, wanted a callable.")

    def update(updates: Any, state: Any, params: Params | None = None) -> tuple[Any, Any]:
        check_params(params)
        return _leading_to(projection, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)  # type: ignore[arg-type]


def prox_l1(learning_rate: optax.ScalarOrSchedule, strength: float) -> optax.GradientTransformation:
    r"""Updates that lead to where the proximal step of an l1 penalty leads: soft thresholding.

    .. math:: x \leftarrow \mathrm{sign}(y) \max(|y| - \gamma \lambda, 0), \qquad y = x + u

    The penalty is then no part of the objective that is asked for values.

    Args:
        learning_rate: gamma, or a schedule of it: that of the step before.
        strength: lambda, weight of the sum of |x_i|.

    Returns:
        A `GradientTransformation` for the end of a chain; `update` wants `params`.

    Raises:
        ValueError, TypeError: `strength` is no positive number; `params` is missing in `update`.

    Example:
        >>> import jax.numpy as jnp, optax, zosah_jax
        >>> shrink = zosah_jax.transforms.prox_l1(0.1, strength=1.0)
        >>> f = lambda x: ((x - jnp.array([2.0, 0.3])) ** 2).sum() / 2
        >>> tx = zosah_jax.deepzero(0.1)
        >>> out = zosah_jax.minimize(f, jnp.ones(2), tx, budget=400, post=shrink)
        >>> [round(float(x), 2) for x in out.last_params]  # 2 - strength, and not 0.3
        [1.0, 0.0]

    References:
        Ghadimi, Lan, Zhang, `Mini-batch Stochastic Approximation Methods for Nonconvex Stochastic
        Composite Optimization <https://arxiv.org/abs/1308.6594>`_, 2013 (section 2).
    """
    check_positive("strength", strength)

    def init(params: Params) -> optax.ScaleByScheduleState:
        del params
        return optax.ScaleByScheduleState(jnp.zeros((), jnp.int32))

    def update(updates: Any, state: Any, params: Params | None = None) -> tuple[Any, Any]:
        check_params(params)
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate

        def shrunk(tree: Params) -> Params:
            return jax.tree.map(
                lambda y: (
                    jnp.sign(y) * jnp.maximum(jnp.abs(y) - jnp.asarray(rate * strength, y.dtype), 0)
                ),
                tree,
            )

        count = optax.safe_increment(state.count)
        return _leading_to(shrunk, updates, params), optax.ScaleByScheduleState(count)

    return optax.GradientTransformation(init, update)  # type: ignore[arg-type]


def _leading_to(prox: Callable[[Params], Params], updates: Any, params: Params) -> Any:
    """Updates from the parameters to the prox of where the updates lead; in their dtypes."""
    wide = widen(params)
    ahead = jax.tree.map(lambda x, u: x + u.astype(x.dtype), wide, updates)
    return jax.tree.map(
        lambda u, y, z, x: jnp.where(y == z, u, (z - x).astype(u.dtype)),
        updates,
        ahead,
        prox(ahead),
        wide,
    )
