"""The measurement: values to close parts of the gap, from usual starts and from others nearby."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from tqdm import tqdm

from experiments.classics.functions import CLASSICS
from experiments.curves import Curve, from_history, values_to_reach
from experiments.errors import InputError
from experiments.references import scipy_curve
from zosah_jax import minimize, zopqn

OURS = "zopqn"
PEERS: dict[str, dict[str, Any]] = {
    "L-BFGS-B": {"ftol": 1e-16, "gtol": 1e-14, "maxfun": 10**9, "maxiter": 10**9},
    "BFGS": {"gtol": 1e-14, "maxiter": 10**9},
}
"""SciPy's methods with forward differences, and tolerances that do not stop them early."""


def measure(
    *,
    functions: tuple[str, ...],
    dimension: int,
    shift: float,
    gaps: tuple[float, ...],
    budget: int,
    seeds: tuple[int, ...],
) -> dict[str, Any]:
    """Run ZO-PQN with its defaults and SciPy's methods from the same points.

    Args:
        functions: names, of `CLASSICS`.
        dimension: d, a multiple of four.
        shift: standard deviation of what is added to the usual start for all seeds but the first.
        gaps: parts of the gap between start and optimum that remain.
        budget: most values of a run, in units of d.
        seeds: a run each; the first begins at the usual start.

    Returns:
        For JSON: by function, a list over seeds of the values that each method needs to each gap.

    Raises:
        InputError: a function is not known, or the dimension is no multiple of four.
    """
    if dimension % 4 or dimension < 8:
        raise InputError(f"dimension: got {dimension}, wanted a multiple of 4, at least 8.")
    for name in functions:
        if name not in CLASSICS:
            raise InputError(f"functions: got {name!r}, wanted one of {', '.join(CLASSICS)}.")
    found: dict[str, Any] = {}
    for name in tqdm(functions):
        fun, start = CLASSICS[name]
        runs = []
        for number, seed in enumerate(seeds):
            away = np.random.default_rng(seed).standard_normal(dimension)
            x0 = start(dimension) + (shift * away if number else 0)
            runs.append(_run(fun, x0, gaps, budget * dimension, seed))
        found[name] = runs
    return {"gaps": list(gaps), "dimension": dimension, "budget_in_d": budget, "functions": found}


def _run(
    fun: Callable[[Any], Any], x0: np.ndarray, gaps: tuple[float, ...], budget: int, seed: int
) -> dict[str, Any]:
    jitted = jax.jit(fun)
    with np.errstate(all="ignore"):
        curves = {
            name: scipy_curve(jitted, x0, name, budget, **options)
            for name, options in PEERS.items()
        }
        optimum = _descended(fun, x0)
    out = minimize(fun, jnp.asarray(x0), _ZOPQN, budget=budget, key=seed, max_history=100_000)
    curves[OURS] = from_history(out.history)
    first = float(jitted(x0))
    optimum = min(optimum, *(_lowest(curve) for curve in curves.values()))
    needed = {
        name: [values_to_reach(curve, optimum + gap * (first - optimum)) for gap in gaps]
        for name, curve in curves.items()
    }
    return {"start": first, "optimum": optimum, "values": needed}


def _lowest(curve: Curve) -> float:
    return float(np.nanmin(curve.best))


def _descended(fun: Callable[[Any], Any], x0: np.ndarray) -> float:
    """Where BFGS ends with exact gradients: the optimum, or a minimum nearby."""
    both = jax.jit(jax.value_and_grad(fun))

    def pair(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = both(x)
        return float(value), np.asarray(slope)

    options = {"gtol": 1e-12, "maxiter": 20_000}
    return float(scipy.optimize.minimize(pair, x0, jac=True, method="BFGS", options=options).fun)


_ZOPQN = zopqn()  # one object
