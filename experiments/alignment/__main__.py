"""How much of the gradient the subspaces of zeroth-order methods hold, along a run."""

from dataclasses import dataclass
from pathlib import Path

from experiments import command, records
from experiments.alignment.figure import draw
from experiments.alignment.run import measure
from experiments.alignment.table import tables

_NAME = "alignment"


@dataclass(frozen=True)
class Config:
    """How much of the gradient random subspaces hold, along a run of a small network."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the start and of the method."""
    steps: int = 2_000
    """Steps of the run."""
    looks: int = 9
    """How often along it the gradient is looked at, its start and its end included."""
    draws: int = 200
    """Random subspaces of each kind at each look."""
    subspace_dim: int = 16
    """Dimension m of the subspaces of coordinates, pairs and directions."""
    learning_rate: float = 0.02
    """Of the run, which MeZO makes."""
    samples: int = 8
    """Samples of MeZO a step."""
    out: Path | None = None
    """Folder to write to. None: beside the code for the default config, else runs/."""


def main(config: Config) -> None:
    """Measure, print the tables, and keep the results."""
    folder = records.folder(_NAME, config)
    results = measure(
        seeds=config.seeds,
        steps=config.steps,
        looks=config.looks,
        draws=config.draws,
        subspace_dim=config.subspace_dim,
        learning_rate=config.learning_rate,
        samples=config.samples,
    )
    records.write(_NAME, folder, config, results, tables(results), draw)


if __name__ == "__main__":
    command.run(main, Config)
