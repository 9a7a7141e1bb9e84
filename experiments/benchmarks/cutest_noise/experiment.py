"""CUTEst problems under noise: the default, ZO-SAH, CMA-ES, NLopt's, SciPy's and Py-BOBYQA."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from experiments import experiment
from experiments.benchmarks.cutest_noise.solvers import DEFAULT, OURS, SOLVERS, Task, run
from experiments.common import records, style, table
from experiments.common.cutest_problems import GROUPS, Problem, group, in_float64, problems
from experiments.common.errors import InputError


@dataclass(frozen=True)
class Config(experiment.Config):
    """The gap that is left on CUTEst's small problems after some noisy values, in float64."""

    names: tuple[str, ...] | None = None
    """Problems by name. None: all whose smallest value `cutest` keeps."""
    largest: int = 20
    """Most parameters of a problem; 50 takes all of `cutest`'s."""
    levels: tuple[float, ...] = (1e-3, 1e-1)
    """Standard deviations of the noise, in units of f(x0) - f*."""
    budget: int = 50
    """Values of a run, in units of d."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the noise, and of what a solver draws."""
    solvers: tuple[str, ...] = tuple(SOLVERS)
    """Solvers that take part."""
    only: tuple[str, ...] | None = None
    """Of those, the ones to run anew; the others' results are the kept ones. None: all are run."""
    resume: bool = False
    """Whether to go on with a run of the same options that was interrupted."""


# --- the measurement ------------------------------------------------------------------------------

Found = dict[str, Any]
_DIGITS = 3  # that are kept of a gap


def measure(config: Config) -> Found:
    """The gap that every solver leaves on every problem, at every level of the noise."""
    experiment.check_names("solvers", config.solvers, SOLVERS)
    experiment.check_names("only", config.only or (), config.solvers)
    minima = {one["name"]: one for one in _minima()["problems"]}
    done = _Done(config)
    old, errors = _taken(config) if config.only else ({}, {})
    left_out: dict[str, str] = {}
    found = []
    with in_float64(), threadpool_limits(1):
        names = config.names or tuple(minima)
        whole = [
            problem
            for problem in tqdm(problems(names, left_out), unit="problem", desc="loading")
            if problem.dimension <= config.largest
        ]
        whole.sort(key=lambda problem: (problem.dimension, problem.name))
        with tqdm(whole, unit="problem") as bar:
            for problem in bar:
                bar.set_description(f"{problem.name}, d = {problem.dimension}")
                if problem.name not in minima:
                    left_out[problem.name] = "cutest keeps no smallest value"
                    continue
                start, optimum = (float(minima[problem.name][key]) for key in ("start", "best"))
                one = done.of(problem.name)
                if one is None:
                    one = _on(problem, start, optimum, config, old.get(problem.name))
                    done.add(one)
                for solver, raised in one.pop("errors").items():
                    errors.setdefault(solver, []).append(f"{problem.name} ({raised})")
                found.append(one)
    done.end()
    return {
        "budget": config.budget,
        "levels": list(config.levels),
        "solvers": list(config.solvers),
        "problems": found,
        "left_out": left_out,
        "errors": errors,
    }


def _on(problem: Problem, start: float, optimum: float, config: Config, old: Found | None) -> Found:
    """What is kept of a problem: gaps by level and solver, medians over the seeds."""
    fresh = [name for name in config.solvers if old is None or name in (config.only or ())]
    gaps, seeds, errors = [], [], {}
    for place, level in enumerate(config.levels):
        before = None if old is None else dict(zip(config.solvers, old["gaps"][place], strict=True))
        row = []
        for name in config.solvers:
            if before is not None and name not in fresh:
                row.append(before[name])
                continue
            runs = [
                run(name, Task(problem, start, optimum, level, _values(problem, config), seed))
                for seed in config.seeds
            ]
            each = [one.gap for one in runs if one is not None]
            row.append(_short(float(np.median(each))) if each else None)
            if name == DEFAULT:
                seeds.append([_short(gap) for gap in each])
            if raised := [one.error for one in runs if one is not None and one.error is not None]:
                errors[name] = raised[0].split(":")[0]
        gaps.append(row)
    if DEFAULT not in fresh and old is not None:
        seeds = old["seeds"]
    return {
        "name": problem.name,
        "kind": problem.kind,
        "dimension": problem.dimension,
        "gaps": gaps,
        "seeds": seeds,  # of the default
        "errors": errors,
    }


def _values(problem: Problem, config: Config) -> int:
    return config.budget * problem.dimension


def _short(gap: float) -> float:
    return float(f"{gap:.{_DIGITS}g}")


def _minima() -> Found:
    kept = records.kept("cutest")
    if kept is None:
        raise InputError(
            "cutest_noise: wanted the kept results of cutest, which has the smallest values: run "
            "it first."
        )
    return kept


def _taken(config: Config) -> tuple[dict[str, Found], dict[str, list[str]]]:
    """What is kept, by problem, in the order of these solvers; and what ended by an error.

    Raises:
        InputError: nothing is, or not of these levels, this budget and these solvers.
    """
    kept = records.kept("cutest_noise")
    same = kept is not None and all(
        kept[key] == list(value) if isinstance(value, tuple) else kept[key] == value
        for key, value in (("budget", config.budget), ("levels", config.levels))
    )
    if kept is None or not same or not set(config.solvers) <= set(kept["solvers"]):
        raise InputError(
            "only: wanted kept results for these levels, this budget and these solvers, which are "
            "not there: run without it first."
        )
    order = [kept["solvers"].index(name) for name in config.solvers]
    rows = {
        one["name"]: one | {"gaps": [[row[place] for place in order] for row in one["gaps"]]}
        for one in kept["problems"]
    }
    return rows, {k: v for k, v in kept["errors"].items() if k not in (config.only or ())}


class _Done:
    """What an interrupted run had come to: a file with a line a problem, gone at the end."""

    def __init__(self, config: Config) -> None:
        self._path = (config.out or Path("runs") / "cutest_noise") / "done.jsonl"
        which = ("names", "largest")  # nothing that is found on a problem depends on them
        asked = {k: v for k, v in records.settings(config).items() if k not in which}
        self._config = {**asked, "only": config.only and list(config.only)}
        self._found: dict[str, Found] = {}
        if config.resume and self._path.exists():
            for line in self._path.read_text().splitlines():
                one = json.loads(line)
                if one["config"] == self._config:
                    self._found[one["found"]["name"]] = one["found"]
        else:
            self.end()

    def of(self, name: str) -> Found | None:
        """What was found on a problem, if it was."""
        return self._found.get(name)

    def add(self, found: Found) -> None:
        """Keep what was found on a problem."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(json.dumps({"config": self._config, "found": found}) + "\n")

    def end(self) -> None:
        """Forget it."""
        self._path.unlink(missing_ok=True)


# --- what it comes to -----------------------------------------------------------------------------

CHOSEN_ON = (
    *("BARD", "BEALE", "BIGGS6", "BOX3", "ENGVAL2", "HELIX", "KOWOSB", "OSBORNEB", "TRIGON1"),
    *("HART6", "PALMER2", "QINGB", "BROYDN3DLS", "DIXMAANE1"),
)
"""Problems of CUTEst on which settings of `noisy_regression` were chosen."""


def gap_of(results: Found, problem: Found, level: int, solver: str) -> float | None:
    """Median gap of a solver on a problem, by the place of the level; None: not run."""
    return problem["gaps"][level][results["solvers"].index(solver)]


def best_peer(results: Found, problem: Found, level: int) -> tuple[float, str] | None:
    """The smallest gap of a peer on a problem, and whose it is."""
    gaps = [
        (gap, solver)
        for solver in results["solvers"]
        if solver not in OURS and (gap := gap_of(results, problem, level, solver)) is not None
    ]
    return min(gaps, default=None)


def ratios(results: Found, found: list[Found], level: int, solver: str) -> dict[str, float]:
    """A solver's gap over the best peer's, by name of the problems that it was run on."""
    each = {}
    for problem in found:
        gap, best = gap_of(results, problem, level, solver), best_peer(results, problem, level)
        if gap is not None and best is not None:
            each[problem["name"]] = gap / best[0]
    return each


# --- its tables -----------------------------------------------------------------------------------


def tables(results: Found) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    found = {}
    for level, size in enumerate(results["levels"]):
        found[f"ratios_{told(size)}"] = _ratios(results, level)
        found[f"gaps_{told(size)}"] = _gaps(results, level)
        found[f"behind_{told(size)}"] = _behind(results, level)
    return {
        **found,
        "worse": _worse(results),
        **({"left_out": _reasons(results["left_out"])} if results["left_out"] else {}),
        **({"errors": _raised(results["errors"])} if results["errors"] else {}),
    }


def told(level: float) -> str:
    """A level in words."""
    return f"{level:.0e}".replace("e-0", "e-")


def name_of(solver: str) -> str:
    """A solver in figures and tables."""
    if solver == DEFAULT:
        return "the default"
    return f"the default, {solver}" if solver in OURS and solver != "zosah" else _peer(solver)


def _title(results: Found, key: str) -> str:
    """A group's title, with the largest number of parameters that there is."""
    kind, least, _, usual = GROUPS[key]
    there = max(problem["dimension"] for problem in results["problems"])
    return f"{kind}, d = {least} - {there}" if 5 < least <= there else usual


def _peer(solver: str) -> str:
    return style.label(solver) if solver == "zosah" else solver


_FAR = 100
"""A ratio, or one over it, beyond which a problem counts no more in the second mean."""


def _ratios(results: Found, level: int) -> str:
    """This library's solvers over the best peer of each problem, by group."""
    everything = results["problems"]
    groups = [(_title(results, key), group(results, key)) for key in GROUPS]
    others = [one for one in everything if one["name"] not in CHOSEN_ON]
    groups += [("all", everything), ("all that no setting was chosen on", others)]
    ours = [solver for solver in results["solvers"] if solver in OURS]
    rows = []
    for title, found in groups:
        cells = []
        for solver in ours:
            each = list(ratios(results, found, level, solver).values())
            mean = table.geometric_mean(each) if each else math.nan
            cells.append(f"{mean:.3f}" if each else "")
            if solver == DEFAULT:
                limited = np.clip(each, 1 / _FAR, _FAR)
                cells.append(f"{table.geometric_mean(limited):.3f}" if each else "")
                cells.append(f"{np.median(each):.3f}" if each else "")
                cells.append(f"{sum(ratio < 1 for ratio in each)} of {len(each)}")
        if found:
            rows.append([title, *cells])
    header = [f"gap over the best peer's, noise {told(results['levels'][level])}"]
    for solver in ours:
        header.append(f"{name_of(solver)}: geometric mean")
        if solver == DEFAULT:
            header += [f"the same, no ratio beyond {_FAR:g}", "median", "below 1 on"]
    return table.markdown(header, rows)


def _gaps(results: Found, level: int) -> str:
    """Every solver's own gaps by group: geometric means, and how often it is the best of all."""
    keys = [key for key in GROUPS if group(results, key)]
    rows = []
    for solver in results["solvers"]:
        cells = []
        for key in keys:
            found = group(results, key)
            each = [gap for p in found if (gap := gap_of(results, p, level, solver)) is not None]
            part = f" (of {len(each)})" if 0 < len(each) < len(found) else ""
            cells.append(f"{table.geometric_mean(each):.2e}{part}" if each else "")
        rows.append([name_of(solver), *cells, str(_times_best(results, level, solver))])
    header = [
        f"geometric mean of the gap, noise {told(results['levels'][level])}",
        *(f"{_title(results, key)}: {len(group(results, key))}" for key in keys),
        "smallest of all on",
    ]
    return table.markdown(header, rows)


def _times_best(results: Found, level: int, solver: str) -> int:
    place = results["solvers"].index(solver)
    return sum(
        row[place] is not None and row[place] <= min(gap for gap in row if gap is not None)
        for row in (problem["gaps"][level] for problem in results["problems"])
    )


_WORST = 12


def _behind(results: Found, level: int) -> str:
    """The problems on which the default is furthest behind the best peer."""
    rows = []
    if DEFAULT in results["solvers"]:
        by_name = {problem["name"]: problem for problem in results["problems"]}
        each = ratios(results, results["problems"], level, DEFAULT)
        for name in sorted(each, key=lambda name: -each[name])[:_WORST]:
            problem, best = by_name[name], best_peer(results, by_name[name], level)
            if each[name] > 1 and best is not None:
                rows.append(
                    [
                        name,
                        problem["kind"],
                        str(problem["dimension"]),
                        f"{gap_of(results, problem, level, DEFAULT):.1e}",
                        f"{best[0]:.1e} {name_of(best[1])}",
                        f"{each[name]:.3g}",
                    ]
                )
    header = [f"furthest behind, noise {told(results['levels'][level])}", "kind", "d"]
    return table.markdown([*header, "the default's gap", "the best peer's", "ratio"], rows)


def _worse(results: Found) -> str:
    """Runs of the default that end above the start."""
    rows = []
    for level, size in enumerate(results["levels"]):
        for problem in results["problems"]:
            each = problem["seeds"][level] if problem["seeds"] else []
            if any(gap > 1 for gap in each):
                told_gaps = ", ".join(f"{gap:.1e}" for gap in each)
                rows.append([problem["name"], str(problem["dimension"]), told(size), told_gaps])
    return table.markdown(
        ["a run of the default ends above the start", "d", "noise", "gaps by seed"], rows
    )


def _reasons(left_out: dict[str, str]) -> str:
    by_reason: dict[str, list[str]] = {}
    for name, why in left_out.items():
        by_reason.setdefault(why, []).append(name)
    rows = [[why, ", ".join(names)] for why, names in by_reason.items()]
    return table.markdown(["left out", "problems"], rows)


def _raised(errors: dict[str, list[str]]) -> str:
    """Runs that ended by an error; what they had found counts."""
    rows = [[name_of(solver), ", ".join(of)] for solver, of in errors.items()]
    return table.markdown(["ended by an error", "problems"], rows)


# --- its figure -----------------------------------------------------------------------------------

_WIDEST = 1e3
_STEADY: dict[str, Any] = {"linewidth": 1.8}
_LOOKS: dict[str, dict[str, Any]] = {
    DEFAULT: {"color": style.colour("noisy_regression"), "linewidth": 3.4, "zorder": 4},
    "noise estimated": {
        "color": style.colour("noisy_regression"),
        "linestyle": (0, (4, 1.5)),
        "zorder": 3,
    },
    "zosah": {"color": style.colour("zosah")},
    "CMA-ES": {"color": style.REFERENCE, "linestyle": "--", **_STEADY},
    "BOBYQA": {"color": style.series(1), "linestyle": "-.", **_STEADY},
    "NEWUOA": {"color": style.series(3), "linestyle": "-.", **_STEADY},
    "COBYQA": {"color": style.series(6), "linestyle": "-.", **_STEADY},
    "Nelder-Mead": {"color": style.series(7), "linestyle": ":", **_STEADY},
    "L-BFGS-B": {"color": style.series(8), "linestyle": ":", **_STEADY},
    "L-BFGS-B, wide": {"color": style.series(2), "linestyle": "--", **_STEADY},
    "Py-BOBYQA": {"color": style.series(9), "linestyle": "--", **_STEADY},
}


def draw(results: Found, path: Path) -> None:
    """Share of the problems on which a solver is within a factor of the best peer."""
    levels = results["levels"]
    with style.figure(path, 6.4 * len(levels) + 0.5, 6.2) as figure:
        panels = list(figure.subplots(1, len(levels), sharey=True, squeeze=False).flat)
        handles: dict[str, Any] = {}
        for level, (axes, size) in enumerate(zip(panels, levels, strict=True)):
            for solver in results["solvers"]:
                each = np.sort(
                    list(ratios(results, results["problems"], level, solver).values())
                ).astype(float)
                if not each.size:
                    continue
                share = np.arange(len(each) + 1) / len(each)
                places = np.concatenate([[1 / _WIDEST**2], each, [_WIDEST**2]])
                (handles[name_of(solver)],) = axes.step(
                    places, np.append(share, share[-1]), where="post", **_LOOKS[solver]
                )
            axes.axvline(1, color=style.REFERENCE, linewidth=0.8, zorder=1)
            axes.set(xscale="log", xlim=(1 / _WIDEST, _WIDEST), ylim=(0, 1))
            axes.yaxis.set_major_formatter(lambda part, _: f"{100 * part:.0f} %")
            axes.set_title(f"noise {told(size)}: {len(results['problems'])} problems")
        figure.supxlabel("gap at the point handed back / that of the problem's best peer")
        figure.supylabel("problems with at most this")
        figure.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=4)


EXPERIMENT = experiment.Experiment(
    "cutest_noise", Config, measure, tables, draw, packages=("sif2jax", "nlopt", "Py-BOBYQA", "cma")
)
