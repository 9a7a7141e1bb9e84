"""LOZO: two-sided differences along products of thin factors, of which one is kept for a while."""

from dataclasses import dataclass, field

import jax
import numpy as np

from zosah_jax.checks import check_count, check_positive, check_static_count
from zosah_jax.low_rank import Law, LowRank, with_held
from zosah_jax.method import Batch, Outcome, Problem
from zosah_jax.methods.estimate import both_ways, mean_value, slope_weights
from zosah_jax.methods.memoryless import Memoryless, MemorylessState
from zosah_jax.probes import combine_directions
from zosah_jax.pytree import Params


@dataclass(frozen=True, eq=False)
class LOZO(Memoryless):
    r"""Gradient estimated along U V', whose factor V stays for nu steps.

    .. math:: G = c \, U V' / r, \qquad
        c = \frac{f(x + \epsilon U V') - f(x - \epsilon U V')}{2 \epsilon}

    The entries of U, drawn every step, and of V, drawn every nu steps, are independent and normal;
    V belongs to the axes that come first (of a kernel, the inputs), U to the others. For nu steps
    the weights move in a subspace that is fixed. Leaves that are no matrices move along normal
    directions. A step takes two values; the value that it reports is their mean, as f(x) is never
    asked. Where a value is not finite, the step is zero.

    The step goes along the direction that was probed, in every step, and is divided by r, as in
    the paper's algorithm; in the published code neither holds.

    Args:
        rank: r (static; paper: 1 to 4).
        smoothing: epsilon, absolute (paper: 1e-3).
        period: nu, steps for which V stays (paper: 50 or 100).
        key: an int or a typed PRNG key; the directions follow from it.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> f = lambda p: jnp.sum((p["w"] - 1) ** 2)
        >>> tx = zosah_jax.lozo(0.01, period=10)
        >>> out = zosah_jax.minimize(f, {"w": jnp.zeros((4, 6))}, tx, budget=4000)
        >>> bool(out.value < 0.01)
        True

    References:
        Chen et al., `Enhancing Zeroth-order Fine-tuning for Language Models with Low-rank
        Structures <https://arxiv.org/abs/2410.07698>`_, 2024 (algorithm 1).
    """

    rank: int = 2
    smoothing: float = 1e-3
    period: int = field(default=50, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_static_count("rank", self.rank)
        check_positive("smoothing", self.smoothing)
        check_count("period", self.period)

    @property
    def _law(self) -> Law:
        return LowRank(self.rank, held=True)

    def ask(self, state: MemorylessState, params: Params, problem: Problem) -> Batch:
        """A step forth and one back along U V'."""
        del problem
        kept, own = jax.random.split(state.key)
        held = jax.random.fold_in(kept, state.step // self.period)
        key = with_held(held, jax.random.fold_in(own, state.step)[None])
        # directions of `LowRank` are U V' over the root of r
        length = self.smoothing * np.sqrt(self.rank)
        return Batch(both_ways(key, length, params, self._law))

    def tell(
        self,
        state: MemorylessState,
        params: Params,
        problem: Problem,
        batch: Batch,
        values: jax.Array,
    ) -> Outcome:
        """The slope times U V' / r."""
        del problem
        weights = slope_weights(batch.probes.scale[:, 0], values)
        gradient = combine_directions(batch.probes.key[:1, 0], weights, params, self._law)
        return Outcome(state._replace(step=state.step + 1), gradient, mean_value(values))
