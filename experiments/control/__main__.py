"""Tuning a controller of Gymnasium's pendulum."""

from dataclasses import dataclass
from pathlib import Path

from experiments import command, records
from experiments.control.figure import draw
from experiments.control.run import measure
from experiments.control.table import tables

_NAME = "control"


@dataclass(frozen=True)
class Config:
    """zosah_jax, COBYQA and CMA-ES on the five gains of a controller that swings a pendulum up."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    """Seeds of the first guesses and the methods."""
    budget: int = 150
    """Values, each of four episodes."""
    doubt: float = 0.5
    """Standard deviation of the logarithms of a first guess."""
    noise: float = 0.1
    """How much the cost jumps for no reason, for zosah_jax, which spaces its probes by it."""
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
        doubt=config.doubt,
        noise=config.noise,
        workers=config.workers,
    )
    records.write(_NAME, folder, config, results, tables(results), draw)


if __name__ == "__main__":
    command.run(main, Config)
