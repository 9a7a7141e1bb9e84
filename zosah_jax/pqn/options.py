"""Options of ZO-PQN."""

from dataclasses import dataclass
from typing import Any

import jax.core

from zosah_jax.checks import check_count, check_positive, typed_key

LARGEST_DENSE = 256  # coordinates, above which the model is of a subspace
_LIVING = 8  # values a coordinate


@dataclass(frozen=True, kw_only=True)
class Options:
    """Arguments of `scale_by_zopqn` (documented there), checked; static."""

    subspace_dim: int | None
    period: int
    radius: float
    noise: float | None
    key: Any

    def __post_init__(self) -> None:
        """Refuse what is out of range; the subspace dimension waits for the parameters."""
        check_count("subspace_dim", self.subspace_dim, optional=True)
        check_count("period", self.period)
        for name in ("subspace_dim", "period"):
            if isinstance(getattr(self, name), jax.core.Tracer):
                raise TypeError(
                    f"{name}: got a traced value, wanted an int (it is a shape: under "
                    "optax.inject_hyperparams name it in static_args)."
                )
        check_positive("radius", self.radius)
        check_positive("noise", self.noise, optional=True)
        typed_key(self.key)

    def subspace_of(self, d: int) -> int:
        """Dimension D of the model for d parameters.

        Raises:
            ValueError: more was asked for than there are.
        """
        if self.subspace_dim is None:
            return min(d, LARGEST_DENSE)
        if self.subspace_dim > d:
            raise ValueError(
                f"subspace_dim: got {self.subspace_dim}, wanted at most d = {d}, or None."
            )
        return int(self.subspace_dim)


BATCHES = (8, 32)
"""How many derivatives a step measures where it does not measure all; each is compiled."""


def worthwhile(batch: int, dim: int) -> bool:
    """Whether a batch is well below D; close below, the whole gradient is worth more."""
    return batch < 0.6 * dim


def living(dim: int) -> int:
    """Values for which the gradient lives on once all is met; none where whole ones are cheap."""
    return _LIVING * dim if any(worthwhile(batch, dim) for batch in BATCHES) else 0


def first_batch(dim: int) -> int:
    """How many coordinates a step of the first sweep meets: three to five, to divide D well."""
    return dim if dim <= 4 else min((4, 5, 3), key=lambda size: -dim % size)
