"""RSPG: randomised stochastic projected gradient, from function values alone."""

from dataclasses import dataclass, field

import jax

from zosah_jax.checks import check_positive, check_static_count
from zosah_jax.low_rank import Directions, Law, law_of
from zosah_jax.method import Batch, Outcome, Problem
from zosah_jax.methods.estimate import from_here, mean_weights
from zosah_jax.methods.memoryless import Memoryless, MemorylessState
from zosah_jax.probes import combine_directions
from zosah_jax.pytree import Params, precision


@dataclass(frozen=True, eq=False)
class RSPG(Memoryless):
    r"""Gradient of a Gaussian smoothing of f, estimated along random directions.

    .. math:: G = \frac{1}{q} \sum_i \frac{f(x + \mu u_i) - f(x)}{\mu} u_i, \quad u_i \sim N(0, I)

    A step takes q + 1 values. Directions are regenerated from their keys and never stored. Values
    that are not finite are left out of the mean.

    The full method's further parts are pieces of their own: its proximal step is a transformation
    that comes after the learning rate (`transforms.prox_l1`, `project`); its randomised stopping
    and its post-optimisation phase are a way to run it (`extras.two_phase`).

    Args:
        num_directions: q (static).
        smoothing: mu, absolute. None: the square root of the machine epsilon of the parameters
            (as perturbed: float32 or wider).
        directions: "dense", or "low_rank": every matrix moves by a product of two thin factors, as
            of `low_rank.LowRank`, which takes far fewer random numbers and lets the probes share
            their products with it (`evaluate.factored`).
        rank: of the factors (static).
        key: an int or a typed PRNG key; the directions follow from it.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> tx = zosah_jax.rspg(0.1, num_directions=4)
        >>> out = zosah_jax.minimize(lambda x: (x**2).sum(), jnp.ones(3), tx, budget=400)
        >>> bool(out.value < 1e-4)
        True

    References:
        Ghadimi, Lan, Zhang, `Mini-batch Stochastic Approximation Methods for Nonconvex Stochastic
        Composite Optimization <https://arxiv.org/abs/1308.6594>`_, 2013 (section 5).
    """

    num_directions: int = 1
    smoothing: float | None = None
    directions: Directions = field(default="dense", kw_only=True)
    rank: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_static_count("num_directions", self.num_directions)
        check_positive("smoothing", self.smoothing, optional=True)
        law_of(self.directions, self.rank)

    @property
    def _law(self) -> Law:
        return law_of(self.directions, self.rank)

    def ask(self, state: MemorylessState, params: Params, problem: Problem) -> Batch:
        """The parameters (scale 0), then a step along each direction."""
        del problem
        keys = jax.random.split(jax.random.fold_in(state.key, state.step), self.num_directions)
        mu = precision(params) ** 0.5 if self.smoothing is None else self.smoothing
        return Batch(from_here(keys, mu, params, self._law))

    def tell(
        self,
        state: MemorylessState,
        params: Params,
        problem: Problem,
        batch: Batch,
        values: jax.Array,
    ) -> Outcome:
        """Mean of u_i (f(x + mu u_i) - f(x)) / mu over the directions whose values came."""
        del problem
        slope = (values[1:] - values[0]) / batch.probes.scale[1:, 0]
        weights = mean_weights(slope)
        gradient = combine_directions(batch.probes.key[1:, 0], weights, params, self._law)
        return Outcome(state._replace(step=state.step + 1), gradient, values[0])
