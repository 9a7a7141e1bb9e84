"""The measurement: the misfit that each method reaches, seed by seed."""

import multiprocessing
from concurrent.futures import Executor, ProcessPoolExecutor
from typing import Any

import numpy as np
import optax
from tqdm import tqdm

from experiments.curves import Curve, best_after, from_history
from experiments.reaction_kinetics.problem import Calibration, calibration
from experiments.references import cma_curve, scipy_curve
from zosah_jax import minimize_blackbox, zopqn

OURS: dict[str, optax.GradientTransformation | None] = {"ZO-PQN": zopqn(), "ZO-SAH (default)": None}
METHODS = (*OURS, "COBYQA", "CMA-ES")
_DECADES = 1.5  # either way of the published constants: nobody doubts them by more
_POINTS = 60  # of a kept curve


def measure(
    *, seeds: tuple[int, ...], budget: int, error: float, doubt: float, workers: int
) -> dict[str, Any]:
    """Run every method on every seed's problem.

    Args:
        seeds: of problems and methods.
        budget: values of each run.
        error: relative error of a measurement.
        doubt: standard deviation of the first guesses, in decades.
        workers: processes.

    Returns:
        For JSON: misfits at the start, at the truth and at the end, and median curves.
    """
    at = np.unique(np.geomspace(20, budget, _POINTS).round().astype(int))
    final: dict[str, list[float]] = {method: [] for method in METHODS}
    curves: dict[str, list[np.ndarray]] = {method: [] for method in METHODS}
    start, truth = [], []
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(workers, mp_context=context) as pool,
        tqdm(total=len(seeds) * len(METHODS), unit="run") as bar,
    ):
        for seed in seeds:
            misfit, guess = calibration(seed, error, doubt)
            guess = np.clip(guess, -_DECADES, _DECADES)
            start.append(misfit(guess))
            truth.append(misfit(np.zeros_like(guess)))
            for method in METHODS:
                bar.set_description(f"{method}, seed {seed}")
                curve = _curve(method, misfit, guess, doubt, budget, seed, pool)
                final[method].append(float(curve.best[-1]))
                curves[method].append(best_after(curve, at))
                bar.update()
    middle = {method: np.median(found, axis=0).tolist() for method, found in curves.items()}
    return {
        "start": start,
        "truth": truth,
        "final": final,
        "spent": at.tolist(),
        "median_curves": middle,
    }


def _curve(
    method: str,
    misfit: Calibration,
    guess: np.ndarray,
    doubt: float,
    budget: int,
    seed: int,
    pool: Executor,
) -> Curve:
    if method == "COBYQA":
        return scipy_curve(
            misfit, guess, method, budget, bounds=[(-_DECADES, _DECADES)] * guess.size
        )
    if method == "CMA-ES":
        return cma_curve(misfit, guess, doubt, budget, seed, (-_DECADES, _DECADES), pool.map)
    box = (-_DECADES, _DECADES)
    found = minimize_blackbox(
        misfit, guess, OURS[method], budget=budget, bounds=box, key=seed, executor=pool
    )
    return from_history(found.history)
