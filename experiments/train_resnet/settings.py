"""What a single run is: everything that its result depends on, of the types that JSON knows."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import optax

import zosah_jax
from experiments.errors import InputError
from experiments.image_data import DATASETS
from experiments.networks import NETWORKS
from zosah_jax.evaluate import Evaluator

EvaluatorName = Literal["automatic", "one_by_one", "chunks", "grouped"]
ScheduleName = Literal["constant", "cosine"]

EVALUATORS: dict[EvaluatorName, Callable[[int], Evaluator | None]] = {
    "automatic": lambda chunk: None,
    "one_by_one": lambda chunk: zosah_jax.one_by_one(),
    "chunks": zosah_jax.in_chunks,
    "grouped": lambda chunk: zosah_jax.grouped(),
}
"""Name -> constructor(probes in a chunk); None is the library's own choice."""

SCHEDULES: dict[ScheduleName, Callable[[float, int], optax.Schedule]] = {
    "constant": lambda rate, budget: optax.constant_schedule(rate),
    "cosine": optax.cosine_decay_schedule,
}
"""Name -> constructor(learning rate, budget) of a schedule over the values spent."""


@dataclass(frozen=True)
class Setting:
    """A run.

    Attributes:
        dataset: by name.
        network: by name.
        method: by name.
        learning_rate: at the start.
        options: of the method's constructor, pairs of name and value.
        momentum: of optax.trace, over the method's directions; None for none.
        weight_decay: lambda, of which lambda x is added to the direction; None for none.
        schedule: of the learning rate, over the values spent.
        batch_size: images of a batch; None for all.
        batch_steps: steps that a batch is kept for.
        augment: whether batches are cropped and mirrored.
        budget: most values of the loss on a batch.
        points: how often, in equal distances, the run is looked at.
        evaluator: by name.
        chunk: probes in a chunk, where the evaluator takes chunks.
        seed: of the first weights, the method and the batches.
    """

    dataset: str
    network: str
    method: str
    learning_rate: float
    options: tuple[tuple[str, Any], ...]
    momentum: float | None
    weight_decay: float | None
    schedule: ScheduleName
    batch_size: int | None
    batch_steps: int
    augment: bool
    budget: int
    points: int
    evaluator: EvaluatorName
    chunk: int
    seed: int


# What was tuned, and how, is told in README.md.
RECIPES: dict[tuple[str, str], tuple[float, dict[str, Any]]] = {
    ("digits", "zosah"): (1.0, {"subspace_dim": 64}),
    ("digits", "rspg"): (0.03, {"num_directions": 4}),
}
"""(data set, method) -> learning rate and options, where the command line names none."""

_NETWORK = {"digits": "convnet", "cifar10": "resnet8", "cifar100": "resnet8"}
_BATCH_SIZE = {"digits": None, "cifar10": 128, "cifar100": 128}


def settings(
    *,
    dataset: str,
    network: str | None,
    methods: tuple[str, ...],
    learning_rate: float | None,
    options: dict[str, Any],
    batch_size: int | None,
    augment: bool | None,
    seeds: tuple[int, ...],
    **others: Any,
) -> list[Setting]:
    """The runs of every method and seed, with what was left open filled in.

    Args:
        dataset: by name.
        network: None picks by the data set.
        methods: by name.
        learning_rate: None takes the recipe's.
        options: of the constructors, over the recipe's; each goes to the methods that have it.
        batch_size: None picks by the data set.
        augment: None is yes for batches of CIFAR.
        seeds: of every method.
        **others: as in `Setting`.

    Raises:
        InputError: a name is unknown, no method has an option, or there is no learning rate.
    """
    _check_name("dataset", dataset, DATASETS)
    network = _NETWORK[dataset] if network is None else network
    _check_name("network", network, NETWORKS)
    for method in methods:
        _check_name("methods", method, zosah_jax.METHODS)
    taken = {method: _parameters(method) for method in methods}
    for name in options:
        if not any(name in parameters for parameters in taken.values()):
            raise InputError(
                f"{name}: got an option that none of {', '.join(methods)} has, wanted one of "
                f"{', '.join(sorted(set().union(*taken.values())))}."
            )
    batch_size = _BATCH_SIZE[dataset] if batch_size is None else batch_size
    augmented = dataset != "digits" and batch_size is not None
    found = []
    for method in methods:
        rate, own = RECIPES.get((dataset, method), (None, {}))
        rate = rate if learning_rate is None else learning_rate
        if rate is None:
            raise InputError(
                f"learning_rate: got None, and there is no recipe for {method} on {dataset}; "
                "wanted a positive number."
            )
        own = own | {name: value for name, value in options.items() if name in taken[method]}
        found += [
            Setting(
                dataset=dataset,
                network=network,
                method=method,
                learning_rate=rate,
                options=tuple(own.items()),
                batch_size=batch_size,
                augment=augmented if augment is None else augment,
                seed=seed,
                **others,
            )
            for seed in seeds
        ]
    return found


def parse_options(text: str | None) -> dict[str, Any]:
    """Options written as "name=value name=value": numbers as such, all else as names.

    Raises:
        InputError: a word is no name=value.

    Example:
        >>> parse_options("radius=0.1 period=3 grid=paper")
        {'radius': 0.1, 'period': 3, 'grid': 'paper'}
    """
    found: dict[str, Any] = {}
    for word in (text or "").split():
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise InputError(f"options: got {word!r}, wanted name=value.")
        found[name] = _number(value)
    return found


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _parameters(method: str) -> set[str]:
    names = set(inspect.signature(zosah_jax.METHODS[method]).parameters)
    return names - {"learning_rate", "key", "evaluator"}


def _check_name(option: str, name: str, known: Any) -> None:
    if name not in known:
        raise InputError(f"{option}: got {name!r}, wanted one of {', '.join(known)}.")
