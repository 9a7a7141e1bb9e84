"""Objectives outside JAX: runs killed and resumed; failing, noisy and slow ones (15 - 20 min)."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments import experiment
from experiments.benchmarks.robustness.killed import LOG, finish, killed_and_resumed
from experiments.common import datasets, style, table
from experiments.common.functions import rosenbrock, zigzag
from experiments.common.problems import away_from_zero
from experiments.common.solvers import scipy_curve
from zosah_jax import Host, minimize
from zosah_jax.methods import zosah


@dataclass(frozen=True)
class Config(experiment.Config):
    """`minimize` with a host, killed and resumed, with failing, noisy and slow objectives."""

    kills: int = 20
    """Runs that are killed."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    """Seeds of the failing and the noisy runs."""
    budget: int = 4_000
    """Values of a noisy run."""
    slow_values: int = 800
    """Calls of the slow objective, by one worker and by two."""
    quick_values: int = 3_000
    """Calls of the objective that costs nothing."""


# --- the measurement ------------------------------------------------------------------------------

_KILLED_BUDGET = 600
_SIGMA = 1e-3  # noise, in units of the value at the start
_SLOW = 0.05  # seconds that the slow objective takes
METHOD = zosah()
"""What is measured: the method that bears noise."""

_SLOW_PARAMETERS = 40  # a step is 41 values: a batch that hardly leaves a worker idle at its end


def measure(config: Config) -> dict[str, Any]:
    """Kills, failures, noise, and what two workers and the library's own work cost."""
    seeds = config.seeds
    with tqdm(total=config.kills + 4 * len(seeds) + 3, unit="run") as bar:
        return {
            "kills": _kills(config.kills, bar),
            "failing": _failing(seeds, bar),
            "noise": {
                name: _noisy(problem, seeds, config.budget, bar)
                for name, problem in problems_of().items()
            },
            "throughput": _throughput(config.slow_values, bar),
            "overhead_ms": _overhead(config.quick_values, bar),
        }


def _kills(number: int, bar: tqdm) -> dict[str, Any]:
    equal = died = twice = lost = 0
    with tempfile.TemporaryDirectory() as place:
        whole = Path(place, "whole")
        whole.mkdir()
        expected = finish(whole, _KILLED_BUDGET)
        logged = (whole / LOG).read_bytes().count(b"\n")
        for seed in range(number):
            bar.set_description("killed")
            folder = Path(place, str(seed))
            found = killed_and_resumed(folder, _KILLED_BUDGET, seed)
            died += bool(found["killed"])
            equal += all(np.array_equal(found[name], expected[name]) for name in expected)
            calls = (folder / "calls").read_bytes().count(b"\n")
            # a call may be under way when its process is killed, and only that one is made again
            twice += calls > int(expected["n"]) + 1
            lost += (folder / LOG).read_bytes().count(b"\n") != logged
            bar.update()
    return {"runs": number, "killed": died, "equal": equal, "asked_twice": twice, "lost": lost}


def _failing(seeds: tuple[int, ...], bar: tqdm) -> dict[str, list[int]]:
    """Values to reach 1e-6 on Rosenbrock's function, and where a fifth of them fails."""
    needed: dict[str, list[int]] = {"clean": [], "failing": []}
    for seed in seeds:
        for name, share in (("clean", 0.0), ("failing", 0.2)):
            rng = np.random.default_rng(seed)

            def fun(x: np.ndarray, rng: Any = rng, share: float = share) -> float | None:
                if rng.random() < share:
                    if rng.random() < 0.5:
                        raise ArithmeticError("no convergence")
                    return None
                return float(rosenbrock(x))

            bar.set_description("failing")
            out = minimize(
                fun, zigzag(2), METHOD, budget=5000, target=1e-6, key=seed, noise=0, host=Host()
            )
            needed[name].append(out.num_evaluations)
        bar.update(0.5)
    return needed


Problem = tuple[Callable[[np.ndarray], float], np.ndarray, float]


def problems_of() -> dict[str, Problem]:
    """Noiseless objectives, where to start, and their optimal values."""
    return {
        "rosenbrock": (lambda x: float(rosenbrock(x)), zigzag(2), 0.0),
        "breast_cancer": _logistic("breast_cancer"),
        "digits": _logistic("digits"),
        "quadratic": _quadratic(),
    }


def _logistic(dataset: str) -> Problem:
    """Regularised logistic regression from zero weights."""
    features, labels = datasets.load(dataset, 10_000)
    signed = labels[:, None] * features

    def loss(w: np.ndarray) -> float:
        return float(np.logaddexp(0, -signed @ w).mean() + 0.005 * (w @ w))

    zeros = np.zeros(features.shape[1])
    optimum = scipy_curve(loss, zeros, "L-BFGS-B", 100_000, ftol=1e-14).best[-1]
    return loss, zeros, float(optimum)


def _quadratic() -> Problem:
    """A quadratic of random axes and random minimiser."""
    task = away_from_zero("quadratic", 0, 20, 100.0)
    hessian, minimum = task.data
    return lambda x: float((x - minimum) @ hessian @ (x - minimum) / 2), task.x0, 0.0


def _noisy(problem: Problem, seeds: tuple[int, ...], budget: int, bar: tqdm) -> list[float]:
    """Distance of the true values reached from the optimum, in units of the noise."""
    fun, x0, optimum = problem
    sigma, gaps = _SIGMA * fun(x0), []
    for seed in seeds:
        bar.set_description("noisy")
        rng = np.random.default_rng(seed)
        out = minimize(
            lambda x, rng=rng: fun(x) + sigma * rng.normal(),
            x0,
            METHOD,
            budget=budget,
            key=seed,
            host=Host(),
        )
        gaps.append((fun(out.params) - optimum) / sigma)
        bar.update(0.875)
    return gaps


def _throughput(values: int, bar: tqdm) -> dict[str, float]:
    """Seconds a value of a slow objective; the first half, while the workers start, is left out."""
    seconds = {}
    for workers in (1, 2):
        times: list[tuple[float, int]] = []
        minimize(
            slow,
            np.zeros(_SLOW_PARAMETERS),
            zosah(_SLOW_PARAMETERS, 1000),
            budget=values,
            noise=0,
            host=Host(max_workers=workers),
            callback=lambda p, t=times: t.append((time.perf_counter(), p.num_evaluations)),
        )
        (start, before), (end, after) = times[len(times) // 2], times[-1]
        seconds[f"{workers}"] = (end - start) / (after - before)
        bar.update()
    return {**seconds, "ratio": seconds["1"] / seconds["2"]}


def _overhead(values: int, bar: tqdm) -> dict[str, float]:
    """Milliseconds a value beside the objective, logged and not, in this thread."""
    found = {}
    for name, d in (("2 parameters", 2), ("31 parameters", 31)):
        for logged in (False, True):
            times: list[tuple[float, int]] = []
            with tempfile.TemporaryDirectory() as place:
                minimize(
                    lambda x: float(x @ x) + float(np.sin(1e6 * x.sum())),
                    np.ones(d),
                    METHOD,
                    budget=values,
                    noise=0,
                    host=Host(log=Path(place, "log") if logged else None),
                    callback=lambda p, t=times: t.append((time.process_time(), p.num_evaluations)),
                )
            half = len(times) // 2  # the first steps compile
            (start, before), (end, after) = times[half], times[-1]
            found[name + (", logged" if logged else "")] = 1e3 * (end - start) / (after - before)
    bar.update()
    return found


def slow(x: np.ndarray) -> float:
    """An objective that takes its time."""
    time.sleep(_SLOW)
    return float(np.sum((x - 1) ** 2))


# --- its tables -----------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    kills, needed = results["kills"], results["failing"]
    clean, failing = np.median(needed["clean"]), np.median(needed["failing"])
    speed, overhead = results["throughput"], max(results["overhead_ms"].values())
    faults = kills["lost"] + kills["asked_twice"]
    ratio = f"{failing / clean:.2f} ({failing:.0f} / {clean:.0f})"
    rows = [
        ["runs killed by SIGKILL and resumed", f"{kills['killed']} of {kills['runs']}", ""],
        ["of them bitwise equal to the undisturbed run", str(kills["equal"]), "all"],
        ["of them with a logged value lost or asked twice", str(faults), "0"],
        ["values to 1e-6, a fifth failing / clean", ratio, "<= 1.5"],
        *(
            [
                f"noise 1e-3, {name}: distance from the optimum / sigma",
                table.ranged(gaps, float(np.median(gaps))),
                "<= 10",
            ]
            for name, gaps in results["noise"].items()
        ),
        ["50 ms a value: two processes / one", f"{speed['ratio']:.2f}", ">= 1.8"],
        ["own work a value, at most (ms of CPU)", f"{overhead:.2f}", "<= 1"],
    ]
    return {"table": table.markdown(["what", "measured", "wanted"], rows)}


# --- its figure -----------------------------------------------------------------------------------


def draw(results: dict[str, Any], path: Path) -> None:
    """Where noisy runs end, and what failing values cost, seed by seed."""
    with style.figure(path, 11, 4.2) as figure:
        noise, failing = figure.subplots(1, 2)
        for row, gaps in enumerate(results["noise"].values()):
            noise.plot(gaps, [row] * len(gaps), "o", color=style.colour("zosah"), alpha=0.6)
        noise.axvline(10, color="#888888", linewidth=1)
        rows = len(results["noise"])
        noise.set(yticks=range(rows), yticklabels=results["noise"], ylim=(-0.5, rows - 0.5))
        noise.set(xscale="log", xlabel="distance from the optimum / sigma")
        noise.set_title("Noise of 1e-3 of the first value")
        for row, values in enumerate(results["failing"].values()):
            failing.plot(values, [row] * len(values), "o", color=style.colour("zosah"), alpha=0.6)
        failing.set(yticks=(0, 1), yticklabels=("all come", "a fifth fails"), ylim=(-0.5, 1.5))
        failing.set(xlabel="values to f <= 1e-6", xlim=(0, None))
        failing.set_title("Values that fail (Rosenbrock)")


EXPERIMENT = experiment.Experiment("robustness", Config, measure, tables, draw)
