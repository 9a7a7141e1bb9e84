"""EGGROLL: an evolution strategy whose members move every matrix by a product of thin factors."""

from dataclasses import dataclass, field
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from zosah_jax.checks import check_choice, check_positive, check_static_count
from zosah_jax.low_rank import Law, LowRank
from zosah_jax.method import Batch, Outcome, Problem
from zosah_jax.methods.estimate import both_ways, mean_value
from zosah_jax.methods.memoryless import Memoryless, MemorylessState
from zosah_jax.probes import combine_directions
from zosah_jax.pytree import Params

Shaping = Literal["z_score", "difference"]


@dataclass(frozen=True, eq=False)
class EGGROLL(Memoryless):
    r"""Mean of low-rank directions, weighted by how their members fare among the others.

    .. math:: v = \frac{1}{2n} \sum_i (z_i^+ - z_i^-) E_i, \qquad
        E_i = \frac{1}{\sqrt{r}} A_i B_i', \quad z_i^\pm = \frac{f(x \pm \sigma E_i) - m}{s}

    with m and s the mean and the standard deviation of all 2n values, whose weights are the same
    whatever the scale of f. Leaves that are no matrices move along independent normal directions.
    A step takes 2n values; f(x) itself is never asked: the value that a step reports is their mean.
    Pairs of which a value is not finite are left out; where values do not differ, v is zero.

    As s is about sigma times the length of the gradient, v is about the gradient over its length.
    (The authors' code multiplies v by the root of 2n, which here is the learning rate's to do.)

    Args:
        num_pairs: n (static).
        smoothing: sigma, absolute (paper: 1e-3 for language models).
        rank: r of the factors (static; paper: 1).
        shaping: "z_score" as above; "difference": of the values over 2 sigma, in place of their
            scores: an estimate of the gradient.
        key: an int or a typed PRNG key; the directions follow from it.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> f = lambda p: jnp.sum((p["w"] - 1) ** 2)
        >>> tx = zosah_jax.eggroll(0.05)
        >>> out = zosah_jax.minimize(f, {"w": jnp.zeros((4, 6))}, tx, budget=4000)
        >>> bool(out.value < 0.1)
        True

    References:
        Sarkar et al., `Evolution Strategies at the Hyperscale <https://arxiv.org/abs/2511.16652>`_,
        2025 (the update of section 4, with mirrored members).
    """

    num_pairs: int = 8
    smoothing: float = 1e-3
    rank: int = field(default=1, kw_only=True)
    shaping: Shaping = field(default="z_score", kw_only=True)

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_static_count("num_pairs", self.num_pairs)
        check_positive("smoothing", self.smoothing)
        check_static_count("rank", self.rank)
        check_choice("shaping", self.shaping, get_args(Shaping))

    @property
    def _law(self) -> Law:
        return LowRank(self.rank)

    def ask(self, state: MemorylessState, params: Params, problem: Problem) -> Batch:
        """A step forth along each direction, then a step back along each."""
        del problem
        keys = jax.random.split(jax.random.fold_in(state.key, state.step), self.num_pairs)
        return Batch(both_ways(keys, self.smoothing, params, self._law))

    def tell(
        self,
        state: MemorylessState,
        params: Params,
        problem: Problem,
        batch: Batch,
        values: jax.Array,
    ) -> Outcome:
        """Sum of E_i times the difference of its members' scores, over 2n."""
        del problem
        forth, back = jnp.split(values, 2)
        came = jnp.isfinite(forth) & jnp.isfinite(back)
        count = 2 * jnp.maximum(jnp.sum(came), 1).astype(values.dtype)
        difference = jnp.where(came, forth - back, 0)
        if self.shaping == "difference":
            unit = batch.probes.scale[0, 0]
        else:
            both = jnp.where(came[None], jnp.stack([forth, back]), 0)
            centred = jnp.where(came[None], both - jnp.sum(both) / count, 0)
            unit = jnp.sqrt(jnp.sum(centred**2) / count)
        weight = jnp.where(unit > 0, difference / jnp.where(unit > 0, unit, 1), 0) / count
        keys = batch.probes.key[: len(weight), 0]
        direction = combine_directions(keys, weight, params, self._law)
        return Outcome(state._replace(step=state.step + 1), direction, mean_value(values))
