"""Forward passes and populations on an accelerator (two runs of 5 - 6 min on one)."""

import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments import experiment
from experiments.benchmarks.accelerator.report import draw, tables
from experiments.benchmarks.accelerator.runs import METHODS, PLAIN, Ready, ready, tuned_run
from experiments.common import image_data, members, records
from experiments.common.clock import Clock
from experiments.common.forward_cost import costs
from experiments.common.forward_runs import train
from experiments.common.forward_tasks import TASKS, Data, load, of_images


@dataclass(frozen=True)
class Config(experiment.Config):
    """Forward passes and populations, timed and trained on whatever device JAX finds.

    Parts that no longer fit into the time are left out; results are kept after each part.
    """

    seconds: float = 340.0
    """Time for all, compiling and reading data included. The kept parts took two runs of it."""
    passes: int = 20_000
    """Forward passes of a batch that a run may take."""
    batch_size: int = 512
    """Images of a pass."""
    network: str = "resnet8"
    """That is trained on CIFAR-10, by name."""
    members: int = 64
    """Of a population."""
    repeats: int = 11
    """Rounds of timings, taken in turns, of which medians are taken."""
    points: int = 20
    """How often a run is looked at."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the runs on MNIST; CIFAR-10 has the first."""
    tuning_seed: int = 1_000
    """On which learning rates are tried, none of those reported."""
    only: tuple[str, ...] | None = None
    """Parts that are measured, by name; all others are the kept ones."""
    data_dir: Path | None = None
    """Folder with MNIST's four files (or mnist/ with them) and CIFAR-10. None: ZOSAH_DATA."""


# --- the measurement ------------------------------------------------------------------------------

_FEEDBACK_RATE = 1e-2  # as in forward_training
_SIZE = (256, 4, 2, 64)  # of the transformer: width, layers; texts and tokens of a value
_TOLD = 300  # letters of an error that are kept
_LONGER = 1.5  # times as many passes at least, for a run over the time that is left to be worth it
_MARGIN = 20.0  # seconds that such a run leaves


class Part(NamedTuple):
    """A part of the measurement.

    Attributes:
        name: of its results.
        least: seconds that have to be left for it to begin.
        measure: what it does.
    """

    name: str
    least: float
    measure: Callable[[], Any]


def measure(config: Config) -> dict[str, Any]:
    """All parts that fit into the time, short ones first."""
    experiment.check_tuning_seed(config.tuning_seed, config.seeds)
    before = jax.config.values["jax_default_matmul_precision"]
    # differences of losses are what all of this rests on: products in float32 as they are
    jax.config.update("jax_default_matmul_precision", "highest")
    try:
        return _Measurement(config).results()
    finally:
        jax.config.update("jax_default_matmul_precision", before)


class _Measurement:
    """The measurement as it goes on."""

    def __init__(self, config: Config) -> None:
        self._config, self._clock = config, Clock(config.seconds)
        device = jax.devices()[0]
        self._found: dict[str, Any] = {
            "device": device.device_kind,
            "platform": device.platform,
            "precision": "highest",
            "batch_size": config.batch_size,
            "members": config.members,
            "parts": {},
            "failed": {},
        }
        if config.only is not None:
            kept = records.kept("accelerator") or {"parts": {}}
            self._found["parts"] = {k: v for k, v in kept["parts"].items() if k not in config.only}
        self._pool = ThreadPoolExecutor(len(METHODS))
        self._ready: dict[str, Any] = {}
        self._images: Any = None

    def results(self) -> dict[str, Any]:
        """After each part they are kept."""
        with self._pool:
            for part in self._parts():
                if self._config.only is not None and part.name not in self._config.only:
                    continue
                if self._clock.left() < part.least:
                    self._clock.tell(f"{part.name}: left out")
                    continue
                self._clock.tell(part.name)
                try:
                    self._found["parts"][part.name] = part.measure()
                except Exception as error:  # one part that fails leaves the others
                    traceback.print_exc()
                    self._found["failed"][part.name] = f"{type(error).__name__}: {error}"[:_TOLD]
                self._found["seconds"] = round(self._clock.spent(), 1)
                self._keep()
        self._clock.tell("done")
        return self._found

    def _keep(self) -> None:
        if self._config.out is not None:
            folder = records.folder("accelerator", self._config)
            record = records.record("accelerator", self._config, self._found, EXPERIMENT.packages)
            records.write_record(folder, record)

    def _parts(self) -> list[Part]:
        nets = [
            Part(f"{name}: {variant}", 30, lambda n=name, v=variant: self._plain(n, v))
            for name, variant in PLAIN
        ]
        return [
            Part("population", 30, self._population),
            Part("population, TF32", 30, self._population_in_tf32),
            Part("mnist", 30, self._mnist),
            *(Part(m, 30, lambda m=m: self._run(m)) for m in METHODS),
            *(Part(f"cost: {name}", 20, lambda n=name: self._cost(n)) for name in TASKS),
            *nets,
            Part("longer", 2 * _MARGIN, self._longer),
        ]

    # --- parts

    def _population(self) -> Any:
        objective = members.transformer(*_SIZE)
        number = self._config.members
        return members.costs(objective, number, number, self._config.repeats)

    def _population_in_tf32(self) -> Any:
        with jax.default_matmul_precision("default"):  # as JAX multiplies float32 on a GPU
            found = members.shared_and_copied(
                members.transformer(*_SIZE), self._config.members, self._config.repeats
            )
        return {"device": jax.devices()[0].device_kind, **found}

    def _mnist(self) -> Any:
        if self._config.only is None:  # compiled beside this part
            self._prepared()
        data, config = load("mnist", self._config.data_dir), self._config
        return {
            f"{variant}, {passes}": self._trained("mnist", variant, data, passes)
            for variant, passes in (
                ("feedback", config.passes),
                ("feedback", config.passes // 5),
                ("noise", config.passes),
                ("backpropagation", config.passes),
            )
        }

    def _prepared(self) -> None:
        """Images read, and the runs on them compiled beside what follows."""
        if self._images is not None:
            return
        images, config = image_data.load("cifar10", self._config.data_dir), self._config
        train, test = (jax.tree.map(jnp.asarray, part) for part in images[:2])
        self._images = images._replace(train=train, test=test)
        for method in [m for m in METHODS if config.only is None or m in config.only]:
            self._ready[method] = self._pool.submit(
                *(ready, method, config.network, config.batch_size),
                *(config.passes, config.points, self._images),
            )

    def _run(self, method: str) -> Any:
        self._prepared()
        made: Ready = self._ready[method].result()
        return tuned_run(made, self._config.seeds[0], self._config.tuning_seed, self._clock)

    def _longer(self) -> Any:
        """The better of the two estimates once more, over the time that is left."""
        parts = self._found["parts"]
        done = [m for m in METHODS if m.startswith("forward") and m in parts]
        if not done:
            return None
        best = max(done, key=lambda m: parts[m]["history"]["test_accuracy"][-1])
        history = parts[best]["history"]
        pace = history["seconds"][-1] / history["passes"][-1]
        passes = int((self._clock.left() - _MARGIN) / pace)
        if passes < _LONGER * self._config.passes:
            return None
        made: Ready = self._ready[best].result().longer(passes)
        rate = parts[best]["learning_rate"]
        return {
            "method": best,
            "learning_rate": rate,
            **made.run(self._config.seeds[0], rate, self._clock),
        }

    def _cost(self, name: str) -> Any:
        return costs(TASKS[name], self._data(name), self._config.repeats)

    def _plain(self, name: str, variant: str) -> Any:
        return self._trained(name, variant, self._data(name), self._config.passes)

    def _trained(self, name: str, variant: str, data: Data, passes: int) -> Any:
        task = replace(TASKS[name], batch=self._config.batch_size)
        seeds = self._config.seeds if task.dataset == "mnist" else self._config.seeds[:1]
        return train(task, variant, data, seeds, passes, self._config.points, _FEEDBACK_RATE)

    def _data(self, name: str) -> Data:
        dataset = TASKS[name].dataset
        if dataset == "cifar10":
            self._prepared()
            return of_images(self._images)
        return load(dataset, self._config.data_dir)


EXPERIMENT = experiment.Experiment("accelerator", Config, measure, tables, draw, packages=("flax",))
