"""Attacking a digit classifier over HTTP, through its probabilities alone."""

from dataclasses import dataclass
from pathlib import Path

from experiments import command, records
from experiments.http_attack.figure import draw
from experiments.http_attack.run import measure
from experiments.http_attack.table import tables

_NAME = "http_attack"


@dataclass(frozen=True)
class Config:
    """The smallest change that flips a digit, by zosah_jax, CMA-ES and a blend of two images."""

    digits: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    """Digits, of each of which an image is attacked."""
    budget: int = 2_000
    """Questions of an attack."""
    threads: int = 4
    """Questions that are under way at a time."""
    weight: float = 1.0
    """Of the penalty for being read rightly, against the squared distance."""
    out: Path | None = None
    """Folder to write to. None: beside the code for the default config, else runs/."""


def main(config: Config) -> None:
    """Measure, print the table, and keep the results."""
    folder = records.folder(_NAME, config)
    results = measure(
        digits=config.digits, budget=config.budget, threads=config.threads, weight=config.weight
    )
    records.write(_NAME, folder, config, results, tables(results), draw)


if __name__ == "__main__":
    command.run(main, Config)
