"""Image classifiers by values alone, any method; digits, or CIFAR and ResNets (3 - 4 min)."""

import inspect
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from tqdm import tqdm

import zosah_jax
from experiments import experiment
from experiments.common import image_data, style, table
from experiments.common.errors import InputError
from experiments.common.estimates import ESTIMATES, prepare
from experiments.common.identity import fingerprint, identity
from experiments.common.image_data import ImageData
from experiments.common.networks import NETWORKS
from experiments.common.training import (
    EvaluatorName,
    ScheduleName,
    Setting,
    State,
    Training,
    spent,
)
from experiments.examples.train_resnet.checkpoints import Checkpoints, History
from experiments.experiment import check_names
from zosah_jax.methods import METHODS


@dataclass(frozen=True)
class Config(experiment.Config):
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
    """Methods by name; or forward, forward_feedback or backpropagation, counted in passes."""
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
    """Further options of the methods' constructors, as in "radius=0.1 reading=paper"."""
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


# --- the measurement ------------------------------------------------------------------------------

ACCURACIES = (0.9, 0.95)
"""Test accuracies whose price is reported."""

# What was tuned, and how, is told in README.md.
RECIPES: dict[tuple[str, str], tuple[float, dict[str, Any]]] = {
    ("digits", "zosah"): (1.0, {"subspace_dim": 64}),
    ("digits", "rspg"): (0.03, {"num_directions": 4}),
}
"""(data set, method) -> learning rate and options, where the command line names none."""

_NETWORK = {"digits": "convnet", "cifar10": "resnet8", "cifar100": "resnet8"}
_BATCH_SIZE = {"digits": None, "cifar10": 128, "cifar100": 128}


def measure(config: Config) -> dict[str, Any]:
    """Train every method from every seed, looked at in equal distances of values."""
    asked = runs(config)
    data = image_data.load(config.dataset, config.data_dir)
    return trained(asked, data, checkpoints=config.checkpoints, resume=config.resume)


def runs(config: Config) -> list[Setting]:
    """The runs of every method and seed that a config asks for, with what is left open filled in.

    Raises:
        InputError: a name is unknown, no method has an option, or there is no learning rate.
    """
    dataset = config.dataset
    check_names("dataset", dataset, image_data.DATASETS)
    network = _NETWORK[dataset] if config.network is None else config.network
    check_names("network", network, NETWORKS)
    check_names("methods", config.methods, (*METHODS, *ESTIMATES))
    named = {name: getattr(config, name) for name in ("subspace_dim", "period", "num_directions")}
    options = {name: value for name, value in named.items() if value is not None}
    options |= parse_options(config.options)
    taken = {method: _parameters(method) for method in config.methods}
    for name in options:
        if not any(name in parameters for parameters in taken.values()):
            raise InputError(
                f"{name}: got an option that none of {', '.join(config.methods)} has, wanted one "
                f"of {', '.join(sorted(set().union(*taken.values())))}."
            )
    batch_size = _BATCH_SIZE[dataset] if config.batch_size is None else config.batch_size
    augmented = dataset != "digits" and batch_size is not None
    found = []
    for method in config.methods:
        rate, own = RECIPES.get((dataset, method), (None, {}))
        rate = rate if config.learning_rate is None else config.learning_rate
        if rate is None:
            raise InputError(
                f"learning_rate: got None, and there is no recipe for {method} on {dataset}; "
                "wanted a positive number."
            )
        own = own | {name: value for name, value in options.items() if name in taken[method]}
        one = Setting(
            dataset=dataset,
            network=network,
            method=method,
            budget=config.budget,
            points=config.points,
            seed=config.seeds[0],
            learning_rate=rate,
            options=tuple(own.items()),
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            schedule=config.schedule,
            batch_size=batch_size,
            batch_steps=config.batch_steps,
            augment=augmented if config.augment is None else config.augment,
            evaluator=config.evaluator,
            chunk=config.chunk,
        )
        found += [replace(one, seed=seed) for seed in config.seeds]
    return found


def parse_options(text: str | None) -> dict[str, Any]:
    """Options written as "name=value name=value": numbers and truths as such, all else as names.

    Raises:
        InputError: a word is no name=value.

    Example:
        >>> parse_options("radius=0.1 period=3 reading=paper")
        {'radius': 0.1, 'period': 3, 'reading': 'paper'}
    """
    found: dict[str, Any] = {}
    for word in (text or "").split():
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise InputError(f"options: got {word!r}, wanted name=value.")
        found[name] = _number(value)
    return found


def _number(text: str) -> Any:
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _parameters(method: str) -> set[str]:
    made = ESTIMATES[method] if method in ESTIMATES else getattr(zosah_jax, method)
    names = set(inspect.signature(made).parameters)
    return names - {"learning_rate", "key", "evaluator", "losses_fn", "fun"}


# --- runs -----------------------------------------------------------------------------------------
def trained(
    settings: list[Setting],
    data: ImageData,
    *,
    checkpoints: Path | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Train as every setting says.

    Args:
        settings: the runs, of one data set and network.
        data: the data set.
        checkpoints: folder with a folder a run. None: none are kept.
        resume: whether to go on from what is there.

    Returns:
        For JSON: the history of every run, and what the methods reached.

    Raises:
        InputError: checkpoints are there and not to be resumed, or to be resumed and not there, or
            of another run. Then nothing was trained nor written.
    """
    kept: list[Checkpoints | None] = [None] * len(settings)
    if checkpoints is not None:
        read = fingerprint(data)
        places = [checkpoints / f"{one.method}-{one.seed}" for one in settings]
        kept = [Checkpoints(p, identity(s, read)) for p, s in zip(places, settings, strict=True)]
    begun = [own is not None and own.check() for own in kept]
    if any(begun) and not resume:
        raise InputError(
            f"checkpoints: got {checkpoints}, which holds a run; pass --resume to go on with it, "
            "or name another folder."
        )
    if resume and not any(begun):
        raise InputError(
            f"resume: got the folder {checkpoints} of checkpoints, wanted one that holds a run."
        )
    ready = {setting.method: prepare(setting, data) for setting in settings}
    runs = []
    for setting, own, goes_on in zip(settings, kept, begun, strict=True):
        history, _ = train(setting, ready[setting.method], own, goes_on)
        runs.append({"method": setting.method, "seed": setting.seed, "history": history})
    first = settings[0]
    return {
        "dataset": first.dataset,
        "source": data.source,
        "images": [len(data.train.labels), len(data.test.labels)],
        "network": first.network,
        "dimension": ready[first.method].dimension,
        "budget": first.budget,
        "accuracies": ACCURACIES,
        "runs": runs,
        "methods": {
            setting.method: {
                "learning_rate": setting.learning_rate,
                "options": dict(setting.options),
                **_summary([run["history"] for run in runs if run["method"] == setting.method]),
            }
            for setting in settings
        },
    }


def train(
    setting: Setting, training: Training, checkpoints: Checkpoints | None, goes_on: bool
) -> tuple[History, State]:
    """One run, with a progress bar.

    Args:
        setting: the run.
        training: the run made ready.
        checkpoints: where to keep it, if anywhere.
        goes_on: whether to start from the checkpoint there.

    Returns:
        The history, a list for each of `spent`, `loss` (on the batches, mean since the entry
        before), `test_loss` and `test_accuracy`; and the last state.
    """
    state = training.start(setting.seed)
    history: History = {"spent": [], "loss": [], "test_loss": [], "test_accuracy": []}
    if goes_on and checkpoints is not None:
        state, history = checkpoints.restore(state)
    marks = np.linspace(0, setting.budget, setting.points + 1).astype(int)
    bar = tqdm(
        desc=f"{setting.method}, seed {setting.seed}",
        total=setting.budget,
        initial=spent(state),
        unit=" queries",
    )
    with bar:
        for mark in marks:
            if history["spent"] and mark <= history["spent"][-1]:
                continue
            state = training.advance(state, int(mark))
            if history["spent"] and spent(state) == history["spent"][-1]:
                break  # the next step would exceed the budget
            test_loss, accuracy = training.judge(state)
            entry = (spent(state), float(state.loss), test_loss, accuracy)
            for name, value in zip(history, entry, strict=True):
                history[name].append(value)
            if checkpoints is not None:
                checkpoints.save(state, history)
            bar.update(spent(state) - bar.n)
            bar.set_postfix(loss=f"{entry[1]:.3f}", accuracy=f"{accuracy:.1%}")
    return history, state


def _summary(histories: list[History]) -> dict[str, Any]:
    """What the runs of a method reached, a number a seed."""
    reached = {}
    for accuracy in ACCURACIES:
        prices = []
        for history in histories:
            there = np.flatnonzero(np.array(history["test_accuracy"]) >= accuracy)
            prices.append(int(history["spent"][there[0]]) if there.size else None)
        reached[f"{accuracy:g}"] = prices
    return {
        "values_to_accuracy": reached,
        "test_accuracy": [history["test_accuracy"][-1] for history in histories],
        "loss": [history["loss"][-1] for history in histories],
    }


# --- its tables -----------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    title = (
        f"**{results['dataset']}** ({results['source']}): {results['images'][0]:,} images to learn "
        f"from and {results['images'][1]:,} to be judged by; {results['network']}, d = "
        f"{results['dimension']:,}; {results['budget']:,} values"
    )
    goals = results["accuracies"]
    header = ["method", *(f"values to {goal:.0%}" for goal in goals), "test accuracy", "loss"]
    rows = [
        [
            f"{style.label(method)}, {described(found)}",
            *(table.price(found["values_to_accuracy"][f"{goal:g}"]) for goal in goals),
            table.mean([100 * part for part in found["test_accuracy"]], 1, " %"),
            table.mean(found["loss"], 4),
        ]
        for method, found in results["methods"].items()
    ]
    return {"table": f"{title}\n\n{table.markdown(header, rows)}"}


def described(found: dict[str, Any]) -> str:
    """Learning rate and options of a method, in words."""
    options = {"learning_rate": found["learning_rate"], **found["options"]}
    return ", ".join(f"{name.replace('_', ' ')} {_plain(v)}" for name, v in options.items())


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


# --- its figure -----------------------------------------------------------------------------------


def draw(results: dict[str, Any], path: Path) -> None:
    """Loss and test accuracy against values spent, a line a seed."""
    with style.figure(path, 12.6, 5.2) as figure:
        losses, accuracies = figure.subplots(1, 2)
        for method, found in results["methods"].items():
            label = f"{style.label(method)}, {described(found)}"
            runs = [run["history"] for run in results["runs"] if run["method"] == method]
            for number, history in enumerate(runs):
                look = {"color": style.colour(method), "alpha": 0.75, "linewidth": 1.6}
                losses.plot(history["spent"], history["loss"], **look)
                accuracies.plot(
                    history["spent"],
                    [100 * part for part in history["test_accuracy"]],
                    label=label if number == 0 else None,
                    **look,
                )
        losses.set(yscale="log", xlabel="function values spent", ylabel="loss on the batches")
        style.plain_ticks(losses.yaxis)
        losses.set_title("What the method sees")
        accuracies.set(xlabel="function values spent", ylabel="test accuracy, %", ylim=(0, 101))
        accuracies.set_title("What the network knows")
        for goal in results["accuracies"]:
            accuracies.axhline(100 * goal, color="#888888", linewidth=1, zorder=1)
        for axes in (losses, accuracies):
            axes.set_xlim(0, results["budget"])
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.xaxis.set_major_formatter("{x:,.0f}")
        accuracies.legend(loc="lower right")
        figure.suptitle(
            f"{results['network']} on {results['dataset']}, d = {results['dimension']:,}, "
            "by values alone"
        )


EXPERIMENT = experiment.Experiment(
    "train_resnet", Config, measure, tables, draw, packages=("flax",)
)
