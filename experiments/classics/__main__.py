"""ZO-PQN, L-BFGS-B and BFGS on the classic test functions of smooth optimisation."""

from dataclasses import dataclass
from pathlib import Path

import jax

from experiments import command, records
from experiments.classics.figure import draw
from experiments.classics.functions import CLASSICS
from experiments.classics.run import measure
from experiments.classics.table import tables

_NAME = "classics"


@dataclass(frozen=True)
class Config:
    """ZO-PQN with its defaults and SciPy's methods, every value counted, in float64."""

    functions: tuple[str, ...] = tuple(CLASSICS)
    """Functions by name."""
    dimension: int = 20
    """d, a multiple of four."""
    shift: float = 0.2
    """Standard deviation of what is added to the usual start, for all seeds but the first: from
    usual starts, which repeat a few numbers, many of these are problems of a few dimensions."""
    gaps: tuple[float, ...] = (1e-1, 1e-3, 1e-5, 1e-7)
    """Parts of the gap between the start and the optimum that remain."""
    budget: int = 300
    """Most values of a run, in units of d."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of ZO-PQN and of the starts; the first takes the usual one."""
    out: Path | None = None
    """Folder to write to. None: beside the code for the default config, else runs/."""


def main(config: Config) -> None:
    """Measure, print the tables, and keep the results."""
    folder = records.folder(_NAME, config)
    with jax.enable_x64(True):
        results = measure(
            functions=config.functions,
            dimension=config.dimension,
            shift=config.shift,
            gaps=config.gaps,
            budget=config.budget,
            seeds=config.seeds,
        )
    records.write(_NAME, folder, config, results, tables(results), draw)


if __name__ == "__main__":
    command.run(main, Config)
