"""Every method of the library on the published comparison's data, with equal tuning."""

from dataclasses import dataclass
from pathlib import Path

import jax

from experiments import command, records
from experiments.comparison.figure import draw
from experiments.comparison.run import measure
from experiments.comparison.settings import LEARNING_RATES, PUBLISHED, TUNING_SEED
from experiments.comparison.table import summary, tables
from experiments.errors import InputError
from zosah_jax import METHODS

_NAME = "comparison"


@dataclass(frozen=True)
class Config:
    """Every method of the library on regularised logistic regression, with equal tuning."""

    dataset: tuple[str, ...] | None = None
    """Datasets by name. None: a1a, a7a, a9a, mushrooms, phishing and splice where their files are
    at hand, else breast_cancer and digits, which come with scikit-learn."""
    data_dir: Path | None = None
    """Folder of LIBSVM files; else the environment variable ZOSAH_DATA."""
    rows: int = 2_000
    """Most rows of a dataset, drawn with a fixed seed."""
    regularisation: float = 1e-4
    """Lambda, the weight of |w|^2 / 2."""
    methods: tuple[str, ...] = PUBLISHED
    """Methods by name. zopqn, the project's own, has `experiments.fewer_values`."""
    learning_rates: tuple[float, ...] = LEARNING_RATES
    """The common grid from which each method gets its best."""
    tuning_seed: int = TUNING_SEED
    """Seed on which it is searched, none of those reported."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds that are reported."""
    budget: int = 50
    """Values of the objective that a run may spend, in units of the dimension d."""
    workers: int = 2
    """Methods that are run at a time."""
    x64: bool = True
    """Whether to compute in float64."""
    out: Path | None = None
    """Folder to write to. None: beside the code for the default config, else runs/."""


def main(config: Config) -> None:
    """Measure, print the tables, and keep the results."""
    for name in config.methods:
        if name not in METHODS:
            raise InputError(f"methods: got {name!r}, wanted one of {', '.join(METHODS)}.")
    if config.tuning_seed in config.seeds:
        raise InputError(
            f"tuning_seed: got {config.tuning_seed}, wanted one that is not among the seeds."
        )
    folder = records.folder(_NAME, config)
    with jax.enable_x64(config.x64):
        results = measure(
            dataset=config.dataset,
            rows=config.rows,
            data_dir=config.data_dir,
            regularisation=config.regularisation,
            methods=config.methods,
            learning_rates=config.learning_rates,
            tuning_seed=config.tuning_seed,
            seeds=config.seeds,
            budget=config.budget,
            workers=config.workers,
        )
    records.write(_NAME, folder, config, results, tables(results), draw)
    found = records.read(folder)["results"]
    records.write_between(folder.parent / "README.md", "comparison", summary(found))


if __name__ == "__main__":
    command.run(main, Config)
