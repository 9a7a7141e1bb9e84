"""The measurement: values to a target, by ZO-PQN, SciPy's methods, CMA-ES, our own others."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import cma
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from experiments.comparison.run import compare
from experiments.curves import Curve, from_history, median, values_to_reach
from experiments.errors import InputError
from experiments.fewer_values.valleys import Valley, quadratic, rosenbrocks
from experiments.logistic_regression import problem as logistic
from experiments.references import scipy_curve
from zosah_jax import History, minimize, zopqn

_TIGHT = {"ftol": 1e-14, "gtol": 1e-10}
_SMALL = 10  # dimensions up to which the methods for few are run

PARTS = ("zopqn", "peers", "methods")
"""What can be run alone: ZO-PQN, SciPy's and pycma's methods, and this library's others."""

# under which name each part's results are kept
_DATA_FIELDS = {"zopqn": "zopqn", "peers": "lbfgsb", "methods": "methods"}
_VALLEY_FIELDS = {"zopqn": "zopqn", "peers": "peers"}

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
    methods: tuple[str, ...],
    learning_rates: tuple[float, ...],
    tuning_seed: int,
    workers: int,
    data_dir: Path | None,
    only: tuple[str, ...] | None = None,
    kept: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Run ZO-PQN with its defaults, each peer with several settings, the library's others tuned.

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
        methods: the library's other methods, by name.
        learning_rates: their grid.
        tuning_seed: on which it is searched.
        workers: of those methods that are run at a time, in threads.
        data_dir: folder of LIBSVM files.
        only: the `PARTS` that are run; None: all.
        kept: results that the other parts are taken from.

    Returns:
        For JSON: values needed, by problem and method.

    Raises:
        InputError: a part is not known, or `kept` has not the others of these very problems.
    """
    for part in only or ():
        if part not in PARTS:
            raise InputError(f"only: got {part!r}, wanted one of {', '.join(PARTS)}.")
    parts = only or PARTS
    problems = [logistic.prepare(name, rows, data_dir, regularisation) for name in datasets]
    valleys = [valley for d in rosenbrock for valley in rosenbrocks(d)]
    valleys += [quadratic(number) for number in range(quadratics)]
    data = {problem.name: _about(problem, budget) for problem in problems}
    long = {v.name: {"dimension": len(v.start), "budget_in_d": valley_budget} for v in valleys}
    for name, found in [*data.items(), *long.items()]:
        found |= _taken(name, found, name in data, fractions, parts, kept)
    if "methods" in parts:
        entries = compare(
            problems, methods, learning_rates, tuning_seed, seeds, budget, workers, fractions
        )
        for name, of in entries.items():
            data[name]["methods"] = [_entry(entry, len(fractions)) for entry in of]
    with tqdm(total=len(problems) + len(valleys)) as bar:
        for problem in problems:
            bar.set_description(problem.name)
            data[problem.name] |= _on_data(problem, fractions, budget, seeds, parts)
            bar.update()
        for valley in valleys:
            bar.set_description(valley.name)
            long[valley.name] |= _on_valley(valley, valley_budget, seeds, parts)
            bar.update()
    named = [{"name": name, **found} for name, found in long.items()]
    return {"fractions": list(fractions), "data": data, "valleys": named}


def _taken(
    name: str,
    about: dict[str, Any],
    is_data: bool,
    fractions: tuple[float, ...],
    parts: Iterable[str],
    kept: dict[str, Any] | None,
) -> dict[str, Any]:
    """What is kept of the parts that are not run, if it is of the very problem."""
    fields = _DATA_FIELDS if is_data else _VALLEY_FIELDS
    wanted = [field for part, field in fields.items() if part not in parts]
    if not wanted:
        return {}
    kept = kept or {"fractions": [], "data": {}, "valleys": []}
    found = kept["data"].get(name, {}) if is_data else _by_name(kept["valleys"], name)
    same = all(found.get(key) == value for key, value in about.items())
    same = same and (not is_data or kept["fractions"] == list(fractions))
    if not same or any(field not in found for field in wanted):
        raise InputError(
            f"only: wanted the kept results of {name}, the same problem and budget, which are not "
            "there: run without it first."
        )
    return {field: found[field] for field in wanted}


def _by_name(found: Iterable[dict[str, Any]], name: str) -> dict[str, Any]:
    return next((one for one in found if one["name"] == name), {})


def _about(problem: logistic.Problem, budget: int) -> dict[str, Any]:
    """What a kept problem is known by."""
    return {
        "dimension": problem.dimension,
        "rows": len(problem.margins),
        "start": round(problem.start, 6),
        "optimum": round(problem.optimum, 6),
        "budget_in_d": budget,
    }


def _entry(entry: dict[str, Any], number: int) -> dict[str, Any]:
    """What is kept of an entry of the comparison."""
    about = {key: entry.get(key) for key in ("method", "setting", "learning_rate", "options")}
    return about | {"values": entry["values_to_reach"][:number]}


def _on_data(
    problem: logistic.Problem,
    fractions: tuple[float, ...],
    budget: int,
    seeds: tuple[int, ...],
    parts: Iterable[str],
) -> dict[str, Any]:
    """Values to close each part of the gap, by every seed and by L-BFGS-B at its best."""
    targets = [logistic.target(problem, fraction) for fraction in fractions]
    most = budget * problem.dimension
    found: dict[str, Any] = {}
    if "zopqn" in parts:
        ours = [logistic.run(problem, zopqn, 1.0, seed, most) for seed in seeds]
        found["zopqn"] = [[values_to_reach(curve, t) for curve in ours] for t in targets]
    if "peers" in parts:
        margins = jnp.asarray(problem.margins)
        fun = jax.jit(lambda w: logistic.loss(w, margins, problem.regularisation))
        start = np.zeros(problem.dimension)
        theirs = [peer(fun, start, most, 0) for peer in _gradient_peers()["L-BFGS-B"]]
        found["lbfgsb"] = [_fewest(theirs, t) for t in targets]
    return found


def _on_valley(
    valley: Valley, budget: int, seeds: tuple[int, ...], parts: Iterable[str]
) -> dict[str, Any]:
    d = len(valley.start)
    found: dict[str, Any] = {}
    if "zopqn" in parts:
        ours = [from_history(_history(valley, budget * d, jax.random.key(seed))) for seed in seeds]
        found["zopqn"] = [values_to_reach(curve, valley.target) for curve in ours]
    if "peers" in parts:
        found["peers"] = _valley_peers(valley, budget, seeds)
    return found


def _valley_peers(valley: Valley, budget: int, seeds: tuple[int, ...]) -> dict[str, float | None]:
    d = len(valley.start)
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
    return theirs


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
