"""ZO-PQN without each of its mechanisms, one at a time, then without all that save little."""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from experiments import experiment
from experiments.benchmarks.zopqn_ablation.mechanisms import MECHANISMS, without
from experiments.benchmarks.zopqn_ablation.problems import ADDED, GROUPS, Problem, all_problems
from experiments.benchmarks.zopqn_ablation.reference import Reference
from experiments.benchmarks.zopqn_ablation.report import CONTROL, draw, most, tables
from experiments.benchmarks.zopqn_ablation.settings import Settings
from experiments.common.curves import Curve, curve_of, values_to_reach
from experiments.common.functions import CLASSICS
from experiments.common.problems import at_hand
from zosah_jax import Host, methods, minimize


@dataclass(frozen=True)
class Config(experiment.Config):
    """ZO-PQN in NumPy float64 with mechanisms turned off, every value counted."""

    mechanisms: tuple[str, ...] = tuple(MECHANISMS)
    """Mechanisms by name."""
    groups: tuple[str, ...] = GROUPS
    """Kinds of problems: data, valleys, classics, small."""
    dataset: tuple[str, ...] = ("breast_cancer", "digits")
    """Data of the logistic regressions."""
    data_dir: Path | None = None
    """Folder of LIBSVM files (else ZOSAH_DATA): a1a, mushrooms, phishing, splice are added."""
    rows: int = 1_000
    """Most rows of a dataset, drawn with a fixed seed."""
    functions: tuple[str, ...] = tuple(CLASSICS)
    """Classic functions by name."""
    dimension: int = 20
    """Their d, a multiple of four."""
    fractions: tuple[float, ...] = (0.9, 0.97, 0.99, 0.999)
    """Parts of the gap from w = 0 to the optimum to close, on data."""
    gaps: tuple[float, ...] = (1e-3, 1e-5, 1e-7)
    """Parts of the gap between the start and the optimum that remain, elsewhere."""
    data_budget: int = 40
    """Most values of a run on data, in units of d."""
    budget: int = 300
    """Most values of a run elsewhere, in units of d."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds: of the order in which coordinates are met, and of the starts of classic functions."""
    limit: float = 1.05
    """Values without a mechanism over those with it, up to which it saves too little."""
    checkpoints: Path | None = None
    """Folder in which runs are kept as they end, to go on from there. None: they are not."""


# --- the measurement ------------------------------------------------------------------------------

_OTHER_ORDER = 100  # added to the seed of the order

Needed = list[list[list[int | None]]]
"""Values by problem, seed and goal; None: not within the budget."""
_CHECKED = 1  # seeds on which the library's own runs are counted beside the reference's
_SURE = 1.25  # ratio alone from which a mechanism need not be tried once more without the rest


def measure(config: Config) -> dict[str, Any]:
    """Ratios of values, for each mechanism and for those that save little, all at once."""
    experiment.check_names("mechanisms", config.mechanisms, MECHANISMS)
    experiment.check_names("groups", config.groups, GROUPS)
    experiment.check_names("functions", config.functions, CLASSICS)
    missing = [name for name in ADDED if name not in at_hand(ADDED, config.data_dir)]
    if missing and "data" in config.groups:
        print(f"{', '.join(missing)}: left out, no such file at hand.", file=sys.stderr)
    with jax.enable_x64(True):
        bench = _Bench(config)
        first = bench.needed(())
        singly = {CONTROL: bench.compared((), first, _OTHER_ORDER)}
        for name in config.mechanisms:
            singly[name] = bench.compared((name,), first)
        little = [name for name in config.mechanisms if most(singly[name]) <= config.limit]
        little.sort(key=lambda name: most(singly[name]))
        together = _together(little, bench, first, config.limit)
        lean = tuple(together["off"])
        left_on = [n for n in config.mechanisms if n not in lean and most(singly[n]) < _SURE]
        again = {n: bench.compared((*lean, n), bench.needed(lean)) for n in left_on if lean}
        library = bench.of_library()
        bench.bar.close()
    problems = [
        {
            "name": p.name,
            "group": p.group,
            "dimension": p.dimension,
            "values": needed,
            "library": theirs,
        }
        for p, needed, theirs in zip(bench.problems, first, library, strict=True)
    ]
    return {
        "missing": missing,
        "fractions": list(config.fractions),
        "gaps": list(config.gaps),
        "limit": config.limit,
        "problems": problems,
        "singly": singly,
        "together": together,
        "again": again,
    }


def _together(little: list[str], bench: "_Bench", first: Needed, limit: float) -> dict[str, Any]:
    """All that save little turned off; then one after another, each kept off if all still is well.

    The first is what saves least.
    """
    if not little:
        return {"little": [], "whole": None, "steps": [], "off": [], "final": None}
    whole = bench.compared(tuple(little), first)
    if most(whole) <= limit:
        return {"little": little, "whole": whole, "steps": [], "off": little, "final": whole}
    off: list[str] = []
    steps = []
    for name in little:
        found = bench.compared((*off, name), first)
        good = most(found) <= limit
        steps.append({"name": name, "off": good, "groups": found["groups"]})
        off += [name] if good else []
    final = bench.compared(tuple(off), first) if off else None
    return {"little": little, "whole": whole, "steps": steps, "off": off, "final": final}


class _Bench:
    """The problems, and runs on them."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.problems = all_problems(
            config.groups,
            config.dataset,
            config.rows,
            config.data_dir,
            config.functions,
            config.dimension,
        )
        self.starts = [[p.x0(seed) for seed in config.seeds] for p in self.problems]
        self.optima = [
            [p.optimum(x0) for x0 in of] for p, of in zip(self.problems, self.starts, strict=True)
        ]
        self.kept = _Kept(config)
        self.bar = tqdm(total=2 + len(config.mechanisms))

    def needed(self, names: tuple[str, ...], shift: int = 0) -> Needed:
        """Values of every problem, seed and goal without some mechanisms."""
        self.bar.set_description(names[-1] if names else "all on")
        settings = without(names)

        def run() -> Needed:
            return [
                [self._run(number, place, settings, shift) for place in range(len(of))]
                for number, of in enumerate(self.starts)
            ]

        found = self.kept.get(settings, shift, run)
        self.bar.total = max(self.bar.total, self.bar.n + 1)
        self.bar.update()
        return found

    def compared(self, names: tuple[str, ...], first: Needed, shift: int = 0) -> dict[str, Any]:
        """Values without some mechanisms over those with all."""
        needed = self.needed(names, shift)
        logs = [self._logs(n, needed[n], of) for n, of in enumerate(first)]
        by_seed = np.array([_means(of, 1) for of in logs])
        groups = np.array([p.group for p in self.problems])
        by_goal = {
            group: np.concatenate([logs[n] for n in np.flatnonzero(groups == group)])
            for group in self.config.groups
        }
        return {
            "groups": {
                group: _ratios(_means(by_seed[groups == group], 0)) for group in self.config.groups
            },
            "goals": {group: _ratios(_means(of, 0)) for group, of in by_goal.items()},
            "problems": _ratios(_means(by_seed, 1)),
            "missed": sum(v is None for of in needed for goals in of for v in goals),
        }

    def _logs(self, number: int, off: Any, on: Any) -> np.ndarray:
        """Of a problem, logarithms of the ratios by seed and goal; NaN where neither gets there."""
        most = self._budget(number)
        return np.array(
            [
                [
                    np.nan if a is None and b is None else np.log((a or most) / (b or most))
                    for a, b in zip(without_it, with_it, strict=True)
                ]
                for without_it, with_it in zip(off, on, strict=True)
            ]
        )

    def _budget(self, number: int) -> int:
        config, problem = self.config, self.problems[number]
        budget = config.data_budget if problem.group == "data" else config.budget
        return budget * problem.dimension

    def _left(self, problem: Problem) -> list[float]:
        """Parts of the gap that are to be left."""
        if problem.group == "data":
            return [1 - fraction for fraction in self.config.fractions]
        return list(self.config.gaps)

    def _goals(self, number: int, start: float, optimum: float) -> list[float]:
        return [optimum + left * (start - optimum) for left in self._left(self.problems[number])]

    def _run(self, number: int, place: int, settings: Settings, shift: int) -> list[int | None]:
        """Values of a run to its goals."""
        problem, x0 = self.problems[number], self.starts[number][place]
        seed = self.config.seeds[place] + shift
        start, optimum = float(problem.fun(x0[None])[0]), self.optima[number][place]
        run = Reference(problem.fun, x0, order(len(x0), seed), settings)
        last, budget = self._goals(number, start, optimum)[-1], self._budget(number)
        spent, best = [], []
        with np.errstate(all="ignore"):
            while run.values < budget and run.value > last:
                run.step()
                spent.append(run.values)
                best.append(run.value)
        if run.value > last and problem.group != "data":
            # it may have ended at another minimum, which then is its goal
            other = problem.optimum(run.x)
            near = run.value - other <= self._left(problem)[-1] * (start - other)
            optimum = other if near else optimum
        curve = Curve(np.array(spent), np.array(best))
        return [values_to_reach(curve, goal) for goal in self._goals(number, start, optimum)]

    def of_library(self) -> list[list[int | None]]:
        """Values of the library's ZO-PQN to the last goal, by problem and seed."""
        self.bar.set_description("the library's")
        found = []
        for number, problem in enumerate(self.problems):
            runs: list[int | None] = []
            for place, seed in enumerate(self.config.seeds[:_CHECKED]):
                x0, optimum = self.starts[number][place], self.optima[number][place]
                goal = self._goals(number, float(problem.fun(x0[None])[0]), optimum)[-1]
                run = minimize(
                    lambda x, of=problem: float(of.fun(np.asarray(x)[None])[0]),
                    jnp.asarray(x0),
                    methods.zopqn(),
                    budget=self._budget(number),
                    target=goal,
                    key=seed,
                    noise=0,
                    host=Host(retries=0),
                )
                runs.append(values_to_reach(curve_of(run), goal))
            found.append(runs)
        self.bar.update()
        return found


def order(d: int, seed: int) -> np.ndarray:
    """The order in which the library meets d coordinates with this key."""
    return np.argsort(np.asarray(jax.random.bits(jax.random.key(seed), (d,), jnp.uint32)))


def _means(values: np.ndarray, axis: int) -> np.ndarray:
    """Means over what is a number; NaN where nothing is."""
    there = np.isfinite(values)
    count = there.sum(axis=axis)
    total = np.where(there, values, 0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _ratios(logs: np.ndarray) -> list[float | None]:
    """Ratios of logarithms, rounded; None where there is none."""
    return [round(float(np.exp(log)), 3) if np.isfinite(log) else None for log in logs]


class _Kept:
    """Runs that are kept as they end."""

    def __init__(self, config: Config) -> None:
        self.path = config.checkpoints and config.checkpoints / "runs.json"
        unlike = ("out", "mechanisms", "limit", "checkpoints")
        self.about = str({k: v for k, v in asdict(config).items() if k not in unlike})
        there = self.path is not None and self.path.exists()
        self.runs: dict[str, Needed] = json.loads(self.path.read_text()) if there else {}  # type: ignore[union-attr]

    def get(self, settings: Settings, shift: int, run: Any) -> Needed:
        """What is kept of these settings, else what the run gives."""
        key = f"{self.about} {settings} {shift}"
        if key not in self.runs:
            self.runs[key] = run()
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.path.write_text(json.dumps(self.runs))
        return self.runs[key]


EXPERIMENT = experiment.Experiment("zopqn_ablation", Config, measure, tables, draw)
