"""Which methods are compared, with which options, and how they are tuned."""

from typing import Any, NamedTuple

RATES = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""The learning rates from which every method but ZO-SAH has its best, on a seed of its own."""


class Entry(NamedTuple):
    """A method of the comparison.

    Attributes:
        label: in tables.
        method: by name.
        options: alternatives, each tuned over all rates; a single one where nothing is tuned.
        rates: learning rates to choose from.
        batch_steps: steps that a batch is kept for.
        momentum: of optax.trace, over its directions; None for none.
    """

    label: str
    method: str
    options: tuple[dict[str, Any], ...]
    rates: tuple[float, ...] = RATES
    batch_steps: int = 1
    momentum: float | None = None


PERIOD = 5  # of ZO-SAH with coordinates, as in the paper: a batch is kept as long


def _sah(label: str, batch_steps: int = 1, **options: Any) -> Entry:
    return Entry(label, "zosah", (options,), (1.0,), batch_steps)


ENTRIES = {
    "sah_dense": _sah("ZO-SAH, dense", basis="dense"),
    "sah_low_rank": _sah("ZO-SAH, low rank", basis="low_rank"),
    "sah_coordinates": _sah("ZO-SAH, coordinates", PERIOD, subspace_dim=64, period=PERIOD),
    "rspg": Entry("RSPG", "rspg", ({"num_directions": 4},)),
    "mezo": Entry("MeZO", "mezo", ({},)),
    "fzoo": Entry("FZOO", "fzoo", ({},)),
    "eggroll": Entry("EGGROLL", "eggroll", ({},)),
    "lozo": Entry("LOZO", "lozo", ({},)),
    "zo_muon": Entry("ZO-Muon", "zo_muon", ({"rank": 4}, {"rank": 16})),
    "zovh": Entry("ZoVH", "zovh", ({"smoothing": 0.001, "damping": 1.0},)),
    "deepzero": Entry(
        "DeepZero",
        "deepzero",
        ({"density": 0.01, "mask_period": 1}, {"density": 0.1, "mask_period": 1}),
        momentum=0.9,
    ),
    "deepzero_kept": Entry(
        "DeepZero, first mask kept", "deepzero", ({"density": 0.01}, {"density": 0.1})
    ),
}
"""By name; all else is the library's default, which is the paper's where the paper has one."""


class Plan(NamedTuple):
    """How a task is run.

    Attributes:
        budget: values of a run that is reported.
        tuning: values of a run that tunes.
        every: values between looks.
        accuracies: test accuracies whose price is reported.
        losses: training losses whose price is reported.
        entries: who takes part.
        seeds: lanes of a run: seeds that are reported.
    """

    budget: int
    tuning: int
    every: int
    accuracies: tuple[float, ...]
    losses: tuple[float, ...]
    entries: tuple[str, ...]
    seeds: int


_ALL = tuple(name for name in ENTRIES if name != "deepzero_kept")  # which is CIFAR-10's alone

PLANS = {
    "digits": Plan(8_000, 2_000, 50, (0.9, 0.95), (), _ALL, 5),
    "mnist": Plan(40_000, 20_000, 500, (0.8, 0.9, 0.93, 0.95), (), _ALL, 5),
    "cifar10": Plan(
        60_000,
        6_000,
        1_000,
        (),
        (2.1, 2.0, 1.9, 1.8, 1.7, 1.5),
        ("sah_dense", "sah_low_rank", "deepzero", "deepzero_kept", "sah_coordinates"),
        3,
    ),
}
"""By the name of the task."""

TUNING_SEED = 1_000  # none of those reported
