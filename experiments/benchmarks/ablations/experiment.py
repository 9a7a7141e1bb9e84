"""m, kappa and T of ZO-SAH one at a time; its fit against second differences (7 min)."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from tqdm import tqdm

from experiments import experiment
from experiments.common import style, sweeps, table
from experiments.common.curves import Curve
from experiments.common.problems import FRACTIONS, NOT_REACHED, Task, network, two_sets, valley
from experiments.common.table import geometric, geometric_mean
from zosah_jax import as_optax
from zosah_jax.method import Stage, State
from zosah_jax.methods import zosah
from zosah_jax.pytree import Params


@dataclass(frozen=True)
class Config(experiment.Config):
    """Subspace dimension, eigenvalue floor and period one at a time; the fit against none."""

    dataset: tuple[str, ...] = ("breast_cancer", "digits")
    """Datasets by name; where the LIBSVM file is in the data folder, a1a stands for digits."""
    data_dir: Path | None = None
    """Folder of LIBSVM files (else ZOSAH_DATA)."""
    rows: int = 1_000
    """Most rows of a dataset, drawn with a fixed seed."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the method."""
    budget: int = 50
    """Values of the objective that a run may spend, in units of the dimension d."""


# --- the measurement ------------------------------------------------------------------------------

FLOORS = (0.01, 0.03, 0.1, 0.2, 0.5)
"""Values of kappa."""

PERIODS = (5, 10, 20, 50, 100)
"""Values of T."""

PARTS = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Values of m, in units of d, to the nearest even number."""

RATES = (0.1, 0.3, 1.0)
"""Learning rates that second differences choose from, with hindsight."""


class SecondDifferences(zosah):
    """ZO-SAH whose every step takes fresh second differences and fits nothing to older values.

    The subspaces are kept for the period all the same: its switching step, again and again.
    """

    def stages(self, params: Params) -> tuple[Stage, ...]:
        """The first step of a period alone."""
        return super().stages(params)[:1]

    def next_stage(self, state: State) -> jax.Array:
        """That one, always."""
        return jnp.zeros_like(super().next_stage(state))


def second_differences(period: int, learning_rate: Any = 1.0, **options: Any) -> Any:
    """Its optax form."""
    return as_optax(SecondDifferences(period=period, **options), learning_rate)


def measure(config: Config) -> dict[str, Any]:
    """Every number one at a time, and the fit against none, on every problem."""
    found: dict[str, Any] = {}
    with jax.enable_x64(True), tqdm(total=13 * (2 + len(config.dataset))) as bar:
        data = two_sets(config.dataset, config.rows, config.data_dir)
        for task in [valley(), *data, network(config.rows)]:
            bar.set_description(task.name)
            found[task.name] = {"dimension": task.dimension} | _on(task, config, bar)
    return {
        "seeds": list(config.seeds),
        "budget_in_d": config.budget,
        "fractions": FRACTIONS,
        "not_reached_counts_as": NOT_REACHED * config.budget,
        "problems": found,
    }


def subspace_dims(d: int) -> list[int]:
    """What the parts of d are."""
    return [max(2, min(2 * round(part * d / 2), d - d % 2)) for part in PARTS]


def _on(task: Task, config: Config, bar: tqdm) -> dict[str, Any]:
    """Mean prices, a list over seeds, by setting."""

    def run(method: Any, **over: Any) -> list[list[Curve]]:
        (found,) = sweeps.sweep([task], method, config.seeds, config.budget, **over)
        bar.update()
        return found

    def make(**options: Any) -> Any:
        return sweeps.constructor("zosah", 1.0, **options)

    floors = run(make(), option="eigenvalue_floor", values=FLOORS)
    curves = {
        "subspace_dim": {
            str(m): run(make(subspace_dim=m))[0] for m in subspace_dims(task.dimension)
        },
        "eigenvalue_floor": dict(zip(map("{:g}".format, FLOORS), floors, strict=True)),
        "period": {str(T): run(make(period=T))[0] for T in PERIODS},
    }
    prices: dict[str, Any] = {
        name: {value: task.mean_prices(runs, config.budget) for value, runs in by.items()}
        for name, by in curves.items()
    }
    return prices | _fit_against_none(task, curves["period"], config.budget, run)


def _fit_against_none(
    task: Task, by_period: dict[str, list[Curve]], budget: int, run: Any
) -> dict[str, Any]:
    """The fit at learning rate 1, and second differences at the rate that is best for them."""
    prices, per_step, chosen = {}, {}, {}
    for T in (5, 20):
        ours, theirs = f"fitted, T = {T}", f"second differences, T = {T}"
        slower = run(partial(second_differences, T), option="learning_rate", values=RATES)
        tried = [task.mean_prices(curves, budget) for curves in slower]
        best = int(np.argmin(np.mean(np.log(tried), axis=1)))
        fitted = by_period[str(T)]
        prices |= {ours: task.mean_prices(fitted, budget), theirs: tried[best]}
        per_step |= {ours: _per_step(fitted), theirs: _per_step(slower[best])}
        chosen |= {ours: 1.0, theirs: RATES[best]}
    return {"fit": prices, "values_per_step": per_step, "learning_rate": chosen}


def _per_step(curves: list[Curve]) -> float:
    """Mean number of values of a step."""
    return round(float(np.mean([curve.spent[-1] / len(curve.spent) for curve in curves])), 2)


# --- its tables -----------------------------------------------------------------------------------

NAMES = {"subspace_dim": "m", "eigenvalue_floor": "kappa", "period": "T"}


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    numbers = {name: _table(results, name, symbol) for name, symbol in NAMES.items()}
    return numbers | {"fit": _fit(results)}


def _table(results: dict[str, Any], name: str, symbol: str) -> str:
    problems = results["problems"]
    lines = {problem: list(found[name].items()) for problem, found in problems.items()}
    count = len(next(iter(lines.values())))
    if name == "subspace_dim":
        first = [f"about {p:g} d" for p in PARTS]
        cells = [
            [f"{m}: {geometric(p)}" for m, p in (line[i] for line in lines.values())]
            for i in range(count)
        ]
    else:
        first = [value for value, _ in next(iter(lines.values()))]
        cells = [[geometric(line[i][1]) for line in lines.values()] for i in range(count)]
    return table.markdown([symbol, *problems], [[f, *c] for f, c in zip(first, cells, strict=True)])


def _fit(results: dict[str, Any]) -> str:
    problems = results["problems"]
    header = ["values a step, price, learning rate", *problems]
    settings = list(next(iter(problems.values()))["fit"])

    def cell(found: dict[str, Any], setting: str) -> str:
        step, rate = found["values_per_step"][setting], found["learning_rate"][setting]
        return f"{step:.1f}, {geometric(found['fit'][setting])}, {rate:g}"

    rows = [[s, *(cell(found, s) for found in problems.values())] for s in settings]
    return table.markdown(header, rows)


# --- its figure -----------------------------------------------------------------------------------

_LABELS = {
    "subspace_dim": "m / d, dimension of V",
    "eigenvalue_floor": r"$\kappa$, eigenvalue floor",
    "period": "T, steps of a period",
}
_TITLES = {
    "subspace_dim": "Subspace dimension",
    "eigenvalue_floor": "Eigenvalue floor",
    "period": "Period",
}


def draw(results: dict[str, Any], path: Path) -> None:
    """Price against each number, and of the fit against second differences."""
    with style.figure(path, 10.6, 7.4) as figure:
        panels(figure.subplots(2, 2), results)


def panels(axes: np.ndarray, results: dict[str, Any]) -> None:
    """Draw into 2 x 2 axes."""
    problems = results["problems"]
    for one, name in zip(axes.flat, _LABELS, strict=False):
        for number, (problem, found) in enumerate(problems.items()):
            scale = found["dimension"] if name == "subspace_dim" else 1
            _line(one, found[name], scale, problem, number)
        one.set(xscale="log", yscale="log", xlabel=_LABELS[name])
        one.set_title(_TITLES[name])
        style.plain_ticks(one.xaxis)
        style.plain_ticks(one.yaxis)
    for one in axes[:, 0]:
        one.set_ylabel("values / d to close 90, 97, 99 %")
    axes[0, 0].legend(fontsize=10)
    _fit_panel(axes[1, 1], problems)
    axes[1, 1].set_ylabel("ratio")


def _line(axes: Axes, found: dict[str, Any], scale: float, label: str, number: int) -> None:
    x = np.array([float(value) for value in found]) / scale
    y = [geometric_mean(prices) for prices in found.values()]
    low, high = (np.array([f(prices) for prices in found.values()]) for f in (min, max))
    colour = style.series(number)
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(x, y, style.MARKERS[number] + "-", color=colour, label=label)


def _fit_panel(axes: Axes, problems: dict[str, Any]) -> None:
    """Second differences over the fit: values a step, and price."""
    places = np.arange(len(problems))
    for number, (period, what) in enumerate((t, w) for t in (5, 20) for w in ("a step", "price")):
        ratios = []
        for found in problems.values():
            ours, theirs = f"fitted, T = {period}", f"second differences, T = {period}"
            if what == "a step":
                ratios.append(found["values_per_step"][theirs] / found["values_per_step"][ours])
            else:
                ratios.append(
                    geometric_mean(found["fit"][theirs]) / geometric_mean(found["fit"][ours])
                )
        label = f"T = {period}: " + ("values a step" if what == "a step" else "values to the goals")
        shift = (number - 1.5) * 0.2
        bars = axes.bar(places + shift, ratios, 0.18, label=label, color=style.series(period // 10))
        if what == "a step":
            for bar in bars:
                bar.set_alpha(0.4)
    axes.axhline(1, color=style.REFERENCE, linewidth=1)
    axes.set_xticks(places, list(problems), fontsize=11)
    axes.set_title("Second differences / fit")
    axes.set_ylim(0, 1.35 * axes.get_ylim()[1])
    axes.legend(fontsize=9, ncols=2, loc="upper center")


EXPERIMENT = experiment.Experiment("ablations", Config, measure, tables, draw)
