"""Options of ZO-SAH: what the published descriptions leave open, by name."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax.core
import numpy as np

from zosah_jax.blocks import BlockOrder, BlockRule, check_blocks
from zosah_jax.checks import (
    check_choice,
    check_count,
    check_number,
    check_positive,
    check_static_count,
    typed_key,
)

Floor = Literal["relative", "paper"]
Cached = Literal["centred", "paper"]
Fit = Literal["joint", "paper"]
Prior = Literal["previous", "paper"]
Grid = Literal["minimal", "paper"]
Pairing = Literal["random", "learnt"] | Any  # or groups of coordinates, ints of shape (G, s)

PAPER_READING: dict[str, Any] = {
    "period": 20,
    "eigenvalue_floor": 0.1,
    "floor": "paper",
    "cached": "paper",
    "fit": "paper",
    "prior": "paper",
    "ridge": 1e-6,
    "grid": "paper",
}
"""Options that make `zosah` what the published descriptions say: `zosah(1.0, **PAPER_READING)`."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Arguments of `scale_by_zosah` (documented there), checked; static."""

    subspace_dim: int | None = None
    period: int | None = None
    smoothing: float | None = None
    radius: float | None = None
    eigenvalue_floor: float = 0.03
    floor: Floor = "relative"
    cached: Cached = "centred"
    fit: Fit = "joint"
    prior: Prior = "previous"
    ridge: float = 0.03
    grid: Grid = "minimal"
    blocks: BlockRule | None = None
    block_order: BlockOrder = "cyclic"
    key: Any = 0
    hessian_dim: int = 2
    isotropy: float | None = None
    pairing: Pairing = "random"

    def __post_init__(self) -> None:
        """Refuse what is out of range; the subspace dimension waits for the parameters."""
        check_count("period", self.period, optional=True)
        check_positive("smoothing", self.smoothing, optional=True)
        check_positive("radius", self.radius, optional=True)
        check_positive("eigenvalue_floor", self.eigenvalue_floor)
        check_positive("ridge", self.ridge)
        check_choice("floor", self.floor, get_args(Floor))
        check_choice("cached", self.cached, get_args(Cached))
        check_choice("fit", self.fit, get_args(Fit))
        check_choice("prior", self.prior, get_args(Prior))
        check_choice("grid", self.grid, get_args(Grid))
        check_blocks(self.blocks, self.block_order)
        typed_key(self.key)
        check_static_count("hessian_dim", self.hessian_dim)
        if not 2 <= self.hessian_dim <= 8:
            raise ValueError(f"hessian_dim: got {self.hessian_dim}, wanted 2 to 8.")
        if self.isotropy is not None:
            check_number("isotropy", self.isotropy)
            if not self.isotropy >= 1:
                raise ValueError(
                    f"isotropy: got {self.isotropy}, wanted a condition number (1 or more) or None."
                )
        _check_pairing(self.pairing, self.hessian_dim)
        if self.blocks is not None and not is_random(self.pairing):
            raise ValueError("pairing: got it with blocks, wanted one of the two.")


def is_random(pairing: Pairing) -> bool:
    """Whether coordinates come together at random."""
    return isinstance(pairing, str) and pairing == "random"


def is_learnt(pairing: Pairing) -> bool:
    """Whether coordinates come together by what was learnt of their coupling."""
    return isinstance(pairing, str) and pairing == "learnt"


def _check_pairing(pairing: Pairing, dim: int) -> None:
    if isinstance(pairing, str):
        check_choice("pairing", pairing, ("random", "learnt"))
        return
    wanted = f"'random', 'learnt' or an array of ints of shape (groups, hessian_dim = {dim})"
    if isinstance(pairing, jax.core.Tracer):
        raise TypeError(f"pairing: got a traced value, wanted {wanted}.")
    groups = np.asarray(pairing)
    if not np.issubdtype(groups.dtype, np.integer):
        raise TypeError(f"pairing: got dtype {groups.dtype}, wanted {wanted}.")
    if groups.ndim != 2 or groups.shape[1] != dim:
        raise ValueError(f"pairing: got shape {groups.shape}, wanted {wanted}.")
