"""The gains of a controller in Gymnasium (2 - 3 min)."""

import multiprocessing
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments import experiment
from experiments.common import style, table
from experiments.common.solvers import Counted, Over, run_cma, run_scipy
from experiments.examples.control.simulation import GAINS, GUESS, Cost, episode
from zosah_jax import Host, minimize


@dataclass(frozen=True)
class Config(experiment.Config):
    """zosah_jax, COBYQA and CMA-ES on the five gains of a controller that swings a pendulum up."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    """Seeds of the first guesses and the methods."""
    budget: int = 150
    """Values, each of four episodes."""
    doubt: float = 0.5
    """Standard deviation of the logarithms of a first guess."""
    noise: float = 0.1
    """How much the cost jumps for no reason, for zosah_jax, which spaces its probes by it."""
    workers: int = 2
    """Processes."""


# --- the measurement ------------------------------------------------------------------------------

METHODS = ("zosah_jax", "COBYQA", "CMA-ES")
BOUNDS = (0.05, 5.0)
_SEEN, _HELD_OUT = tuple(range(4)), tuple(range(100, 120))
_FIRST_SPREAD = 0.3


def measure(config: Config) -> dict[str, Any]:
    """The controllers that each method finds from every seed's guess, also on episodes not seen."""
    cost, held_out = Cost(_SEEN), Cost(_HELD_OUT)
    runs: dict[str, list[dict[str, Any]]] = {method: [] for method in METHODS}
    first = []

    def about(value: float, gains: np.ndarray) -> dict[str, Any]:
        return {"cost": value, "held_out": held_out(gains), "gains": gains.tolist()}

    spawn = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(config.workers, mp_context=spawn) as pool,
        tqdm(total=len(config.seeds) * len(METHODS), unit="run") as bar,
    ):
        for seed in config.seeds:
            spread = config.doubt * np.random.default_rng(seed).normal(size=len(GAINS))
            guess = np.clip(np.exp(spread), *BOUNDS)
            first.append(about(cost(guess), guess))
            for method in METHODS:
                bar.set_description(f"{method}, seed {seed}")
                runs[method].append(about(*_tuned(method, cost, guess, config, seed, pool)))
                bar.update()
    best = min(runs["zosah_jax"], key=lambda run: run["cost"])
    shown = {"before": first[0]["gains"], "after": best["gains"]}
    angles = {
        name: np.round(episode(np.array(gains), _HELD_OUT[0])[1], 3).tolist()
        for name, gains in shown.items()
    }
    return {"first": first, "runs": runs, "angles": angles}


def _tuned(
    method: str, cost: Cost, guess: np.ndarray, config: Config, seed: int, pool: Executor
) -> tuple[float, np.ndarray]:
    """The smallest cost of a run, and its gains."""
    budget = config.budget
    if method == "zosah_jax":
        host, noise = Host(executor=pool), config.noise
        found = minimize(
            cost, guess, budget=budget, bounds=BOUNDS, noise=noise, key=seed, host=host
        )
        return float(found.value), found.params
    counted = Counted(cost, budget, pool.map if method == "CMA-ES" else map)
    with suppress(Over):
        if method == "COBYQA":
            run_scipy(counted, guess, method, [BOUNDS] * guess.size)
        else:
            bounds = list(BOUNDS)
            run_cma(counted.all, guess, _FIRST_SPREAD, seed + 1, bounds=bounds, goes_on=True)
    return counted.best


# --- its tables -----------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    rows = [
        [name, _median(runs, "cost"), _range(runs, "cost"), _median(runs, "held_out")]
        for name, runs in {**results["runs"], "first guess": results["first"]}.items()
    ]
    return {
        "table": table.markdown(
            ["mean cost a step", "median", "min - max", "held out, median"], rows
        )
    }


def _median(runs: list[dict[str, Any]], name: str) -> str:
    return f"{np.median([run[name] for run in runs]):.3f}"


def _range(runs: list[dict[str, Any]], name: str) -> str:
    values = [run[name] for run in runs]
    return f"{min(values):.3f} - {max(values):.3f}"


# --- its figure -----------------------------------------------------------------------------------


def draw(results: dict[str, Any], path: Path) -> None:
    """The pendulum before and after the tuning, and how the cost jumps with a gain."""
    with style.figure(path, 13.6, 4.8) as figure:
        swing, rugged = figure.subplots(1, 2)
        seconds = 0.05 * np.arange(len(results["angles"]["before"]))
        swing.plot(seconds, results["angles"]["before"], color="#888888", label="first guess")
        swing.plot(seconds, results["angles"]["after"], color=style.colour("zosah"), label="tuned")
        swing.axhline(0, color="#BBBBBB", linewidth=1, zorder=0)
        swing.set(xlabel="seconds", ylabel="angle from the top (rad)", ylim=(-3.3, 3.3))
        swing.set_title("An episode that was not tuned on")
        swing.legend(loc="lower right")
        energy, cost = np.linspace(0.7, 1.3, 120), Cost((0, 1, 2, 3))
        values = [cost(np.concatenate([GUESS[:1], [e], GUESS[2:]])) for e in energy]
        rugged.plot(energy, values, color=style.REFERENCE, linewidth=1.5)
        rugged.set(xlabel="energy to reach", ylabel="mean cost a step")
        rugged.set_title("Nothing to differentiate: the cost along one gain")


EXPERIMENT = experiment.Experiment("control", Config, measure, tables, draw)
