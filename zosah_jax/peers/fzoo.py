"""FZOO: one-sided differences along sign vectors, divided by the deviation of their values."""

from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import optax

from zosah_jax.checks import check_choice, check_positive, check_static_count, typed_key
from zosah_jax.estimate import mean_weights
from zosah_jax.evaluate import Evaluator
from zosah_jax.method import Method, Told, one_kind
from zosah_jax.params import Params, working_dtype
from zosah_jax.peers.memoryless import MemorylessState, init_memoryless
from zosah_jax.probes import DirectionProbes, Distribution, combine_directions
from zosah_jax.transform import as_transformation

Normalisation = Literal["deviation", "paper"]


def _ask(
    num_directions: int,
    smoothing: float,
    distribution: Distribution,
    state: MemorylessState,
    params: Params,
) -> DirectionProbes:
    """The parameters (scale 0), then a step along each direction."""
    keys = jax.random.split(jax.random.fold_in(state.key, state.step), num_directions)
    scale = jnp.full(num_directions, smoothing, working_dtype(params))
    scale = jnp.concatenate([jnp.zeros_like(scale[:1]), scale])
    keys = jnp.concatenate([keys[:1], keys])
    return DirectionProbes(keys[:, None], scale[:, None], distribution=distribution)


def _tell(
    normalisation: Normalisation,
    state: MemorylessState,
    params: Params,
    probes: DirectionProbes,
    values: jax.Array,
) -> Told:
    """Mean of u_i (l_i - l_0) over the standard deviation of the l_i, of those that came."""
    difference = values[1:] - values[0]
    came = jnp.isfinite(difference)
    count = jnp.sum(came).astype(values.dtype)
    centred = jnp.where(came, difference - jnp.sum(mean_weights(difference)), 0)
    variance = jnp.sum(centred**2) / jnp.maximum(count - 1, 1)
    unit = jnp.sqrt(variance) * (probes.scale[1, 0] if normalisation == "paper" else 1)
    weight = jnp.where(unit > 0, mean_weights(difference) / jnp.where(unit > 0, unit, 1), 0)
    direction = combine_directions(probes.key[1:, 0], weight, params, probes.distribution)
    return Told(direction, state._replace(step=state.step + 1), values[0])


def fzoo_method(
    num_directions: int = 8,
    smoothing: float = 1e-3,
    distribution: Distribution = "rademacher",
    normalisation: Normalisation = "deviation",
    key: Any = 0,
) -> Method:
    """FZOO by the protocol of `method.py`; arguments as in `scale_by_fzoo`."""
    check_static_count("num_directions", num_directions)
    if num_directions < 2:
        raise ValueError(
            f"num_directions: got {num_directions}, wanted at least 2: one has no deviation."
        )
    check_positive("smoothing", smoothing)
    check_choice("distribution", distribution, get_args(Distribution))
    check_choice("normalisation", normalisation, get_args(Normalisation))
    typed_key(key)
    ask = partial(_ask, num_directions, smoothing, distribution)
    return one_kind(partial(init_memoryless, key), ask, partial(_tell, normalisation))


def scale_by_fzoo(
    num_directions: int = 8,
    smoothing: float = 1e-3,
    *,
    distribution: Distribution = "rademacher",
    normalisation: Normalisation = "deviation",
    key: Any = 0,
    evaluator: Evaluator | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Direction of descent in units of its own noise: a normalised gradient, estimated.

    .. math:: v = \frac{1}{N \sigma} \sum_i (l_i - l_0) u_i, \qquad
        l_i = f(x + \epsilon u_i), \quad u_i \in \{-1, 1\}^d

    with sigma the standard deviation of the N values l_i (N - 1 in its denominator). As sigma is
    about epsilon times the length of the gradient, v is about the gradient over its length, and the
    learning rate a distance. A step takes N + 1 values.

    Args:
        num_directions: N, at least 2 (static; paper: 8).
        smoothing: epsilon, absolute (paper: 1e-3).
        distribution: "rademacher", as in the paper, or "normal" directions.
        normalisation: "deviation" as above. "paper" divides v by epsilon as well, as the paper does
            on its way from a gradient to the step; its learning rates are then smaller by epsilon.
        key: an int or a typed PRNG key; the directions follow from it.
        evaluator: how probes are answered; None picks by the size of the parameters.

    Returns:
        A `GradientTransformationExtraArgs`; `update` wants `params` and the keyword `value_fn`.
        Values that are not finite are left out; where the others do not differ, the update is
        zero. The state is a `ZerothOrderState` around a `MemorylessState`.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> tx = zosah_jax.scale_by_fzoo(64)
        >>> x = jnp.array([30.0, -40.0])
        >>> v, _ = tx.update(None, tx.init(x), x, value_fn=lambda x: (x**2).sum() / 2)
        >>> [round(float(u), 1) for u in v]  # x over its length
        [0.6, -0.8]

    References:
        Dang et al., `FZOO: Fast Zeroth-Order Optimizer for Fine-Tuning Large Language Models
        towards Adam-Scale Speed <https://arxiv.org/abs/2506.09034>`_, 2025.
    """
    method = fzoo_method(num_directions, smoothing, distribution, normalisation, key)
    return as_transformation(method, evaluator)


def fzoo(
    learning_rate: optax.ScalarOrSchedule,
    num_directions: int = 8,
    smoothing: float = 1e-3,
    *,
    distribution: Distribution = "rademacher",
    normalisation: Normalisation = "deviation",
    key: Any = 0,
    evaluator: Evaluator | None = None,
) -> optax.GradientTransformationExtraArgs:
    """FZOO: `scale_by_fzoo`, then x <- x - learning_rate * v.

    Args:
        learning_rate: or a schedule of it; about the distance that a step moves.
        num_directions: as in `scale_by_fzoo`.
        smoothing: as in `scale_by_fzoo`.
        distribution: as in `scale_by_fzoo`.
        normalisation: as in `scale_by_fzoo`.
        key: as in `scale_by_fzoo`.
        evaluator: as in `scale_by_fzoo`.

    Returns:
        A `GradientTransformationExtraArgs`.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax.numpy as jnp, optax, zosah_jax
        >>> tx = zosah_jax.fzoo(lambda step: 0.3 * 0.9**step.astype(float))
        >>> out = zosah_jax.minimize(lambda x: (x**2).sum(), jnp.ones(3), tx, budget=361)
        >>> bool(out.best_value < 1e-2)
        True

    References:
        Dang et al., `FZOO <https://arxiv.org/abs/2506.09034>`_, 2025.
    """
    direction = scale_by_fzoo(
        num_directions,
        smoothing,
        distribution=distribution,
        normalisation=normalisation,
        key=key,
        evaluator=evaluator,
    )
    return optax.chain(direction, optax.scale_by_learning_rate(learning_rate))  # type: ignore[return-value]
