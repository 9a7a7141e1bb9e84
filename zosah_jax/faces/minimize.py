"""The one call: a traced objective or any Python function, minimised from a budget of values."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import optax

from zosah_jax.bounds import bounds_of, projected
from zosah_jax.checks import check_count, check_number, check_static_count, typed_key
from zosah_jax.drive import After, check_post
from zosah_jax.evaluate.automatic import automatic
from zosah_jax.faces import jitted
from zosah_jax.faces.host import run as host_run
from zosah_jax.faces.host.settings import Host
from zosah_jax.faces.known import known_of
from zosah_jax.faces.progress import Callback, check_callback, check_progress
from zosah_jax.faces.transformation import taken_apart
from zosah_jax.method import Method, Problem
from zosah_jax.methods import default_method
from zosah_jax.pytree import Params, as_params, widen, working_dtype
from zosah_jax.result import Result

UNTRACEABLE = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)


def minimize(
    fun: Callable[[Params], Any],
    x0: Params,
    method: Method | optax.GradientTransformation | None = None,
    *,
    budget: int,
    target: float | None = None,
    bounds: Any = None,
    noise: float | Literal["estimate"] | None = None,
    key: Any = None,
    callback: Callback | None = None,
    post: optax.GradientTransformation | None = None,
    host: Host | None = None,
    progress: bool = False,
    evaluations: Any = None,
    restarts: int = 0,
) -> Result:
    """Minimise a function from at most `budget` of its values.

    A function that JAX can trace runs in one compiled loop, which is compiled once for equal
    programs, options and shapes, whoever made the function: what it closes over may change from
    call to call. With `host`, any Python function runs: a simulator, a remote model, a device. The
    arguments and the result mean the same.

    Under `jax.vmap` over `x0`, `key` or what `fun` closes over, the runs advance together. Each
    counts its own values and is what it would be alone, but values of one that has ended may be
    evaluated beside the others'; `jax.lax.map` runs one after another.

    Args:
        fun: objective, params -> real scalar: traceable by JAX, or with `host` any callable.
        x0: pytree of real floating arrays.
        method: a method (`zosah_jax.methods.zosah()`) or its optax form (`zosah_jax.zosah(0.5)`,
            whose learning rate and evaluator are taken over). None, where values have no noise: up
            to 9 parameters, and with bounds up to 256, `quadratic_regression()`, else up to 256
            `zopqn()`, and `block_newton()` beyond; under noise up to 50 `noisy_regression()`, and
            `noisy_descent()` beyond. (Noise that was measured counts above 1e-6 of the values:
            below, it is a simulator's tolerance.)
        budget: most values of `fun` to spend, an int; all are counted, whatever they are for.
        target: stop at a value of at most this.
        bounds: (lower, upper), each a number or a pytree like `x0`: no point outside is asked or
            returned. lower = upper freezes a parameter. None: no bounds.
        noise: standard deviation of the noise of a value. None: a traced function is taken to be as
            exact as its dtype; the noise of a Python function is measured at `x0` by 7 or 14
            values, where 14 are less than a twentieth of the budget; with "estimate", where they
            are less than half of it. Under noise, the
            minimum of the model is the result of methods that have one for noise; of others, the
            host keeps a twentieth of the budget to look again at the points that may be the best,
            and damps steps as the budget is spent.
        key: int or typed key that replaces the method's own; None keeps that.
        callback: called with a `Progress` after each step; the run stops when it returns True or
            raises StopIteration. Not under `vmap`; in a traced run it must not call JAX.
        post: an optax transformation or chain that comes after the method's step, -learning_rate
            times its direction: momentum, decay, a projection. It is handed `value=`. Probes know
            nothing of it: after a projection or a penalty, `last_params` is the point to take.
        host: how a Python function is called: workers, retries, a log. None: `fun` is traced.
        progress: whether to show a bar (tqdm). That of a traced run moves on at every hundredth of
            the budget, and is not to be had under `jit` or `vmap`.
        evaluations: pairs (x, f) of values that are there already, which count as none: x like
            `x0`. The run begins at the best of them, and methods that keep points (this library's
            regressions) take them up; 2 d + 1 spare `quadratic_regression` its first points.

        restarts: how many times a run that has converged begins again at another point, while the
            budget lasts, drawn between the bounds, or around `x0` as wide as three times its own
            size. The best of all is the result.

    Returns:
        A `Result`; `params` and `value` are the best that were found (under noise, see there).

    Raises:
        ValueError: the budget is below what a first batch takes, `x0` is outside the bounds, the
            bounds are crossed; with `host`, the log is of another problem.
        TypeError: an argument is of the wrong kind, by name; `fun` cannot be traced.
        ObjectiveError: with `host`, `fun` raised at every point of the first batch.

    Example:
        >>> import jax, jax.numpy as jnp, zosah_jax
        >>> f = lambda x: ((x - jnp.arange(6.0)) ** 2).sum()
        >>> out = zosah_jax.minimize(f, jnp.zeros(6), budget=200)
        >>> bool(out.value < 1e-10), out.num_evaluations <= 200, out.status.name
        (True, True, 'CONVERGED')
        >>> runs = jax.vmap(lambda k: zosah_jax.minimize(f, jnp.zeros(6), budget=60, key=k))
        >>> runs(jax.random.split(jax.random.key(0), 3)).value.shape
        (3,)

        A simulator, with bounds:

        >>> import numpy as np
        >>> def simulator(x):
        ...     if x[0] < -2:
        ...         raise FloatingPointError("no steady state")
        ...     return float(((x - np.arange(6.0)) ** 2).sum())
        >>> out = zosah_jax.minimize(
        ...     simulator, np.zeros(6), budget=200, bounds=(-3, 4), host=zosah_jax.Host()
        ... )
        >>> bool(abs(out.value - 1) < 1e-6), out.num_evaluations <= 200
        (True, True)
    """
    if not callable(fun):
        raise TypeError(f"fun: got {type(fun).__name__}, wanted a callable f(params).")
    if isinstance(budget, jax.core.Tracer):
        raise TypeError("budget: got a traced value, wanted an int.")
    check_count("budget", budget)
    if isinstance(restarts, bool) or restarts != 0:
        check_static_count("restarts", restarts)
    if target is not None:
        check_number("target", target)
    check_noise(noise)
    check_callback(callback)
    check_post(post)
    check_progress(progress)
    x0 = as_params(x0)
    if host is not None:
        if not isinstance(host, Host):
            raise TypeError(f"host: got {type(host).__name__}, wanted a zosah_jax.Host or None.")
        return host_run.run(
            fun, x0, method, budget=int(budget), target=target, bounds=bounds, noise=noise, key=key,
            callback=callback, post=post, evaluations=evaluations, restarts=int(restarts),
            host=replace(host, progress=host.progress or progress),
        )  # fmt: skip
    if noise == "estimate":
        raise ValueError(
            "noise: got 'estimate' for a traced function, wanted its standard deviation (a Python "
            "function's is measured: host=zosah_jax.Host())."
        )
    return _traced(
        fun, x0, method, int(budget), target, bounds, noise, key, callback, post, progress,
        evaluations, int(restarts),
    )  # fmt: skip


def cannot_be_traced(error: Exception) -> TypeError:
    """What is said of an objective that JAX cannot trace."""
    return TypeError(
        "fun: got a function that JAX cannot trace, wanted one of JAX operations, or "
        f"host=zosah_jax.Host() for any Python function. JAX says: {error}"
    )


def check_noise(noise: Any) -> None:
    """Refuse what is no level of noise."""
    if noise is None or (isinstance(noise, str) and noise == "estimate"):
        return
    check_number("noise", noise)
    if not isinstance(noise, jax.core.Tracer) and not 0 <= float(noise) < math.inf:
        raise ValueError(f"noise: got {noise}, wanted a standard deviation, 'estimate' or None.")


def _traced(
    fun: Callable[[Params], Any],
    x0: Params,
    method: Any,
    budget: int,
    target: Any,
    bounds: Any,
    noise: Any,
    key: Any,
    callback: Callback | None,
    post: optax.GradientTransformation | None,
    progress: bool,
    evaluations: Any,
    restarts: int,
) -> Result:
    if budget >= 2**32:
        raise ValueError(f"budget: got {budget}, wanted less than 2**32.")
    if method is None:
        noisy = noise is not None and (isinstance(noise, jax.core.Tracer) or noise > 0)
        method = default_method(x0, noisy=noisy, bounded=bounds is not None)
        rate, evaluator = 1.0, automatic()
    else:
        method, rate, evaluator = taken_apart(method)
    x0, known = known_of(evaluations, x0, bounds)
    box = bounds_of(bounds, x0)
    x0 = jax.tree.map(jnp.asarray, x0)
    dtype = working_dtype(x0)
    after = After(rate if callable(rate) else None, post)
    whole = after == After() and not isinstance(rate, jax.core.Tracer) and rate == 1
    plan = jitted.Plan(
        method, after, evaluator, bool(whole), callback is not None, progress, restarts > 0
    )
    inputs = jitted.Inputs(
        x0=projected(box, x0),
        key=typed_key(method.key if key is None else key),
        rate=jnp.asarray(1.0 if callable(rate) else rate, dtype),
        budget=jnp.asarray(budget, jnp.uint32),
        target=jnp.asarray(-np.inf if target is None else target, dtype),
        problem=Problem(
            box, jnp.asarray(0.0 if noise is None else noise, dtype), _value_shape(fun, method, x0)
        ),
        ticket=jnp.zeros((), jnp.uint32),
        restarts=jnp.asarray(restarts, jnp.uint32),
        known=None if known is None else jax.tree.map(jnp.asarray, known),
    )
    try:
        return jitted.run(fun, plan, inputs, budget, target is not None, callback)
    except UNTRACEABLE as error:
        raise cannot_be_traced(error) from error


def _value_shape(fun: Callable[[Params], Any], method: Method, x0: Params) -> tuple[int, ...]:
    """Shape of a value: (), but for methods that take vectors, which must be looked at."""
    return jax.eval_shape(fun, widen(x0)).shape if 1 in method.value_ndims else ()
