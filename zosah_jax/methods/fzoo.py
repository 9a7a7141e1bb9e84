"""FZOO: one-sided differences along sign vectors, divided by the deviation of their values."""

from dataclasses import dataclass, field
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from zosah_jax.checks import check_choice, check_positive, check_static_count
from zosah_jax.low_rank import Directions, Distribution, Law, law_of
from zosah_jax.method import Batch, Outcome, Problem
from zosah_jax.methods.estimate import from_here, mean_weights
from zosah_jax.methods.memoryless import Memoryless, MemorylessState
from zosah_jax.probes import combine_directions
from zosah_jax.pytree import Params

Normalisation = Literal["deviation", "paper"]


@dataclass(frozen=True, eq=False)
class FZOO(Memoryless):
    r"""Direction of descent in units of its own noise: a normalised gradient, estimated.

    .. math:: v = \frac{1}{N \sigma} \sum_i (l_i - l_0) u_i, \qquad
        l_i = f(x + \epsilon u_i), \quad u_i \in \{-1, 1\}^d

    with sigma the standard deviation of the N values l_i (N - 1 in its denominator). As sigma is
    about epsilon times the length of the gradient, v is about the gradient over its length, and the
    learning rate a distance. A step takes N + 1 values.
    Values that are not finite are left out; where the others do not differ, the direction is zero.

    Args:
        num_directions: N, at least 2 (static; paper: 8).
        smoothing: epsilon, absolute (paper: 1e-3).
        distribution: "rademacher", as in the paper, or "normal" directions.
        directions: "dense", or "low_rank": every matrix moves by a product of two thin factors, as
            of `low_rank.LowRank`, which takes far fewer random numbers and lets the probes share
            their products with it (`evaluate.factored`).
        rank: of the factors (static). Differences along rank 1 have heavier tails, which the
            deviation suffers from; rank 2 hardly differs from dense.
        normalisation: "deviation" as above. "paper" divides v by epsilon as well, as the paper does
            on its way from a gradient to the step; its learning rates are then smaller by epsilon.
        key: an int or a typed PRNG key; the directions follow from it.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> tx = zosah_jax.scale_by_fzoo(64)
        >>> x = jnp.array([30.0, -40.0])
        >>> v, _ = tx.update(None, tx.init(x), x, value_fn=lambda x: (x**2).sum() / 2)
        >>> [round(float(u), 1) for u in v]  # x over its length
        [0.6, -0.8]

    References:
        Dang et al., `FZOO: Fast Zeroth-Order Optimizer for Fine-Tuning Large Language Models
        towards Adam-Scale Speed <https://arxiv.org/abs/2506.09034>`_, 2025.
    """

    num_directions: int = 8
    smoothing: float = 1e-3
    distribution: Distribution = field(default="rademacher", kw_only=True)
    normalisation: Normalisation = field(default="deviation", kw_only=True)
    directions: Directions = field(default="dense", kw_only=True)
    rank: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_static_count("num_directions", self.num_directions)
        if self.num_directions < 2:
            raise ValueError(
                f"num_directions: got {self.num_directions}, wanted at least 2: one has no "
                "deviation."
            )
        check_positive("smoothing", self.smoothing)
        check_choice("distribution", self.distribution, get_args(Distribution))
        check_choice("normalisation", self.normalisation, get_args(Normalisation))
        law_of(self.directions, self.rank)

    @property
    def _law(self) -> Law:
        return law_of(self.directions, self.rank, self.distribution)

    def ask(self, state: MemorylessState, params: Params, problem: Problem) -> Batch:
        """The parameters (scale 0), then a step along each direction."""
        del problem
        keys = jax.random.split(jax.random.fold_in(state.key, state.step), self.num_directions)
        return Batch(from_here(keys, self.smoothing, params, self._law))

    def tell(
        self,
        state: MemorylessState,
        params: Params,
        problem: Problem,
        batch: Batch,
        values: jax.Array,
    ) -> Outcome:
        """Mean of u_i (l_i - l_0) over the standard deviation of the l_i, of those that came."""
        del problem
        probes = batch.probes
        difference = values[1:] - values[0]
        came = jnp.isfinite(difference)
        count = jnp.sum(came).astype(values.dtype)
        centred = jnp.where(came, difference - jnp.sum(mean_weights(difference)), 0)
        variance = jnp.sum(centred**2) / jnp.maximum(count - 1, 1)
        unit = jnp.sqrt(variance) * (probes.scale[1, 0] if self.normalisation == "paper" else 1)
        weight = jnp.where(unit > 0, mean_weights(difference) / jnp.where(unit > 0, unit, 1), 0)
        direction = combine_directions(probes.key[1:, 0], weight, params, self._law)
        return Outcome(state._replace(step=state.step + 1), direction, values[0])
