"""Residual vectors: least_squares, DFO-LS and SciPy on NIST's and Moré's problems (10 min)."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.optimize
from tqdm import tqdm

from experiments import experiment
from experiments.benchmarks.least_squares import nist
from experiments.benchmarks.least_squares.more_garbow_hillstrom import PROBLEMS, Problem
from experiments.common import records, style, table
from experiments.common.errors import InputError
from experiments.common.residual_solvers import (
    TIGHT_DFOLS,
    TIGHT_SCIPY,
    Recorded,
    Residuals,
    Solver,
    dfols,
    scipy_least_squares,
)
from zosah_jax import Host, least_squares

STANDARD = {problem.name: problem for problem in PROBLEMS}


@dataclass(frozen=True)
class Config(experiment.Config):
    """Evaluations of residual vectors until a problem is solved, by least_squares and its peers.

    NIST's files are not shipped: pass --data-dir, or set ZOSAH_DATA. Without them the problems of
    Moré, Garbow and Hillstrom alone are run.
    """

    problems: tuple[str, ...] = (*nist.MODELS, *STANDARD)
    """Problems by name, of both sets."""
    data_dir: Path | None = None
    """Folder with NIST's .dat files or with a sub-folder nist that has them; else the environment
    variable ZOSAH_DATA."""
    budget: int = 200
    """Most evaluations of a run, in units of d + 1."""
    agreement: float = 1e-4
    """Relative difference from certified parameters at which one of NIST's problems is solved."""
    gap: float = 1e-6
    """Part of the gap between the start and the optimum at which one of Moré's is solved."""
    only: tuple[str, ...] | None = None
    """Solvers to run anew; the others' results are those that `experiments/least_squares` keeps.
    None: all are run."""


# --- the measurement ------------------------------------------------------------------------------

OURS = "least_squares"
PEERS: dict[str, tuple[Solver, ...]] = {
    "DFO-LS": (dfols(), dfols(**TIGHT_DFOLS)),
    "SciPy trf": (scipy_least_squares("trf"), scipy_least_squares("trf", **TIGHT_SCIPY)),
    "SciPy lm": (
        scipy_least_squares("lm"),
        scipy_least_squares("lm", x_scale="jac", **TIGHT_SCIPY),
    ),
}
"""Each with its defaults, and with tolerances that do not stop it early."""
SOLVERS = (OURS, *PEERS)

Done = Callable[[np.ndarray, float], bool]


def measure(config: Config) -> dict[str, Any]:
    """Evaluations to solve every problem, by every solver at every setting."""
    experiment.check_names("problems", config.problems, (*nist.MODELS, *STANDARD))
    experiment.check_names("only", config.only or (), SOLVERS)
    regressions = _regressions(config)
    standard = [STANDARD[name] for name in config.problems if name in STANDARD]
    if not regressions and not standard:
        raise InputError("problems: got NIST's alone, whose files are not at hand (data_dir).")
    kept = records.kept("least_squares") if config.only else None
    found: dict[str, list[Any]] = {"nist": [], "more_garbow_hillstrom": []}
    with tqdm(total=2 * len(regressions) + len(standard), unit="problem") as bar:
        for regression in regressions:
            for number in range(len(regression.starts)):
                bar.set_description(f"{regression.name}, start {number + 1}")
                found["nist"].append(_on_nist(regression, number, config, kept))
                bar.update()
        for problem in standard:
            bar.set_description(problem.name)
            found["more_garbow_hillstrom"].append(_on_standard(problem, config, kept))
            bar.update()
    return {"budget": config.budget, **found}


def _regressions(config: Config) -> list[nist.Regression]:
    names = [name for name in config.problems if name in nist.MODELS]
    folder = config.data_dir or os.environ.get("ZOSAH_DATA")
    if names and not folder:
        print(
            "NIST's problems are left out: pass --data-dir or set ZOSAH_DATA, a folder with their "
            "files (https://www.itl.nist.gov/div898/strd/nls/nls_main.shtml).",
            file=sys.stderr,
        )
        return []
    if not names:
        return []
    inner = Path(folder or "") / "nist"
    place = inner if inner.is_dir() else Path(folder or "")
    return [nist.load(name, place) for name in names]


Kept = dict[str, Any] | None


def _on_nist(
    regression: nist.Regression, number: int, config: Config, kept: Kept
) -> dict[str, Any]:
    certified = regression.certified
    x0, d = regression.starts[number], len(certified)
    about = {
        "name": regression.name,
        "start": number + 1,
        "dimension": d,
        "residuals": len(regression.response),
    }

    def done(point: np.ndarray, total: float) -> bool:
        return bool(np.max(np.abs(point / certified - 1)) < config.agreement)

    old = _taken(about, config, "nist", kept)
    budget = config.budget * (d + 1)
    evaluations, covariance = _evaluations(regression, x0, done, budget, old)
    worst = old.get("deviations_off_by")
    if covariance is not None:
        ours = np.sqrt(np.diag(covariance))
        worst = float(np.max(np.abs(ours / regression.deviations - 1)))
    return {**about, "evaluations": evaluations, "deviations_off_by": worst}


def _on_standard(problem: Problem, config: Config, kept: Kept) -> dict[str, Any]:
    x0, d = problem.start, len(problem.start)
    first, smallest = _total(problem.residuals(x0)), smallest_sum(problem)
    level = smallest + config.gap * (first - smallest)
    about = {"name": problem.name, "dimension": d, "residuals": len(problem.residuals(x0))}
    old = _taken(about, config, "more_garbow_hillstrom", kept)
    evaluations, _ = _evaluations(
        problem.residuals, x0, lambda point, total: total <= level, config.budget * (d + 1), old
    )
    return {**about, "smallest": smallest, "evaluations": evaluations}


def _taken(about: dict[str, Any], config: Config, which: str, kept: Kept) -> dict[str, Any]:
    """What is kept of a problem for the solvers that are not run; nothing where all are."""
    if config.only is None:
        return {}
    same = kept is not None and kept["budget"] == config.budget
    for problem in kept[which] if kept and same else ():
        if all(problem[key] == value for key, value in about.items()):
            counts = problem["evaluations"]
            others = {name: of for name, of in counts.items() if name not in config.only}
            return problem | {"evaluations": others}
    raise InputError(
        f"only: wanted the kept results of {about['name']} at the same budget, which are not "
        "there: run without it first."
    )


def smallest_sum(problem: Problem) -> float:
    """The smallest sum of squares that SciPy's three methods find with central differences.

    They go on as long as they can. Where a problem has several minima, this is the lowest of those
    that they come to from its start.
    """
    found = []
    for method in ("lm", "trf", "dogbox"):
        fun = Recorded(problem.residuals, 10**6)
        options = {"jac": "3-point", "max_nfev": 3000, **TIGHT_SCIPY}
        with np.errstate(all="ignore"):
            try:
                scipy.optimize.least_squares(fun, problem.start, method=method, **options)
            except (ValueError, np.linalg.LinAlgError):
                continue  # what it found before that is not taken
        found.append(fun.best[0])
    return min(found)


def _total(residuals: np.ndarray) -> float:
    return float(residuals @ residuals)


def _evaluations(
    residuals: Residuals, x0: np.ndarray, done: Done, budget: int, old: dict[str, Any]
) -> tuple[dict[str, list[int | None]], np.ndarray | None]:
    """By solver and setting: evaluations until it is solved; and our covariance, if it is new."""
    found: dict[str, list[int | None]] = dict(old.get("evaluations", {}))
    covariance = None
    if OURS not in found:
        ours = Recorded(residuals, budget, done, goes_on=True)  # the covariance is of its end
        run = least_squares(ours, x0.copy(), budget=budget, host=Host(retries=0))
        found[OURS] = [ours.solved_after]
        covariance = np.asarray(run.covariance)
    for name, settings in PEERS.items():
        if name not in found:
            found[name] = []
            for solve in settings:
                theirs = Recorded(residuals, budget, done)
                solve(theirs, x0.copy(), None)
                found[name].append(theirs.solved_after)
    return {name: found[name] for name in SOLVERS}, covariance


# --- its tables -----------------------------------------------------------------------------------

SETS = {"nist": "NIST", "more_garbow_hillstrom": "Moré, Garbow, Hillstrom"}


def needed(problem: dict[str, Any], solver: str) -> float:
    """Evaluations at the better of a solver's settings on this problem; infinite if at neither."""
    counts = problem["evaluations"][solver]
    return min((count for count in counts if count is not None), default=np.inf)


def ratios(problems: list[dict[str, Any]], peer: str, ours: str = OURS) -> np.ndarray:
    """Our evaluations over a peer's, where both solve the problem."""
    both = np.array([[needed(p, ours), needed(p, peer)] for p in problems])
    both = both[np.isfinite(both).all(axis=1)]
    return both[:, 0] / both[:, 1]


def deviations_off_by(problems: list[dict[str, Any]]) -> dict[str, float]:
    """Relative errors of standard deviations where ours solves the problem, the largest of each."""
    found = {}
    for problem in problems:
        if np.isfinite(needed(problem, OURS)):
            off = problem["deviations_off_by"]
            found[f"{problem['name']}, start {problem['start']}"] = np.inf if off is None else off
    return found


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    found = {"solved": _solved(results), "standard": _counts(results["more_garbow_hillstrom"])}
    if results["nist"]:
        found |= {"nist": _counts(results["nist"]), "deviations": _deviations(results["nist"])}
    return found


def _solved(results: dict[str, Any]) -> str:
    there = {key: title for key, title in SETS.items() if results[key]}
    header = ["", *(f"{title}: solved" for title in there.values())]
    header += [f"ours over theirs, {title}" for title in there.values()]
    rows = []
    for solver in SOLVERS:
        solved, ratio = [], []
        for key in there:
            problems = results[key]
            settings = len(problems[0]["evaluations"][solver])
            each = [
                sum(p["evaluations"][solver][number] is not None for p in problems)
                for number in range(settings)
            ]
            best = sum(np.isfinite(needed(p, solver)) for p in problems)
            told = f" ({' and '.join(map(str, each))})" if settings > 1 else ""
            solved.append(f"{best} of {len(problems)}{told}")
            common = ratios(problems, solver)
            mean = f"{table.geometric_mean(common):.2f} (of {len(common)})" if len(common) else "-"
            ratio.append("" if solver == OURS else mean)
        rows.append([solver, *solved, *ratio])
    return table.markdown(header, rows)


def _counts(problems: list[dict[str, Any]]) -> str:
    """Evaluations, a row a problem; both starts in one cell."""
    rows: dict[str, list[list[str]]] = {}
    for problem in problems:
        row = rows.setdefault(problem["name"], [[] for _ in SOLVERS])
        for cell, solver in zip(row, SOLVERS, strict=True):
            count = needed(problem, solver)
            cell.append(f"{count:.0f}" if np.isfinite(count) else "-")
    size = {problem["name"]: str(problem["dimension"]) for problem in problems}
    body = [[name, size[name], *map(" / ".join, row)] for name, row in rows.items()]
    return table.markdown(["evaluations", "d", *SOLVERS], body)


def _deviations(problems: list[dict[str, Any]]) -> str:
    found = deviations_off_by(problems)
    rows = []
    for part in (1e-4, 1e-2, 0.05):
        number = sum(off <= part for off in found.values())
        rows.append([f"within {100 * part:g} %", f"{number} of {len(found)}"])
    worst = max(found, key=lambda name: found[name], default=None)
    if worst is not None:
        rows.append([f"worst: {worst}", f"{100 * found[worst]:.3g} %"])
    return table.markdown(["all standard deviations of a fit", "solved problems"], rows)


# --- its figure -----------------------------------------------------------------------------------

_LOOKS: dict[str, dict[str, Any]] = {
    OURS: {"color": style.series(0), "linewidth": 3.2, "zorder": 3},
    "DFO-LS": {"color": style.series(1), "linestyle": "-"},
    "SciPy trf": {"color": style.series(2), "linestyle": "--"},
    "SciPy lm": {"color": style.REFERENCE, "linestyle": ":"},
}


def draw(results: dict[str, Any], path: Path) -> None:
    """Data profiles: part of the problems that is solved, against evaluations over d + 1."""
    there = {key: title for key, title in SETS.items() if results[key]}
    with style.figure(path, 6.4 * len(there) + 0.4, 5.2) as figure:
        panels = figure.subplots(1, len(there), sharey=True, squeeze=False)[0]
        for axes, (key, title) in zip(panels, there.items(), strict=True):
            problems = results[key]
            for solver, look in _LOOKS.items():
                each = np.sort([needed(p, solver) / (p["dimension"] + 1) for p in problems])
                each = each[np.isfinite(each)]
                part = np.arange(1, len(each) + 1) / len(problems)
                places = np.concatenate([[0.1], each, [results["budget"]]])
                share = np.concatenate([[0], part, [len(each) / len(problems)]])
                axes.step(places, share, where="post", label=solver, **look)
            axes.set(xscale="log", xlim=(1, results["budget"]), ylim=(0, 1.02))
            axes.set_title(f"{title}: {len(problems)} problems")
            axes.set_xlabel("evaluations / (d + 1)")
            style.plain_ticks(axes.xaxis)
        panels[0].set_ylabel("part that is solved")
        panels[0].yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)


EXPERIMENT = experiment.Experiment(
    "least_squares", Config, measure, tables, draw, packages=("DFO-LS",)
)
