"""What the library's own work costs a value, and what eight workers save (8 min)."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from experiments import experiment
from experiments.common import style, table
from experiments.common.functions import CLASSICS
from experiments.common.solvers import descended
from zosah_jax import Host, minimize
from zosah_jax.methods import default_method


@dataclass(frozen=True)
class Config(experiment.Config):
    """The default of `minimize` with a host, in float64: its own work, and slow values at once."""

    dimensions: tuple[int, ...] = (2, 10, 20, 100, 300)
    """Numbers of parameters for which the own work is measured."""
    noisy_dimensions: tuple[int, ...] = (2, 10, 20, 300)
    """The same, where the noise is given."""
    values: int = 2_000
    """Values of such a run, at most; the first half is left out, as steps compile there."""
    workers: int = 8
    """Threads that wait for slow values."""
    functions: tuple[str, ...] = tuple(CLASSICS)
    """Slow functions, of classics."""
    dimension: int = 20
    """Their number of parameters."""
    seconds: float = 0.05
    """What a slow value takes."""
    gap: float = 1e-3
    """Part of the gap to the minimum that may remain."""
    budget: int = 40
    """Most values of a slow run, in units of the number of parameters."""


# --- the measurement ------------------------------------------------------------------------------


def measure(config: Config) -> dict[str, Any]:
    """Milliseconds of own work a value, and seconds until a goal with one worker and with more."""
    experiment.check_names("functions", config.functions, CLASSICS)
    runs = [(d, 0.0) for d in config.dimensions] + [(d, 1e-3) for d in config.noisy_dimensions]
    own = []
    with tqdm(total=len(runs) + len(config.functions), unit="run") as bar:
        for d, noise in runs:
            bar.set_description(f"own work, {d} parameters")
            own.append(_own_work(d, noise, config.values))
            bar.update()
        slow = {}
        for name in config.functions:
            bar.set_description(name)
            slow[name] = _slow(name, config)
            bar.update()
    settings = ("workers", "dimension", "seconds", "gap", "budget")
    return {"own_work": own, **{s: getattr(config, s) for s in settings}, "slow": slow}


def _own_work(d: int, noise: float, values: int) -> dict[str, Any]:
    """Processor time of this thread beside a valley that costs nothing."""
    weights, random = 10.0 ** np.linspace(0, 4, d), np.random.default_rng(0)

    def valley(x: np.ndarray) -> float:
        bowl = weights @ (x - 1) ** 2 + np.sum((x[1:] - x[:-1] ** 2) ** 2)
        return float(bowl) + (noise * random.normal() if noise else 0.0)

    times: list[tuple[float, int]] = []
    minimize(
        valley,
        np.zeros(d),
        budget=values,
        noise=noise,
        host=Host(),
        callback=lambda progress: times.append((time.process_time(), progress.num_evaluations)),
    )
    (start, before), (end, after) = times[len(times) // 2], times[-1]
    return {
        "dimension": d,
        "noise": noise,
        "method": type(default_method(np.zeros(d), noisy=noise > 0)).__name__,
        "ms_a_value": 1e3 * (end - start) / (after - before),
    }


def _slow(name: str, config: Config) -> dict[str, Any]:
    """How long it takes to a goal, by one worker and by several."""
    fun, x0 = CLASSICS[name].fun, CLASSICS[name].start(config.dimension)
    with jax.enable_x64(True):
        jitted = jax.jit(fun)
        first = float(jitted(x0))
        goal = first - (1 - config.gap) * (first - descended(fun, x0))
        found = {}
        for workers in (1, config.workers):
            # once without waiting, which compiles all that the run takes
            _until(goal, jitted, x0, workers, 0.0, config)
            found[f"{workers}"] = _until(goal, jitted, x0, workers, config.seconds, config)
    return found


def _until(
    goal: float,
    fun: Callable[[Any], Any],
    x0: np.ndarray,
    workers: int,
    seconds: float,
    config: Config,
) -> dict[str, Any]:
    """Seconds, and values asked, when the first value was as low as the goal; None if none was."""
    calls, lock, there = 0, Lock(), []

    def slow(x: np.ndarray) -> float:
        nonlocal calls
        time.sleep(seconds)
        with jax.enable_x64(True):  # a setting of each thread
            value = float(fun(x))
        with lock:
            calls += 1
            if value <= goal:
                there.append((time.perf_counter() - begin, calls))
        return value

    with ThreadPoolExecutor(workers) as pool:
        begin = time.perf_counter()
        budget, host = config.budget * config.dimension, Host(executor=pool, retries=0)
        minimize(slow, x0, budget=budget, target=goal, noise=0, host=host)
    wall, spent = there[0] if there else (None, None)
    return {"seconds": wall, "values": spent}


# --- its tables -----------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    own = [
        [f"{run['dimension']}", f"{run['noise']:g}", run["method"], f"{run['ms_a_value']:.2f}"]
        for run in results["own_work"]
    ]
    header = ["parameters", "noise", "the default is", "own work a value (ms)"]
    return {"own_work": table.markdown(header, own), "slow": _slow_table(results)}


def ratios(results: dict[str, Any]) -> dict[str, float]:
    """Time with several workers over that with one, of the functions on which both arrive."""
    several = f"{results['workers']}"
    times = {
        name: (of[several]["seconds"], of["1"]["seconds"]) for name, of in results["slow"].items()
    }
    return {name: many / one for name, (many, one) in times.items() if many and one}


def _slow_table(results: dict[str, Any]) -> str:
    numbers, quotient = ("1", f"{results['workers']}"), ratios(results)
    header = [f"to {results['gap']:g} of the gap", *(f"seconds, {n} at a time" for n in numbers)]
    header += ["ratio", *(f"values, {n} at a time" for n in numbers)]
    rows = []
    for name, found in results["slow"].items():
        seconds = [_seconds(found[n]["seconds"]) for n in numbers]
        ratio = f"{quotient[name]:.2f}" if name in quotient else "-"
        rows.append([name, *seconds, ratio, *(f"{found[n]['values'] or '-'}" for n in numbers)])
    if quotient:
        mean = table.geometric_mean(np.array(list(quotient.values())))
        rows.append(["geometric mean", "", "", f"{mean:.2f}", "", ""])
    return table.markdown(header, rows)


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.1f}"


# --- its figure -----------------------------------------------------------------------------------


def draw(results: dict[str, Any], path: Path) -> None:
    """Own work against the number of parameters; time with several workers over that with one."""
    with style.figure(path, 11, 4.6) as figure:
        own, slow = figure.subplots(1, 2)
        for number, name in enumerate(dict.fromkeys(r["method"] for r in results["own_work"])):
            runs = [r for r in results["own_work"] if r["method"] == name]
            place = [r["dimension"] for r in runs], [r["ms_a_value"] for r in runs]
            label = name + (" (noise)" if runs[0]["noise"] else "")
            own.plot(*place, "o-", color=style.series(number), label=label)
        own.set(xscale="log", yscale="log", xlabel="parameters", ylabel="own work a value (ms)")
        figure.legend(*own.get_legend_handles_labels(), loc="outside upper left", ncols=4)
        ratio = sorted(ratios(results).items(), key=lambda pair: pair[1])
        slow.set_axisbelow(True)
        slow.barh([name for name, _ in ratio], [part for _, part in ratio])
        slow.axvline(1 / results["workers"], linestyle=":", color=style.REFERENCE)
        slow.set(xlim=(0, 1), xlabel=f"time with {results['workers']} workers over that with one")


EXPERIMENT = experiment.Experiment("host_costs", Config, measure, tables, draw)
