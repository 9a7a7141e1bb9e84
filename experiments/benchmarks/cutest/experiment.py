"""CUTEst problems in pure JAX: the library's solvers, SciPy's, NLopt's, CMA-ES and Py-BOBYQA."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from experiments import experiment
from experiments.benchmarks.cutest.solvers import DEFAULT, OURS, SOLVERS, Run, chosen, run
from experiments.common import records, style, table
from experiments.common.cutest_problems import GROUPS, Problem, group, in_float64, problems
from experiments.common.errors import InputError


@dataclass(frozen=True)
class Config(experiment.Config):
    """Values to levels of the gap on CUTEst's small problems, every value counted, in float64."""

    names: tuple[str, ...] | None = None
    """Problems by name. None: all that are taken."""
    budget: int = 100
    """Most values of a run, in units of d + 1."""
    solvers: tuple[str, ...] = tuple(SOLVERS)
    """Solvers that take part. COBYQA and Py-BOBYQA take most of the time."""
    only: tuple[str, ...] | None = None
    """Of those, the ones to run anew; the others' results are those that `experiments/cutest`
    keeps. None: all are run."""


# --- the measurement ------------------------------------------------------------------------------

LEVELS = (1e-1, 1e-3, 1e-5, 1e-7)
"""Parts of the gap between the start and the best value that any solver found."""
_SAME = 1e-9  # of that gap: a best value that is lower by no more moves no level
_UNBOUNDED = -1e15  # values below tell of no minimum

Row = list[int | None] | None  # values to each level; None: not reached; no list: not run
Found = dict[str, Any]


def measure(config: Config) -> dict[str, Any]:
    """Values that every solver needs to each level on every problem."""
    experiment.check_names("solvers", config.solvers, SOLVERS)
    experiment.check_names("only", config.only or (), config.solvers)
    kept = records.kept("cutest") if config.only else None
    left_out: dict[str, str] = {}
    errors: dict[str, dict[str, str]] = {}
    found = []
    with in_float64(), threadpool_limits(1):
        whole = list(tqdm(problems(config.names, left_out), unit="problem", desc="loading"))
        with tqdm(whole, unit="problem") as bar:
            for problem in bar:
                bar.set_description(f"{problem.name}, d = {problem.dimension}")
                one = _on(problem, config, kept, errors)
                if isinstance(one, str):
                    left_out[problem.name] = one
                else:
                    found.append(one)
    return {
        "budget": config.budget,
        "levels": list(LEVELS),
        "solvers": list(config.solvers),
        "problems": found,
        "left_out": left_out,
        "errors": errors,
    }


def _on(
    problem: Problem, config: Config, kept: Found | None, errors: dict[str, dict[str, str]]
) -> Found | str:
    """What is kept of a problem, or why it is left out."""
    start = problem.fun(problem.x0)
    old = _taken(problem.name, config, kept) if config.only else None
    anew = config.solvers if old is None or config.only is None else config.only
    fresh = [name for name in config.solvers if name in anew]
    runs = _runs(problem, fresh, config.budget)
    best = _smallest(runs, start)
    if old is not None:
        before = float(old["best"])
        if best < before - _SAME * (start - before):
            # the levels have moved, and of the others no curve is kept
            runs |= _runs(problem, [n for n in config.solvers if n not in runs], config.budget)
            best = min(best, _smallest(runs, start))
        else:
            best = before
    if best < _UNBOUNDED:
        return "no minimum: values fall without end"
    if not best < start:
        return "no solver finds a value below the start's"
    rows: dict[str, Row] = dict(old["rows"]) if old else {}
    for name, one in runs.items():
        rows[name] = None if one is None else _counts(one, start, best)
        if one is not None and one.error is not None:
            errors.setdefault(name, {})[problem.name] = one.error
    if old is not None and kept is not None:
        for name in rows:
            if name not in runs and problem.name in kept["errors"].get(name, {}):
                errors.setdefault(name, {})[problem.name] = kept["errors"][name][problem.name]
    return {
        "name": problem.name,
        "kind": problem.kind,
        "dimension": problem.dimension,
        "default": chosen(problem),
        "start": repr(start),  # to the last digit: levels are made of them
        "best": repr(best),
        "values": [rows[name] for name in config.solvers],
    }


def _runs(problem: Problem, names: list[str], budget: int) -> dict[str, Run | None]:
    """Runs by solver; that of the default is the one of the method that it chooses."""
    runs: dict[str, Run | None] = {}
    for name in sorted(names, key=lambda name: name == DEFAULT):
        same = chosen(problem) if name == DEFAULT else name
        runs[name] = runs[same] if same in runs else run(name, problem, budget)
    return runs


def _smallest(runs: dict[str, Run | None], start: float) -> float:
    return min([start, *(float(r.best[-1]) for r in runs.values() if r and len(r.best))])


def _counts(one: Run, start: float, best: float) -> Row:
    reached = [np.flatnonzero(one.best <= best + level * (start - best)) for level in LEVELS]
    return [int(hits[0]) + 1 if hits.size else None for hits in reached]


def _taken(name: str, config: Config, kept: Found | None) -> Found | None:
    """What is kept of a problem: rows by solver, and the best value; None: it was left out."""
    try:
        if kept is None or kept["budget"] != config.budget:
            raise KeyError("budget")
        if name in kept["left_out"]:
            return None
        old = next(one for one in kept["problems"] if one["name"] == name)
        rows = dict(zip(kept["solvers"], old["values"], strict=True))
        return {"best": old["best"], "rows": {solver: rows[solver] for solver in config.solvers}}
    except (KeyError, StopIteration) as error:
        raise InputError(
            f"only: wanted the kept results of {name} for these solvers and this budget, which "
            "are not there: run without it first."
        ) from error


# --- what it comes to -----------------------------------------------------------------------------


def rows_of(results: Found, solver: str, problems: list[Found]) -> list[tuple[Found, list[Any]]]:
    """Problems that a solver was run on, each with its values to each level."""
    place = results["solvers"].index(solver)
    return [(p, p["values"][place]) for p in problems if p["values"][place] is not None]


def score(values: int | None, dimension: int, budget: int) -> float:
    """Area under a problem's data profile on a log axis: 1 - log(1 + n) / log(1 + budget).

    Args:
        values: to a level, n (d + 1); None: not reached.
        dimension: d.
        budget: most values, in units of d + 1.

    Returns:
        Between 0 (not within the budget) and 1 (at once).
    """
    if values is None:
        return 0.0
    return max(0.0, 1 - math.log1p(values / (dimension + 1)) / math.log1p(budget))


def scores(results: Found, solver: str, problems: list[Found]) -> dict[str, np.ndarray]:
    """By name of the problems that a solver was run on: its score at each level."""
    return {
        p["name"]: np.array([score(v, p["dimension"], results["budget"]) for v in row])
        for p, row in rows_of(results, solver, problems)
    }


# --- its tables -----------------------------------------------------------------------------------


def tables(results: Found) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    found = {key: _table(results, key) for key in GROUPS if group(results, key)}
    return {
        **found,
        "behind": _behind(results),
        "chosen": _chosen(results),
        **({"left_out": _reasons(results["left_out"])} if results["left_out"] else {}),
        **({"errors": _raised(results["errors"])} if results["errors"] else {}),
    }


def name_of(solver: str) -> str:
    """A solver in figures and tables."""
    if solver == DEFAULT:
        return "the default"
    return style.label(solver) if solver == "zopqn" else solver


def _told(level: float) -> str:
    return f"{level:.0e}".replace("e-0", "e-")


def _table(results: Found, key: str) -> str:
    """Scores of every solver at each level, and how far the default is ahead of it."""
    problems = group(results, key)
    ours = scores(results, DEFAULT, problems) if DEFAULT in results["solvers"] else {}
    rows = []
    for solver in results["solvers"]:
        found = scores(results, solver, problems)
        if not found:
            continue
        each = np.stack(list(found.values()))
        all_levels = sum(None not in row for _, row in rows_of(results, solver, problems))
        ahead = [ours[name].mean() - found[name].mean() for name in found if name in ours]
        part = f" (of {len(found)})" if len(found) < len(problems) else ""
        rows.append(
            [
                name_of(solver) + part,
                *(f"{level:.3f}" for level in each.mean(axis=0)),
                f"{each.mean():.3f}",
                f"{np.mean(ahead):+.3f}" if ahead and solver != DEFAULT else "",
                f"{all_levels} of {len(found)}",
            ]
        )
    header = [
        f"{GROUPS[key][-1]}: {len(problems)} problems",
        *(f"gap {_told(level)}" for level in results["levels"]),
        "mean",
        "the default less it",
        "all levels met",
    ]
    return table.markdown(header, rows)


_WORST = 12


def _behind(results: Found) -> str:
    """The problems on which the default is furthest behind the best peer."""
    if DEFAULT not in results["solvers"]:
        return ""
    ours = scores(results, DEFAULT, results["problems"])
    theirs = {
        name: scores(results, name, results["problems"])
        for name in results["solvers"]
        if name not in OURS
    }
    lost = []
    for problem in results["problems"]:
        name = problem["name"]
        best = max(
            (peer for peer in theirs if name in theirs[peer]),
            key=lambda peer: theirs[peer][name].mean(),
            default=None,
        )
        if best is not None:
            both = float(ours[name].mean()), float(theirs[best][name].mean())
            lost.append((both[0] - both[1], problem, best, *both))
    rows = [
        [
            problem["name"],
            problem["kind"],
            str(problem["dimension"]),
            f"{mine:.2f}",
            f"{other:.2f} {peer}",
        ]
        for gap, problem, peer, mine, other in sorted(lost, key=lambda one: one[0])[:_WORST]
        if gap < 0
    ]
    return table.markdown(["furthest behind", "kind", "d", "the default", "the best peer"], rows)


def _reasons(left_out: dict[str, str]) -> str:
    by_reason: dict[str, list[str]] = {}
    for name, why in left_out.items():
        by_reason.setdefault(why, []).append(name)
    rows = [[why, ", ".join(names)] for why, names in by_reason.items()]
    return table.markdown(["left out", "problems"], rows)


def _raised(errors: dict[str, dict[str, str]]) -> str:
    """Runs that ended by an error; what they had found counts."""
    rows = [[name_of(solver), ", ".join(of)] for solver, of in errors.items()]
    return table.markdown(["ended by an error", "problems"], rows)


def _chosen(results: Found) -> str:
    """What the default is."""
    rows = []
    for method in OURS[1:]:
        of = [p for p in results["problems"] if p["default"] == method]
        if of:
            free = [p["dimension"] for p in of if p["kind"] == "unconstrained"]
            rows.append(
                [
                    name_of(method),
                    str(len(free)),
                    str(max(free, default=0)),
                    str(len(of) - len(free)),
                ]
            )
    header = ["the default is", "on unconstrained problems", "of at most d =", "on bounded ones"]
    return table.markdown(header, rows)


# --- its figure -----------------------------------------------------------------------------------

DRAWN = 1e-5
"""Level of the data profiles."""
_TICKS = (1, 2, 5, 10, 20, 50, 100)
_LOOKS: dict[str, dict[str, Any]] = {
    DEFAULT: {"color": "#D55E00", "linewidth": 3.4, "zorder": 4},
    "quadratic_regression": {"color": "#E69F00", "linestyle": (0, (5, 1.5)), "zorder": 3},
    "zopqn": {"color": "#CC79A7", "linestyle": "--"},
    "BFGS": {"color": "#6B6B6B", "linestyle": ":"},
    "L-BFGS-B": {"color": style.REFERENCE, "linestyle": "-"},
    "COBYQA": {"color": "#0072B2", "linestyle": "-"},
    "NEWUOA": {"color": "#56B4E9", "linestyle": "--"},
    "BOBYQA": {"color": "#56B4E9", "linestyle": "-"},
    "CMA-ES": {"color": "#009E73", "linestyle": "-."},
    "Py-BOBYQA": {"color": "#8C6D46", "linestyle": (0, (3, 1, 1, 1))},
}


def draw(results: Found, path: Path) -> None:
    """Data profiles: part of the problems that came to the level, against values over d + 1."""
    level, budget = results["levels"].index(DRAWN), results["budget"]
    there = [key for key in GROUPS if group(results, key)]
    columns = min(2, len(there))
    lines = -(-len(there) // columns)
    with style.figure(path, 6.2 * columns + 0.5, 4.3 * lines + 1.3) as figure:
        panels = list(figure.subplots(lines, columns, sharey=True, squeeze=False).flat)
        handles: dict[str, Any] = {}
        for axes, key in zip(panels, there, strict=False):
            problems = group(results, key)
            for solver in results["solvers"]:
                found = rows_of(results, solver, problems)
                if not found:
                    continue
                each = [
                    row[level] / (p["dimension"] + 1) for p, row in found if row[level] is not None
                ]
                share = np.arange(len(each) + 1) / len(found)
                places = np.concatenate([[1e-2], np.sort(each), [budget]])
                (handles[name_of(solver)],) = axes.step(
                    places, np.append(share, share[-1]), where="post", **_LOOKS[solver]
                )
            axes.set(xscale="log", xlim=(1, budget), ylim=(0, 1))
            axes.set_xticks([t for t in _TICKS if t <= budget])
            axes.set_xticks([], minor=True)
            axes.xaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_major_formatter(lambda part, _: f"{100 * part:.0f} %")
            axes.set_title(f"{GROUPS[key][-1]}: {len(problems)} problems")
        for axes in panels[len(there) :]:
            axes.set_axis_off()
        figure.supxlabel("values / (d + 1)", fontsize=13)
        figure.supylabel(f"problems with all but {_told(DRAWN)} of the gap closed", fontsize=13)
        names = [name_of(solver) for solver in results["solvers"] if name_of(solver) in handles]
        figure.legend([handles[n] for n in names], names, loc="outside upper center", ncols=5)


EXPERIMENT = experiment.Experiment(
    "cutest", Config, measure, tables, draw, packages=("sif2jax", "nlopt", "Py-BOBYQA", "cma")
)
