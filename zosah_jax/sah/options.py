"""Options of ZO-SAH: what the published descriptions leave open, by name."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from zosah_jax.blocks import BlockOrder, BlockRule, check_blocks
from zosah_jax.checks import check_choice, check_count, check_positive, typed_key

Floor = Literal["relative", "paper"]
Cached = Literal["centred", "paper"]
Fit = Literal["joint", "paper"]
Prior = Literal["previous", "paper"]
Grid = Literal["minimal", "paper"]

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

    subspace_dim: int | None
    period: int | None
    smoothing: float | None
    radius: float | None
    eigenvalue_floor: float
    floor: Floor
    cached: Cached
    fit: Fit
    prior: Prior
    ridge: float
    grid: Grid
    blocks: BlockRule | None
    block_order: BlockOrder
    key: Any

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
