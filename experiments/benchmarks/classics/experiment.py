"""ZO-PQN, L-BFGS-B and BFGS on the classic test functions of smooth optimisation (15 min)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from experiments import experiment
from experiments.common import style, table
from experiments.common.curves import curve_of, values_to_reach
from experiments.common.errors import InputError
from experiments.common.functions import CLASSICS
from experiments.common.solvers import ENDLESS, descended, scipy_curve
from zosah_jax import Host, methods, minimize


@dataclass(frozen=True)
class Config(experiment.Config):
    """ZO-PQN with its defaults and SciPy's methods, every value counted, in float64."""

    functions: tuple[str, ...] = tuple(CLASSICS)
    """Functions by name."""
    dimension: int = 20
    """d, a multiple of four."""
    shift: float = 0.2
    """Standard deviation of what is added to the usual start, for all seeds but the first: from
    usual starts, which repeat a few numbers, many of these are problems of a few dimensions."""
    gaps: tuple[float, ...] = (1e-1, 1e-3, 1e-5, 1e-7)
    """Parts of the gap between the start and the optimum that remain."""
    budget: int = 300
    """Most values of a run, in units of d."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of ZO-PQN and of the starts; the first takes the usual one."""
    others: tuple[str, ...] = ("quadratic_regression", "block_newton")
    """Other methods of the library, by name."""
    others_budget: int = 100
    """Most values of a run of theirs, in units of d."""


# --- the measurement ------------------------------------------------------------------------------

OURS = "zopqn"
PEERS: dict[str, dict[str, Any]] = {
    "L-BFGS-B": {"ftol": 1e-16, "gtol": 1e-14, "maxfun": ENDLESS, "maxiter": ENDLESS},
    "BFGS": {"gtol": 1e-14, "maxiter": ENDLESS},
}
"""SciPy's methods with forward differences, and tolerances that do not stop them early."""


def measure(config: Config) -> dict[str, Any]:
    """Values to close parts of the gap, from usual starts and from others nearby."""
    d = config.dimension
    if d % 4 or d < 8:
        raise InputError(f"dimension: got {d}, wanted a multiple of 4, at least 8.")
    experiment.check_names("functions", config.functions, CLASSICS)
    found: dict[str, Any] = {}
    for name in tqdm(config.functions):
        fun, start = CLASSICS[name]
        runs = []
        for number, seed in enumerate(config.seeds):
            away = np.random.default_rng(seed).standard_normal(d)
            x0 = start(d) + (config.shift * away if number else 0)
            with jax.enable_x64(True):
                runs.append(_run(fun, x0, config, seed))
        found[name] = runs
    return {
        "gaps": list(config.gaps),
        "dimension": d,
        "budget_in_d": config.budget,
        "others": list(config.others),
        "others_budget_in_d": config.others_budget,
        "functions": found,
    }


def _run(fun: Callable[[Any], Any], x0: np.ndarray, config: Config, seed: int) -> dict[str, Any]:
    jitted, d, gaps = jax.jit(fun), config.dimension, config.gaps
    budgets = {OURS: config.budget * d, **dict.fromkeys(config.others, config.others_budget * d)}
    curves = {
        # by the host, whose history has an entry a batch, however many there are
        name: curve_of(
            minimize(
                jitted,
                x0,
                getattr(methods, name)(),
                budget=most,
                key=seed,
                noise=0,
                host=Host(retries=0),
            )
        )
        for name, most in budgets.items()
    }
    for name, options in PEERS.items():
        curves[name] = scipy_curve(jitted, x0, name, config.budget * d, **options)
    first = float(jitted(x0))
    optimum = min(descended(fun, x0), *(float(np.nanmin(c.best)) for c in curves.values()))
    needed = {
        name: [values_to_reach(curves[name], optimum + gap * (first - optimum)) for gap in gaps]
        for name in (*PEERS, *budgets)
    }
    return {"start": first, "optimum": optimum, "values": needed}


# --- its tables -----------------------------------------------------------------------------------

_MOST = 20.0  # ratio at which one counts in a mean, at most and, inverted, at least


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    tables = {"ratios": _ratios(results), "functions": _functions(results)}
    return tables | {"others": _others(results)}


def ratios(
    results: dict[str, Any], peer: str, method: str = OURS, budget: float = np.inf
) -> np.ndarray:
    """Values of a method over a peer's, by run and gap; 1 where neither gets there in a budget."""
    runs = [run["values"] for of in results["functions"].values() for run in of]
    ours, theirs = (_numbers([run[name] for run in runs]) for name in (method, peer))
    ours, theirs = (np.where(values > budget, np.inf, values) for values in (ours, theirs))
    with np.errstate(invalid="ignore"):
        quotient = np.where(np.isinf(ours) & np.isinf(theirs), 1, ours / theirs)
    return np.clip(quotient, 1 / _MOST, _MOST)


def _numbers(values: list[list[float | None]]) -> np.ndarray:
    return np.array([[np.inf if v is None else v for v in of] for of in values], float)


def _ratios(results: dict[str, Any]) -> str:
    header = ["ZO-PQN's values over", *(f"{gap:g} of the gap left" for gap in results["gaps"])]
    rows = []
    for peer in PEERS:
        found = ratios(results, peer)
        means = [table.geometric_mean(column) for column in found.T]
        fewer = (found < 1).sum(axis=0)
        rows.append([f"{peer}'s, geometric mean", *(f"{mean:.2f}" for mean in means)])
        rows.append([f"fewer than {peer}", *(f"{number} of {len(found)}" for number in fewer)])
    return table.markdown(header, rows)


def _others(results: dict[str, Any]) -> str:
    budget = results["others_budget_in_d"]
    header = [f"within {budget} d values, over L-BFGS-B's"]
    header += [f"{gap:g} of the gap left" for gap in results["gaps"]]
    rows = []
    for method in (OURS, *results["others"]):
        found = ratios(results, "L-BFGS-B", method, budget * results["dimension"])
        means = [f"{table.geometric_mean(column):.2f}" for column in found.T]
        rows.append([style.label(method) if method == OURS else f"`{method}`", *means])
    return table.markdown(header, rows)


def _functions(results: dict[str, Any]) -> str:
    names = (OURS, *PEERS)
    label = " / ".join(style.label(name) if name == OURS else name for name in names)
    header = [label, *(f"{gap:g} of the gap left" for gap in results["gaps"])]
    rows = []
    for name, runs in results["functions"].items():
        middle = [np.median(_numbers([run["values"][of] for run in runs]), axis=0) for of in names]
        cells = [
            " / ".join(table.per_d(v, results["dimension"]) for v in at)
            for at in zip(*middle, strict=True)
        ]
        rows.append([name, *cells])
    return table.markdown(header, rows)


# --- its figure -----------------------------------------------------------------------------------

_TICKS = (1, 10, 100)
_DASHES = {"L-BFGS-B": "--", "BFGS": ":"}


def draw(results: dict[str, Any], path: Path) -> None:
    """Data profiles: part of the runs that came within a part of the gap, against values."""
    gaps, d = results["gaps"], results["dimension"]
    runs = [run["values"] for of in results["functions"].values() for run in of]
    with style.figure(path, 3.6 * len(gaps) + 0.6, 4.4) as figure:
        panels = figure.subplots(1, len(gaps), sharey=True, squeeze=False)[0]
        for number, (axes, gap) in enumerate(zip(panels, gaps, strict=True)):
            for name in (OURS, *PEERS):
                there = sorted(v for run in runs if (v := run[name][number]) is not None)
                part = np.arange(1, len(there) + 1) / len(runs)
                axes.step(np.array(there) / d, part, where="post", **_look(name))
            axes.set(title=f"{gap:g} of the gap left", xscale="log", ylim=(0, 1))
            axes.set_xticks(_TICKS, list(map(str, _TICKS)))
            axes.set_xticks([], minor=True)
            axes.set_xlim(0.5, results["budget_in_d"])
        figure.supxlabel("values / d", fontsize=13)
        figure.supylabel("runs", fontsize=13)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)


def _look(name: str) -> dict[str, Any]:
    if name == OURS:
        return {"color": style.colour(name), "linewidth": 3.0, "label": style.label(name)}
    return {"color": style.REFERENCE, "linestyle": _DASHES[name], "label": name}


EXPERIMENT = experiment.Experiment("classics", Config, measure, tables, draw)
