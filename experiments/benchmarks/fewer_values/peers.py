"""What a user would pick instead: SciPy's minimisers and CMA-ES, each at its best setting."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from experiments.common.curves import Curve, median, values_to_reach
from experiments.common.problems import Task
from experiments.common.solvers import ENDLESS, Counted, cma_curve, scipy_curve

_TIGHT = {"ftol": 1e-14, "gtol": 1e-10}
_SMALL = 10  # dimensions up to which the methods for few are run

Peer = Callable[[Callable[[Any], Any], np.ndarray, int], Curve]


def valley_peers(
    valley: Task, budget: int, target: float, seeds: tuple[int, ...]
) -> dict[str, float | None]:
    """Values to a target, by each of them that is for so many parameters; None where none came."""
    fun, small = valley.objective(), valley.dimension <= _SMALL
    peers = gradient_peers() | (_small_peers() if small else {})
    theirs: dict[str, float | None] = {
        name: fewest((run(fun, valley.x0, budget) for run in runs), target)
        for name, runs in peers.items()
    }
    if small:
        needed = []
        for seed in seeds:
            curve = cma_curve(Counted(fun, budget), valley.x0, 0.5, seed, tolfun=1e-14)
            needed.append(values_to_reach(curve, target))
        middle = median(needed)
        theirs["CMA-ES"] = middle if np.isfinite(middle) else None
    return theirs


def fewest(curves: Iterable[Curve], target: float) -> int | None:
    """Fewest values that any of the settings needs."""
    needed = [values_to_reach(curve, target) for curve in curves]
    return min((v for v in needed if v is not None), default=None)


def gradient_peers() -> dict[str, list[Peer]]:
    """SciPy's methods with forward differences: defaults, and tolerances that do not stop early."""
    limits = {"maxiter": 1_000_000}
    lbfgsb = [limits, *({**limits, **_TIGHT, "eps": eps} for eps in (1e-8, 1e-7))]
    bfgs = [limits, *({**limits, "gtol": 1e-9, "eps": eps} for eps in (1e-8, 1e-7))]
    return {
        "L-BFGS-B": [_scipy("L-BFGS-B", {**options, "maxfun": ENDLESS}) for options in lbfgsb],
        "BFGS": [_scipy("BFGS", options) for options in bfgs],
    }


def _small_peers() -> dict[str, list[Peer]]:
    cobyqa = [{"initial_tr_radius": r, "final_tr_radius": 1e-8} for r in (1.0, 0.5, 0.1)]
    simplex: list[dict[str, Any]] = [{}, {"xatol": 1e-8, "fatol": 1e-10}]
    return {
        "COBYQA": [_scipy("COBYQA", options) for options in cobyqa],
        "Nelder-Mead": [_scipy("Nelder-Mead", options) for options in simplex],
    }


def _scipy(method: str, options: dict[str, Any]) -> Peer:
    return lambda fun, x0, budget: scipy_curve(fun, x0, method, budget, **options)
