"""MeZO: a two-sided difference along random directions that are replayed from their keys."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from zosah_jax.checks import check_positive, check_static_count, typed_key
from zosah_jax.estimate import mean_value, mean_weights
from zosah_jax.evaluate import Evaluator
from zosah_jax.method import Method, Told, one_kind
from zosah_jax.params import Params, working_dtype
from zosah_jax.peers.memoryless import MemorylessState, init_memoryless
from zosah_jax.probes import DirectionProbes, combine_directions
from zosah_jax.transform import as_transformation


def _ask(
    num_samples: int, smoothing: float, state: MemorylessState, params: Params
) -> DirectionProbes:
    """A step forth along each direction, then a step back along each."""
    keys = jax.random.split(jax.random.fold_in(state.key, state.step), num_samples)
    forth = jnp.full(num_samples, smoothing, working_dtype(params))
    scale = jnp.concatenate([forth, -forth])
    return DirectionProbes(jnp.concatenate([keys, keys])[:, None], scale[:, None])


def _tell(
    state: MemorylessState, params: Params, probes: DirectionProbes, values: jax.Array
) -> Told:
    """Mean of z_i (f(x + eps z_i) - f(x - eps z_i)) / 2 eps over the pairs that came."""
    forth, back = jnp.split(values, 2)
    keys, scale = probes.key[: len(forth), 0], probes.scale[: len(forth), 0]
    gradient = combine_directions(keys, mean_weights((forth - back) / (2 * scale)), params)
    return Told(gradient, state._replace(step=state.step + 1), mean_value(values))


def mezo_method(num_samples: int = 1, smoothing: float = 1e-3, key: Any = 0) -> Method:
    """MeZO by the protocol of `method.py`; arguments as in `scale_by_mezo`."""
    check_static_count("num_samples", num_samples)
    check_positive("smoothing", smoothing)
    typed_key(key)
    return one_kind(partial(init_memoryless, key), partial(_ask, num_samples, smoothing), _tell)


def scale_by_mezo(
    num_samples: int = 1,
    smoothing: float = 1e-3,
    *,
    key: Any = 0,
    evaluator: Evaluator | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Gradient estimated by two-sided differences along random directions (SPSA).

    .. math:: G = \frac{1}{n} \sum_i \frac{f(x + \epsilon z_i) - f(x - \epsilon z_i)}{2 \epsilon}
        z_i, \quad z_i \sim N(0, I)

    A step takes 2 n values. Each z is replayed from its key where it is needed and never stored:
    evaluated `one_by_one`, a step has about the memory of a forward pass, and its update.
    f(x) itself is never asked: the value that a step reports is the mean of its probes'.

    The original decays no biases and no norms. That is optax's to say, by a mask.

    Args:
        num_samples: n (static).
        smoothing: epsilon, absolute (paper and code: 1e-3). The difference is central, so that its
            error is of order epsilon^2 in any dtype.
        key: an int or a typed PRNG key; the directions follow from it.
        evaluator: how probes are answered; None picks by the size of the parameters.

    Returns:
        A `GradientTransformationExtraArgs`; `update` wants `params` and the keyword `value_fn`.
        Pairs of which a value is not finite are left out of the mean. The state is a
        `ZerothOrderState` around a `MemorylessState`.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax, jax.numpy as jnp, optax, zosah_jax
        >>> params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
        >>> decayed = jax.tree.map(lambda leaf: leaf.ndim > 1, params)  # no biases, no norms
        >>> tx = optax.chain(
        ...     zosah_jax.scale_by_mezo(key=1),
        ...     optax.add_decayed_weights(0.1, mask=decayed),
        ...     optax.scale_by_learning_rate(1e-3),
        ... )
        >>> f = lambda p: jnp.array(1.0)  # without a slope, what moves is decay
        >>> updates, state = tx.update(None, tx.init(params), params, value_fn=f)
        >>> [float(jnp.abs(u).max() > 0) for u in (updates["kernel"], updates["bias"])]
        [1.0, 0.0]
        >>> zosah_jax.num_evaluations(state)
        2

    References:
        Malladi et al., `Fine-Tuning Language Models with Just Forward Passes
        <https://arxiv.org/abs/2305.17333>`_, 2023 (algorithm 1; algorithm 2 with n samples).
    """
    return as_transformation(mezo_method(num_samples, smoothing, key), evaluator)


def mezo(
    learning_rate: optax.ScalarOrSchedule,
    num_samples: int = 1,
    smoothing: float = 1e-3,
    *,
    key: Any = 0,
    evaluator: Evaluator | None = None,
) -> optax.GradientTransformationExtraArgs:
    """MeZO: `scale_by_mezo`, then x <- x - learning_rate * G.

    Args:
        learning_rate: or a schedule of it (paper: 1e-6 or 1e-7 for models of billions).
        num_samples: as in `scale_by_mezo`.
        smoothing: as in `scale_by_mezo`.
        key: as in `scale_by_mezo`.
        evaluator: as in `scale_by_mezo`.

    Returns:
        A `GradientTransformationExtraArgs`.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> tx = zosah_jax.mezo(0.1)
        >>> out = zosah_jax.minimize(lambda x: (x**2).sum(), jnp.ones(3), tx, budget=400)
        >>> bool(out.best_value < 1e-4)
        True

    References:
        Malladi et al., `Fine-Tuning Language Models with Just Forward Passes
        <https://arxiv.org/abs/2305.17333>`_, 2023.
    """
    direction = scale_by_mezo(num_samples, smoothing, key=key, evaluator=evaluator)
    return optax.chain(direction, optax.scale_by_learning_rate(learning_rate))  # type: ignore[return-value]
