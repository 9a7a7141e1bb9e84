"""The measurement: values needed on Rosenbrock's function, and the paths taken."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from experiments.curves import Curve, from_history, median, values_to_reach
from experiments.references import scipy_curve
from zosah_jax import PAPER_READING, History, minimize, num_evaluations, rspg, zosah

START = (-1.2, 1.0)
REFERENCES = ("BFGS", "COBYQA")

_POINTS = 120  # of a kept curve or path, at most
_FAR = 1e3  # a path that has come so far has diverged

Constructor = Callable[..., optax.GradientTransformationExtraArgs]


def rosenbrock(x: Any) -> Any:
    """100 (x2 - x1^2)^2 + (1 - x1)^2, smallest (0) at (1, 1)."""
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


def measure(
    *,
    seeds: tuple[int, ...],
    target: float,
    budget: int,
    rspg_budget: int,
    rspg_learning_rates: tuple[float, ...],
) -> dict[str, Any]:
    """Run ZO-SAH, RSPG at every learning rate, and SciPy's references.

    Args:
        seeds: of the methods.
        target: value at which a run stops.
        budget: most values of a run of ZO-SAH or SciPy.
        rspg_budget: most values of a run of RSPG.
        rspg_learning_rates: of which the one with the best median counts.

    Returns:
        For JSON: values to the target, curves and paths, by method.
    """
    ways: dict[str, tuple[Constructor, tuple[float, ...], int]] = {
        "zosah": (zosah, (1.0,), budget),
        "zosah_paper": (partial(zosah, **PAPER_READING), (1.0,), budget),
        "rspg": (rspg, rspg_learning_rates, rspg_budget),
    }
    methods = {}
    with tqdm(total=sum(len(rates) * len(seeds) for _, rates, _ in ways.values())) as bar:
        for name, (constructor, rates, values) in ways.items():
            bar.set_description(name)
            tried = {r: _runs(constructor, r, values, seeds, target, bar) for r in rates}
            methods[name] = _best(constructor, tried, seeds, target)
    references = {method: _reference(method, budget, target) for method in REFERENCES}
    ours, theirs = (methods[name]["median"] for name in ("zosah", "rspg"))
    ratio = theirs / ours if ours and theirs else None
    return {
        "seeds": list(seeds),
        "target": target,
        "rspg_over_zosah": ratio,
        "methods": methods,
        "references": references,
    }


def _runs(
    constructor: Constructor,
    rate: float,
    budget: int,
    seeds: tuple[int, ...],
    target: float,
    bar: tqdm,
) -> list[Curve]:
    curves = []
    for seed in seeds:
        history = _history(constructor, budget, target, rate, jax.random.key(seed))
        curves.append(from_history(history))
        bar.update()
    return curves


@partial(jax.jit, static_argnums=(0, 1, 2))
def _history(
    constructor: Constructor, budget: int, target: float, rate: jax.Array, key: jax.Array
) -> History:
    return minimize(
        rosenbrock,
        jnp.array(START),
        constructor(rate),
        budget=budget,
        target=target,
        key=key,
        max_history=budget,
    ).history


def _best(
    constructor: Constructor,
    tried: dict[float, list[Curve]],
    seeds: tuple[int, ...],
    target: float,
) -> dict[str, Any]:
    """What is kept of a method: its runs at the learning rate with the smallest median."""
    values = {r: [values_to_reach(c, target) for c in curves] for r, curves in tried.items()}
    rate = min(values, key=lambda r: median(values[r]))
    curves, needed = tried[rate], median(values[rate])
    middle = int(np.argsort([np.inf if v is None else v for v in values[rate]])[len(seeds) // 2])
    return {
        "learning_rate": rate,
        "values": values[rate],
        "median": needed if np.isfinite(needed) else None,
        "values_by_learning_rate": {f"{r:g}": v for r, v in values.items()},
        "curves": [_thinned(curve) for curve in curves],
        "path_seed": seeds[middle],
        "path": path(constructor, rate, seeds[middle], int(curves[middle].spent[-1])),
    }


def _thinned(curve: Curve) -> dict[str, list[float]]:
    """Points of a curve, evenly spread on a logarithmic axis."""
    at = _spread(len(curve.spent))
    best = [float(f"{v:.4g}") for v in curve.best[at]]
    return {"spent": curve.spent[at].tolist(), "best": best}


def _spread(number: int) -> np.ndarray:
    return np.unique(np.geomspace(1, number, _POINTS).round().astype(int)) - 1


def path(constructor: Constructor, rate: float, seed: int, values: int) -> list[list[float]]:
    """Points where a method stood within its first `values` values, thinned."""
    points, spent = _path(constructor, values // 2 + 1, rate, jax.random.key(seed))
    stood = np.asarray(points)[np.asarray(spent) < values]
    stood = stood[np.abs(stood).max(axis=1) < _FAR]  # False for NaN
    return np.round(stood[_spread(len(stood))], 4).tolist()


@partial(jax.jit, static_argnums=(0, 1))
def _path(
    constructor: Constructor, steps: int, rate: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Points, and values spent before each; a step takes two values at least."""
    tx = constructor(rate, key=key)

    def step(carry: Any, _: None) -> Any:
        x, state = carry
        updates, after = tx.update(jnp.zeros_like(x), state, x, value_fn=rosenbrock)
        return (optax.apply_updates(x, updates), after), (x, num_evaluations(state))

    x0 = jnp.array(START)
    return jax.lax.scan(step, (x0, tx.init(x0)), length=steps)[1]


def _reference(method: str, budget: int, target: float) -> dict[str, Any]:
    curve = scipy_curve(rosenbrock, np.array(START), method, budget)
    return {"values": values_to_reach(curve, target), "curve": _thinned(curve)}
