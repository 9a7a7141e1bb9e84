"""The measurement: kills, failures, noise, and what two workers and the library's own work cost."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments.datasets import load
from experiments.references import scipy_curve
from experiments.robustness.killed import LOG, finish, killed_and_resumed
from zosah_jax import minimize_blackbox, zosah

_KILLED_BUDGET = 600
_SIGMA = 1e-3  # noise, in units of the value at the start
_SLOW = 0.05  # seconds that the slow objective takes
_SLOW_PARAMETERS = 40  # a step is 41 values: a batch that hardly leaves a worker idle at its end


def measure(
    *, kills: int, seeds: tuple[int, ...], budget: int, slow_values: int, quick_values: int
) -> dict[str, Any]:
    """All of it.

    Args:
        kills: runs that are killed.
        seeds: of the failing and the noisy runs.
        budget: values of a noisy run.
        slow_values: calls of the slow objective in each of its runs.
        quick_values: calls of the quick one.

    Returns:
        For JSON.
    """
    with tqdm(total=kills + 4 * len(seeds) + 3, unit="run") as bar:
        return {
            "kills": _kills(kills, bar),
            "failing": _failing(seeds, bar),
            "noise": {
                name: _noisy(problem, seeds, budget, bar) for name, problem in _problems().items()
            },
            "throughput": _throughput(slow_values, bar),
            "overhead_ms": _overhead(quick_values, bar),
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
                return rosenbrock(x)

            bar.set_description("failing")
            out = minimize_blackbox(
                fun, np.array([-1.2, 1.0]), budget=5000, target=1e-6, key=seed, noise=0
            )
            needed[name].append(out.num_evaluations)
        bar.update(0.5)
    return needed


Problem = tuple[Callable[[np.ndarray], float], np.ndarray, float]


def _problems() -> dict[str, Problem]:
    """Noiseless objectives, where to start, and their optimal values."""
    return {
        "rosenbrock": (rosenbrock, np.array([-1.2, 1.0]), 0.0),
        "breast_cancer": _logistic("breast_cancer"),
        "digits": _logistic("digits"),
        "quadratic": _quadratic(20, 100.0),
    }


def _logistic(dataset: str) -> Problem:
    """Regularised logistic regression from zero weights."""
    features, labels = load(dataset, 10_000)
    signed = labels[:, None] * features

    def loss(w: np.ndarray) -> float:
        return float(np.logaddexp(0, -signed @ w).mean() + 0.005 * (w @ w))

    zeros = np.zeros(features.shape[1])
    optimum = scipy_curve(loss, zeros, "L-BFGS-B", 100_000, ftol=1e-14).best[-1]
    return loss, zeros, float(optimum)


def _quadratic(d: int, condition: float) -> Problem:
    """A quadratic of random axes and random minimiser."""
    rng = np.random.default_rng(0)
    axes, _ = np.linalg.qr(rng.normal(size=(d, d)))
    hessian = axes * np.geomspace(1, condition, d) @ axes.T
    minimiser = rng.normal(size=d)
    return lambda x: float((x - minimiser) @ hessian @ (x - minimiser) / 2), np.zeros(d), 0.0


def _noisy(problem: Problem, seeds: tuple[int, ...], budget: int, bar: tqdm) -> list[float]:
    """Distance of the true values reached from the optimum, in units of the noise."""
    fun, x0, optimum = problem
    sigma, gaps = _SIGMA * fun(x0), []
    for seed in seeds:
        bar.set_description("noisy")
        rng = np.random.default_rng(seed)
        out = minimize_blackbox(
            lambda x, rng=rng: fun(x) + sigma * rng.normal(), x0, budget=budget, key=seed
        )
        gaps.append((fun(out.best_params) - optimum) / sigma)
        bar.update(0.875)
    return gaps


def _throughput(values: int, bar: tqdm) -> dict[str, float]:
    """Seconds a value of a slow objective; the first half, while the workers start, is left out."""
    seconds = {}
    for workers in (1, 2):
        times: list[tuple[float, int]] = []
        minimize_blackbox(
            slow,
            np.zeros(_SLOW_PARAMETERS),
            zosah(1.0, _SLOW_PARAMETERS, 1000),
            budget=values,
            noise=0,
            max_workers=workers,
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
                minimize_blackbox(
                    lambda x: float(x @ x) + float(np.sin(1e6 * x.sum())),
                    np.ones(d),
                    budget=values,
                    noise=0,
                    log=Path(place, "log") if logged else None,
                    callback=lambda p, t=times: t.append((time.process_time(), p.num_evaluations)),
                )
            half = len(times) // 2  # the first steps compile
            (start, before), (end, after) = times[half], times[-1]
            found[name + (", logged" if logged else "")] = 1e3 * (end - start) / (after - before)
    bar.update()
    return found


def rosenbrock(x: np.ndarray) -> float:
    """Rosenbrock's function of two variables."""
    return float(100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2)


def slow(x: np.ndarray) -> float:
    """An objective that takes its time."""
    time.sleep(_SLOW)
    return float(np.sum((x - 1) ** 2))
