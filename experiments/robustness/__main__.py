"""What objectives outside JAX do to a run: crashes, failures, noise, slowness."""

from dataclasses import dataclass
from pathlib import Path

from experiments import command, records
from experiments.robustness.figure import draw
from experiments.robustness.run import measure
from experiments.robustness.table import tables

_NAME = "robustness"


@dataclass(frozen=True)
class Config:
    """`minimize_blackbox` killed and resumed, with failing, noisy and slow objectives."""

    kills: int = 20
    """Runs that are killed."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    """Seeds of the failing and the noisy runs."""
    budget: int = 4_000
    """Values of a noisy run."""
    slow_values: int = 800
    """Calls of the slow objective, by one worker and by two."""
    quick_values: int = 3_000
    """Calls of the objective that costs nothing."""
    out: Path | None = None
    """Folder to write to. None: beside the code for the default config, else runs/."""


def main(config: Config) -> None:
    """Measure, print the table, and keep the results."""
    folder = records.folder(_NAME, config)
    results = measure(
        kills=config.kills,
        seeds=config.seeds,
        budget=config.budget,
        slow_values=config.slow_values,
        quick_values=config.quick_values,
    )
    records.write(_NAME, folder, config, results, tables(results), draw)


if __name__ == "__main__":
    command.run(main, Config)
