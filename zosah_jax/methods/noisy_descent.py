"""Noisy descent: pairs of values along random directions, their gain and their length measured."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.bounds import Bounds, projected
from zosah_jax.checks import check_static_count
from zosah_jax.method import Batch, Method, Outcome, Problem, state_where
from zosah_jax.probes import DirectionProbes, combine_directions, tree_broadcast
from zosah_jax.pytree import Params, dimension, widen, working_dtype

# What was tried of the following is in `experiments/benchmarks/many_noisy/README.md`.
_FIRST = 0.1  # first radius, over the root mean square of x0
_FARTHEST = 100.0  # times that size is the far radius at most: nothing is flat for ever
_WIDE = 1.5  # radius of the far pairs, and 1 / that of the near ones, over the state's
_MEMORY = 20.0  # samples that the curvature is averaged over, and the slope where noise is small
_LONGER = 0.25  # of all steps so far is the slope averaged over, where noise is all
_RISE = 3.0  # standard deviations of the noise that f is to rise by at the radius
_SPREAD = 0.3  # of the trace: by how much s'H s differs from direction to direction
_SURE = 2.0  # standard errors that the curvature is above 0, or the radius grows
_FACTOR = 1.3  # by which the radius changes at most in a step
_ABSURD = 10.0  # times what was expected is the most that one step may teach
_LEAST = 1e-3  # of the noise of a squared slope: the slope that is taken for true at least
_ROUNDING = 4.0  # machine epsilons that a value errs by
_VALUE = 10  # steps that f(x) is averaged over
_EDGE = 0.1  # of the radius: how far a coordinate moves that stands at a bound


class NoisyDescentState(NamedTuple):
    """State of the method; floats in the working dtype.

    Attributes:
        key: typed PRNG key, never advanced: the directions follow from it and the step.
        step: number of the coming step, int32.
        seen: steps that taught something, int32.
        x: where the run stands, like the parameters in float32 or wider.
        value: f there, as estimated; inf before the first values.
        size: root mean square of x0; 1 where that is 0.
        radius: h, how far along a direction of entries +1 and -1.
        trace: tr H, as averaged.
        error: its standard error.
        slope: |g|^2, as averaged.
    """

    key: jax.Array
    step: jax.Array
    seen: jax.Array
    x: Params
    value: jax.Array
    size: jax.Array
    radius: jax.Array
    trace: jax.Array
    error: jax.Array
    slope: jax.Array


@dataclass(frozen=True, eq=False)
class NoisyDescent(Method):
    r"""Descent along random directions whose gain is what the noise leaves of a Newton step's.

    .. math:: x \leftarrow x - \frac{\rho}{\operatorname{tr} H} \sum_i D_i s_i, \quad
        D_i = \frac{f(x + h_i s_i) - f(x - h_i s_i)}{2 h_i}, \quad
        \rho = \frac{|g|^2}{|g|^2 + \sigma^2 / 2 h_i^2}

    with s of entries +1 and -1. On a quadratic 1 / tr H is the gain at which one D s, whose square
    is d times |g|^2, takes f down most; rho is how much less to go where D is partly noise. Both
    are measured: tr H by how much higher the mean of a pair is farther out, |g|^2 by the mean of
    D^2 less what the noise adds. The radius h is such that f rises by three standard deviations of
    the noise there, or as long as a step, whichever is longer: the farther out, the less the noise
    counts, and what is even in s cancels. So nothing is to be tuned, and the gain falls of itself
    as the slope sinks below the noise.

    A step asks 4 n values, all of them at once, and takes memory for two copies of the parameters.
    All coordinates have one scale; near a bound a coordinate moves as far as that leaves it, or a
    tenth of the radius, so that pairs stay pairs. Points are projected onto the bounds. Steps of
    which a value is not finite teach nothing, and halve the radius.

    It owns its x, to which the parameters are led; f(x) itself is never asked.

    Args:
        num_pairs: n, pairs at each of the two radii (static).
        key: an int or a typed PRNG key; the directions follow from it.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import numpy as np, zosah_jax
        >>> draws = np.random.default_rng(0)
        >>> f = lambda x: float((x**2).mean() + 0.1 * draws.normal())
        >>> method, host = zosah_jax.methods.noisy_descent(), zosah_jax.Host()
        >>> out = zosah_jax.minimize(
        ...     f, np.ones(300), method, budget=6_000, noise=0.1, host=host
        ... )
        >>> bool((out.params**2).mean() < 0.2)  # 1 at the start
        True

    References:
        This library's own. Pairs along directions of signs: Spall, `Multivariate stochastic
        approximation using a simultaneous perturbation gradient approximation
        <https://doi.org/10.1109/9.119632>`_, 1992 (SPSA), whose gains are to be chosen.
    """

    num_pairs: int = 1

    default_learning_rate: ClassVar[float | None] = 1.0
    keeps_bits: ClassVar[bool] = False
    weighs_noise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_static_count("num_pairs", self.num_pairs)

    def init(self, params: Params, key: jax.Array) -> NoisyDescentState:
        """A state that knows nothing of f."""
        dtype = working_dtype(params)
        x = jax.tree.map(lambda leaf: leaf + 0, widen(params))
        squares = sum(jnp.sum(leaf.astype(dtype) ** 2) for leaf in jax.tree.leaves(x))
        size = jnp.sqrt(squares / dimension(params))
        size = jnp.where(size > 0, size, 1).astype(dtype)
        return NoisyDescentState(
            key=key,
            step=jnp.zeros((), jnp.int32),
            seen=jnp.zeros((), jnp.int32),
            x=x,
            value=jnp.full((), jnp.inf, dtype),
            size=size,
            radius=_FIRST * size,
            trace=jnp.zeros((), dtype),
            error=jnp.zeros((), dtype),
            slope=jnp.zeros((), dtype),
        )

    def position(self, state: NoisyDescentState) -> tuple[Params, jax.Array]:
        """x, and f there as estimated."""
        return state.x, state.value

    def ask(self, state: NoisyDescentState, params: Params, problem: Problem) -> Batch:
        """Far pairs, then near ones: all steps forth, then all steps back."""
        del params
        keys = jax.random.split(jax.random.fold_in(state.key, state.step), 2 * self.num_pairs)
        radii, room = self._radii(state), _room(state, problem.bounds)
        probes = DirectionProbes(
            jnp.concatenate([keys, keys])[:, None],
            jnp.concatenate([radii, -radii])[:, None],
            scaling=None if room is None else tree_broadcast(room, 4 * self.num_pairs),
            distribution="rademacher",
        )
        return Batch(probes, room, state.x)

    def _radii(self, state: NoisyDescentState) -> jax.Array:
        """Of each pair, shape (2 n,): the far ones first."""
        far, near = state.radius * _WIDE, state.radius / _WIDE
        return jnp.repeat(
            jnp.stack([far, near]), self.num_pairs, total_repeat_length=2 * self.num_pairs
        )

    def tell(
        self,
        state: NoisyDescentState,
        params: Params,
        problem: Problem,
        batch: Batch,
        values: jax.Array,
    ) -> Outcome:
        """Learn the trace, the slope and the radius, and go."""
        radii = self._radii(state)
        pairs = Pairs.of(values, radii, problem.noise)
        learnt = _learnt(state, pairs, _widest(state, problem.bounds))
        trace = jnp.maximum(learnt.trace, 0) + learnt.error
        # several directions at once: what they share of each other is 1 / d of the trace
        shared = 1 + (len(radii) + 1) / dimension(params)
        noise = pairs.slope_noise
        told = (learnt.slope + _LEAST * noise) / jnp.maximum(learnt.slope + noise, _tiny(trace))
        amount = told * pairs.slopes / jnp.maximum(trace * shared, _tiny(trace))
        amount = jnp.clip(amount, -radii, radii)
        keys = batch.probes.key[: len(radii), 0]
        move = combine_directions(keys, -amount, state.x, "rademacher")
        if batch.plan is not None:  # the same coordinates as those that were asked
            move = jax.tree.map(jnp.multiply, move, batch.plan)
        x = jax.tree.map(jnp.add, state.x, move)
        learnt = learnt._replace(x=projected(problem.bounds, x))
        came = pairs.came & (trace > 0)
        halved = state._replace(radius=state.radius / 2, step=learnt.step)
        state = state_where(came, learnt, halved)
        return Outcome(state, None, jnp.where(came, learnt.value, jnp.nan))


def _room(state: NoisyDescentState, bounds: Bounds | None) -> Params | None:
    """How far each coordinate can move both ways, over the far radius, at most 1."""
    if bounds is None:
        return None

    def share(x: jax.Array, lower: jax.Array, upper: jax.Array) -> jax.Array:
        far = (state.radius * _WIDE).astype(x.dtype)
        return jnp.clip(jnp.minimum(x - lower, upper - x) / far, _EDGE, 1)

    return jax.tree.map(share, state.x, bounds.lower, bounds.upper)


def _widest(state: NoisyDescentState, bounds: Bounds | None) -> jax.Array:
    """The largest far radius; half of what bounds leave a coordinate on the average."""
    if bounds is None:
        return _FARTHEST * state.size
    widths = jax.tree.map(jnp.subtract, bounds.upper, bounds.lower)
    flat = jnp.concatenate([jnp.ravel(w) for w in jax.tree.leaves(widths)])
    flat = flat.astype(state.radius.dtype)
    free = flat > 0
    count = jnp.sum(free).astype(flat.dtype)
    mean = jnp.sum(jnp.where(free, flat, 0)) / jnp.maximum(count, 1)
    return jnp.where(count > 0, jnp.minimum(mean / 2, _FARTHEST * state.size), state.size)


class Pairs(NamedTuple):
    """What 2 n pairs say.

    Attributes:
        slopes: D of each, shape (2 n,).
        slope_noise: variance of these, shape (2 n,).
        trace: tr H by the rise of the means from near to far, scalar.
        trace_noise: standard deviation of that.
        value: f(x) + h^2 tr H / 2 of the near ones, and that h.
        near: see above.
        deviation: standard deviation of a value, rounding included.
        came: whether all are finite, and none absurd; bool.
    """

    slopes: jax.Array
    slope_noise: jax.Array
    trace: jax.Array
    trace_noise: jax.Array
    value: jax.Array
    near: jax.Array
    deviation: jax.Array
    came: jax.Array

    @classmethod
    def of(cls, values: jax.Array, radii: jax.Array, noise: jax.Array) -> "Pairs":
        """Of values forth, then back."""
        forth, back = jnp.split(values, 2)
        slopes, means = (forth - back) / (2 * radii), (forth + back) / 2
        far, near = (jnp.mean(part) for part in jnp.split(means, 2))
        rounding = _ROUNDING * jnp.finfo(values.dtype).eps * jnp.max(jnp.abs(values))
        deviation = jnp.hypot(noise, rounding)
        # E mean = f(x) + h^2 tr H / 2; the mean of n pairs has the noise of 2 n values
        apart = radii[0] ** 2 - radii[-1] ** 2
        trace = 2 * (far - near) / apart
        count = len(radii) / 2
        return cls(
            slopes=slopes,
            slope_noise=(deviation / radii) ** 2 / 2,
            trace=trace,
            trace_noise=2 * deviation / jnp.sqrt(count) / apart,
            value=near,
            near=radii[-1],
            deviation=deviation,
            came=jnp.all(jnp.isfinite(values)) & jnp.isfinite(jnp.sum(slopes**2) + trace**2),
        )


def _learnt(state: NoisyDescentState, pairs: Pairs, widest: jax.Array) -> NoisyDescentState:
    """The state with what the pairs teach; x stays."""
    trace, error = _trace(state, pairs)
    slope, likely = _slope(state, pairs), jnp.maximum(trace, 0) + error
    factor = _wanted_radius(pairs, slope, likely) / state.radius
    factor = jnp.clip(factor, 1 / _FACTOR, _FACTOR)
    factor = jnp.where(trace < _SURE * error, _FACTOR, factor)
    value = pairs.value - pairs.near**2 * likely / 2
    share = 1 / jnp.minimum(state.seen.astype(value.dtype) + 1, _VALUE)
    before = jnp.where(state.seen == 0, value, state.value)
    return state._replace(
        step=state.step + 1,
        seen=state.seen + 1,
        value=before + share * (value - before),
        radius=jnp.minimum(state.radius * factor, widest / _WIDE),
        trace=trace,
        error=error,
        slope=slope,
    )


def _trace(state: NoisyDescentState, pairs: Pairs) -> tuple[jax.Array, jax.Array]:
    """The trace of H and its standard error: samples by their precisions, older ones fading."""
    first, before = state.seen == 0, jnp.abs(state.trace) + state.error
    limit = jnp.where(first, jnp.inf, _ABSURD * before)
    sample = jnp.clip(pairs.trace, -limit, limit)
    scatter = jnp.hypot(pairs.trace_noise, _SPREAD * jnp.where(first, jnp.abs(sample), before))
    # the precisions 1 / error^2 and 1 / scatter^2 as their ratio, so that no square overflows
    ratio = (state.error / jnp.maximum(scatter, _tiny(scatter))) ** 2
    kept = 1 - 1 / _MEMORY
    gain = jnp.where(first, 1, ratio / (kept + ratio))
    error = jnp.where(first, scatter, state.error / jnp.sqrt(kept + ratio))
    return state.trace + gain * (sample - state.trace), error


def _slope(state: NoisyDescentState, pairs: Pairs) -> jax.Array:
    """|g|^2: squares of slopes, less what the noise adds to them."""
    noise = (pairs.deviation / state.radius) ** 2 / 2
    squares = jnp.mean(pairs.slopes**2 - pairs.slope_noise)
    most = jnp.where(state.seen == 0, jnp.inf, _ABSURD * jnp.maximum(state.slope, noise))
    share = noise / jnp.maximum(noise + state.slope, _tiny(noise))
    count = state.seen.astype(noise.dtype)
    memory = 1 + jnp.minimum(count, _MEMORY / 2 + _LONGER * count * share)
    slope = state.slope + (jnp.minimum(squares, most) - state.slope) / memory
    return jnp.maximum(slope, 0)


def _wanted_radius(pairs: Pairs, slope: jax.Array, trace: jax.Array) -> jax.Array:
    """Where f rises by h^2 tr H / 2 = 3 sigma, or the length of a step |g| / tr H."""
    trace = jnp.maximum(trace, _tiny(trace))
    return jnp.maximum(jnp.sqrt(2 * _RISE * pairs.deviation / trace), jnp.sqrt(slope) / trace)


def _tiny(like: jax.Array) -> jax.Array:
    return jnp.asarray(jnp.finfo(like.dtype).tiny, like.dtype)
