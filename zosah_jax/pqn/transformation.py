"""ZO-PQN as an optax transformation."""

from typing import Any

import optax

from zosah_jax.evaluate import Evaluator
from zosah_jax.pqn.options import Options
from zosah_jax.pqn.step import zopqn_method
from zosah_jax.transform import as_transformation


def scale_by_zopqn(
    subspace_dim: int | None = None,
    period: int = 8,
    radius: float = 0.1,
    noise: float | None = None,
    *,
    key: Any = 0,
    evaluator: Evaluator | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Step of a quadratic model in which every value ever paid keeps working.

    .. math:: f(x + s) \approx f(x) + g^T s + s^T B s / 2

    g and B are Gaussian beliefs. Each value is a linear equation on them: a difference along
    coordinate i tells g_i, and since that coordinate was last measured (B s)_i; the value of a step
    tells g's + s'Bs / 2. After a move g lives on as g + B s, its covariance grown by what is not
    known of B. Calls alternate between two kinds, and only the second moves the parameters:

    - a *look* measures the derivatives of which the model is least certain: 8, 32 or all, what
      promises the largest decrease a value; all for a while where the model was surprised. The
      first looks meet each coordinate once, from both sides. After a look at 8 or 32, a *recheck*
      of one value measures B_ii wherever a derivative was more than two standard deviations off;
    - a *trial* asks for the value at the minimum of the model within a trust region, and goes there
      if it is lower; so no learning rate but 1 is needed. It follows a look, or a trial that was
      refused, kept its promise at the rim of the region, or kept far more than it promised.

    After 8 D values (at once for D < 14, where whole gradients are cheap anyway) the gradient no
    longer lives on. A whole one follows each accepted step, and the Hessian is that of the secant
    pairs since then, by BFGS in a trust region of its own, unless B predicts changes of the
    gradient better; a further trial goes on along a step where a parabola says so. Where the host
    has measured noise (`minimize_blackbox`) the gradient lives on throughout.

    It is for deterministic objectives, d from 1 to some hundreds, where a value is dear: f(x) is
    not asked again where the step before has left it. It is not for mini-batches (the value it
    holds f(x) to be is another batch's); of other noise `noise` should tell. `ask` and `tell` take
    some D^2 operations a derivative and two eigendecompositions of order D a trial.

    Args:
        subspace_dim: D, how many coordinates are modelled at a time (static), with eight arrays of
            shape (D, D). None: all d up to 256; beyond that, 256 drawn anew every `period * D`
            values, so that memory grows with d + D^2.
        period: values spent in a subspace, in units of D, where D < d (static).
        radius: of the first differences along each coordinate, in units of max(|x_i|, rms of x);
            absolute where x = 0, as nothing there tells the unit. Later differences follow from
            the curvature and the noise.
        noise: relative error of a value of f. None: four machine epsilons of the parameters (as
            perturbed: float32 or wider).
        key: an int or a typed PRNG key; the order of the coordinates follows from it.
        evaluator: how probes are answered; None picks by the size of the parameters.

    Returns:
        A `GradientTransformationExtraArgs`; `update` wants `params` and the keyword `value_fn`.
        Values that are not finite are missing equations. The state is a `ZerothOrderState` around a
        `PQNState`.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax, jax.numpy as jnp, optax, zosah_jax
        >>> f = lambda x: ((x - 1) ** 2 * jnp.array([1.0, 10.0, 100.0])).sum()
        >>> tx = optax.chain(zosah_jax.scale_by_zopqn(), optax.scale(-1.0))
        >>> x = jnp.zeros(3)
        >>> state = tx.init(x)
        >>> step = jax.jit(lambda x, s: tx.update(jnp.zeros_like(x), s, x, value_fn=f))
        >>> for _ in range(8):
        ...     updates, state = step(x, state)
        ...     x = optax.apply_updates(x, updates)
        >>> bool(f(x) < 1e-6), zosah_jax.num_evaluations(state)
        (True, 20)

    References:
        The updates of B: Powell, `A new algorithm for unconstrained optimization` (1970), and its
        reading as Gaussian inference: Hennig, Kiefel, `Quasi-Newton methods: a new direction
        <https://jmlr.org/papers/v14/hennig13a.html>`_, 2013. BFGS: Nocedal, Wright, `Numerical
        Optimization`, 2006, equation 6.17. Carrying the gradient, choosing what to measure by its
        covariance, and the size that the pairs' prior gets anew with each, are this library's own.
    """
    options = Options(subspace_dim=subspace_dim, period=period, radius=radius, noise=noise, key=key)
    return as_transformation(zopqn_method(options), evaluator)


def zopqn(
    learning_rate: optax.ScalarOrSchedule = 1.0,
    subspace_dim: int | None = None,
    period: int = 8,
    radius: float = 0.1,
    noise: float | None = None,
    *,
    key: Any = 0,
    evaluator: Evaluator | None = None,
) -> optax.GradientTransformationExtraArgs:
    """ZO-PQN: `scale_by_zopqn`, then x <- x + learning_rate * s.

    Args:
        learning_rate: or a schedule of it. 1 is the method's own step, whose value is known; any
            other costs a value a step.
        subspace_dim: as in `scale_by_zopqn`.
        period: as in `scale_by_zopqn`.
        radius: as in `scale_by_zopqn`.
        noise: as in `scale_by_zopqn`.
        key: as in `scale_by_zopqn`.
        evaluator: as in `scale_by_zopqn`.

    Returns:
        A `GradientTransformationExtraArgs`.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax, jax.numpy as jnp, zosah_jax
        >>> rosenbrock = lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
        >>> with jax.enable_x64(True):
        ...     x0 = jnp.array([-1.2, 1.0])
        ...     out = zosah_jax.minimize(rosenbrock, x0, zosah_jax.zopqn(), budget=200)
        >>> float(out.best_value) < 1e-8
        True

    References:
        As in `scale_by_zopqn`.
    """
    direction = scale_by_zopqn(subspace_dim, period, radius, noise, key=key, evaluator=evaluator)
    return optax.chain(direction, optax.scale_by_learning_rate(learning_rate))  # type: ignore[return-value]
