"""The methods of the published setting, with their options and where these come from."""

from typing import Any, NamedTuple


class Entry(NamedTuple):
    """A method with all that is chosen about it.

    Attributes:
        label: in tables.
        method: by the library's name.
        learning_rate: of the whole run.
        origin: where the learning rate comes from.
        options: of its constructor; all else is the library's default.
        momentum: of optax.trace, over its directions; None for none.
        batch_steps: steps that a batch is kept for.
    """

    label: str
    method: str
    learning_rate: float
    origin: str
    options: dict[str, Any]
    momentum: float | None = None
    batch_steps: int = 1


# The paper does not tell m; 64 is what `subspaces` and `train_resnet` take.
_PAPER = {"subspace_dim": 64, "reading": "paper", "period": 20, "eigenvalue_floor": 0.1}
# Weights are of the order of 0.1 and the loss is computed to some 1e-7: short probes measure
# rounding there. Chosen on a narrow network in `resnet_comparison`.
_LONG = {"subspace_dim": 256, "smoothing": 0.01, "radius": 0.1, "eigenvalue_floor": 0.003}

ENTRIES = {
    "sah_paper": Entry(
        *("ZO-SAH, pairs, the paper's reading", "zosah", 1.0, "the paper's: nothing is tuned"),
        *(_PAPER, None, 20),
    ),
    "sah_pairs": Entry(
        *("ZO-SAH, pairs, long probes", "zosah", 0.1, "tuned in resnet_comparison"),
        *({**_LONG, "period": 2}, None, 2),
    ),
    "sah_dense": Entry(
        "ZO-SAH, dense", "zosah", 1.0, "the library's: nothing is tuned", {"basis": "dense"}
    ),
    "sah_low_rank": Entry(
        "ZO-SAH, low rank", "zosah", 1.0, "the library's: nothing is tuned", {"basis": "low_rank"}
    ),
    "deepzero_1": Entry(
        *("DeepZero, density 0.01", "deepzero", 1.0, "tuned in resnet_comparison"),
        *({"density": 0.01, "mask_period": 1}, 0.9),
    ),
    "deepzero_10": Entry(
        *("DeepZero as documented, density 0.1", "deepzero", 1.0, "tuned in resnet_comparison"),
        *({"density": 0.1, "mask_period": 1}, 0.9),
    ),
}
"""By name, in the order in which they are run: what takes longest to a step comes last."""

PEERS = ("deepzero_10", "deepzero_1")
"""Of these the values of ZO-SAH are told as a part."""

LEVELS = {
    "cifar10": (2.2, 2.1, 2.0, 1.9, 1.8, 1.7),
    "cifar100": (4.5, 4.3, 4.0, 3.8),
}
"""Training losses whose price is reported, by data set; guessing comes to 2.303 and 4.605."""
