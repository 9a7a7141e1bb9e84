"""Values that ZO-PQN needs against SciPy's minimisers: what a user would pick instead."""

from dataclasses import dataclass
from pathlib import Path

import jax

from experiments import command, records
from experiments.comparison.settings import LEARNING_RATES, PUBLISHED, TUNING_SEED
from experiments.datasets import BUILT_IN, LIBSVM
from experiments.errors import InputError
from experiments.fewer_values.figure import draw
from experiments.fewer_values.run import measure
from experiments.fewer_values.table import tables

_NAME = "fewer_values"

# MeZO's runs are RSPG's here; ZOHA and DeepZero take 1.2 to 5 times the values of the best one and
# more everywhere (`experiments.comparison`).
CONTENDERS = tuple(name for name in PUBLISHED if name not in ("mezo", "zoha", "deepzero"))
"""The methods of the library that may be the best of the others."""


@dataclass(frozen=True)
class Config:
    """ZO-PQN and SciPy's minimisers, every value counted, in float64."""

    datasets: tuple[str, ...] = (*LIBSVM, *BUILT_IN)
    """Data of the logistic regressions."""
    rows: int = 4_000
    """Most rows of a dataset."""
    regularisation: float = 1e-4
    """Weight lambda of lambda / 2 |w|^2."""
    fractions: tuple[float, ...] = (0.9, 0.97, 0.99, 0.999)
    """Parts of the gap from w = 0 to the optimum to close."""
    budget: int = 40
    """Most values of a run on data, in units of d."""
    rosenbrock: tuple[int, ...] = (2, 10, 100)
    """Dimensions of Rosenbrock's function, chained, each from (-1.2, 1, -1.2, ...) and from 0."""
    quadratics: int = 2
    """Random quadratics of dimension 100 and condition 1e4."""
    valley_budget: int = 1_000
    """Most values of a run on those, in units of d."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of ZO-PQN, of CMA-ES and of the library's other methods."""
    methods: tuple[str, ...] = CONTENDERS
    """The library's other methods, by name; each gets its best learning rate of the grid."""
    learning_rates: tuple[float, ...] = LEARNING_RATES
    """That grid, as in `experiments.comparison`."""
    tuning_seed: int = TUNING_SEED
    """Seed on which it is searched, none of those reported."""
    workers: int = 2
    """Methods of the library that are run at a time."""
    only: tuple[str, ...] | None = None
    """Parts to run anew: zopqn, peers (SciPy and CMA-ES), methods (the library's others). The rest
    is what `experiments/fewer_values` keeps. None: all are run."""
    data_dir: Path | None = None
    """Folder of LIBSVM files. None: where ZOSAH_DATA says, else fetched."""
    out: Path | None = None
    """Folder to write to. None: beside the code for the default config, else runs/."""


def main(config: Config) -> None:
    """Measure, print the tables, and keep the results."""
    for name in config.methods:
        if name not in PUBLISHED:
            raise InputError(f"methods: got {name!r}, wanted one of {', '.join(PUBLISHED)}.")
    if config.tuning_seed in config.seeds:
        raise InputError(
            f"tuning_seed: got {config.tuning_seed}, wanted one that is not among the seeds."
        )
    folder = records.folder(_NAME, config)
    with jax.enable_x64(True):
        results = measure(
            datasets=config.datasets,
            rows=config.rows,
            regularisation=config.regularisation,
            fractions=config.fractions,
            budget=config.budget,
            rosenbrock=config.rosenbrock,
            quadratics=config.quadratics,
            valley_budget=config.valley_budget,
            seeds=config.seeds,
            methods=config.methods,
            learning_rates=config.learning_rates,
            tuning_seed=config.tuning_seed,
            workers=config.workers,
            data_dir=config.data_dir,
            only=config.only,
            kept=records.kept(_NAME) if config.only else None,
        )
    records.write(_NAME, folder, config, results, tables(results), draw)


if __name__ == "__main__":
    command.run(main, Config)
