"""MeZO: a two-sided difference along random directions that are replayed from their keys."""

from dataclasses import dataclass, field

import jax

from zosah_jax.checks import check_positive, check_static_count
from zosah_jax.low_rank import Directions, Law, law_of
from zosah_jax.method import Batch, Outcome, Problem
from zosah_jax.methods.estimate import both_ways, mean_value, slope_weights
from zosah_jax.methods.memoryless import Memoryless, MemorylessState
from zosah_jax.probes import combine_directions
from zosah_jax.pytree import Params


@dataclass(frozen=True, eq=False)
class MeZO(Memoryless):
    r"""Gradient estimated by two-sided differences along random directions (SPSA).

    .. math:: G = \frac{1}{n} \sum_i \frac{f(x + \epsilon z_i) - f(x - \epsilon z_i)}{2 \epsilon}
        z_i, \quad z_i \sim N(0, I)

    A step takes 2 n values. Each z is replayed from its key where it is needed and never stored:
    evaluated `one_by_one`, a step has about the memory of a forward pass, and its update.
    f(x) itself is never asked: the value that a step reports is the mean of its probes'.

    The original decays no biases and no norms. That is optax's to say, by a mask.
    Pairs of which a value is not finite are left out of the mean.

    Args:
        num_samples: n (static).
        smoothing: epsilon, absolute (paper and code: 1e-3). The difference is central, so that its
            error is of order epsilon^2 in any dtype.
        directions: "dense", or "low_rank": every matrix moves by a product of two thin factors, as
            of `low_rank.LowRank`, which takes far fewer random numbers and lets the probes share
            their products with it (`evaluate.factored`).
        rank: of the factors (static).
        key: an int or a typed PRNG key; the directions follow from it.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax, jax.numpy as jnp, optax, zosah_jax
        >>> params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
        >>> decayed = jax.tree.map(lambda leaf: leaf.ndim > 1, params)  # no biases, no norms
        >>> tx = optax.chain(
        ...     zosah_jax.scale_by_mezo(key=1),
        ...     optax.add_decayed_weights(0.1, mask=decayed),
        ...     optax.scale_by_learning_rate(1e-3),
        ... )
        >>> f = lambda p: jnp.array(1.0)  # without a slope, what moves is decay
        >>> updates, state = tx.update(None, tx.init(params), params, value_fn=f)
        >>> [float(jnp.abs(u).max() > 0) for u in (updates["kernel"], updates["bias"])]
        [1.0, 0.0]
        >>> zosah_jax.num_evaluations(state)
        2

    References:
        Malladi et al., `Fine-Tuning Language Models with Just Forward Passes
        <https://arxiv.org/abs/2305.17333>`_, 2023 (algorithm 1; algorithm 2 with n samples).
    """

    num_samples: int = 1
    smoothing: float = 1e-3
    directions: Directions = field(default="dense", kw_only=True)
    rank: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_static_count("num_samples", self.num_samples)
        check_positive("smoothing", self.smoothing)
        law_of(self.directions, self.rank)

    @property
    def _law(self) -> Law:
        return law_of(self.directions, self.rank)

    def ask(self, state: MemorylessState, params: Params, problem: Problem) -> Batch:
        """A step forth along each direction, then a step back along each."""
        del problem
        keys = jax.random.split(jax.random.fold_in(state.key, state.step), self.num_samples)
        return Batch(both_ways(keys, self.smoothing, params, self._law))

    def tell(
        self,
        state: MemorylessState,
        params: Params,
        problem: Problem,
        batch: Batch,
        values: jax.Array,
    ) -> Outcome:
        """Mean of z_i (f(x + eps z_i) - f(x - eps z_i)) / 2 eps over the pairs that came."""
        del problem
        weights = slope_weights(batch.probes.scale[:, 0], values)
        keys = batch.probes.key[: len(weights), 0]
        gradient = combine_directions(keys, weights, params, self._law)
        return Outcome(state._replace(step=state.step + 1), gradient, mean_value(values))
