"""How ZO-SAH reads what the published descriptions leave open."""

from dataclasses import dataclass, fields
from typing import Any, Literal

from zosah_jax.checks import check_choice


@dataclass(frozen=True)
class Reading:
    """One reading of every open point; "paper" is the published description, taken literally.

    The other choice of each is what measured better (`experiments/benchmarks/readings`).

    Attributes:
        cached: old values are "centred" on their own step's base value, or raw ("paper").
        fit: "joint" corrects the gradient by the bias of its forward differences, "paper" not.
        prior: the fit is drawn to the "previous" one, or to zero ("paper").
        floor: of eigenvalues: "relative" to the largest of all pairs, times 1 - 2/m, or absolute
            ("paper").
        grid: three fresh samples a pair ("minimal"), or eight ("paper").
    """

    cached: Literal["centred", "paper"] = "centred"
    fit: Literal["joint", "paper"] = "joint"
    prior: Literal["previous", "paper"] = "previous"
    floor: Literal["relative", "paper"] = "relative"
    grid: Literal["minimal", "paper"] = "minimal"

    def __post_init__(self) -> None:
        """Refuse what is no choice."""
        for f in fields(self):
            check_choice(f"reading.{f.name}", getattr(self, f.name), (str(f.default), "paper"))


MEASURED, PAPER = Reading(), Reading("paper", "paper", "paper", "paper", "paper")


def reading_of(given: Any) -> Reading:
    """The reading that an option names: "measured", "paper", or a `Reading`."""
    if isinstance(given, Reading):
        return given
    check_choice("reading", given, ("measured", "paper"))
    return PAPER if given == "paper" else MEASURED
