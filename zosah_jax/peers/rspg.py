"""RSPG: randomised stochastic projected gradient, without values other than function values."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from zosah_jax.checks import check_positive, check_static_count, typed_key
from zosah_jax.estimate import mean_weights
from zosah_jax.evaluate import Evaluator
from zosah_jax.method import Method, Told, one_kind
from zosah_jax.params import Params, precision, working_dtype
from zosah_jax.peers.memoryless import MemorylessState, init_memoryless
from zosah_jax.probes import DirectionProbes, combine_directions
from zosah_jax.transform import as_transformation


def _ask(
    num_directions: int, smoothing: float | None, state: MemorylessState, params: Params
) -> DirectionProbes:
    """The parameters (scale 0), then a step along each direction."""
    keys = jax.random.split(jax.random.fold_in(state.key, state.step), num_directions)
    mu = precision(params) ** 0.5 if smoothing is None else smoothing
    scale = jnp.full(num_directions, mu, working_dtype(params))
    scale = jnp.concatenate([jnp.zeros_like(scale[:1]), scale])
    return DirectionProbes(jnp.concatenate([keys[:1], keys])[:, None], scale[:, None])


def _tell(
    state: MemorylessState, params: Params, probes: DirectionProbes, values: jax.Array
) -> Told:
    """Mean of u_i (f(x + mu u_i) - f(x)) / mu over the directions whose values came."""
    slope = (values[1:] - values[0]) / probes.scale[1:, 0]
    gradient = combine_directions(probes.key[1:, 0], mean_weights(slope), params)
    return Told(gradient, state._replace(step=state.step + 1), values[0])


def rspg_method(num_directions: int = 1, smoothing: float | None = None, key: Any = 0) -> Method:
    """RSPG by the protocol of `method.py`; arguments as in `scale_by_rspg`."""
    check_static_count("num_directions", num_directions)
    check_positive("smoothing", smoothing, optional=True)
    typed_key(key)
    return one_kind(partial(init_memoryless, key), partial(_ask, num_directions, smoothing), _tell)


def scale_by_rspg(
    num_directions: int = 1,
    smoothing: float | None = None,
    *,
    key: Any = 0,
    evaluator: Evaluator | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Gradient of a Gaussian smoothing of f, estimated along random directions.

    .. math:: G = \frac{1}{q} \sum_i \frac{f(x + \mu u_i) - f(x)}{\mu} u_i, \quad u_i \sim N(0, I)

    A step takes q + 1 values. Directions are regenerated from their keys and never stored.

    The full method's further parts are pieces of their own: its proximal step is a transformation
    that comes after the learning rate (`prox_l1`, `project`); its randomised stopping and its
    post-optimisation phase are a way to run it (`two_phase`).

    Args:
        num_directions: q (static).
        smoothing: mu, absolute. None: the square root of the machine epsilon of the parameters
            (as perturbed: float32 or wider).
        key: an int or a typed PRNG key; the directions follow from it.
        evaluator: how probes are answered; None picks by the size of the parameters.

    Returns:
        A `GradientTransformationExtraArgs`; `update` wants `params` and the keyword `value_fn`.
        Values that are not finite are left out of the mean. The state is a `ZerothOrderState`
        around a `MemorylessState`.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> tx = zosah_jax.scale_by_rspg(num_directions=4)
        >>> x = jnp.ones(3)
        >>> updates, state = tx.update(x, tx.init(x), x, value_fn=lambda x: (x**2).sum())
        >>> updates.shape, zosah_jax.num_evaluations(state)
        ((3,), 5)

    References:
        Ghadimi, Lan, Zhang, `Mini-batch Stochastic Approximation Methods for Nonconvex Stochastic
        Composite Optimization <https://arxiv.org/abs/1308.6594>`_, 2013 (section 5).
    """
    return as_transformation(rspg_method(num_directions, smoothing, key), evaluator)


def rspg(
    learning_rate: optax.ScalarOrSchedule,
    num_directions: int = 1,
    smoothing: float | None = None,
    *,
    key: Any = 0,
    evaluator: Evaluator | None = None,
) -> optax.GradientTransformationExtraArgs:
    """RSPG: `scale_by_rspg`, then x <- x - learning_rate * G.

    Args:
        learning_rate: gamma, or a schedule of it.
        num_directions: as in `scale_by_rspg`.
        smoothing: as in `scale_by_rspg`.
        key: as in `scale_by_rspg`.
        evaluator: as in `scale_by_rspg`.

    Returns:
        A `GradientTransformationExtraArgs`.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> tx = zosah_jax.rspg(0.1)
        >>> out = zosah_jax.minimize(lambda x: (x**2).sum(), jnp.ones(3), tx, budget=400)
        >>> bool(out.best_value < 1e-4)
        True

    References:
        Ghadimi, Lan, Zhang, `Mini-batch Stochastic Approximation Methods for Nonconvex Stochastic
        Composite Optimization <https://arxiv.org/abs/1308.6594>`_, 2013.
    """
    direction = scale_by_rspg(num_directions, smoothing, key=key, evaluator=evaluator)
    return optax.chain(direction, optax.scale_by_learning_rate(learning_rate))  # type: ignore[return-value]
