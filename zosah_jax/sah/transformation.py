"""ZO-SAH as an optax transformation."""

from typing import Any

import optax

from zosah_jax.blocks import BlockOrder, BlockRule
from zosah_jax.evaluate import Evaluator
from zosah_jax.sah.options import Cached, Fit, Floor, Grid, Options, Pairing, Prior
from zosah_jax.sah.step import zosah_method
from zosah_jax.transform import as_transformation


def scale_by_zosah(
    subspace_dim: int | None = None,
    period: int | None = None,
    smoothing: float | None = None,
    radius: float | None = None,
    eigenvalue_floor: float = 0.03,
    *,
    floor: Floor = "relative",
    cached: Cached = "centred",
    fit: Fit = "joint",
    prior: Prior = "previous",
    ridge: float = 0.03,
    grid: Grid = "minimal",
    blocks: BlockRule | None = None,
    block_order: BlockOrder = "cyclic",
    hessian_dim: int | None = None,
    isotropy: float | None = None,
    pairing: Pairing = "random",
    key: Any = 0,
    evaluator: Evaluator | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Newton direction in random two-dimensional subspaces, from function values alone.

    Every T steps m coordinates are drawn and paired into m/2 subspaces W_j. In each, at every step,

    .. math:: v_j = |A_j|_\kappa^{-1} g_j, \qquad g_i = (f(x + \epsilon e_i) - f(x)) / \epsilon,

    where the 2x2 Hessian A_j is fitted to values that are mostly already paid for, and
    |A|_kappa has the absolute eigenvalues, floored. A step takes m + 1 values, the first of a
    period 3m/2 more (4m with the paper's grid).

    The published descriptions leave points open; the defaults are what measured best (see
    `experiments/README.md`), and `**PAPER_READING` is the paper's reading of all of them.

    Args:
        subspace_dim: m, even (a multiple of s), 2 to d (static). None: about d/2, at most 16.
        period: T, steps between subspace switches (paper: 20). None: 5, or 1 where d = s.
        smoothing: epsilon, absolute length of the forward differences. None: the square root of
            the machine epsilon of the parameters (as perturbed: float32 or wider), times
            max(1, |x_i|). An objective that computes or is measured less exactly than that needs
            a larger one: the square root of its relative error.
        radius: l, absolute radius of the fresh Hessian samples. None: what balances rounding
            and truncation at the last fit, see `sah/gradient.py`.
        eigenvalue_floor: kappa (paper: 0.1).
        floor: "relative" to the largest eigenvalue of all pairs, times 1 - 2/m, or absolute
            ("paper").
        cached: old values "centred" on their own step's base value, or raw ("paper").
        fit: "joint" corrects the gradient by the bias of its forward differences, "paper" not.
        prior: the fit is drawn to the "previous" one, or to zero ("paper").
        ridge: how strongly, see `sah/hessian.py`.
        grid: three fresh samples a pair ("minimal"), or eight ("paper").
        blocks: confine V to one block of the parameters for a period: "layer", "leaf", a function
            from a leaf's path to the name of its block, or a pytree of names (`split_blocks`). The
            probes of a period then share all that the objective does before that block. None: V is
            drawn from all parameters.
        block_order: which block comes next: "cyclic", "reshuffled" (each once a sweep) or "random".
        hessian_dim: s, the dimension of each W_j (static, 2 to 8; None is the paper's 2). V is
            cut into m/s of them, and the first step of a period takes m (s + 1) / 2 values more.
        isotropy: the largest condition of the fitted blocks at which a period begins without fresh
            samples, by a gradient step with their mean curvature; 3 is a good one. None: every
            period has fresh samples (the paper).
        pairing: which coordinates come together in a W_j: "random" (the paper); "learnt", those
            whose moves and changes of the gradient say that they are coupled (keeps a d x d matrix:
            d at most 4,096); or known groups, ints of shape (d/s, s), every coordinate's place in
            the concatenation of the parameters once. Not with `blocks`.
        key: an int or a typed PRNG key; the subspaces follow from it.
        evaluator: how probes are answered; None picks by the size of the parameters.

    Returns:
        A `GradientTransformationExtraArgs`; `update` wants `params` and the keyword `value_fn`.
        Values that are not finite are left out of the fits. The state is a `ZerothOrderState`
        around a `SAHState`.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax, jax.numpy as jnp, optax, zosah_jax
        >>> f = lambda x: ((x - 1) ** 2 * jnp.array([1.0, 10.0, 100.0])).sum()
        >>> tx = optax.chain(zosah_jax.scale_by_zosah(), optax.scale(-1.0))
        >>> x = jnp.zeros(3)
        >>> state = tx.init(x)
        >>> step = jax.jit(lambda x, s: tx.update(jnp.zeros_like(x), s, x, value_fn=f))
        >>> for _ in range(20):
        ...     updates, state = step(x, state)
        ...     x = optax.apply_updates(x, updates)
        >>> bool(f(x) < 1e-10), zosah_jax.num_evaluations(state)
        (True, 72)

    References:
        Kim et al., `Subspace-based Approximate Hessian Method for Zeroth-Order Optimization
        <https://arxiv.org/abs/2507.06125>`_, 2025.
    """
    options = Options(
        subspace_dim=subspace_dim,
        period=period,
        smoothing=smoothing,
        radius=radius,
        eigenvalue_floor=eigenvalue_floor,
        floor=floor,
        cached=cached,
        fit=fit,
        prior=prior,
        ridge=ridge,
        grid=grid,
        blocks=blocks,
        block_order=block_order,
        hessian_dim=2 if hessian_dim is None else hessian_dim,  # inject_hyperparams traces numbers
        isotropy=isotropy,
        pairing=pairing,
        key=key,
    )
    return as_transformation(zosah_method(options), evaluator)


def zosah(
    learning_rate: optax.ScalarOrSchedule,
    subspace_dim: int | None = None,
    period: int | None = None,
    smoothing: float | None = None,
    radius: float | None = None,
    eigenvalue_floor: float = 0.03,
    *,
    floor: Floor = "relative",
    cached: Cached = "centred",
    fit: Fit = "joint",
    prior: Prior = "previous",
    ridge: float = 0.03,
    grid: Grid = "minimal",
    blocks: BlockRule | None = None,
    block_order: BlockOrder = "cyclic",
    hessian_dim: int | None = None,
    isotropy: float | None = None,
    pairing: Pairing = "random",
    key: Any = 0,
    evaluator: Evaluator | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""ZO-SAH: `scale_by_zosah`, then x <- x - learning_rate * v.

    Args:
        learning_rate: eta, or a schedule of it. 1 is the Newton step.
        subspace_dim: as in `scale_by_zosah`.
        period: as in `scale_by_zosah`.
        smoothing: as in `scale_by_zosah`.
        radius: as in `scale_by_zosah`.
        eigenvalue_floor: as in `scale_by_zosah`.
        floor: as in `scale_by_zosah`.
        cached: as in `scale_by_zosah`.
        fit: as in `scale_by_zosah`.
        prior: as in `scale_by_zosah`.
        ridge: as in `scale_by_zosah`.
        grid: as in `scale_by_zosah`.
        blocks: as in `scale_by_zosah`.
        block_order: as in `scale_by_zosah`.
        hessian_dim: as in `scale_by_zosah`.
        isotropy: as in `scale_by_zosah`.
        pairing: as in `scale_by_zosah`.
        key: as in `scale_by_zosah`.
        evaluator: as in `scale_by_zosah`.

    Returns:
        A `GradientTransformationExtraArgs`.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> rosenbrock = lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
        >>> x0 = jnp.array([-1.2, 1.0])
        >>> out = zosah_jax.minimize(rosenbrock, x0, zosah_jax.zosah(1.0), budget=600, target=1e-6)
        >>> out.message
        'target reached'

    References:
        Kim et al., `Subspace-based Approximate Hessian Method for Zeroth-Order Optimization
        <https://arxiv.org/abs/2507.06125>`_, 2025.
    """
    direction = scale_by_zosah(
        subspace_dim=subspace_dim,
        period=period,
        smoothing=smoothing,
        radius=radius,
        eigenvalue_floor=eigenvalue_floor,
        floor=floor,
        cached=cached,
        fit=fit,
        prior=prior,
        ridge=ridge,
        grid=grid,
        blocks=blocks,
        block_order=block_order,
        hessian_dim=hessian_dim,
        isotropy=isotropy,
        pairing=pairing,
        key=key,
        evaluator=evaluator,
    )
    return optax.chain(direction, optax.scale_by_learning_rate(learning_rate))  # type: ignore[return-value]
