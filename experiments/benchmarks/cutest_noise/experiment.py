"""CUTEst problems under noise: the default, ZO-SAH, CMA-ES, NLopt's, SciPy's and Py-BOBYQA."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from experiments import experiment
from experiments.benchmarks.cutest_noise.solvers import DEFAULT, SOLVERS, Task, run
from experiments.benchmarks.cutest_noise.tables import Found, name_of, ratios, tables, told
from experiments.common import records, style
from experiments.common.cutest_problems import Problem, in_float64, problems
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
