"""SciPy's way in, values alone: `minimize(fun, x0, method=zosah)`, and `least_squares`."""

import dataclasses
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from zosah_jax.checks import check_count, check_positive
from zosah_jax.faces.host.settings import Host
from zosah_jax.faces.least_squares import least_squares as fit_residuals
from zosah_jax.faces.minimize import minimize
from zosah_jax.faces.progress import Progress
from zosah_jax.methods import METHODS
from zosah_jax.methods.least_squares.loss import weights

try:
    from scipy.optimize import Bounds, OptimizeResult, OptimizeWarning
except ImportError as error:
    raise ImportError(
        "zosah_jax.integrations.scipy: wanted SciPy, which is not installed: "
        "pip install 'zosah_jax[scipy]'."
    ) from error

_OPTIONS = ("target", "key", "noise")  # of `zosah_jax.minimize`
_HOST = tuple(f.name for f in dataclasses.fields(Host) if f.name != "progress")


def zosah(fun: Callable[..., Any], x0: np.ndarray, args: tuple[Any, ...] = (), **rest: Any) -> Any:
    """ZO-SAH as a method of `scipy.optimize.minimize`.

    Args:
        fun: objective, (x, *args) -> real number, an array of a single one, or None where it has
            no value.
        x0: where to start, shape (n,).
        args: further arguments of `fun`.
        **rest: what `scipy.optimize.minimize` hands on:
            bounds (`scipy.optimize.Bounds`, or a pair (low, high) a coordinate, None where there is
            none; no point outside is asked);
            callback (after each step, `callback(xk)` with the point where the run stands, or
            `callback(intermediate_result)` with the best `x` and `fun` so far; the run stops where
            it raises StopIteration or returns True);
            and its `options`:
            maxfev, most calls of `fun`, 200 (n + 1) by default; disp, whether to show a bar;
            method, another one of `zosah_jax.methods` or its optax form; target, key and noise of
            `zosah_jax.minimize`; executor, max_workers, timeout, retries, max_pending and log of
            `zosah_jax.Host`.
            jac, hess, hessp and tol are not used, with a warning; constraints are refused.

    Returns:
        A `scipy.optimize.OptimizeResult` with `x` and `fun` (the best found), `nfev`, `nit`,
        `status`, `message` and `success`: False where the callback stopped the run, the target was
        not reached, or there are no values. Without a target, to spend the budget or to converge is
        the ordinary end.

    Raises:
        ValueError: there are constraints, `x0` is outside the bounds, or the bounds are crossed.
        TypeError: an argument is of the wrong kind.

    Example:
        >>> import numpy as np
        >>> from scipy.optimize import minimize, rosen
        >>> from zosah_jax.integrations.scipy import zosah
        >>> result = minimize(rosen, np.array([-1.2, 1.0]), method=zosah, options={"maxfev": 300})
        >>> bool(result.fun < 1e-8), result.nfev <= 300, result.message
        (True, True, 'budget spent')
    """
    return _minimize("zosah", fun, x0, args, **rest)


def zopqn(fun: Callable[..., Any], x0: np.ndarray, args: tuple[Any, ...] = (), **rest: Any) -> Any:
    """ZO-PQN as a method of `scipy.optimize.minimize`: fewer values, where they are nearly exact.

    Args:
        fun: as of `zosah`.
        x0: as of `zosah`.
        args: as of `zosah`.
        **rest: as of `zosah`. `noise=0` spares the values that an estimate of the noise takes.

    Returns:
        As `zosah`.

    Raises:
        ValueError, TypeError: as `zosah`.

    Example:
        >>> import numpy as np
        >>> from scipy.optimize import minimize, rosen
        >>> from zosah_jax.integrations.scipy import zopqn
        >>> options = {"maxfev": 200, "noise": 0}
        >>> result = minimize(rosen, np.array([-1.2, 1.0]), method=zopqn, options=options)
        >>> bool(result.fun < 1e-8), result.nfev <= 200
        (True, True)
    """
    return _minimize("zopqn", fun, x0, args, **rest)


def default(
    fun: Callable[..., Any], x0: np.ndarray, args: tuple[Any, ...] = (), **rest: Any
) -> Any:
    """What `zosah_jax.minimize` takes where no method is named, for `scipy.optimize.minimize`.

    Args:
        fun: as of `zosah`.
        x0: as of `zosah`.
        args: as of `zosah`.
        **rest: as of `zosah`. `noise=0` spares the values that an estimate of the noise takes.

    Returns:
        As `zosah`; `success` is True where it has converged, too.

    Raises:
        ValueError, TypeError: as `zosah`.

    Example:
        >>> import numpy as np
        >>> from scipy.optimize import minimize, rosen
        >>> from zosah_jax.integrations.scipy import default
        >>> result = minimize(rosen, np.array([-1.2, 1.0]), method=default, options={"noise": 0})
        >>> bool(result.fun < 1e-12), result.nfev < 200, result.success
        (True, True, True)
    """
    return _minimize(None, fun, x0, args, **rest)


def least_squares(
    fun: Callable[..., Any],
    x0: np.ndarray,
    bounds: Any = (-np.inf, np.inf),
    loss: Any = "linear",
    f_scale: float = 1.0,
    max_nfev: int | None = None,
    args: tuple[Any, ...] = (),
    kwargs: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    """`scipy.optimize.least_squares` without derivatives: for another import, the same call.

    SciPy's has no place for a method of others (its `method=` is a closed list). The residuals are
    fitted by `zosah_jax.least_squares`, which takes a fraction of the evaluations that differences
    take, and may be called from several processes.

    Args:
        fun: residuals, (x, *args, **kwargs) -> array of shape (m,).
        x0: where to start, shape (n,) or a number.
        bounds: (lower, upper), each an array of shape (n,) or a number, or `scipy.optimize.Bounds`.
        loss: as there, by name.
        f_scale: size of a residual from which a loss other than "linear" forgives it.
        max_nfev: most calls of `fun`, all counted; 100 (n + 1) by default.
        args: further arguments of `fun`.
        kwargs: further keyword arguments of `fun`.
        **options: noise of `zosah_jax.least_squares`; executor, max_workers, timeout, retries,
            max_pending and log of `zosah_jax.Host`. jac, method, ftol, xtol, gtol, x_scale and
            others of SciPy's are not used, with a warning.

    Returns:
        A `scipy.optimize.OptimizeResult` with x, cost (half the sum), fun (residuals), jac, grad,
        optimality (largest entry of grad), active_mask, nfev, status, message, success; and
        covariance of `zosah_jax.least_squares`.

    Raises:
        ValueError, TypeError: an argument is of the wrong kind, by name.

    Example:
        >>> import numpy as np
        >>> from zosah_jax.integrations.scipy import least_squares
        >>> valley = lambda x: np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]])
        >>> result = least_squares(valley, np.array([-1.2, 1.0]))
        >>> result.x.round(6), result.nfev < 30
        (array([1., 1.]), True)
    """
    known = {"noise", *_HOST}
    unused = sorted(set(options) - known)
    if unused:
        warnings.warn(
            f"least_squares does not use {', '.join(unused)}.", RuntimeWarning, stacklevel=2
        )
    x0 = np.atleast_1d(np.asarray(x0))
    if x0.dtype.kind != "f":
        x0 = x0.astype(np.float64)
    check_positive("f_scale", f_scale)
    if isinstance(bounds, Bounds):
        bounds = (bounds.lb, bounds.ub)
    found = fit_residuals(
        _Residuals(fun, args, kwargs or {}, f_scale),
        x0,
        budget=100 * (x0.size + 1) if max_nfev is None else max_nfev,
        bounds=tuple(np.broadcast_to(np.asarray(side, float), x0.shape) for side in bounds),
        loss=loss,
        noise=None if options.get("noise") is None else options["noise"] / f_scale,
        host=Host(**{key: options[key] for key in _HOST if key in options}),
    )
    pulled = _slopes(loss, found.residuals) * found.residuals
    grad = f_scale**2 * found.jacobian.T @ pulled
    lower, upper = (np.broadcast_to(np.asarray(side, float), x0.shape) for side in bounds)
    at = np.where(found.params <= lower, -1, np.where(found.params >= upper, 1, 0))
    return OptimizeResult(
        x=found.params,
        cost=float(found.value) * f_scale**2 / 2,
        fun=found.residuals * f_scale,
        jac=found.jacobian * f_scale,
        grad=grad,
        optimality=float(np.max(np.abs(np.where(at == 0, grad, 0)))),
        active_mask=at,
        nfev=found.num_evaluations,
        status=int(found.status),
        message=found.message,
        success=found.success,
        covariance=found.covariance,
    )


class _Residuals:
    """SciPy's residuals over their scale; a class, so that it can be sent."""

    def __init__(
        self, fun: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], scale: float
    ) -> None:
        self.fun, self.args, self.kwargs, self.scale = fun, args, kwargs, scale

    def __call__(self, x: np.ndarray) -> Any:
        raw = self.fun(x, *self.args, **self.kwargs)
        return None if raw is None else np.atleast_1d(raw) / self.scale


def _slopes(loss: Any, residuals: np.ndarray) -> np.ndarray:
    """Derivatives rho' at each residual."""
    return np.asarray(weights(loss, jnp.asarray(residuals))[0])


def _minimize(
    name: str | None,
    fun: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...],
    *,
    method: Any = None,
    bounds: Any = None,
    callback: Callable[..., Any] | None = None,
    constraints: Any = (),
    jac: Any = None,
    hess: Any = None,
    hessp: Any = None,
    tol: float | None = None,
    maxfev: int | None = None,
    disp: bool = False,
    **options: Any,
) -> Any:
    if constraints is not None and np.size(constraints):
        raise ValueError("constraints: got some, wanted none: only bounds are supported.")
    unused = {"jac": jac, "hess": hess, "hessp": hessp, "tol": tol}
    for argument, given in unused.items():
        if given is not None and given is not False:
            text = f"{name or 'default'} does not use {argument}."
            warnings.warn(text, RuntimeWarning, stacklevel=4)
    unknown = sorted(set(options) - {*_OPTIONS, *_HOST})
    if unknown:
        text = f"Unknown solver options: {', '.join(unknown)}"
        warnings.warn(text, OptimizeWarning, stacklevel=4)
    x0 = np.atleast_1d(np.asarray(x0))
    if x0.dtype.kind != "f":
        x0 = x0.astype(np.float64)
    check_count("maxfev", maxfev, optional=True)
    steps = _Steps(callback)
    host = Host(progress=bool(disp), **{key: options[key] for key in _HOST if key in options})
    out = minimize(
        _Scalar(fun, args),
        x0,
        METHODS[name]() if method is None and name is not None else method,
        budget=200 * (x0.size + 1) if maxfev is None else int(maxfev),
        bounds=None if bounds is None else _sides(bounds, x0.size),
        callback=steps,
        host=host,
        **{key: options[key] for key in _OPTIONS if key in options},
    )
    return OptimizeResult(
        x=out.params,
        fun=float(out.value),
        nfev=out.num_evaluations,
        nit=steps.taken,
        status=int(out.status),
        message=out.message,
        success=out.success,
    )


class _Scalar:
    """SciPy's objective, which may return an array of one; a class, so that it can be sent."""

    def __init__(self, fun: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.fun, self.args = fun, args

    def __call__(self, x: np.ndarray) -> Any:
        value = self.fun(x, *self.args)
        if isinstance(value, np.ma.MaskedArray) or not hasattr(value, "shape"):
            array = value  # one that is masked is missing, and would not be as an ordinary array
        else:
            array = np.asarray(value)  # of any library; a matrix keeps its two axes for ever
        return array.reshape(()) if getattr(array, "size", None) == 1 else array


class _Steps:
    """Counts steps, and tells SciPy's callback of them in the form that it asks for."""

    def __init__(self, callback: Callable[..., Any] | None) -> None:
        self.taken, self._callback, self._by_name = 0, callback, False
        if callback is None:
            return
        if not callable(callback):
            raise TypeError(f"callback: got {type(callback).__name__}, wanted a callable or None.")
        try:
            self._by_name = set(inspect.signature(callback).parameters) == {"intermediate_result"}
        except (TypeError, ValueError):  # some built-in callables have no signature
            self._by_name = False

    def __call__(self, progress: Progress) -> Any:
        self.taken = progress.step
        if self._callback is None:
            return None
        if not self._by_name:
            return self._callback(progress.last_params)
        result = OptimizeResult(
            x=progress.params,
            fun=progress.value,
            nfev=progress.num_evaluations,
            nit=progress.step,
        )
        return self._callback(intermediate_result=result)


def _sides(bounds: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(bounds, Bounds):
        return tuple(np.broadcast_to(np.asarray(b, float), n) for b in (bounds.lb, bounds.ub))  # type: ignore[return-value]
    pairs = list(bounds)
    if len(pairs) != n or any(np.size(pair) != 2 for pair in pairs):
        raise ValueError(
            f"bounds: got {bounds!r}, wanted Bounds or a pair (low, high) for each of {n} "
            "coordinates."
        )
    lower = [-np.inf if low is None else float(low) for low, _ in pairs]
    upper = [np.inf if high is None else float(high) for _, high in pairs]
    return np.array(lower), np.array(upper)
