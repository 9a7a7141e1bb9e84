"""DeepZero's own coordinate-wise estimate, with its feature reuse, for timing.

Nothing of it is here: its classes are imported from a checkout
(https://github.com/OPTML-Group/DeepZero) that the user names.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common.errors import InputError


class _Here:
    """What its code expects of a remote reference."""

    def __init__(self, value: Any):
        self.value = value

    def to_here(self) -> Any:
        """The value."""
        return self.value


def functions(
    checkout: Path, batch_size: int, queries: int
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """A forward pass of its ResNet-20, and one of its estimates over random coordinates.

    Raises:
        InputError: PyTorch or the checkout is missing.
    """
    if not (checkout / "models" / "distributed_model.py").exists():
        raise InputError(f"deepzero: got {checkout}, wanted a checkout of DeepZero's repository.")
    try:
        torch = importlib.import_module("torch")
    except ModuleNotFoundError as error:
        raise InputError(
            "deepzero: PyTorch is not installed, wanted it to run its code."
        ) from error
    sys.path.insert(0, str(checkout))
    try:
        resnet = importlib.import_module("models.resnet_s")
        distributed = importlib.import_module("models.distributed_model")
    finally:
        sys.path.remove(str(checkout))
    model = distributed.DistributedCGEModel(
        "cpu",
        resnet.resnet20,
        torch.nn.functional.cross_entropy,
        resnet.param_name_to_module_id_rn20,
        pruned=False,
    )
    names = [name for name, _ in model.network.named_parameters()]
    sizes = np.array([p.numel() for p in model.network.parameters()])
    drawn = np.random.default_rng(0).choice(sizes.sum(), queries, replace=False)
    name = np.searchsorted(np.cumsum(sizes), drawn, side="right")
    index = drawn - (np.cumsum(sizes) - sizes)[name]
    instruction = torch.tensor(np.stack([name, index], axis=1))
    model.set_params_to_be_perturbed(_Here(instruction), names)
    images = torch.randn(batch_size, 3, 32, 32)
    labels = torch.randint(0, 10, (batch_size,))

    def forward() -> None:
        with torch.no_grad():
            model.network(images)

    return forward, lambda: (model.calculate_grads(_Here(images), _Here(labels), 5e-3), None)[1]
