"""Rosenbrock's valley in two dimensions: where the methods go, and at what price."""

from dataclasses import dataclass
from pathlib import Path

import jax

from experiments import command, records
from experiments.rosenbrock.figure import draw
from experiments.rosenbrock.run import measure
from experiments.rosenbrock.table import tables

_NAME = "rosenbrock"


@dataclass(frozen=True)
class Config:
    """ZO-SAH, RSPG and SciPy's BFGS and COBYQA on Rosenbrock's function, from (-1.2, 1)."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of the methods."""
    target: float = 1e-6
    """Value at which a run stops."""
    budget: int = 2_000
    """Most values of a run of ZO-SAH, or of SciPy's."""
    rspg_budget: int = 100_000
    """Most values of a run of RSPG."""
    rspg_learning_rates: tuple[float, ...] = (3e-4, 5e-4, 7e-4, 1e-3, 1.5e-3, 2e-3, 3e-3)
    """Grid from which RSPG gets the one with the best median."""
    out: Path | None = None
    """Folder to write to. None: beside the code for the default config, else runs/."""


def main(config: Config) -> None:
    """Measure, print the table, and keep the results."""
    folder = records.folder(_NAME, config)
    with jax.enable_x64(True):
        results = measure(
            seeds=config.seeds,
            target=config.target,
            budget=config.budget,
            rspg_budget=config.rspg_budget,
            rspg_learning_rates=config.rspg_learning_rates,
        )
    records.write(_NAME, folder, config, results, tables(results), draw)


if __name__ == "__main__":
    command.run(main, Config)
