"""`scipy.optimize.minimize(fun, x0, method=zopqn)`: SciPy's way in, values alone."""

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from zosah_jax.blackbox.run import Progress, minimize_blackbox
from zosah_jax.checks import check_count
from zosah_jax.minimize import Status
from zosah_jax.recommended import default_method

try:
    from scipy.optimize import Bounds, OptimizeResult, OptimizeWarning
except ImportError as error:
    raise ImportError(
        "zosah_jax.integrations.scipy: wanted SciPy, which is not installed: "
        "pip install 'zosah_jax[scipy]'."
    ) from error

_OPTIONS = set(inspect.signature(minimize_blackbox).parameters) - {
    "fun", "x0", "budget", "bounds", "callback", "progress",
}  # fmt: skip


def zosah(
    fun: Callable[..., Any],
    x0: np.ndarray,
    args: tuple[Any, ...] = (),
    *,
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
    """ZO-SAH, or `tx`, as a method of `scipy.optimize.minimize`.

    Args:
        fun: objective, (x, *args) -> real number, an array of one, or None where it has no value.
        x0: where to start, shape (n,).
        args: further arguments of `fun`.
        bounds: `scipy.optimize.Bounds`, or a pair (low, high) a coordinate, None where there is
            none. No point outside is asked.
        callback: `callback(xk)` or `callback(intermediate_result)`, after each step; the run stops
            where it raises StopIteration or returns True.
        constraints: refused, where there are any.
        jac: not used, with a warning; so are `hess`, `hessp` and `tol`.
        hess: see `jac`.
        hessp: see `jac`.
        tol: see `jac`.
        maxfev: most calls of `fun`; None: 200 (n + 1).
        disp: whether to show a progress bar.
        **options: of `zosah_jax.minimize_blackbox`: tx, target, key, noise, executor, max_workers,
            timeout, retries, log, checkpoint and the like.

    Returns:
        A `scipy.optimize.OptimizeResult` with `x` and `fun` (the best found), `nfev`, `nit`,
        `status`, `message` and `success`: False where the callback stopped the run or there are no
        values. There is no test of convergence: to spend the budget is the ordinary end.

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
    if constraints is not None and np.size(constraints):
        raise ValueError("constraints: got some, wanted none: only bounds are supported.")
    for name, given in (("jac", jac), ("hess", hess), ("hessp", hessp), ("tol", tol)):
        if given is not None and given is not False:
            warnings.warn(f"zosah does not use {name}.", RuntimeWarning, stacklevel=3)
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        warnings.warn(
            f"Unknown solver options: {', '.join(unknown)}", OptimizeWarning, stacklevel=3
        )
    x0 = np.atleast_1d(np.asarray(x0))
    x0 = x0.astype(np.result_type(x0.dtype, np.float32) if x0.dtype.kind == "f" else np.float64)
    check_count("maxfev", maxfev, optional=True)
    steps = _Steps(callback)
    out = minimize_blackbox(
        _Scalar(fun, args),
        x0,
        budget=200 * (x0.size + 1) if maxfev is None else int(maxfev),
        bounds=None if bounds is None else _sides(bounds, x0.size),
        callback=steps,
        progress=bool(disp),
        **{name: value for name, value in options.items() if name in _OPTIONS},
    )
    return OptimizeResult(
        x=out.best_params,
        fun=float(out.best_value),
        nfev=out.num_evaluations,
        nit=steps.taken,
        status=int(out.status),
        message=out.message,
        success=out.status in (Status.BUDGET_SPENT, Status.TARGET_REACHED),
    )


def zopqn(fun: Callable[..., Any], x0: np.ndarray, args: tuple[Any, ...] = (), **rest: Any) -> Any:
    """ZO-PQN as a method of `scipy.optimize.minimize`: fewer values, where they are nearly exact.

    Args:
        fun: as of `zosah`.
        x0: as of `zosah`.
        args: as of `zosah`.
        **rest: bounds, callback and options, as of `zosah`, but `tx`. `noise=0` spares the values
            that an estimate of the noise takes.

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
    return zosah(fun, x0, args, tx=default_method("zopqn"), **rest)


class _Scalar:
    """SciPy's objective, which may return an array of one; a class, so that it can be sent."""

    def __init__(self, fun: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.fun, self.args = fun, args

    def __call__(self, x: np.ndarray) -> Any:
        value = self.fun(x, *self.args)
        return value.reshape(()) if isinstance(value, np.ndarray) and value.size == 1 else value


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
            return self._callback(progress.params)
        result = OptimizeResult(
            x=progress.best_params,
            fun=progress.best_value,
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
