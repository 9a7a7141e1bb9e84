"""What a value of a ResNet-20 costs by each evaluator, and what the method around it adds."""

from dataclasses import dataclass
from pathlib import Path

from experiments import command, records
from experiments.speed.figure import draw
from experiments.speed.run import measure
from experiments.speed.table import tables

_NAME = "speed"


@dataclass(frozen=True)
class Config:
    """What a value of a ResNet-20 costs by each evaluator, and what the method around it adds."""

    network: str = "resnet20"
    """Network to measure on: resnet20, resnet8 or convnet."""
    batch_size: int = 64
    """Images a value."""
    num_probes: int = 256
    """Probes of random coordinates that the grouped evaluator answers; others get fewer."""
    subspace_dim: int = 128
    """Dimension of V in the step of ZO-SAH."""
    repeats: int = 7
    """Rounds of timings, taken in turns, of which medians are taken."""
    largest: int = 1_000_000_000
    """Parameters of the largest problem whose ask and tell are timed, over those of a million."""
    devices: int = 8
    """Simulated devices."""
    deepzero: Path | None = None
    """Checkout of DeepZero's own code (needs PyTorch), to time beside ours. None: left out."""
    out: Path | None = None
    """Folder to write to. None: beside the code for the default config, else runs/."""


def main(config: Config) -> None:
    """Measure, print the tables, and keep the results."""
    folder = records.folder(_NAME, config)
    results = measure(
        network=config.network,
        batch_size=config.batch_size,
        num_probes=config.num_probes,
        subspace_dim=config.subspace_dim,
        repeats=config.repeats,
        largest=config.largest,
        devices=config.devices,
        deepzero=config.deepzero,
    )
    records.write(_NAME, folder, config, results, tables(results), draw, packages=("flax",))


if __name__ == "__main__":
    command.run(main, Config)
