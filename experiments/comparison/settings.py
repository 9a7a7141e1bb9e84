"""What is compared, and what may be tuned: the same effort for every method."""

from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from experiments.comparison.lanes import Constructor
from zosah_jax import METHODS

DOCUMENTED = {"zosah": 1.0, "zoha": 1.0, "zo_rsn": 0.1, "deepzero": 0.1, "mezo": 1e-6}
"""Learning rates that the methods' own documentation names; the others' names none."""

PUBLISHED = tuple(name for name in METHODS if name != "zopqn")
"""The methods of the papers; the project's own is compared in `experiments.fewer_values`."""

LEARNING_RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""The common grid from which each method gets its best."""

TUNING_SEED = 1_000
"""Seed on which it is searched, none of those reported."""

SIMPLE_SUBSPACE_DIMS = (8, 32)
"""Values of ZO-SAH's m that are tried beside its default."""

SIMPLE_LEARNING_RATES = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Learning rates that are tried with each of them: as many runs as the common grid."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A constructor with options and the learning rates to choose from.

    Attributes:
        method: by name.
        options: of its constructor.
        learning_rates: the grid.
    """

    method: str
    options: dict[str, Any]
    learning_rates: tuple[float, ...]

    @property
    def constructor(self) -> Constructor:
        """The method with its options; the same object for the same ones, to compile once."""
        return _constructor(self.method, **self.options)


@cache
def _constructor(method: str, **options: Any) -> Constructor:
    return partial(METHODS[method], **options)


@dataclass(frozen=True, eq=False)
class Entrant:
    """A line of the table: the best of its candidates on the tuning seed is what is reported.

    Attributes:
        method: by name.
        setting: "tuned": the learning rate alone. "simple": ZO-SAH's m too. "unchecked": ZOHA
            without its descent check.
        candidates: what is tried.
    """

    method: str
    setting: str
    candidates: tuple[Candidate, ...]


def entrants(
    methods: tuple[str, ...], learning_rates: tuple[float, ...], dimension: int
) -> list[Entrant]:
    """Every method with the common grid; ZO-SAH and ZOHA another time, with as many runs."""
    even = dimension - dimension % 2  # no subspace is larger
    found = []
    for name in methods:
        found.append(Entrant(name, "tuned", (Candidate(name, {}, learning_rates),)))
        if name == "zosah":
            wider = tuple(
                Candidate(name, {"subspace_dim": min(m, even)}, SIMPLE_LEARNING_RATES)
                for m in SIMPLE_SUBSPACE_DIMS
            )
            found.append(Entrant(name, "simple", wider))
        if name == "zoha":
            free = Candidate(name, {"descent_check": 0}, learning_rates)
            found.append(Entrant(name, "unchecked", (free,)))
    return found
