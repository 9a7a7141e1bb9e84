"""The one call for residuals: `least_squares`, over the same faces as `minimize`."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from zosah_jax.bounds import bounds_of
from zosah_jax.checks import check_count
from zosah_jax.faces.host.numbers import in_dtype_of
from zosah_jax.faces.host.pool import num_workers
from zosah_jax.faces.host.settings import Host
from zosah_jax.faces.minimize import UNTRACEABLE, cannot_be_traced, check_noise, minimize
from zosah_jax.faces.progress import Callback
from zosah_jax.method import Problem
from zosah_jax.methods.least_squares.report import report
from zosah_jax.methods.least_squares.solver import LeastSquares
from zosah_jax.plot import fit
from zosah_jax.pytree import Params, as_params, dimension, widen
from zosah_jax.result import Result

_MOST_POINTS = 8  # that a step asks: further radii of the trust region tell little


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LeastSquaresResult(Result):
    """What `least_squares` found.

    As `Result`, with `params` the point where the regression over all points puts the smallest sum
    (without noise the best that was asked), `value` the sum there, and:

    Attributes:
        residuals: at `params`, in one vector, shape (k,); under noise as the regression has them.
        jacobian: of the residuals at `params`, by the regression, shape (k, d).
        covariance: of the parameters, value / (k - d) times the inverse of J'J, shape (d, d), as
            SciPy's `curve_fit` has it. Inf on the diagonal where nothing determines a parameter,
            and everywhere where k <= d. Fixed parameters have variance 0.
        undetermined: directions that change no residual, rows of length 1, shape (number, d); under
            `jit` d rows, zero but for those.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> t = jnp.arange(8.0)
        >>> residuals = lambda x: x[0] + x[1] * t - jnp.round(1 + t / 3)  # a line
        >>> fit = zosah_jax.least_squares(residuals, jnp.zeros(2), budget=20)
        >>> fit.params.round(3), fit.jacobian.shape, fit.covariance.shape, len(fit.undetermined)
        (array([1.   , 0.321], dtype=float32), (8, 2), (2, 2), 0)
    """

    residuals: Any
    jacobian: Any
    covariance: Any
    undetermined: Any

    def plot(self, axes: Any = None) -> Any:
        """Draw the sum against evaluations, the parameters, and eigenvalues of J'J.

        Args:
            axes: matplotlib's, for the first alone; None: all three, in a new figure
                (`zosah_jax.plot.fit`).

        Returns:
            The axes, or three of them.

        Raises:
            ImportError: matplotlib (extra `plot`) is not installed.

        Example:
            >>> import jax.numpy as jnp, zosah_jax
            >>> residuals = lambda x: jnp.append(x - jnp.arange(3.0), x.sum())
            >>> fit = zosah_jax.least_squares(residuals, jnp.ones(3), budget=20)
            >>> [axes.get_ylabel() for axes in fit.plot()]
            ['sum', '', "eigenvalue of J'J"]
        """
        return fit(self) if axes is None else super().plot(axes)


def least_squares(
    fun: Callable[[Params], Any],
    x0: Params,
    *,
    budget: int,
    bounds: Any = None,
    loss: str | Callable[[jax.Array], jax.Array] = "linear",
    noise: float | None = None,
    target: float | None = None,
    key: Any = None,
    callback: Callback | None = None,
    host: Host | None = None,
    progress: bool = False,
) -> LeastSquaresResult:
    r"""Fit residuals from at most `budget` evaluations, without derivatives.

    .. math:: \min_x \sum_i \rho(r_i(x)^2)

    An evaluation of k residuals tells k numbers, and all are used (`methods.least_squares`): a
    Jacobian is measured once, by a difference a parameter, and corrected by every evaluation after
    that. `minimize` on the sum takes ten times as many evaluations, and more.

    Args:
        fun: residuals, params -> real vector or any pytree of real arrays: traceable by JAX, or
            with `host` any callable. A residual that is NaN (a sensor that failed) has no weight;
            an evaluation that raises, times out or returns None is missing.
        x0: pytree of real floating arrays, d parameters.
        budget: most evaluations of `fun` to spend, an int of at least d + 2, and one more where the
            noise is measured.
        bounds: (lower, upper), each a number or a pytree like `x0`; None: no bounds. lower = upper
            freezes a parameter.
        loss: rho, "linear" (squares), "soft_l1", "huber", "cauchy", "arctan" as SciPy has them, or
            a function of JAX operations of the squared residuals. Residuals are to be in units
            (divided by the measurement's error) in which 1 is still good: SciPy's `f_scale`.
        noise: standard deviation of the noise of a residual. None: a traced function is taken to be
            exact; a Python function is asked twice at x0. 0: exact.
        target: stop at a sum of at most this.
        key: int or typed key; nothing is random.
        callback: as of `minimize`.
        host: how a Python function is called. With several workers (of Dask: threads that are there
            as the run begins) a step asks as many points, at most 8; with a log, as many are wanted
            again when it goes on. None: `fun` is traced, and runs in one compiled loop.
        progress: whether to show a bar, as of `minimize`.

    Returns:
        A `LeastSquaresResult`. `success`: whether there is a value, and the target, if there was
        one, is reached; the status says whether the run converged or spent its budget.

    Raises:
        ValueError: `fun` returns a scalar, no residuals, or another number of them the second time;
            the budget is too small; the bounds are crossed; `loss` is unknown.
        TypeError: an argument is of the wrong kind, by name; residuals that are not real.
        ObjectiveError: with `host`, `fun` raised at x0.

    Example:
        >>> import numpy as np, zosah_jax
        >>> t = np.linspace(0, 3, 30)
        >>> measured = 2 * np.exp(-1.3 * t) + 0.01 * np.random.default_rng(0).normal(size=30)
        >>> def residuals(x):
        ...     return x["size"] * np.exp(-x["rate"] * t) - measured
        >>> x0 = {"rate": np.array(0.5), "size": np.array(1.0)}
        >>> fit = zosah_jax.least_squares(residuals, x0, budget=40, host=zosah_jax.Host())
        >>> bool(abs(fit.params["rate"] - 1.3) < 0.05), fit.num_evaluations < 25, fit.message
        (True, True, 'converged: the method finds nothing more to gain')
        >>> np.sqrt(np.diag(fit.covariance)).round(3)  # of the rate, and of the size
        array([0.005, 0.005])
    """
    if not callable(fun):
        raise TypeError(f"fun: got {type(fun).__name__}, wanted a callable f(params) -> residuals.")
    if isinstance(budget, jax.core.Tracer):
        raise TypeError("budget: got a traced value, wanted an int.")
    check_count("budget", budget)
    if isinstance(noise, str):
        raise TypeError(f"noise: got {noise!r}, wanted a number or None.")
    check_noise(noise)
    if host is not None and not isinstance(host, Host):
        raise TypeError(f"host: got {type(host).__name__}, wanted a zosah_jax.Host or None.")
    x0 = as_params(x0)
    measured = noise is None and host is not None
    method = LeastSquares(
        num_points=1 if host is None else min(num_workers(host), _MOST_POINTS),
        loss=loss,
        noise=None if measured else float(noise or 0.0),
    )
    _check_budget(budget, dimension(x0) + 1 + measured + method.num_points)
    rest = {"budget": budget, "target": target, "bounds": bounds, "noise": 0.0, "key": key}
    rest |= {"callback": callback, "host": host, "progress": progress}
    if host is not None:
        found = minimize(_Flat(fun), x0, method, **rest)
        with in_dtype_of(x0)():
            return _reported(found, method, x0, bounds)
    traced, size = _traced(fun, x0)
    found = minimize(traced, x0, replace(method, num_residuals=size), **rest)
    return _reported(found, method, x0, bounds)


def _check_budget(budget: int, least: int) -> None:
    if budget < least:
        raise ValueError(
            f"budget: got {budget}, wanted at least {least}: the start, a difference a parameter, "
            "and one step."
        )


class _Flat:
    """Residuals of any structure as one vector; a class, so that it can be sent to a process."""

    def __init__(self, fun: Callable[[Any], Any]) -> None:
        self.fun = fun

    def __call__(self, x: Any) -> Any:
        raw = self.fun(x)
        if raw is None or (isinstance(raw, np.ma.MaskedArray) and raw.ndim == 1):
            return raw
        leaves = jax.tree.leaves(raw)
        if len(leaves) == 1 and np.ndim(leaves[0]) in (0, 1):
            return leaves[0]  # a scalar is refused where values are read, by what it is
        return np.concatenate([np.ravel(np.asarray(leaf)) for leaf in leaves] or [np.zeros(0)])


def _traced(fun: Callable[[Params], Any], x0: Params) -> tuple[Callable[[Params], Any], int]:
    """The residuals as a vector, and how many there are."""

    def flat(x: Params) -> jax.Array:
        leaves = jax.tree.leaves(fun(x))
        dtype = np.result_type(np.float32, *(jnp.result_type(leaf) for leaf in leaves))
        return jnp.concatenate([jnp.ravel(jnp.asarray(leaf)).astype(dtype) for leaf in leaves])

    try:
        leaves = jax.tree.leaves(jax.eval_shape(fun, widen(jax.tree.map(jnp.asarray, x0))))
    except UNTRACEABLE as error:
        raise cannot_be_traced(error) from error
    if len(leaves) == 1 and leaves[0].ndim == 0:
        raise ValueError(
            "fun: got a scalar, wanted a vector of residuals (`minimize` is for scalars)."
        )
    if any(not jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
        raise TypeError(
            f"fun: got residuals of dtype {[str(leaf.dtype) for leaf in leaves]}, wanted real ones."
        )
    size = sum(leaf.size for leaf in leaves)
    if size == 0:
        raise ValueError("fun: got no residuals, wanted at least one.")
    return flat, size


def _reported(found: Result, method: LeastSquares, x0: Params, bounds: Any) -> LeastSquaresResult:
    """The result, with what the regression says at its end."""
    box = bounds_of(bounds, x0)
    start = jax.tree.map(jnp.asarray, x0)
    problem = Problem(box, jnp.zeros(()), ())
    params, residuals, jacobian, covariance, directions = _report(
        found.state, start, problem, loss=method.loss
    )
    value = found.state.value
    if not isinstance(value, jax.core.Tracer):
        value, residuals, jacobian, covariance, directions = map(
            np.asarray, (value, residuals, jacobian, covariance, directions)
        )
        directions = directions[np.any(directions != 0, axis=1)]
        params = jax.tree.map(np.asarray, params)
    kept = {f.name: getattr(found, f.name) for f in fields(Result)}
    return LeastSquaresResult(
        **kept | {"params": params, "value": value},
        residuals=residuals,
        jacobian=jacobian,
        covariance=covariance,
        undetermined=directions,
    )


_report = partial(jax.jit, static_argnames="loss")(report)
