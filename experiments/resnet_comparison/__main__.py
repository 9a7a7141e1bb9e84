"""ZO-SAH against DeepZero on a ResNet, with equal tuning."""

from dataclasses import dataclass
from pathlib import Path

from experiments import command, image_data, records
from experiments.errors import InputError
from experiments.networks import NETWORKS
from experiments.resnet_comparison.figure import draw
from experiments.resnet_comparison.run import measure
from experiments.resnet_comparison.settings import READINGS
from experiments.resnet_comparison.table import tables

_NAME = "resnet_comparison"


@dataclass(frozen=True)
class Config:
    """ZO-SAH and DeepZero train a ResNet on CIFAR-10: values to the same training loss.

    CIFAR-10 is not shipped: pass --data-dir, or set ZOSAH_DATA.
    """

    dataset: str = "cifar10"
    """cifar10, cifar100 or digits."""
    data_dir: Path | None = None
    """Folder with CIFAR (or its archive); else the environment variable ZOSAH_DATA."""
    network: str = "resnet8_half"
    """By name."""
    shrink: int = 2
    """Pixels of a side that are averaged into one."""
    methods: tuple[str, ...] = ("zosah", "deepzero")
    """Methods by name: these, or rspg."""
    learning_rates: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)
    """The common grid."""
    tuning_budget: int = 5_000
    """Values of a run of the tuning's first round."""
    tuning_seeds: tuple[int, ...] = (1_000, 1_001, 1_002)
    """Seeds of it, none of those reported; the first round has the first of them."""
    batch_size: int = 128
    """Images of a value."""
    budget: int = 20_000
    """Values of a run."""
    points: int = 40
    """How often a run is looked at, in equal distances."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the weights, the methods and the batches that are reported."""
    out: Path | None = None
    """Folder to write to. None: beside the code for the default config, else runs/."""


def main(config: Config) -> None:
    """Tune, train, print the tables, and keep the results."""
    for option, known in (("methods", READINGS), ("network", NETWORKS)):
        asked = getattr(config, option)
        for name in asked if isinstance(asked, tuple) else (asked,):
            if name not in known:
                raise InputError(f"{option}: got {name!r}, wanted one of {', '.join(known)}.")
    shared = set(config.tuning_seeds) & set(config.seeds)
    if shared or not config.tuning_seeds:
        raise InputError(
            f"tuning_seeds: got {config.tuning_seeds}, wanted some that are not among the seeds."
        )
    data = image_data.load(config.dataset, config.data_dir)
    side = data.train.images.shape[1]
    if side % config.shrink:
        raise InputError(f"shrink: got {config.shrink}, wanted a divisor of {side} pixels.")
    data = image_data.normalised(image_data.shrunk(data, config.shrink))
    folder = records.folder(_NAME, config)
    results = measure(
        data,
        dataset=config.dataset,
        network=config.network,
        methods=config.methods,
        learning_rates=config.learning_rates,
        tuning_budget=config.tuning_budget,
        tuning_seeds=config.tuning_seeds,
        batch_size=config.batch_size,
        budget=config.budget,
        points=config.points,
        seeds=config.seeds,
    )
    records.write(_NAME, folder, config, results, tables(results), draw, packages=("flax",))


if __name__ == "__main__":
    command.run(main, Config)
