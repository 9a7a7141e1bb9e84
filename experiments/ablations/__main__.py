"""What each number of ZO-SAH changes, and what its fit saves."""

from dataclasses import dataclass
from pathlib import Path

import jax

from experiments import command, records
from experiments.ablations.figure import draw
from experiments.ablations.run import measure
from experiments.ablations.table import tables

_NAME = "ablations"


@dataclass(frozen=True)
class Config:
    """Subspace dimension, eigenvalue floor and period one at a time; the fit against none."""

    dataset: tuple[str, ...] = ("breast_cancer", "digits")
    """Datasets by name; where the LIBSVM file is in the data folder, a1a stands for digits."""
    data_dir: Path | None = None
    """Folder of LIBSVM files (else ZOSAH_DATA)."""
    rows: int = 1_000
    """Most rows of a dataset, drawn with a fixed seed."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the method."""
    budget: int = 50
    """Values of the objective that a run may spend, in units of the dimension d."""
    out: Path | None = None
    """Folder to write to. None: beside the code for the default config, else runs/."""


def main(config: Config) -> None:
    """Measure, print the tables, and keep the results."""
    folder = records.folder(_NAME, config)
    with jax.enable_x64(True):
        results = measure(
            dataset=config.dataset,
            rows=config.rows,
            data_dir=config.data_dir,
            seeds=config.seeds,
            budget=config.budget,
        )
    records.write(_NAME, folder, config, results, tables(results), draw)


if __name__ == "__main__":
    command.run(main, Config)
