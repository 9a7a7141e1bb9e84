"""The BBOB suite of COCO: ECDFs of ZO-PQN, L-BFGS-B, COBYQA and CMA-ES, with restarts."""

from dataclasses import dataclass
from pathlib import Path

from experiments import command, records
from experiments.coco.figure import draw
from experiments.coco.run import measure
from experiments.coco.solvers import SOLVERS
from experiments.coco.suite import JUDGED
from experiments.coco.table import tables

_NAME = "coco"


@dataclass(frozen=True)
class Config:
    """ZO-PQN and peers on the BBOB suite, every value counted, in float64."""

    functions: tuple[int, ...] = JUDGED
    """Functions by number, 1 to 24."""
    dimensions: tuple[int, ...] = (2, 3, 5, 10, 20)
    """Dimensions d; the suite has 40, too."""
    instances: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Instances of each function: its shift, its rotation and its smallest value."""
    budget: int = 200
    """Most values of a run, in units of d."""
    solvers: tuple[str, ...] = tuple(SOLVERS)
    """Solvers that take part. COBYQA takes most of the time."""
    workers: int = 2
    """Processes that run at a time; 1: this one alone."""
    only: tuple[str, ...] | None = None
    """Of those, the ones to run anew; the others' results are those that `experiments/coco` keeps.
    None: all are run."""
    out: Path | None = None
    """Folder to write to. None: beside the code for the default config, else runs/."""


def main(config: Config) -> None:
    """Measure, print the tables, and keep the results."""
    folder = records.folder(_NAME, config)
    results = measure(
        functions=config.functions,
        dimensions=config.dimensions,
        instances=config.instances,
        budget=config.budget,
        solvers=config.solvers,
        workers=config.workers,
        only=config.only,
        kept=records.kept(_NAME) if config.only else None,
    )
    records.write(_NAME, folder, config, results, tables(results), draw, ("coco-experiment", "cma"))


if __name__ == "__main__":
    command.run(main, Config)
