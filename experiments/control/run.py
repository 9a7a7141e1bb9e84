"""The measurement: the controllers that each method finds, also on episodes not seen."""

import multiprocessing
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments.control.simulation import GAINS, Cost, episode
from experiments.references import Curve, cma_curve, scipy_curve
from zosah_jax import minimize_blackbox

METHODS = ("zosah_jax", "COBYQA", "CMA-ES")
BOUNDS = (0.05, 5.0)
_SEEN, _HELD_OUT = tuple(range(4)), tuple(range(100, 120))
_FIRST_SPREAD = 0.3


def measure(
    *, seeds: tuple[int, ...], budget: int, doubt: float, noise: float, workers: int
) -> dict[str, Any]:
    """Tune from every seed's first guess by every method.

    Args:
        seeds: of guesses and methods.
        budget: values of each run, each of four episodes.
        doubt: standard deviation of the logarithm of a first guess.
        noise: how much the cost jumps for no reason, for zosah_jax.
        workers: processes.

    Returns:
        For JSON: costs on seen and held-out episodes, gains, and an episode before and after.
    """
    cost, held_out = Cost(_SEEN), Cost(_HELD_OUT)
    runs: dict[str, list[dict[str, Any]]] = {method: [] for method in METHODS}
    first = []
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(workers, mp_context=context) as pool,
        tqdm(total=len(seeds) * len(METHODS), unit="run") as bar,
    ):
        for seed in seeds:
            spread = doubt * np.random.default_rng(seed).normal(size=len(GAINS))
            guess = np.clip(np.exp(spread), *BOUNDS)
            first.append(
                {"cost": cost(guess), "held_out": held_out(guess), "gains": guess.tolist()}
            )
            for method in METHODS:
                bar.set_description(f"{method}, seed {seed}")
                value, gains = _tuned(method, cost, guess, budget, seed, noise, pool)
                runs[method].append(
                    {"cost": value, "held_out": held_out(gains), "gains": gains.tolist()}
                )
                bar.update()
    best = min(runs["zosah_jax"], key=lambda run: run["cost"])
    shown = {"before": first[0]["gains"], "after": best["gains"]}
    angles = {
        name: np.round(episode(np.array(gains), _HELD_OUT[0])[1], 3).tolist()
        for name, gains in shown.items()
    }
    return {"first": first, "runs": runs, "angles": angles}


def _tuned(
    method: str,
    cost: Cost,
    guess: np.ndarray,
    budget: int,
    seed: int,
    noise: float,
    pool: Executor,
) -> tuple[float, np.ndarray]:
    """The smallest cost of a run, and its gains."""
    if method == "zosah_jax":
        found = minimize_blackbox(
            cost, guess, budget=budget, bounds=BOUNDS, noise=noise, key=seed, executor=pool
        )
        return float(found.best_value), found.best_params
    seen = _Remembered(cost)
    if method == "COBYQA":
        scipy_curve(seen, guess, method, budget, bounds=[BOUNDS] * guess.size)
    else:
        curve: Curve = cma_curve(seen, guess, _FIRST_SPREAD, budget, seed, BOUNDS)
        assert curve.spent[-1] == budget
    return seen.best


class _Remembered:
    """An objective that keeps its best point."""

    def __init__(self, fun: Cost) -> None:
        self._fun, self.best = fun, (float("inf"), np.empty(0))

    def __call__(self, x: np.ndarray) -> float:
        value = self._fun(x)
        if value < self.best[0]:
            self.best = value, np.array(x)
        return value
