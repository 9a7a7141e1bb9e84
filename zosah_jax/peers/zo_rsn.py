"""ZO-RSN: a Newton step within a random subspace of a few coordinates, from differences alone."""

from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax

from zosah_jax.checks import check_choice, check_positive, check_static_count, typed_key
from zosah_jax.evaluate import Evaluator
from zosah_jax.method import Method, Told, one_kind
from zosah_jax.params import (
    Address,
    Params,
    address_of,
    dimension,
    gather,
    precision,
    working_dtype,
)
from zosah_jax.permutation import permute
from zosah_jax.probes import CoordinateProbes, CoordinateUpdate
from zosah_jax.sah.gradient import step_length
from zosah_jax.transform import as_transformation

Differences = Literal["central", "forward"]


class ZORSNState(NamedTuple):
    """State of ZO-RSN.

    Attributes:
        key: typed PRNG key, never advanced: the subspaces follow from it and the step.
        step: number k of the coming step, int32.
        eigenvalues: of the last projected Hessian before they were clipped, shape (m,).
    """

    key: jax.Array
    step: jax.Array
    eigenvalues: jax.Array


class _Options(NamedTuple):
    subspace_dim: int | None
    smoothing: float | None
    eigenvalue_min: float
    eigenvalue_max: float
    differences: Differences
    key: Any


def _size(options: _Options, params: Params) -> int:
    d = dimension(params)
    if options.subspace_dim is None:
        return min(3, d)
    if options.subspace_dim > d:
        raise ValueError(f"subspace_dim: got {options.subspace_dim}, wanted at most d = {d}.")
    return options.subspace_dim


def _init(options: _Options, params: Params) -> ZORSNState:
    eigenvalues = jnp.zeros(_size(options, params), working_dtype(params))
    return ZORSNState(typed_key(options.key), jnp.zeros((), jnp.int32), eigenvalues)


def _multiples(m: int, differences: Differences) -> np.ndarray:
    """Offsets of the probes in steps along each of m coordinates, shape (n, m).

    Row 0 stays; rows 1 to m step forth along each coordinate, the next m back along each (central)
    or forth twice (forward); the rest forth along each pair.
    """
    unit = np.eye(m, dtype=int)
    second = -unit if differences == "central" else 2 * unit
    pairs = [unit[i] + unit[j] for i, j in zip(*np.triu_indices(m, 1), strict=True)]
    return np.concatenate([np.zeros((1, m), int), unit, second, np.array(pairs).reshape(-1, m)])


def _subspace(options: _Options, state: ZORSNState, params: Params) -> Address:
    place = jnp.arange(_size(options, params), dtype=jnp.uint32)
    key = jax.random.fold_in(state.key, state.step)
    return address_of(params, permute(key, place, dimension(params)))


def _ask(options: _Options, state: ZORSNState, params: Params) -> CoordinateProbes:
    """The parameters, two steps along each coordinate, one along each pair of them."""
    address = _subspace(options, state, params)
    position = gather(params, address)
    length = step_length(position, options.smoothing, precision(params) ** 0.25)
    offset = jnp.asarray(_multiples(len(length), options.differences), length.dtype) * length[None]
    every = Address(*(jnp.broadcast_to(x, offset.shape) for x in address))
    return CoordinateProbes(every, offset)


def _tell(
    options: _Options,
    state: ZORSNState,
    params: Params,
    probes: CoordinateProbes,
    values: jax.Array,
) -> Told:
    """Newton's direction in the subspace, its Hessian's eigenvalues within their bounds."""
    del params
    m = probes.offset.shape[1]
    length = jnp.diagonal(probes.offset[1 : m + 1])
    base, forth, second, pairs = values[0], *jnp.split(values[1:], (m, 2 * m))
    step = forth - base
    if options.differences == "central":
        gradient = (forth - second) / (2 * length)
        curvature = (forth + second - 2 * base) / length**2
    else:
        gradient = step / length
        curvature = (second - 2 * forth + base) / length**2
    rows, columns = np.triu_indices(m, 1)
    mixed = (pairs - base - step[rows] - step[columns]) / (length[rows] * length[columns])
    mixed = jnp.where(jnp.isfinite(mixed), mixed, 0)
    gradient = jnp.where(jnp.isfinite(gradient), gradient, 0)
    # of a coordinate without a curvature nothing is known, so it hardly moves
    curvature = jnp.where(jnp.isfinite(curvature), curvature, options.eigenvalue_max)
    hessian = jnp.diag(curvature).at[rows, columns].set(mixed).at[columns, rows].set(mixed)
    eigenvalues, vectors = jnp.linalg.eigh(hessian)
    size = jnp.clip(eigenvalues, options.eigenvalue_min, options.eigenvalue_max)
    direction = vectors @ ((vectors.T @ gradient) / size)
    update = CoordinateUpdate(Address(*(x[0] for x in probes.address)), direction)
    return Told(update, ZORSNState(state.key, state.step + 1, eigenvalues), base)


def zo_rsn_method(
    subspace_dim: int | None = None,
    smoothing: float | None = None,
    eigenvalue_min: float = 1e-2,
    eigenvalue_max: float = 1e4,
    differences: Differences = "central",
    key: Any = 0,
) -> Method:
    """ZO-RSN by the protocol of `method.py`; arguments as in `scale_by_zo_rsn`."""
    check_static_count("subspace_dim", subspace_dim, optional=True)
    check_positive("smoothing", smoothing, optional=True)
    check_positive("eigenvalue_min", eigenvalue_min)
    check_positive("eigenvalue_max", eigenvalue_max)
    check_choice("differences", differences, get_args(Differences))
    typed_key(key)
    options = _Options(subspace_dim, smoothing, eigenvalue_min, eigenvalue_max, differences, key)
    return one_kind(partial(_init, options), partial(_ask, options), partial(_tell, options))


def scale_by_zo_rsn(
    subspace_dim: int | None = None,
    smoothing: float | None = None,
    eigenvalue_min: float = 1e-2,
    eigenvalue_max: float = 1e4,
    *,
    differences: Differences = "central",
    key: Any = 0,
    evaluator: Evaluator | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Newton direction in a fresh random subspace of m coordinates, from function values alone.

    With S of m distinct unit columns, drawn anew at every step,

    .. math:: v = S \, \Pi(S' H S)^{-1} S' g

    where S'g and S'HS are finite differences and Pi clips eigenvalues to [l_min, l_max]. A step
    takes 1 + 2 m + m (m - 1) / 2 values: 10 where m = 3.

    Args:
        subspace_dim: m, at most d (static). None: the paper's 3, or d if that is less.
        smoothing: absolute length of the differences. None: the fourth root of the machine epsilon
            of the parameters (as perturbed: float32 or wider), times max(1, |x_i|).
        eigenvalue_min: l_min, a bound on the strong convexity.
        eigenvalue_max: l_max, a bound on the smoothness.
        differences: "central" or "forward", for gradient and curvature; both take as many values,
            and the mixed second derivatives are forward in both.
        key: an int or a typed PRNG key; the subspaces follow from it.
        evaluator: how probes are answered; None picks by the size of the parameters.

    Returns:
        A `GradientTransformationExtraArgs`; `update` wants `params` and the keyword `value_fn`.
        A coordinate whose values are not finite does not move. The state is a `ZerothOrderState`
        around a `ZORSNState`.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> f = lambda x: ((x - 1) ** 2 * jnp.array([1.0, 10.0, 100.0])).sum()
        >>> tx, x = zosah_jax.scale_by_zo_rsn(), jnp.zeros(3)
        >>> v, state = tx.update(None, tx.init(x), x, value_fn=f)
        >>> bool(f(x - v) < 1e-3), zosah_jax.num_evaluations(state)
        (True, 10)

    References:
        Berglund, Khirirat, Wang, `Zeroth-Order Randomized Subspace Newton Methods
        <https://arxiv.org/abs/2202.04612>`_, ICASSP 2022.
    """
    method = zo_rsn_method(
        subspace_dim, smoothing, eigenvalue_min, eigenvalue_max, differences, key
    )
    return as_transformation(method, evaluator)


def zo_rsn(
    learning_rate: optax.ScalarOrSchedule,
    subspace_dim: int | None = None,
    smoothing: float | None = None,
    eigenvalue_min: float = 1e-2,
    eigenvalue_max: float = 1e4,
    *,
    differences: Differences = "central",
    key: Any = 0,
    evaluator: Evaluator | None = None,
) -> optax.GradientTransformationExtraArgs:
    """ZO-RSN: `scale_by_zo_rsn`, then x <- x - learning_rate * v.

    Args:
        learning_rate: alpha, or a schedule of it (paper: 0.1; 1 is the whole Newton step).
        subspace_dim: as in `scale_by_zo_rsn`.
        smoothing: as in `scale_by_zo_rsn`.
        eigenvalue_min: as in `scale_by_zo_rsn`.
        eigenvalue_max: as in `scale_by_zo_rsn`.
        differences: as in `scale_by_zo_rsn`.
        key: as in `scale_by_zo_rsn`.
        evaluator: as in `scale_by_zo_rsn`.

    Returns:
        A `GradientTransformationExtraArgs`.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> tx = zosah_jax.zo_rsn(1.0)
        >>> out = zosah_jax.minimize(lambda x: (x**4).sum(), jnp.ones(6), tx, budget=400)
        >>> bool(out.best_value < 1e-3)
        True

    References:
        Berglund, Khirirat, Wang, `Zeroth-Order Randomized Subspace Newton Methods
        <https://arxiv.org/abs/2202.04612>`_, ICASSP 2022.
    """
    direction = scale_by_zo_rsn(
        subspace_dim,
        smoothing,
        eigenvalue_min,
        eigenvalue_max,
        differences=differences,
        key=key,
        evaluator=evaluator,
    )
    return optax.chain(direction, optax.scale_by_learning_rate(learning_rate))  # type: ignore[return-value]
