"""Calibrating a stiff reaction-kinetics model from noisy concentrations."""

from dataclasses import dataclass
from pathlib import Path

from experiments import command, records
from experiments.reaction_kinetics.figure import draw
from experiments.reaction_kinetics.run import measure
from experiments.reaction_kinetics.table import tables

_NAME = "reaction_kinetics"


@dataclass(frozen=True)
class Config:
    """ZO-PQN, ZO-SAH, COBYQA and CMA-ES on 20 rate constants of POLLU, at the same budget."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    """Seeds of the measurements, the first guesses and the methods."""
    budget: int = 600
    """Values of the misfit, each an integration of the model."""
    error: float = 0.05
    """Relative error of a measured concentration."""
    doubt: float = 0.3
    """Standard deviation of the first guesses, in decades."""
    workers: int = 2
    """Processes."""
    out: Path | None = None
    """Folder to write to. None: beside the code for the default config, else runs/."""


def main(config: Config) -> None:
    """Measure, print the table, and keep the results."""
    folder = records.folder(_NAME, config)
    results = measure(
        seeds=config.seeds,
        budget=config.budget,
        error=config.error,
        doubt=config.doubt,
        workers=config.workers,
    )
    records.write(_NAME, folder, config, results, tables(results), draw)


if __name__ == "__main__":
    command.run(main, Config)
