"""ZO-SAH and DeepZero on a narrow ResNet-8 and CIFAR-10, with equal tuning (10 min)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from experiments import experiment
from experiments.common import image_data
from experiments.common.errors import InputError
from experiments.common.image_data import ImageData, Part
from experiments.common.networks import NETWORKS
from experiments.common.training import Setting, Training, prepare, spent
from experiments.examples.resnet_comparison.report import draw, tables


@dataclass(frozen=True)
class Config(experiment.Config):
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


@dataclass(frozen=True)
class Reading:
    """A way to use a method, but for its learning rate.

    Attributes:
        name: what is special about it.
        options: of the method's constructor.
        momentum: of optax.trace, over the method's directions; None for none.
        batch_steps: steps that a batch is kept for.
        documented: whether it is what the authors document, where that is reported by itself.
    """

    name: str
    options: dict[str, Any]
    momentum: float | None = None
    batch_steps: int = 1
    documented: bool = False


# Weights of a network are of the order of 0.1, its loss is computed to some 1e-7, and the curvature
# of most weights is of the order of 1e-3: short probes measure rounding there.
READINGS: dict[str, tuple[Reading, ...]] = {
    "zosah": (
        Reading("T = 5", {"subspace_dim": 256}, batch_steps=5),
        Reading(
            "T = 2, long probes",
            {
                "subspace_dim": 256,
                "period": 2,
                "smoothing": 0.01,
                "radius": 0.1,
                "eigenvalue_floor": 0.003,
            },
            batch_steps=2,
        ),
    ),
    "deepzero": (
        Reading("density 0.1", {"density": 0.1, "mask_period": 1}, momentum=0.9, documented=True),
        Reading("density 0.01", {"density": 0.01, "mask_period": 1}, momentum=0.9),
    ),
    "rspg": (Reading("q = 4", {"num_directions": 4}),),
}
"""Method -> what is tried of it."""


# --- the measurement ------------------------------------------------------------------------------

_JUDGED = 1_000  # training images whose loss is followed; no method is told
_SHORTLIST = 2  # of the tuning's runs, that go on to the whole budget
_GLANCES = 4  # at a run of the first round
_LOST = 10.0  # training loss at which a run is given up


def measure(config: Config) -> dict[str, Any]:
    """Every reading and learning rate on some seeds, the best of each method on others."""
    experiment.check_names("methods", config.methods, READINGS)
    experiment.check_names("network", config.network, NETWORKS)
    if set(config.tuning_seeds) & set(config.seeds):
        raise InputError(
            f"tuning_seeds: got {config.tuning_seeds}, wanted some that are not among the seeds."
        )
    data = image_data.load(config.dataset, config.data_dir)
    side = data.train.images.shape[1]
    if side % config.shrink:
        raise InputError(f"shrink: got {config.shrink}, wanted a divisor of {side} pixels.")
    data = image_data.normalised(image_data.shrunk(data, config.shrink))
    results: dict[str, Any] = {
        "dataset": config.dataset,
        "source": data.source,
        "images": [len(data.train.labels), len(data.test.labels)],
        "pixels": list(data.train.images.shape[1:]),
        "network": config.network,
        "batch_size": config.batch_size,
        "tuning_budget": config.tuning_budget,
        "tuning_seeds": config.tuning_seeds,
        "budget": config.budget,
        "methods": {},
    }
    for method in config.methods:
        entries, results["dimension"] = _tuned_and_run(method, data, config)
        results["methods"] |= entries
    return results


def setting(reading: Reading, method: str, config: Config) -> Setting:
    """The run that a reading stands for, at a learning rate of 1."""
    return Setting(
        dataset=config.dataset,
        network=config.network,
        method=method,
        budget=config.budget,
        points=config.points,
        seed=config.seeds[0],
        options=tuple(reading.options.items()),
        momentum=reading.momentum,
        batch_size=config.batch_size,
        batch_steps=reading.batch_steps,
        evaluator="grouped",
    )


def _tuned_and_run(method: str, data: ImageData, config: Config) -> tuple[dict[str, Any], int]:
    """The runs of a method's best reading, and of the best of its documented one; and d.

    The tuning is in two rounds: a short run of every reading and learning rate, and runs as long as
    those reported, on every tuning seed, of the two whose training loss was lowest in the mean over
    the run. The lower of these two is reported. A reading that is marked as documented is tuned and
    reported by itself, too, as `<method>_documented`.
    """
    judged, readings = _some(data.train, _JUDGED), READINGS[method]
    ready = {reading.name: prepare(setting(reading, method, config), data) for reading in readings}
    done: dict[tuple[str, float, int, int], dict[str, Any]] = {}
    groups = {method: readings}
    documented = tuple(reading for reading in readings if reading.documented)
    if documented and documented != readings:
        groups[f"{method}_documented"] = documented
    long = _SHORTLIST * len(config.tuning_seeds) + len(config.seeds)
    total = len(groups) * long + sum(map(len, groups.values())) * len(config.learning_rates)
    with tqdm(total=total, unit="run", desc=method) as bar:

        def run(reading: str, rate: float, seed: int, most: int, points: int) -> dict[str, Any]:
            key = reading, rate, seed, most
            if key not in done:
                done[key] = _run(ready[reading], judged, rate, seed, _marks(most, points))
            bar.update()
            return done[key]

        entries = {name: _entry(group, config, run) for name, group in groups.items()}
    return entries, next(iter(ready.values())).dimension


def _entry(group: tuple[Reading, ...], config: Config, run: Any) -> dict[str, Any]:
    """The tuning of some readings, and the runs of the best of them."""
    rates, budget, points = config.learning_rates, config.budget, config.points
    tried = []
    for reading in group:
        for rate in rates:
            short = config.tuning_budget
            found = run(reading.name, rate, config.tuning_seeds[0], short, _GLANCES)
            about = {**_about(reading), "learning_rate": rate}
            tried.append({**about, "loss": _mean_loss(found, short)})
    shortlist = sorted(tried, key=lambda one: one["loss"])[:_SHORTLIST]
    for one in shortlist:  # what is quick over a few steps may be unstable over more
        again = (
            run(one["reading"], one["learning_rate"], seed, budget, points)
            for seed in config.tuning_seeds
        )
        one["whole_loss"] = float(np.mean([_mean_loss(found, budget) for found in again]))
    best = min(shortlist, key=lambda one: one["whole_loss"])
    chosen = {key: value for key, value in best.items() if "loss" not in key}
    runs = [
        {"seed": seed, **run(best["reading"], best["learning_rate"], seed, budget, points)}
        for seed in config.seeds
    ]
    edge = best["learning_rate"] in (rates[0], rates[-1])
    return {**chosen, "at_edge": edge, "tried": tried, "runs": runs}


def _mean_loss(run: dict[str, Any], most: int) -> float:
    """Mean of the training loss over a run; one that was given up keeps what it had then."""
    at = np.linspace(0, most, 101)
    return float(np.mean(np.interp(at, run["spent"], run["loss"])))


def _marks(budget: int, points: int) -> list[int]:
    return np.linspace(0, budget, points + 1).astype(int).tolist()


def _about(reading: Reading) -> dict[str, Any]:
    return {
        "reading": reading.name,
        "options": reading.options,
        "momentum": reading.momentum,
        "batch_steps": reading.batch_steps,
    }


def _some(part: Part, number: int) -> Part:
    """Images drawn with a fixed seed."""
    at = np.random.default_rng(0).permutation(len(part.labels))[:number]
    return Part(*(array[at] for array in part))


def _run(
    training: Training, judged: Part, learning_rate: float, seed: int, marks: list[int]
) -> dict[str, Any]:
    """Training loss at the marks, and what the network knows of the test images at the end.

    Args:
        training: the run made ready.
        judged: images whose loss is the training loss, and whose statistics BatchNorm has when
            the network is tested: those of its running means lag behind where steps are few.
        learning_rate: of the run.
        seed: of the run.
        marks: values spent at which the loss is taken.
    """
    state, on = training.start(seed, learning_rate), [jnp.asarray(array) for array in judged]
    counts, losses = [], []
    for mark in marks:
        state = training.advance(state, mark)
        if counts and spent(state) == counts[-1]:
            continue  # a step reached beyond this mark, too, or the next would exceed the budget
        counts.append(spent(state))
        loss = float(training.value(state, *on))
        losses.append(min(loss, _LOST) if np.isfinite(loss) else _LOST)
        if losses[-1] >= _LOST:
            break
    test_loss, accuracy = training.judge(training.settle(state, *on))
    return {
        "spent": counts,
        "loss": losses,
        "steps": int(state.step),
        "test_loss": test_loss,
        "test_accuracy": accuracy,
    }


EXPERIMENT = experiment.Experiment(
    "resnet_comparison", Config, measure, tables, draw, packages=("flax",)
)
