"""The ways in which each method is tried: as many for ZO-SAH as for DeepZero."""

from dataclasses import dataclass
from typing import Any

from experiments.train_resnet.settings import Setting


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


def setting(
    reading: Reading,
    *,
    method: str,
    dataset: str,
    network: str,
    batch_size: int,
    budget: int,
    points: int,
    seed: int,
) -> Setting:
    """The run of `experiments.train_resnet` that a reading stands for, at a learning rate of 1."""
    return Setting(
        dataset=dataset,
        network=network,
        method=method,
        learning_rate=1.0,
        options=tuple(reading.options.items()),
        momentum=reading.momentum,
        weight_decay=None,
        schedule="constant",
        batch_size=batch_size,
        batch_steps=reading.batch_steps,
        augment=False,
        budget=budget,
        points=points,
        evaluator="grouped",
        chunk=1,
        seed=seed,
    )
