"""A small language model, pretrained by backpropagation and fine-tuned by forward passes alone."""

from dataclasses import dataclass
from pathlib import Path

from experiments import command, records
from experiments.errors import InputError
from experiments.fine_tuning.figure import draw
from experiments.fine_tuning.run import GRIDS, measure
from experiments.fine_tuning.table import tables

_NAME = "fine_tuning"


@dataclass(frozen=True)
class Config:
    """A small language model, fine-tuned by forward passes to tell what kind of text it sees."""

    methods: tuple[str, ...] = ("mezo", "mezo_bcd", "hizoo", "fzoo", "zosah")
    """Methods by name."""
    width: int = 32
    """Features of the transformer."""
    layers: int = 2
    """Its decoder layers."""
    length: int = 64
    """Bytes that it sees."""
    pretraining_steps: int = 1_200
    """Steps of backpropagation on the next byte, and on the letter of a title."""
    rank: int = 4
    """Of the low-rank adapters."""
    subspace_dim: int = 16
    """ZO-SAH's m."""
    examples: int = 64
    """Snippets of each of the four kinds to learn from."""
    batch_size: int = 16
    """Snippets of a value."""
    budget: int = 1_200
    """Values of a run."""
    tuning_budget: int = 500
    """Values of a run of the tuning."""
    grid_points: int = 6
    """Learning rates that are tried for each method."""
    tuning_seed: int = 1_000
    """Seed on which they are tried, none of those reported."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds that are reported."""
    timed_batches: tuple[int, ...] = (2, 16)
    """Batch sizes at which steps are timed."""
    repeats: int = 15
    """Rounds of the timing."""
    out: Path | None = None
    """Folder to write to. None: beside the code for the default config, else runs/."""


def main(config: Config) -> None:
    """Measure, print the tables, and keep the results."""
    for name in config.methods:
        if name not in GRIDS:
            raise InputError(f"methods: got {name!r}, wanted one of {', '.join(GRIDS)}.")
    if config.tuning_seed in config.seeds:
        raise InputError(
            f"tuning_seed: got {config.tuning_seed}, wanted one that is not among the seeds."
        )
    folder = records.folder(_NAME, config)
    results = measure(
        methods=config.methods,
        width=config.width,
        layers=config.layers,
        length=config.length,
        pretraining_steps=config.pretraining_steps,
        rank=config.rank,
        subspace_dim=config.subspace_dim,
        examples=config.examples,
        batch_size=config.batch_size,
        budget=config.budget,
        tuning_budget=config.tuning_budget,
        grid_points=config.grid_points,
        tuning_seed=config.tuning_seed,
        seeds=config.seeds,
        timed_batches=config.timed_batches,
        repeats=config.repeats,
    )
    records.write(_NAME, folder, config, results, tables(results), draw, packages=("flax",))


if __name__ == "__main__":
    command.run(main, Config)
