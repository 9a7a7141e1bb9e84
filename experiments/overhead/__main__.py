"""What a value costs by each evaluator, and what a step of ZO-SAH adds to its values."""

from dataclasses import dataclass
from pathlib import Path

from experiments import command, records
from experiments.overhead.figure import draw
from experiments.overhead.run import measure
from experiments.overhead.table import tables

_NAME = "overhead"


@dataclass(frozen=True)
class Config:
    """What a value costs by each evaluator, and what a step of ZO-SAH adds to its values."""

    chunks: tuple[int, ...] = (4, 16)
    """Sizes of chunks to try, beside one by one and all at once."""
    repeats: int = 9
    """Rounds of timings of the evaluators, taken in turns, of which medians are taken."""
    step_repeats: int = 40
    """The same for the step of ZO-SAH."""
    out: Path | None = None
    """Folder to write to. None: beside the code for the default config, else runs/."""


def main(config: Config) -> None:
    """Measure, print the tables, and keep the results."""
    folder = records.folder(_NAME, config)
    results = measure(
        chunks=config.chunks, repeats=config.repeats, step_repeats=config.step_repeats
    )
    records.write(_NAME, folder, config, results, tables(results), draw)


if __name__ == "__main__":
    command.run(main, Config)
