"""`noisy_regression` without each of its mechanisms, on noisy problems of CUTEst's (20 min)."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from experiments import experiment
from experiments.common import records, style, table
from experiments.common.cutest_problems import in_float64, problems
from experiments.common.errors import InputError
from experiments.common.noisy_task import Task
from experiments.common.patches import Patch, patched
from experiments.common.problems import away_from_zero
from zosah_jax import Host, minimize
from zosah_jax.methods.noisy_regression import state as knowledge
from zosah_jax.methods.noisy_regression import steps
from zosah_jax.methods.noisy_regression.solver import NoisyRegression


class Change(NamedTuple):
    """What is changed.

    Attributes:
        patches: constants and functions.
        num_points: of a design; None: the default.
    """

    patches: tuple[Patch, ...] = ()
    num_points: int | None = None


def _first(state: Any, key: jax.Array, number: int) -> Any:
    """The state with so many points, those of the smallest keys."""
    order = jnp.argsort(jnp.argsort(jnp.where(state.there, key, jnp.inf)))
    return state._replace(there=state.there & (order < number))


def nearest(state: Any, noise: jax.Array, number: int) -> Any:
    """The nearest points alone."""
    del noise
    return _first(state, jnp.linalg.norm(knowledge.metric_of(state), axis=1), number)


def of_the_slope(state: Any, noise: jax.Array, number: int) -> Any:
    """Those that tell most of the slope alone."""
    far = jnp.linalg.norm(knowledge.metric_of(state), axis=1)
    variance = noise**2 + knowledge.not_quadratic(state.spread, state.length, far)
    return _first(state, -(far**2) / variance, number)


ENDLESS = 1e30  # as a factor or a limit: none

CHANGES = {
    "the nearest values are kept": Change(((steps, "thinned", nearest),)),
    "those are kept that tell most of the slope": Change(((steps, "thinned", of_the_slope),)),
    "it never has converged": Change(((steps, "_SURER", ENDLESS),)),
    "s and L stay as they began": Change(
        ((steps, "_SPREADS", (1.0,)), (steps, "_LENGTHS", (1.0,)))
    ),
    "the metric stays that of second differences": Change(((steps, "_METRIC_RATE", 0.0),)),
    "no model is wrong": Change(((steps, "_WRONG", ENDLESS), (steps, "_SURE", ENDLESS))),
    "designs as wide as the trust region": Change(((steps, "_WIDER", 1.0),)),
    "designs widen and narrow at once": Change(((steps, "_GROWTH", ENDLESS),)),
    "no value is cut off": Change(((steps, "_CAP", ENDLESS),)),
    "designs of one value": Change(num_points=1),
    "designs of twelve": Change(num_points=12),
}
"""By name."""

CONTROL = "nothing (other seeds)"
_OTHER_SEEDS = 100


@dataclass(frozen=True)
class Config(experiment.Config):
    """The gap that is left with a change over that without, at equal values, in float64."""

    names: tuple[str, ...] = (
        "BIGGS3",
        "CHWIRUT2LS",
        "DGOSPEC",
        "HEART8LS",
        "MGH17LS",
        "PFIT2LS",
        "POWERSUM",
        "RAT42LS",
    )
    """Problems by name: drawn from those of `cutest_noise` that have 3 to 8 parameters, and on
    which no setting was chosen."""
    levels: tuple[float, ...] = (1e-3, 1e-1)
    """Standard deviations of the noise, in units of f(x0) - f*."""
    budget: int = 100
    """Values of a run, in units of d: some hundred more than are kept."""
    changes: tuple[str, ...] = tuple(CHANGES)
    """Changes by name."""
    seeds: tuple[int, ...] = (0, 1)
    """Seeds of the noise, and of the designs."""
    dimension: int = 10
    """Parameters of a quadratic on which runs are longer."""
    long_budgets: tuple[int, ...] = (250, 750, 2_250)
    """Values of these."""


# --- the measurement ------------------------------------------------------------------------------


def measure(config: Config) -> dict[str, Any]:
    """Gaps without a change, and by change the ratios to them: by level, then run."""
    experiment.check_names("changes", config.changes, CHANGES)
    kept = records.kept("cutest")
    if kept is None:
        raise InputError("noise_ablation: wanted the kept results of cutest: run it first.")
    minima = {one["name"]: one for one in kept["problems"]}
    with in_float64(), threadpool_limits(1):
        found = list(problems(config.names, {}))
        bench = [(p, *(float(minima[p.name][key]) for key in ("start", "best"))) for p in found]
        others = [seed + _OTHER_SEEDS for seed in config.seeds]
        first = _gaps(Change(), bench, config, config.seeds)
        ratios = {CONTROL: _over(_gaps(Change(), bench, config, others), first)}
        for name in tqdm(config.changes):
            ratios[name] = _over(_gaps(CHANGES[name], bench, config, config.seeds), first)
    return {
        "problems": [[p.name, p.dimension] for p in found],
        "levels": list(config.levels),
        "budget": config.budget,
        "gaps": first,
        "ratios": ratios,
        "dimension": config.dimension,
        "long_budgets": list(config.long_budgets),
        "long": long_runs(config),
    }


_LONG_NOISE = 0.1
_LONG_SEEDS = 3
_KEPT = ("the nearest values are kept", "those are kept that tell most of the slope")


def long_runs(config: Config) -> dict[str, list[float]]:
    """Gap over the noise on a quadratic, median over seeds, by what is kept, then by budget."""
    task = away_from_zero("quadratic", 0, config.dimension, 100.0)
    hessian, minimum = task.data

    def quadratic(x: np.ndarray) -> float:
        return float((x - minimum) @ hessian @ (x - minimum) / 2)

    found = {}
    for name in ("as it is", *_KEPT):
        with patched(CHANGES.get(name, Change()).patches, NoisyRegression) as changed:
            each = [
                [_left(quadratic, task.x0, changed(), budget, seed) for seed in range(_LONG_SEEDS)]
                for budget in config.long_budgets
            ]
        found[name] = [float(f"{np.median(gaps):.3g}") for gaps in each]
    return found


def _left(fun: Any, x0: np.ndarray, method: Any, budget: int, seed: int) -> float:
    rng = np.random.default_rng(seed)
    run = minimize(
        lambda x: fun(x) + _LONG_NOISE * rng.normal(),
        x0,
        method,
        budget=budget,
        noise=_LONG_NOISE,
        key=seed,
        host=Host(),
    )
    return fun(run.params) / _LONG_NOISE


Gaps = list[list[float]]
"""By level; each of a problem and a seed."""


def _gaps(change: Change, bench: list[Any], config: Config, seeds: Iterable[int]) -> Gaps:
    gaps: Gaps = [[] for _ in config.levels]
    with patched(change.patches, NoisyRegression) as changed:
        method = changed(num_points=change.num_points)
        for problem, start, optimum in bench:
            budget = config.budget * problem.dimension
            for row, level in zip(gaps, config.levels, strict=True):
                tasks = [Task(problem, start, optimum, level, budget, seed) for seed in seeds]
                row.extend(_gap(task, method) for task in tasks)
    return gaps


def _gap(task: Task, method: Any) -> float:
    with np.errstate(all="ignore"):
        found = minimize(
            task.noisy(),
            task.problem.x0,
            method,
            budget=task.budget,
            bounds=task.problem.bounds,
            noise=task.noise,
            key=task.seed,
            host=Host(retries=0),
        )
    return float(f"{task.gap(found.params):.3g}")


def _over(gaps: Gaps, first: Gaps) -> Gaps:
    return [np.divide(*pair).round(4).tolist() for pair in zip(gaps, first, strict=True)]


# --- its table ------------------------------------------------------------------------------------

_MOST = 100.0  # ratio at which one counts, at most and, inverted, at least


def means(ratios: Gaps) -> list[float]:
    """Geometric means by level, no ratio beyond 100."""
    return [table.geometric_mean(np.clip(row, 1 / _MOST, _MOST)) for row in ratios]


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    rows = [
        [name, *(f"{mean:.2f}" for mean in means(ratios))]
        for name, ratios in results["ratios"].items()
    ]
    header = ["changed", *(f"noise {level:g}" for level in results["levels"])]
    long = [[name, *(f"{gap:.2g}" for gap in gaps)] for name, gaps in results["long"].items()]
    values = ["gap / noise after", *(f"{n:,} values" for n in results["long_budgets"])]
    return {"table": table.markdown(header, rows), "long": table.markdown(values, long)}


# --- its figure -----------------------------------------------------------------------------------


def draw(results: dict[str, Any], path: Path) -> None:
    """The gap with a change over that without."""
    names = list(results["ratios"])
    with style.figure(path, 11, 0.45 * len(names) + 1.6) as figure:
        axes = figure.subplots()
        places = np.arange(len(names))[::-1]
        for number, level in enumerate(results["levels"]):
            each = [means(results["ratios"][name])[number] for name in names]
            axes.plot(each, places, "o", color=style.series(number), label=f"noise {level:g}")
        axes.axvline(1, color=style.REFERENCE, linewidth=1)
        axes.set(xscale="log", yticks=places, yticklabels=names)
        axes.set_xlabel("gap that is left with the change over that without, geometric mean")
        style.plain_ticks(axes.xaxis)
        figure.legend(loc="outside upper center", ncols=2)


EXPERIMENT = experiment.Experiment(
    "noise_ablation", Config, measure, tables, draw, packages=("sif2jax",)
)
