"""A stiff simulator calibrated, by its misfit and by its residuals (10 - 15 min)."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments import experiment
from experiments.common import records, style, table
from experiments.common.curves import Curve, best_after, curve_of
from experiments.common.errors import InputError
from experiments.common.solvers import Counted, cma_curve, scipy_curve
from experiments.examples.reaction_kinetics import vectors
from experiments.examples.reaction_kinetics.model import MINUTES, RATES, concentrations
from experiments.examples.reaction_kinetics.problem import MEASURED, TIMES, Calibration, calibration
from zosah_jax import Host, methods, minimize


@dataclass(frozen=True)
class Config(experiment.Config):
    """20 rate constants of POLLU, by methods told the misfit, and by ones told all residuals."""

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
    vector_budget: int = 300
    """Simulations of a run that is told all residuals."""
    sleep: float = 0.05
    """Seconds that are added to a simulation where one worker is compared with two."""
    only: tuple[str, ...] | None = None
    """Of misfit and vectors, the parts to run anew; the other's results are those that are kept.
    None: both."""


# --- the measurement ------------------------------------------------------------------------------

OURS = {"the default": None, "ZO-PQN": methods.zopqn(), "ZO-SAH": methods.zosah()}
METHODS = (*OURS, "COBYQA", "CMA-ES")
_DECADES = 1.5  # either way of the published constants: nobody doubts them by more
_BOX = (-_DECADES, _DECADES)
_POINTS = 60  # of a kept curve


def measure(config: Config) -> dict[str, Any]:
    """Both parts, or what is kept of one of them."""
    experiment.check_names("only", config.only or (), _PARTS)
    found: dict[str, Any] = {}
    for name, (part, keys) in _PARTS.items():
        if name in (config.only or _PARTS):
            found |= part(config)
        else:
            found |= _kept(config, keys)
    return found


def _kept(config: Config, keys: tuple[str, ...]) -> dict[str, Any]:
    """What is kept of a part, if it is of the same config."""
    path = records.own_folder("reaction_kinetics")
    record = records.read(path) if (path / "results.json").exists() else {}
    asked, had = records.settings(config), record.get("config", {})
    common = ("seeds", "budget", "error", "doubt", "workers")  # of the misfit, whose part is long
    same = all(had.get(name) == asked[name] for name in common)
    if not same or any(key not in record["results"] for key in keys):
        raise InputError("only: wanted kept results of the same config: run without it first.")
    return {key: record["results"][key] for key in keys}


def _vectors(config: Config) -> dict[str, Any]:
    tasks = vectors.tasks(config.seeds, config.error, config.doubt, _BOX)
    return {"vectors": vectors.measure(tasks, config.vector_budget, config.sleep)}


def _misfits(config: Config) -> dict[str, Any]:
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


_Part = tuple[Callable[[Config], dict[str, Any]], tuple[str, ...]]
_PARTS: dict[str, _Part] = {
    "misfit": (_misfits, ("start", "truth", "final", "spent", "median_curves")),
    "vectors": (_vectors, ("vectors",)),
}
"""Parts by name: how each is measured, and its results by name."""


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
    found = results["vectors"]
    return {
        "table": table.markdown(["misfit", "median", "min", "max"], rows),
        "vectors": _needed(found),
        "faults": _faults(found),
        "times": _times(found),
    }


def _needed(found: dict[str, Any]) -> str:
    header = ["simulations, median (worst)"]
    header += [f"within {100 * part:g} %" for part in vectors.WITHIN]
    rows = []
    for name, of in found["needed"].items():
        rows.append([name, *(_middle(list(counts)) for counts in zip(*of, strict=True))])
    return table.markdown(header, rows)


def _faults(found: dict[str, Any]) -> str:
    clean = found["faults"]["none"]
    rows = []
    for name, counts in found["faults"].items():
        both = [
            own / usual
            for own, usual in zip(counts, clean, strict=True)
            if own is not None and usual is not None
        ]
        mean = f"{table.geometric_mean(both):.2f}" if len(both) == len(counts) else "-"
        rows.append([name, _middle(counts), mean])
    header = ["simulations to 5 %, least_squares", "median (worst)", "over those without faults"]
    return table.markdown(header, rows)


def _middle(counts: list[int | None]) -> str:
    """Median and worst; how many seeds got there if not all did."""
    there = [count for count in counts if count is not None]
    middle = float(np.median([np.inf if count is None else count for count in counts]))
    told = f"{middle:.4g}" if np.isfinite(middle) else "-"
    return (
        f"{told} ({max(there)})"
        if len(there) == len(counts)
        else (f"{told} ({len(there)} of {len(counts)} get there)")
    )


def _times(found: dict[str, Any]) -> str:
    workers, own = found["workers"], found["own_work"]
    seconds = [pair for pair in workers["seconds"] if None not in pair]
    shorter = [two / one for one, two in seconds]
    rows = []
    for number, name in enumerate(("one worker", "two workers")):
        spent = np.median([pair[number] for pair in seconds]) if seconds else np.nan
        simulations = np.median([pair[number] for pair in workers["simulations"]])
        rows.append([f"{name}: seconds to 2 % (simulations)", f"{spent:.2f} ({simulations:g})"])
    mean = f"{table.geometric_mean(shorter):.2f}" if shorter else "-"
    rows.append([f"two workers over one (of {len(seconds)})", mean])
    rows.append([f"own work a step, median of {own['steps']}", f"{own['milliseconds']:.1f} ms"])
    return table.markdown(["times", ""], rows)


def _summary(misfits: list[float]) -> list[str]:
    return [f"{value:.3g}" for value in (np.median(misfits), min(misfits), max(misfits))]


# --- its figure -----------------------------------------------------------------------------------

_LOOKS: dict[str, dict[str, Any]] = {
    "the default": {"color": style.series(2), "linewidth": 3.4},
    "ZO-PQN": {"color": style.colour("zopqn"), "linewidth": 2},
    "ZO-SAH": {"color": style.colour("zosah"), "linewidth": 2},
    "COBYQA": {"color": style.REFERENCE, "linestyle": "-."},
    "CMA-ES": {"color": style.REFERENCE, "linestyle": ":"},
    vectors.OURS: {"color": style.series(4), "linewidth": 3.4},
    "DFO-LS": {"color": style.series(6), "linestyle": "--"},
    "SciPy trf": {"color": style.series(7), "linestyle": "-."},
}
_SHOWN = {0: "NO$_2$", 1: "NO", 3: "O$_3$", 6: "HCHO", 18: "NO$_3$"}


def draw(results: dict[str, Any], path: Path) -> None:
    """The misfit against the values spent, and the measurements that it is taken from."""
    with style.figure(path, 13.6, 5.4) as figure:
        curves, data = figure.subplots(1, 2)
        lines = {}
        for of in (results["vectors"], results):
            lines[id(of)] = [
                curves.plot(of["spent"], best, label=method, **_LOOKS[method])[0]
                for method, best in of["median_curves"].items()
                if method in _LOOKS
            ]
        curves.axhline(np.median(results["truth"]), color="#888888", linewidth=1)
        curves.annotate("true constants", (1.1, 1.1), color="#555555")
        curves.set(xscale="log", yscale="log", xlabel="simulations", ylabel="misfit")
        style.plain_ticks(curves.xaxis)
        curves.set_title(f"Best misfit so far, median of {len(results['start'])} seeds")
        told, whole = lines.values()
        curves.set_ylim(0.7, 1e4)  # room for the legends
        first = curves.legend(handles=told, title="all residuals told", loc="upper left")
        curves.add_artist(first)
        curves.legend(handles=whole, title="the misfit alone told", loc="upper right")
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


EXPERIMENT = experiment.Experiment(
    "reaction_kinetics", Config, measure, tables, draw, packages=("DFO-LS", "cma")
)
