"""A stiff simulator calibrated, against COBYQA and CMA-ES (3 - 4 min)."""

import multiprocessing
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments import experiment
from experiments.common import style, table
from experiments.common.curves import Curve, best_after, curve_of
from experiments.common.solvers import Counted, cma_curve, scipy_curve
from experiments.examples.reaction_kinetics.model import MINUTES, RATES, concentrations
from experiments.examples.reaction_kinetics.problem import MEASURED, TIMES, Calibration, calibration
from zosah_jax import Host, methods, minimize


@dataclass(frozen=True)
class Config(experiment.Config):
    """ZO-PQN, ZO-SAH, COBYQA and CMA-ES on 20 rate constants of POLLU, at the same budget."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    """Seeds of the measurements, the first guesses and the methods."""
    budget: int = 600
    """Values of the misfit, each an integration of the model."""
    error: float = 0.05
    """Relative error of a measured concentration."""
    doubt: float = 0.3
    """Standard deviation of the first guesses, in decades."""
    workers: int = 2
    """Processes."""


# --- the measurement ------------------------------------------------------------------------------

OURS = {"ZO-PQN": methods.zopqn(), "ZO-SAH": methods.zosah()}
METHODS = (*OURS, "COBYQA", "CMA-ES")
_DECADES = 1.5  # either way of the published constants: nobody doubts them by more
_BOX = (-_DECADES, _DECADES)
_POINTS = 60  # of a kept curve


def measure(config: Config) -> dict[str, Any]:
    """The misfit that each method reaches, seed by seed."""
    at = np.unique(np.geomspace(20, config.budget, _POINTS).round().astype(int))
    final: dict[str, list[float]] = {method: [] for method in METHODS}
    curves: dict[str, list[np.ndarray]] = {method: [] for method in METHODS}
    start, truth = [], []
    spawn = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(config.workers, mp_context=spawn) as pool,
        tqdm(total=len(config.seeds) * len(METHODS), unit="run") as bar,
    ):
        for seed in config.seeds:
            misfit, guess = calibration(seed, config.error, config.doubt)
            guess = np.clip(guess, *_BOX)
            start.append(misfit(guess))
            truth.append(misfit(np.zeros_like(guess)))
            for method in METHODS:
                bar.set_description(f"{method}, seed {seed}")
                curve = _curve(method, misfit, guess, config, seed, pool)
                final[method].append(float(curve.best[-1]))
                curves[method].append(best_after(curve, at))
                bar.update()
    return {
        "start": start,
        "truth": truth,
        "final": final,
        "spent": at.tolist(),
        "median_curves": {m: np.median(of, axis=0).tolist() for m, of in curves.items()},
    }


def _curve(
    method: str, misfit: Calibration, guess: np.ndarray, config: Config, seed: int, pool: Executor
) -> Curve:
    budget = config.budget
    if method == "COBYQA":
        return scipy_curve(misfit, guess, method, budget, bounds=[_BOX] * guess.size)
    if method == "CMA-ES":
        counted = Counted(misfit, budget, pool.map)
        return cma_curve(counted, guess, config.doubt, seed, bounds=list(_BOX), goes_on=True)
    host = Host(executor=pool)
    found = minimize(misfit, guess, OURS[method], budget=budget, bounds=_BOX, key=seed, host=host)
    return curve_of(found)


# --- its tables -----------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    rows = [[name, *_summary(misfits)] for name, misfits in results["final"].items()]
    rows.append(["first guess", *_summary(results["start"])])
    rows.append(["true constants", *_summary(results["truth"])])
    return {"table": table.markdown(["misfit", "median", "min", "max"], rows)}


def _summary(misfits: list[float]) -> list[str]:
    return [f"{value:.3g}" for value in (np.median(misfits), min(misfits), max(misfits))]


# --- its figure -----------------------------------------------------------------------------------

_LOOKS: dict[str, dict[str, Any]] = {
    "ZO-PQN": {"color": style.colour("zopqn"), "linewidth": 3},
    "ZO-SAH": {"color": style.colour("zosah"), "linewidth": 3},
    "COBYQA": {"color": style.REFERENCE, "linestyle": "-."},
    "CMA-ES": {"color": style.REFERENCE, "linestyle": ":"},
}
_SHOWN = {0: "NO$_2$", 1: "NO", 3: "O$_3$", 6: "HCHO", 18: "NO$_3$"}


def draw(results: dict[str, Any], path: Path) -> None:
    """The misfit against the values spent, and the measurements that it is taken from."""
    with style.figure(path, 13.6, 5.4) as figure:
        curves, data = figure.subplots(1, 2)
        for method, best in results["median_curves"].items():
            curves.plot(results["spent"], best, label=method, **_LOOKS[method])
        curves.axhline(np.median(results["truth"]), color="#888888", linewidth=1)
        curves.annotate("true constants", (results["spent"][0], 1.1), color="#555555")
        curves.set(xscale="log", yscale="log", xlabel="integrations", ylabel="misfit")
        style.plain_ticks(curves.xaxis)
        curves.set_title(f"Best misfit so far, median of {len(results['start'])} seeds")
        curves.legend()
        _measurements(data)


def _measurements(axes: Any) -> None:
    """The first seed's measurements of some species, and what the true constants give."""
    problem, _ = calibration(0, 0.05, 0.3)
    times = np.geomspace(TIMES[0], MINUTES, 200)
    true = concentrations(RATES, times)
    for number, (species, name) in enumerate(_SHOWN.items()):
        colour = f"C{number}"
        axes.plot(times, true[:, species], color=colour, linewidth=1.4)
        column = int(np.flatnonzero(species == MEASURED)[0])
        axes.plot(TIMES, np.exp(problem.measured[:, column]), "o", color=colour, label=name)
    axes.set(xscale="log", yscale="log", xlabel="minutes", ylabel="ppm")
    axes.set_title("What is measured (some species)")
    axes.legend(ncols=3)


EXPERIMENT = experiment.Experiment("reaction_kinetics", Config, measure, tables, draw)
