"""The measurement: values to a target, by ZO-PQN and by SciPy's minimisers and CMA-ES."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import cma
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from experiments.curves import Curve, from_history, median, values_to_reach
from experiments.fewer_values.valleys import Valley, quadratic, rosenbrocks
from experiments.logistic_regression import problem as logistic
from experiments.references import scipy_curve
from zosah_jax import History, minimize, zopqn

_TIGHT = {"ftol": 1e-14, "gtol": 1e-10}
_SMALL = 10  # dimensions up to which the methods for few are run

Peer = Callable[[Callable[[Any], Any], np.ndarray, int, int], Curve]


def measure(
    *,
    datasets: tuple[str, ...],
    rows: int,
    regularisation: float,
    fractions: tuple[float, ...],
    budget: int,
    rosenbrock: tuple[int, ...],
    quadratics: int,
    valley_budget: int,
    seeds: tuple[int, ...],
    data_dir: Path | None,
) -> dict[str, Any]:
    """Run ZO-PQN with its defaults, and each peer with several settings.

    Args:
        datasets: names.
        rows: most rows.
        regularisation: lambda.
        fractions: of the gap to close.
        budget: of a run on data, in units of d.
        rosenbrock: dimensions.
        quadratics: how many.
        valley_budget: of a run on Rosenbrock's function and quadratics, in units of d.
        seeds: of the methods that have some.
        data_dir: folder of LIBSVM files.

    Returns:
        For JSON: values needed, by problem and method.
    """
    valleys = [valley for d in rosenbrock for valley in rosenbrocks(d)]
    valleys += [quadratic(number) for number in range(quadratics)]
    with tqdm(total=len(datasets) + len(valleys)) as bar:
        data = {}
        for name in datasets:
            bar.set_description(name)
            prepared = logistic.prepare(name, rows, data_dir, regularisation)
            data[name] = _on_data(prepared, fractions, budget, seeds)
            bar.update()
        found = []
        for valley in valleys:
            bar.set_description(valley.name)
            found.append(_on_valley(valley, valley_budget, seeds))
            bar.update()
    return {"fractions": list(fractions), "data": data, "valleys": found}


def _on_data(
    problem: logistic.Problem, fractions: tuple[float, ...], budget: int, seeds: tuple[int, ...]
) -> dict[str, Any]:
    """Values to close each part of the gap, by every seed and by L-BFGS-B at its best."""
    targets = [logistic.target(problem, fraction) for fraction in fractions]
    most = budget * problem.dimension
    ours = [logistic.run(problem, zopqn, 1.0, seed, most) for seed in seeds]
    margins = jnp.asarray(problem.margins)
    fun = jax.jit(lambda w: logistic.loss(w, margins, problem.regularisation))
    start = np.zeros(problem.dimension)
    theirs = [peer(fun, start, most, 0) for peer in _gradient_peers()["L-BFGS-B"]]
    return {
        "dimension": problem.dimension,
        "zopqn": [[values_to_reach(curve, t) for curve in ours] for t in targets],
        "lbfgsb": [_fewest(theirs, t) for t in targets],
    }


def _on_valley(valley: Valley, budget: int, seeds: tuple[int, ...]) -> dict[str, Any]:
    d = len(valley.start)
    ours = [from_history(_history(valley, budget * d, jax.random.key(seed))) for seed in seeds]
    fun = jax.jit(valley.fun)
    peers = dict(_gradient_peers())
    if d <= _SMALL:
        peers |= _small_peers()
    theirs: dict[str, float | None] = {
        name: _fewest((run(fun, valley.start, budget * d, 0) for run in runs), valley.target)
        for name, runs in peers.items()
    }
    if d <= _SMALL:
        runs = [_cma_curve(fun, valley.start, budget * d, seed) for seed in seeds]
        middle = median([values_to_reach(curve, valley.target) for curve in runs])
        theirs["CMA-ES"] = middle if np.isfinite(middle) else None
    return {
        "name": valley.name,
        "dimension": d,
        "zopqn": [values_to_reach(curve, valley.target) for curve in ours],
        "peers": theirs,
    }


def _history(valley: Valley, budget: int, key: jax.Array) -> History:
    return minimize(
        valley.fun,
        jnp.asarray(valley.start),
        _ZOPQN,
        budget=budget,
        target=valley.target,
        key=key,
        max_history=100_000,
    ).history


_ZOPQN = zopqn()


def _fewest(curves: Iterable[Curve], target: float) -> int | None:
    """Fewest values that any of the settings needs."""
    needed = [values_to_reach(curve, target) for curve in curves]
    return min((v for v in needed if v is not None), default=None)


def _gradient_peers() -> dict[str, list[Peer]]:
    """SciPy's methods with forward differences: defaults, and tolerances that do not stop early."""
    limits = {"maxiter": 1_000_000}
    lbfgsb = [limits, *({**limits, **_TIGHT, "eps": eps} for eps in (1e-8, 1e-7))]
    bfgs = [limits, *({**limits, "gtol": 1e-9, "eps": eps} for eps in (1e-8, 1e-7))]
    return {
        "L-BFGS-B": [partial(_scipy, "L-BFGS-B", {**o, "maxfun": 10_000_000}) for o in lbfgsb],
        "BFGS": [partial(_scipy, "BFGS", options) for options in bfgs],
    }


def _small_peers() -> dict[str, list[Peer]]:
    cobyqa = [{"initial_tr_radius": r, "final_tr_radius": 1e-8} for r in (1.0, 0.5, 0.1)]
    simplex = [{}, {"xatol": 1e-8, "fatol": 1e-10}]
    return {
        "COBYQA": [partial(_scipy, "COBYQA", options) for options in cobyqa],
        "Nelder-Mead": [partial(_scipy, "Nelder-Mead", options) for options in simplex],
    }


def _scipy(
    method: str,
    options: dict[str, Any],
    fun: Callable[[Any], Any],
    start: np.ndarray,
    budget: int,
    seed: int,
) -> Curve:
    del seed
    return scipy_curve(fun, start, method, budget, **options)


def _cma_curve(fun: Callable[[Any], Any], start: np.ndarray, budget: int, seed: int) -> Curve:
    """Curve of pycma's CMA-ES, sigma 0.5."""
    values: list[float] = []

    def counted(x: np.ndarray) -> float:
        values.append(float(fun(np.asarray(x))))
        return values[-1]

    options = {"verbose": -9, "seed": seed + 1, "maxfevals": budget, "tolfun": 1e-14}
    cma.fmin(counted, start, 0.5, options=options)
    kept = np.array(values[:budget])
    return Curve(np.arange(1, len(kept) + 1), np.minimum.accumulate(kept))
