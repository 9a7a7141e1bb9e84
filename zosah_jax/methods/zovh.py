"""ZoVH: Newton-like steps by rank-one curvatures, from values that are kept for some steps."""

from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from zosah_jax.checks import check_choice, check_positive, check_static_count
from zosah_jax.method import Batch, Method, Outcome, Problem
from zosah_jax.methods.estimate import mean_value
from zosah_jax.probes import DirectionProbes, combine_directions, direction
from zosah_jax.pytree import Params, dimension, working_dtype

ReadingOf = Literal["measured", "paper"]


class ZoVHState(NamedTuple):
    """State of ZoVH.

    Attributes:
        key: typed PRNG key, never advanced: the directions follow from it and the step.
        step: number k of the coming step, int32.
        kept: values of the steps before, latest first, shape (num_histories - 1, n); inf where
            there are none. Their directions follow from the key.
    """

    key: jax.Array
    step: jax.Array
    kept: jax.Array


@dataclass(frozen=True, eq=False)
class ZoVH(Method):
    r"""Gradient and curvature along the same directions, old ones as if they were new.

    .. math:: v = \frac{1}{\lambda} \Bigl( g - \sum_i c_i \langle z_i, g_{-i} \rangle z_i \Bigr),
        \quad c_i = \frac{w_i}{\lambda (N - 1) + w_i |z_i|^2},
        \quad w_i = \frac{f_i - \bar f}{\mu^2}

    with f_i = f(x + mu z_i), z_i ~ N(0, I), their mean in place of f(x), the gradient
    g = 1 / (N - 1) sum_i (f_i - mean) / mu z_i, and g_{-i} the same sum without its own term, so
    that curvature and gradient do not share a value. Each direction's curvature is inverted by
    itself (Sherman and Morrison). The N directions are the n of this step and of those before it,
    `num_histories` steps in all, whose values count *as if they were taken at the present point*.
    A step takes n values; f(x) is never asked: what a step reports is the mean of the new ones.
    Values that are not finite are left out.

    That is `reading="paper"`. It diverges where values at earlier points differ by more than those
    of a step among themselves (as mu is small, or the learning rate large); where w_i is negative,
    so that c_i may have any size; and where N is above d, so that all curvatures together take more
    away than there is of g. By default each step's values have a mean of their own (N - 1 is then N
    less the number of steps), negative w_i count as 0, and c_i is divided by N / d if that is more
    than 1.

    (In the published code the gradient is multiplied by mu where it is to be divided by it.)

    Args:
        num_directions: n, at least 2 (static; paper's experiments: 3).
        smoothing: mu, absolute (paper's experiments: 0.1; 1e-2 for language models).
        damping: lambda (paper's experiments: 0.1; 0.5 for language models).
        num_histories: steps whose values count, this one included (static; paper's experiments: 3).
        reading: "measured" or "paper", see above.
        key: an int or a typed PRNG key; the directions follow from it.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> tx = zosah_jax.zovh(0.002)
        >>> out = zosah_jax.minimize(lambda x: (x**2).sum(), jnp.ones(4), tx, budget=3000)
        >>> bool(out.value < 0.1)
        True

    References:
        Qiu et al., `ZoVH <https://arxiv.org/abs/2605.30960>`_, 2026; its first-order half is
        `ZoAR <https://arxiv.org/abs/2506.14460>`_, 2025.
    """

    num_directions: int = 3
    smoothing: float = 0.1
    damping: float = 0.1
    num_histories: int = field(default=3, kw_only=True)
    reading: ReadingOf = field(default="measured", kw_only=True)

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_static_count("num_directions", self.num_directions)
        if self.num_directions < 2:
            raise ValueError(
                f"num_directions: got {self.num_directions}, wanted at least 2: the mean of their "
                "values stands for f(x)."
            )
        check_positive("smoothing", self.smoothing)
        check_positive("damping", self.damping)
        check_static_count("num_histories", self.num_histories)
        check_choice("reading", self.reading, get_args(ReadingOf))

    def init(self, params: Params, key: jax.Array) -> ZoVHState:
        """The state before the first step."""
        shape = (self.num_histories - 1, self.num_directions)
        values = jnp.full(shape, jnp.inf, working_dtype(params))
        return ZoVHState(key, jnp.zeros((), jnp.int32), values)

    def ask(self, state: ZoVHState, params: Params, problem: Problem) -> Batch:
        """A step along each direction."""
        del problem
        keys = self._keys(state, state.step)
        scale = jnp.full((self.num_directions, 1), self.smoothing, working_dtype(params))
        return Batch(DirectionProbes(keys[:, None], scale))

    def tell(
        self, state: ZoVHState, params: Params, problem: Problem, batch: Batch, values: jax.Array
    ) -> Outcome:
        """The gradient less the curvatures' parts, over lambda."""
        del problem
        steps = state.step - jnp.arange(self.num_histories, dtype=jnp.int32)
        key = jax.vmap(partial(self._keys, state))(steps).reshape(-1)
        value = jnp.concatenate([values[None], state.kept])
        mu = batch.probes.scale[0, 0]
        damping = jnp.asarray(self.damping, value.dtype)
        centred, others = self._centred(value)
        share = centred / (mu * others)  # of each direction in the gradient
        gradient = combine_directions(key, share, params)

        def along(key: jax.Array) -> tuple[jax.Array, jax.Array]:
            """<z_i, g> and |z_i|^2."""
            pairs = zip(
                jax.tree.leaves(direction(key, params)), jax.tree.leaves(gradient), strict=True
            )
            found = [(jnp.sum(z * g), jnp.sum(z**2)) for z, g in pairs]
            slopes, sizes = zip(*found, strict=True)
            return _total(slopes, value.dtype), _total(sizes, value.dtype)

        slope, size = jax.lax.map(along, key)
        curvature = centred / mu**2
        crowd = 1.0
        if self.reading == "measured":
            curvature = jnp.maximum(curvature, 0)
            crowd = max(len(key) / dimension(params), 1.0)
        below = damping * others + curvature * size
        shrink = jnp.where(below != 0, curvature / jnp.where(below != 0, crowd * below, 1), 0)
        without = slope - share * size  # <z_i, g_-i>
        step = combine_directions(key, (share - shrink * without) / damping, params)
        after = state._replace(step=state.step + 1, kept=value[:-1])
        return Outcome(after, step, mean_value(values))

    def _keys(self, state: ZoVHState, number: jax.Array) -> jax.Array:
        """Keys of the directions of a step."""
        return jax.random.split(jax.random.fold_in(state.key, number), self.num_directions)

    def _centred(self, value: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Values less their mean, 0 where missing, flat; and their number less that of means."""
        if self.reading == "paper":
            value = value.reshape(1, -1)
        came = jnp.isfinite(value)
        known, count = jnp.where(came, value, 0), jnp.maximum(jnp.sum(came, axis=1), 1)
        mean = jnp.sum(known, axis=1) / count.astype(value.dtype)
        centred = jnp.where(came, known - mean[:, None], 0).reshape(-1)
        free = jnp.sum(came) - jnp.sum(jnp.any(came, axis=1))
        return centred, jnp.maximum(free, 1).astype(value.dtype)


def _total(parts: tuple[jax.Array, ...], dtype: jax.typing.DTypeLike) -> jax.Array:
    return sum((part.astype(dtype) for part in parts), jnp.zeros((), dtype))
