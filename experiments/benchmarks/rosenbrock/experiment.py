"""The ways of ZO-SAH and RSPG through Rosenbrock's valley, and their price (1 min)."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.axes import Axes
from tqdm import tqdm

from experiments import experiment
from experiments.common import style, sweeps, table
from experiments.common.curves import Curve, curve_of, median, values_to_reach
from experiments.common.functions import rosenbrock, zigzag
from experiments.common.solvers import scipy_curve
from experiments.common.sweeps import Constructor
from zosah_jax import minimize, num_evaluations


@dataclass(frozen=True)
class Config(experiment.Config):
    """ZO-SAH, RSPG and SciPy's BFGS and COBYQA on Rosenbrock's function, from (-1.2, 1)."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of the methods."""
    target: float = 1e-6
    """Value at which a run stops."""
    budget: int = 2_000
    """Most values of a run of ZO-SAH, or of SciPy's."""
    rspg_budget: int = 100_000
    """Most values of a run of RSPG."""
    rspg_learning_rates: tuple[float, ...] = (3e-4, 5e-4, 7e-4, 1e-3, 1.5e-3, 2e-3, 3e-3)
    """Grid from which RSPG gets the one with the best median."""


# --- the measurement ------------------------------------------------------------------------------

START = zigzag(2)
REFERENCES = ("BFGS", "COBYQA")

_POINTS = 120  # of a kept curve or path, at most
_FAR = 1e3  # a path that has come so far has diverged


def measure(config: Config) -> dict[str, Any]:
    """Run ZO-SAH, RSPG at every learning rate, and SciPy's references."""
    ways = {
        "zosah": (sweeps.constructor("zosah"), (1.0,), config.budget),
        "zosah_paper": (sweeps.constructor("zosah", reading="paper"), (1.0,), config.budget),
        "rspg": (sweeps.constructor("rspg"), config.rspg_learning_rates, config.rspg_budget),
    }
    methods = {}
    with (
        jax.enable_x64(True),
        tqdm(total=sum(len(rates) for _, rates, _ in ways.values()) * len(config.seeds)) as bar,
    ):
        for name, (constructor, rates, budget) in ways.items():
            bar.set_description(name)
            tried: dict[float, list[Curve]] = {}
            for rate in rates:
                tried[rate] = []
                for seed in config.seeds:
                    found = minimize(
                        rosenbrock,
                        jnp.asarray(START),
                        constructor(rate),
                        budget=budget,
                        target=config.target,
                        key=seed,
                    )
                    tried[rate].append(curve_of(found))
                    bar.update()
            methods[name] = _best(constructor, tried, config.seeds, config.target)
    ours, theirs = (methods[name]["median"] for name in ("zosah", "rspg"))
    return {
        "seeds": list(config.seeds),
        "target": config.target,
        "rspg_over_zosah": theirs / ours if ours and theirs else None,
        "methods": methods,
        "references": {m: _reference(m, config.budget, config.target) for m in REFERENCES},
    }


def _best(
    constructor: Constructor, tried: dict[float, list[Curve]], seeds: tuple[int, ...], target: float
) -> dict[str, Any]:
    """What is kept of a method: its runs at the learning rate with the smallest median."""
    values = {r: [values_to_reach(c, target) for c in curves] for r, curves in tried.items()}
    rate = min(values, key=lambda r: median(values[r]))
    curves, needed = tried[rate], median(values[rate])
    middle = int(np.argsort([np.inf if v is None else v for v in values[rate]])[len(seeds) // 2])
    return {
        "learning_rate": rate,
        "values": values[rate],
        "median": needed if np.isfinite(needed) else None,
        "values_by_learning_rate": {f"{r:g}": v for r, v in values.items()},
        "curves": [_thinned(curve) for curve in curves],
        "path_seed": seeds[middle],
        "path": path(constructor, rate, seeds[middle], int(curves[middle].spent[-1])),
    }


def _thinned(curve: Curve) -> dict[str, list[float]]:
    """Points of a curve, evenly spread on a logarithmic axis."""
    at = _spread(len(curve.spent))
    best = [float(f"{v:.4g}") for v in curve.best[at]]
    return {"spent": curve.spent[at].tolist(), "best": best}


def _spread(number: int) -> np.ndarray:
    return np.unique(np.geomspace(1, number, _POINTS).round().astype(int)) - 1


def path(constructor: Constructor, rate: float, seed: int, values: int) -> list[list[float]]:
    """Points where a method stood within its first `values` values, thinned."""
    points, spent = _path(constructor, values // 2 + 1, rate, jax.random.key(seed))
    stood = np.asarray(points)[np.asarray(spent) < values]
    stood = stood[np.abs(stood).max(axis=1) < _FAR]  # False for NaN
    return np.round(stood[_spread(len(stood))], 4).tolist()


@partial(jax.jit, static_argnums=(0, 1))
def _path(
    constructor: Constructor, steps: int, rate: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Points, and values spent before each; a step takes two values at least."""
    tx = constructor(rate, key=key)

    def step(carry: Any, _: None) -> Any:
        x, state = carry
        updates, after = tx.update(jnp.zeros_like(x), state, x, value_fn=rosenbrock)
        return (optax.apply_updates(x, updates), after), (x, num_evaluations(state))

    x0 = jnp.asarray(START)
    return jax.lax.scan(step, (x0, tx.init(x0)), length=steps)[1]


def _reference(method: str, budget: int, target: float) -> dict[str, Any]:
    curve = scipy_curve(rosenbrock, START, method, budget)
    return {"values": values_to_reach(curve, target), "curve": _thinned(curve)}


# --- its tables -----------------------------------------------------------------------------------

LABELS = {
    "zosah": "ZO-SAH",
    "zosah_paper": "ZO-SAH, paper's reading",
    "rspg": "RSPG, best learning rate",
}


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    header = [f"values to f <= {results['target']:g}", "learning rate", "median", "min - max"]
    rows = []
    for name, found in results["methods"].items():
        rate = f"{found['learning_rate']:g}"
        rows.append([LABELS[name], rate, _number(found["median"]), _range(found["values"])])
    for name, found in results["references"].items():
        rows.append([f"SciPy {name}", "", _number(found["values"]), ""])
    ratio = results["rspg_over_zosah"]
    rows.append(["RSPG / ZO-SAH", "", "-" if ratio is None else f"{ratio:.0f}x", ""])
    return {"table": table.markdown(header, rows)}


def _number(values: float | None) -> str:
    return "-" if values is None else f"{values:,.0f}"


def _range(values: list[int | None]) -> str:
    there = [v for v in values if v is not None]
    if len(there) < len(values):
        return f"{len(there)} of {len(values)} seeds"
    return f"{min(there):,} - {max(there):,}"


# --- its figure -----------------------------------------------------------------------------------

_LOOKS: dict[str, dict[str, Any]] = {
    "zosah": {"color": style.colour("zosah"), "linestyle": "-", "zorder": 4},
    "zosah_paper": {"color": style.colour("zosah"), "linestyle": ":", "zorder": 2},
    "rspg": {"color": style.colour("rspg"), "linestyle": "-", "zorder": 3},
}
_REFERENCE_DASHES = {"BFGS": "--", "COBYQA": "-."}


def draw(results: dict[str, Any], path: Path) -> None:
    """Where the methods go, and what they know after how many values."""
    with style.figure(path, 13.6, 5.8) as figure:
        paths, curves = figure.subplots(1, 2)
        _valley(paths)
        for name, found in results["methods"].items():
            x, y = np.array(found["path"]).T
            paths.plot(x, y, "o", markersize=3.5, **_LOOKS[name])
            _curves(curves, name, found)
        for name, found in results["references"].items():
            look = {"color": style.REFERENCE, "linestyle": _REFERENCE_DASHES[name]}
            _curve(curves, found["curve"], label=f"SciPy {name}", linewidth=1.6, **look)
        _finish(curves, results["target"])
        figure.legend(loc="outside lower center", ncols=len(LABELS) + len(_REFERENCE_DASHES))


def _valley(axes: Axes) -> None:
    x, y = np.meshgrid(np.linspace(-1.9, 1.9, 300), np.linspace(-2.8, 2.6, 300))
    values = np.log10(rosenbrock(np.stack([x, y])) + 1e-3)
    axes.contourf(x, y, values, levels=np.linspace(-3, 4, 11), cmap="Greys", vmin=-3, vmax=12)
    axes.plot(*START, "s", color=style.REFERENCE, markersize=8)
    axes.plot(1, 1, "*", color=style.REFERENCE, markersize=15)
    axes.annotate("start", tuple(START), textcoords="offset points", xytext=(-6, 10), ha="right")
    axes.annotate("minimum", (1, 1), textcoords="offset points", xytext=(10, -16))
    axes.set(xlim=(x.min(), x.max()), ylim=(y.min(), y.max()), xlabel="$x_1$", ylabel="$x_2$")
    axes.set_title("The way taken (median seed)")
    axes.grid(visible=False)


def _curves(axes: Axes, name: str, found: dict[str, Any]) -> None:
    """A line a seed, one of them labelled."""
    for number, curve in enumerate(found["curves"]):
        there = "" if found["median"] else " (target not reached)"
        label = LABELS[name] + there if number == 0 else None
        _curve(axes, curve, label=label, alpha=0.75, linewidth=1.6, **_LOOKS[name])


def _curve(axes: Axes, curve: dict[str, Any], **look: Any) -> None:
    axes.step(curve["spent"], curve["best"], where="post", **look)


def _finish(axes: Axes, target: float) -> None:
    axes.axhline(target, color="#888888", linewidth=1)
    axes.set(xscale="log", yscale="log", ylim=(target / 30, 60), xlim=(1, None))
    axes.set(xlabel="function values spent", ylabel="best value so far")
    axes.set_title("What it costs (a line a seed)")


EXPERIMENT = experiment.Experiment("rosenbrock", Config, measure, tables, draw)
