"""What an experiment is: a value that the runner can measure, tabulate and draw."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from experiments.common import records
from experiments.common.errors import InputError

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Config:
    """Options that every experiment has; each adds its own fields."""

    out: Path | None = None
    """Folder to write to. None: beside the code for the default config, else runs/."""


@dataclass(frozen=True)
class Experiment:
    """An experiment.

    Attributes:
        name: that of its folder.
        Config: its options, a frozen dataclass, each written once, with its documentation.
        measure: config -> results that JSON can hold.
        tables: results -> Markdown by the name of the markers in its README.
        draw: (results, path of the PNG).
        packages: whose versions are kept beside those of the core.
        summary: results -> Markdown between its markers in `experiments/README.md`, if any.
    """

    name: str
    Config: type[Config]
    measure: Callable[[Any], dict[str, Any]]
    tables: Callable[[dict[str, Any]], dict[str, str]]
    draw: Callable[[dict[str, Any], Path], None]
    packages: tuple[str, ...] = ()
    summary: Callable[[dict[str, Any]], str] | None = None


def names() -> list[str]:
    """Names of all experiments: the folders of `benchmarks` and `examples` that hold one."""
    return [path.parent.name for path in sorted(HERE.glob("*/*/experiment.py"))]


def load(name: str) -> Experiment:
    """The experiment of a name.

    Raises:
        InputError: there is none.
    """
    if name not in names():
        raise InputError(f"name: got {name!r}, wanted one of {', '.join(names())}.")
    kind = records.own_folder(name).parent.name
    return importlib.import_module(f"experiments.{kind}.{name}.experiment").EXPERIMENT


def run(experiment: Experiment, config: Config) -> None:
    """Measure, print the tables, and keep the results."""
    check(config)
    folder = records.folder(experiment.name, config)
    record = records.record(
        experiment.name, config, experiment.measure(config), experiment.packages
    )
    records.write(folder, record, experiment.tables, experiment.draw)
    if experiment.summary is not None and folder == records.own_folder(experiment.name):
        text = experiment.summary(record["results"])
        records.write_between(HERE / "README.md", experiment.name, text)


def check(config: Config) -> None:
    """Refuse a number that is not positive, and a list without an entry.

    Raises:
        InputError: by the name of the option.
    """
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(value, tuple) and not value:
            raise InputError(f"{field.name}: got nothing, wanted at least one.")
        # whole numbers in a list may be seeds or digits, of which 0 is one
        listed = isinstance(value, tuple)
        for number in [v for v in value if isinstance(v, float)] if listed else [value]:
            if isinstance(number, int | float) and not isinstance(number, bool) and not number > 0:
                raise InputError(f"{field.name}: got {number}, wanted a positive number.")


def check_names(option: str, given: Any, known: Any) -> None:
    """Refuse a name (or one of several) that is not known.

    Raises:
        InputError: by the name of the option, with what is known.
    """
    for name in given if isinstance(given, tuple) else (given,):
        if name not in known:
            listed = ", ".join(map(str, known))
            raise InputError(f"{option}: got {name!r}, wanted one of {listed}.")


def check_tuning_seed(tuning_seed: int, seeds: tuple[int, ...]) -> None:
    """Refuse to tune on a seed that is reported.

    Raises:
        InputError: it is one of them.
    """
    if tuning_seed in seeds:
        raise InputError(f"tuning_seed: got {tuning_seed}, wanted one that is not among the seeds.")
