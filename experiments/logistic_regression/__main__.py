"""ZO-SAH and RSPG on regularised logistic regression, side by side."""

from dataclasses import dataclass
from pathlib import Path

import jax

from experiments import command, records
from experiments.logistic_regression.figure import draw
from experiments.logistic_regression.run import measure
from experiments.logistic_regression.table import tables

_NAME = "logistic_regression"


@dataclass(frozen=True)
class Config:
    """ZO-SAH and RSPG on regularised logistic regression, side by side.

    Known datasets: breast_cancer and digits (they come with scikit-learn); a1a, a7a, a9a,
    mushrooms, phishing and splice (LIBSVM files).
    """

    dataset: tuple[str, ...] = ("breast_cancer", "digits")
    """Datasets by name."""
    data_dir: Path | None = None
    """Folder of LIBSVM files; else the environment variable ZOSAH_DATA, else they are fetched."""
    rows: int = 4_000
    """Most rows of a dataset, drawn with a fixed seed."""
    regularisation: float = 1e-4
    """Lambda, the weight of |w|^2 / 2."""
    learning_rates: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
    """The common grid from which each method gets its best."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of the methods."""
    budget: int = 50
    """Values of the objective that a run may spend, in units of the dimension d."""
    x64: bool = True
    """Whether to compute in float64."""
    out: Path | None = None
    """Folder to write to. None: beside the code for the default config, else runs/."""


def main(config: Config) -> None:
    """Measure, print the tables, and keep the results."""
    folder = records.folder(_NAME, config)
    with jax.enable_x64(config.x64):
        results = measure(
            dataset=config.dataset,
            rows=config.rows,
            data_dir=config.data_dir,
            regularisation=config.regularisation,
            learning_rates=config.learning_rates,
            seeds=config.seeds,
            budget=config.budget,
        )
    records.write(_NAME, folder, config, results, tables(results), draw)


if __name__ == "__main__":
    command.run(main, Config)
