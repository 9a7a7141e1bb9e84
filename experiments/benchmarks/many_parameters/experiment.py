"""`block_newton` on many parameters, beside L-BFGS-B and the default before (half an hour)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from experiments import experiment
from experiments.benchmarks.many_parameters import parts
from experiments.benchmarks.many_parameters.ablation import CHANGES, ablation
from experiments.benchmarks.many_parameters.costs import costs
from experiments.benchmarks.many_parameters.problems import FUNCTIONS
from experiments.benchmarks.many_parameters.report import draw, tables
from experiments.common import records
from experiments.common.errors import InputError


@dataclass(frozen=True)
class Config(experiment.Config):
    """`block_newton` with its defaults, every value counted, in float64."""

    dimensions: tuple[int, ...] = (1_000, 10_000)
    """d of the quadratics."""
    sparse: tuple[int, ...] = (301, 1_000, 2_000, 5_000)
    """d of the sparse logistic regressions."""
    sparse_rows: tuple[int, ...] = (4_000, 4_000, 3_000, 2_000)
    """Rows of each."""
    dense: tuple[int, ...] = (1_000,)
    """d of the dense logistic regressions."""
    rows: int = 4_000
    """Rows of them, and of the sparse ones of the ablation."""
    dataset: tuple[str, ...] = ("a1a", "mushrooms")
    """LIBSVM files, which have fewer parameters, for reference; those at hand."""
    fractions: tuple[float, ...] = (0.9, 0.97, 0.99, 0.999)
    """Parts of the gap to close on quadratics, on data and with bounds."""
    functions: tuple[str, ...] = tuple(FUNCTIONS)
    """Classic functions by name."""
    function_dimensions: tuple[int, ...] = (300, 1_000)
    """Their d, even."""
    gaps: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-5)
    """Parts of the gap to leave on them."""
    bounded: int = 500
    """d of the problems with bounds, even."""
    bounded_rows: int = 2_000
    """Rows of the logistic regression among them."""
    budget: int = 40
    """Most values of a run of `block_newton`, in units of d."""
    other_budget: int = 20
    """Most values of a run of the library's other methods."""
    peer_budget: int = 40
    """Most values of a run of L-BFGS-B's."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of `block_newton`; the library's other methods get the first."""
    large: int = 5_000
    """d from which only the first seed is run, up to the last fraction but one."""
    costs: tuple[int, ...] = (300, 1_000, 10_000, 100_000)
    """d at which own work is timed."""
    timed_values: int = 2_000
    """Values of a run that is timed."""
    repeats: int = 3
    """Times that each is timed."""
    changes: tuple[str, ...] = tuple(CHANGES)
    """Changes of the ablation."""
    ablation_dimension: int = 500
    """d of its problems, even."""
    ablation_budget: int = 20
    """Most values of a run of it, in units of d."""
    ablation_seeds: tuple[int, ...] = (0, 1, 2, 3)
    """Its seeds."""
    only: tuple[str, ...] | None = None
    """Parts to run anew: quadratics, logistic, classics, bounds, costs, ablation. The rest is what
    is kept. None: all are run."""
    data_dir: Path | None = None
    """Folder of LIBSVM files. None: where ZOSAH_DATA says."""


# --- the measurement ------------------------------------------------------------------------------

PARTS: dict[str, Callable[[Config], Any]] = {
    "quadratics": lambda c: parts.quadratics(c.dimensions, _left(c), _effort(c)),
    "logistic": lambda c: parts.logistic(
        tuple(zip(c.sparse, c.sparse_rows, strict=True)),
        tuple((d, c.rows) for d in c.dense),
        c.dataset,
        c.data_dir,
        _left(c),
        _effort(c),
    ),
    "classics": lambda c: parts.classics(c.functions, c.function_dimensions, c.gaps, _effort(c)),
    "bounds": lambda c: parts.bounds(c.bounded, c.bounded_rows, _left(c), _effort(c)),
    "costs": lambda c: costs(c.costs, c.timed_values, c.repeats),
    "ablation": lambda c: ablation(
        c.changes, c.ablation_dimension, c.rows, c.ablation_budget, c.ablation_seeds
    ),
}
"""What can be run alone."""


def measure(config: Config) -> dict[str, Any]:
    """Every part; those that are not run anew are the kept ones."""
    experiment.check_names("only", config.only or (), PARTS)
    experiment.check_names("functions", config.functions, FUNCTIONS)
    experiment.check_names("changes", config.changes, CHANGES)
    if len(config.sparse) != len(config.sparse_rows):
        raise InputError(f"sparse_rows: got {config.sparse_rows}, wanted one a set of sparse.")
    even = (*config.dimensions, *config.function_dimensions)
    for d in (*even, config.bounded, config.ablation_dimension):
        if d % 2:
            raise InputError(f"dimensions: got {d}, wanted an even number.")
    found: dict[str, Any] = {
        "asked": records.settings(config),
        "fractions": list(config.fractions),
        "gaps": list(config.gaps),
        "budgets": [config.budget, config.peer_budget],
    }
    anew = config.only or tuple(PARTS)
    kept = records.kept("many_parameters") if config.only else None
    for name in PARTS:
        if name not in anew:
            found[name] = _taken(name, kept, found["asked"])
    with jax.enable_x64(True):
        for name in anew:
            found[name] = PARTS[name](config)
    return found


def _taken(name: str, kept: dict[str, Any] | None, asked: dict[str, Any]) -> Any:
    """What is kept of a part that is not run, if it was made by the same config."""
    if kept is None or kept["asked"] != asked:
        raise InputError(
            f"only: wanted the kept results of {name}, by the same config, which are not there: "
            "run without it first."
        )
    return kept[name]


def _left(config: Config) -> tuple[float, ...]:
    return tuple(1 - fraction for fraction in config.fractions)


def _effort(config: Config) -> parts.Effort:
    return parts.Effort(
        config.budget, config.other_budget, config.peer_budget, config.seeds, config.large
    )


EXPERIMENT = experiment.Experiment("many_parameters", Config, measure, tables, draw)
