"""Image classifiers trained from values alone, by any method of the library."""

from dataclasses import dataclass
from pathlib import Path

from experiments import command, image_data, records
from experiments.train_resnet.figure import draw
from experiments.train_resnet.run import measure
from experiments.train_resnet.settings import (
    EvaluatorName,
    ScheduleName,
    Setting,
    parse_options,
    settings,
)
from experiments.train_resnet.table import tables

_NAME = "train_resnet"


@dataclass(frozen=True)
class Config:
    """An image classifier, trained from values alone by any method of the library.

    Without arguments: scikit-learn's digits and a small convolutional network. With data at hand:
    `--dataset cifar10 --network resnet20 --methods zosah --learning-rate 1 --data-dir DIR`.
    """

    dataset: str = "digits"
    """digits (it comes with scikit-learn), cifar10 or cifar100."""
    data_dir: Path | None = None
    """Folder with CIFAR (or its archive); else the environment variable ZOSAH_DATA."""
    network: str | None = None
    """convnet, resnet8, resnet8_half (of its channels), resnet8_quarter or resnet20. None: convnet
    for digits, resnet8 for CIFAR."""
    methods: tuple[str, ...] = ("zosah", "rspg")
    """Methods by name."""
    learning_rate: float | None = None
    """Of every method. None: the recipe's."""
    momentum: float | None = None
    """Of the directions, between 0 and 1. None: none."""
    weight_decay: float | None = None
    """Lambda, where lambda x is added to the direction. None: none."""
    schedule: ScheduleName = "constant"
    """Of the learning rate, over the values spent."""
    subspace_dim: int | None = None
    """Option of the methods that have it. None: the recipe's, else the library's default."""
    period: int | None = None
    """As subspace_dim."""
    num_directions: int | None = None
    """As subspace_dim."""
    options: str | None = None
    """Further options of the methods' constructors, as in "radius=0.1 grid=paper"."""
    batch_size: int | None = None
    """Images of a batch. None: all of digits, 128 of CIFAR."""
    batch_steps: int = 1
    """Steps that a batch is kept for."""
    augment: bool | None = None
    """Whether images are cropped and mirrored at random. None: those of CIFAR's batches."""
    budget: int = 20_000
    """Values of the loss that a run may spend."""
    points: int = 40
    """How often a run is looked at, in equal distances."""
    evaluator: EvaluatorName = "automatic"
    """How probes are answered."""
    chunk: int = 16
    """Probes in a chunk, for the evaluator of chunks."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of the weights, the methods and the batches."""
    checkpoints: Path | None = None
    """Folder to keep the runs in while they go on. None: they are not kept."""
    resume: bool = False
    """Whether to go on with the runs in `checkpoints`."""
    out: Path | None = None
    """Folder to write to. None: beside the code for the default config, else runs/."""


def runs(config: Config) -> list[Setting]:
    """The runs that a config asks for."""
    named = {name: getattr(config, name) for name in ("subspace_dim", "period", "num_directions")}
    options = {name: value for name, value in named.items() if value is not None}
    return settings(
        dataset=config.dataset,
        network=config.network,
        methods=config.methods,
        learning_rate=config.learning_rate,
        options=options | parse_options(config.options),
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        schedule=config.schedule,
        batch_size=config.batch_size,
        batch_steps=config.batch_steps,
        augment=config.augment,
        budget=config.budget,
        points=config.points,
        evaluator=config.evaluator,
        chunk=config.chunk,
        seeds=config.seeds,
    )


def main(config: Config) -> None:
    """Train, print the table, and keep the results."""
    asked = runs(config)
    data = image_data.load(config.dataset, config.data_dir)
    folder = records.folder(_NAME, config)
    results = measure(asked, data, checkpoints=config.checkpoints, resume=config.resume)
    records.write(_NAME, folder, config, results, tables(results), draw, packages=("flax",))


if __name__ == "__main__":
    command.run(main, Config)
