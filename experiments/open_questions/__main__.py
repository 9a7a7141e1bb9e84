"""Three questions that the paper leaves open: larger subspaces, isotropy, chosen pairs."""

from dataclasses import dataclass
from pathlib import Path

import jax

from experiments import command, records
from experiments.open_questions.figure import draw
from experiments.open_questions.run import measure
from experiments.open_questions.table import tables

_NAME = "open_questions"


@dataclass(frozen=True)
class Config:
    """(a) Hessians of s dimensions, (b) the fit switched off, (c) pairs that belong together."""

    dataset: tuple[str, ...] = ("breast_cancer", "digits")
    """Datasets by name; where the LIBSVM file is in the data folder, a1a stands for digits."""
    data_dir: Path | None = None
    """Folder of LIBSVM files (else ZOSAH_DATA)."""
    rows: int = 1_000
    """Most rows of a dataset, drawn with a fixed seed."""
    dimension: int = 48
    """Parameters of the quadratics, a multiple of 24."""
    conditions: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 100.0, 1e3, 1e4)
    """Conditions of the quadratics."""
    hessian_dims: tuple[int, ...] = (2, 3, 4, 6, 8)
    """Values of s."""
    tuning_seed: int = 9
    """Seed on which the eigenvalue floor of every s is chosen."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the method."""
    budget: int = 60
    """Values of the objective that a run may spend, in units of the dimension d."""
    out: Path | None = None
    """Folder to write to. None: beside the code for the default config, else runs/."""


def main(config: Config) -> None:
    """Measure, print the tables, and keep the results."""
    folder = records.folder(_NAME, config)
    with jax.enable_x64(True):
        results = measure(
            dataset=config.dataset,
            data_dir=config.data_dir,
            rows=config.rows,
            dimension=config.dimension,
            conditions=config.conditions,
            hessian_dims=config.hessian_dims,
            tuning_seed=config.tuning_seed,
            seeds=config.seeds,
            budget=config.budget,
        )
    records.write(_NAME, folder, config, results, tables(results), draw)


if __name__ == "__main__":
    command.run(main, Config)
