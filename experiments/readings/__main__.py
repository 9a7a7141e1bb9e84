"""What each open point of the paper changes, one option at a time."""

from dataclasses import dataclass
from pathlib import Path

import jax

from experiments import command, records
from experiments.readings.figure import draw
from experiments.readings.run import measure
from experiments.readings.table import summary, tables

_NAME = "readings"


@dataclass(frozen=True)
class Config:
    """ZO-SAH's defaults against the paper's reading of each open point, one at a time."""

    dataset: tuple[str, ...] = ("breast_cancer", "digits")
    """Datasets by name."""
    data_dir: Path | None = None
    """Folder of LIBSVM files (else ZOSAH_DATA): a9a, mushrooms, phishing and splice are added."""
    rows: int = 4_000
    """Most rows of a dataset, drawn with a fixed seed."""
    regularisation: float = 1e-4
    """Lambda, the weight of |w|^2 / 2."""
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
            regularisation=config.regularisation,
            seeds=config.seeds,
            budget=config.budget,
        )
    records.write(_NAME, folder, config, results, tables(results), draw)
    records.write_between(folder.parent / "README.md", "readings", summary(results))


if __name__ == "__main__":
    command.run(main, Config)
