"""ZO-SAH's boxes in pairs of coordinates, as the paper has them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.method import Batch, Outcome, Problem, Stage
from zosah_jax.methods.lengths import step_length
from zosah_jax.methods.zosah.boxes import Here, ZOSAHInfo
from zosah_jax.methods.zosah.hessian import Fitted, equations, fit_hessian
from zosah_jax.methods.zosah.lengths import forward_differences, noisy_length, sample_radius
from zosah_jax.methods.zosah.pairs import (
    Plan,
    error_of,
    forward_batch,
    pair_batch,
    part_of,
    reordered,
    samples_of,
)
from zosah_jax.methods.zosah.samples import (
    Cache,
    Samples,
    begin_period,
    empty_cache,
    fill_unidentified,
    forward_lengths,
    forward_offsets,
    identifiable,
    num_fresh,
    push,
    sample_grid,
)
from zosah_jax.methods.zosah.spectrum import newton_direction, reduce_to_free
from zosah_jax.methods.zosah.subspaces import check_subspace_dim, choose_draw, default_period
from zosah_jax.probes import CoordinateUpdate
from zosah_jax.pytree import Address, Params, dimension, gather, precision, working_dtype


class ZOSAHState(NamedTuple):
    """State of ZO-SAH in pairs of coordinates. J = m/2; floats are in the working dtype.

    Attributes:
        key: typed PRNG key, never advanced: the pairs follow from it and the step.
        step: number k of the coming step, int32.
        period: T, int32.
        subspaces: the coordinates of each W_j, leaves of shape (J, 2).
        cache: the values of the two preceding steps.
        hessian: (a11, a12, a22) of each W_j as last fitted, shape (J, 3).
        info: diagnostics.
    """

    key: jax.Array
    step: jax.Array
    period: jax.Array
    subspaces: Address
    cache: Cache
    hessian: jax.Array
    info: ZOSAHInfo


class Seen(NamedTuple):
    """What a batch brought.

    Attributes:
        plan: what was asked.
        now: the forward probes.
        fresh: the samples of a grid; none but where a period begins.
    """

    plan: Plan
    now: Samples
    fresh: Samples

    @property
    def base(self) -> jax.Array:
        """Value at the parameters."""
        return self.now.base


@dataclass(frozen=True)
class Coordinates:
    """Pairs of coordinates, drawn anew as a period begins and kept until its end.

    Attributes:
        options: the method.
    """

    options: Any  # ZOSAH

    def init(self, params: Params, key: jax.Array) -> ZOSAHState:
        """State of a run that has seen nothing."""
        of, d, dtype = self.options, dimension(params), working_dtype(params)
        pairs = check_subspace_dim(of.subspace_dim, d) // 2
        self.draw(params, 2 * pairs)  # what cannot be drawn is refused here
        shape = (pairs, 2)
        return ZOSAHState(
            key=key,
            step=jnp.zeros((), jnp.int32),
            period=jnp.asarray(of.or_default("period", default_period(d), 20), jnp.int32),
            subspaces=Address(jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.uint32)),
            cache=empty_cache(pairs, num_fresh(of.rules), dtype),
            hessian=jnp.zeros((pairs, 3), dtype),
            info=ZOSAHInfo(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)),
        )

    def draw(self, params: Params, m: int) -> Any:
        """How the pairs of a period are drawn."""
        of = self.options
        return choose_draw(params, m, of.groups, of.blocks, of.block_order)

    def stages(self, tell_step: Callable[..., Outcome]) -> tuple[Stage, ...]:
        """The first step of a period, which draws new pairs, and any other."""
        return (
            Stage(self.ask_switching, partial(tell_step, True)),
            Stage(self.ask_following, partial(tell_step, False)),
        )

    def next_stage(self, state: ZOSAHState) -> jax.Array:
        """0 where a period begins, 1 elsewhere."""
        return (state.step % state.period != 0).astype(jnp.int32)

    # --- ask --------------------------------------------------------------------------------------

    def ask_switching(self, state: ZOSAHState, params: Params, problem: Problem) -> Batch:
        """Draw the pairs; ask f(x), a forward probe a coordinate, and a grid in each pair."""
        draw = self.draw(params, state.subspaces.leaf.size)
        subspaces = draw(state.key, state.step // state.period)
        position = gather(params, subspaces)
        forward = forward_offsets(self._forward_length(state, params, problem, position))
        grid = self.options.rules.grid
        relative = sample_radius(
            precision(params), state.cache.previous.base, state.hessian, symmetric=grid == "paper"
        )
        relative = jnp.where(problem.noise > 0, _noisy(state, problem), relative)
        radius = step_length(position, self.options.radius, relative)
        fresh = jnp.asarray(sample_grid(grid), radius.dtype)[None] * radius[:, None, :]
        return pair_batch(problem, subspaces, position, jnp.concatenate([forward, fresh], axis=1))

    def ask_following(self, state: ZOSAHState, params: Params, problem: Problem) -> Batch:
        """Ask f(x) and a forward probe a coordinate, each of one coordinate: cheap to answer."""
        position = gather(params, state.subspaces)
        length = self._forward_length(state, params, problem, position)
        return forward_batch(problem, state.subspaces, position, length)

    def _forward_length(
        self, state: ZOSAHState, params: Params, problem: Problem, position: jax.Array
    ) -> jax.Array:
        """Lengths of the forward probes, shape (J, 2)."""
        rounding = jnp.asarray(precision(params) ** 0.5, position.dtype)
        relative = jnp.where(problem.noise > 0, _noisy(state, problem), rounding)
        return step_length(position, self.options.smoothing, relative)

    # --- the boxes --------------------------------------------------------------------------------

    def seen(self, here: Here, batch: Batch, values: jax.Array) -> Seen:
        """Values as each pair sees them."""
        found = samples_of(batch.plan, here.params, values)
        return Seen(batch.plan, part_of(found, slice(0, 2)), part_of(found, slice(2, None)))

    def gradient(self, here: Here, seen: Seen) -> jax.Array:
        """Forward differences, shape (J, 2)."""
        del here
        return forward_differences(seen.now.base, seen.now.value, forward_lengths(seen.now))

    def samples(self, here: Here, seen: Seen, gradient: jax.Array) -> Cache:
        """The cache with what came."""
        del gradient
        if here.fresh:
            return begin_period(seen.now, seen.fresh)
        return push(here.state.cache, seen.now)

    def fit(self, here: Here, seen: Seen, gradient: jax.Array, samples: Cache) -> Fitted:
        """Every pair's quadratic: of the cache before this step, or of the fresh samples."""
        del samples
        state: ZOSAHState = here.state
        fit = partial(self._fit, here, seen.now, gradient)
        if here.fresh:
            return self._identified(here, seen, gradient, fit([seen.fresh], None), fit)
        # where no curvature was measured at the switch, what is left of it says nothing
        fitted = fit(list(state.cache), state.hessian)
        unknown = ~jnp.any(state.hessian != 0)
        hessian = jnp.where(unknown, state.hessian, fitted.hessian)
        return Fitted(fitted.gradient, hessian, fitted.fixed | unknown)

    def _fit(
        self,
        here: Here,
        now: Samples,
        gradient: jax.Array,
        samples: list[Samples],
        previous: jax.Array | None,
    ) -> Fitted:
        rules = self.options.rules
        slopes, hessian = fit_hessian(
            [equations(each, now.position, now.base, rules) for each in samples],
            gradient,
            forward_lengths(now),
            previous,
            reading=rules,
            ridge=self.options.or_default("ridge", 0.03, 1e-6),
            noise=error_of(now, here.params, here.problem),
        )
        return Fitted(slopes, hessian, ~jnp.isfinite(gradient))

    def _identified(
        self, here: Here, seen: Seen, gradient: jax.Array, fitted: Fitted, fit: Any
    ) -> Fitted:
        """The fit to fresh samples where some of them are missing."""
        state: ZOSAHState = here.state
        known = identifiable(seen.fresh, gradient)
        hessian = fill_unidentified(fitted.hessian, known)
        filled = Fitted(fitted.gradient, hessian, fitted.fixed | ~known.diagonal)
        if dimension(here.params) > 2:
            return filled
        # There is no other pair, and so nothing to forget: older samples complete the fit.
        whole = jnp.all(known.entry) | ~jnp.any(state.hessian != 0)
        cached, previous = reordered(
            state.cache, state.hessian, state.subspaces, seen.plan.subspaces
        )
        again = fit([seen.fresh, *cached], previous)
        return jax.tree.map(partial(jnp.where, whole), filled, again)

    def newton(self, here: Here, seen: Seen, fitted: Fitted) -> tuple[jax.Array, jax.Array]:
        """Directions v_j and eigenvalues; a coordinate that lacks something does not move.

        Nor does one at a bound beyond which f falls.
        """
        gradient, hessian, fixed = fitted
        if here.problem.bounds is not None:
            fixed |= seen.plan.at_bound.astype(gradient.dtype) * gradient < 0
        # what noise of the values makes of a second difference over the probes' length
        lengths = forward_lengths(seen.now)
        shortest = jnp.min(jnp.abs(lengths), initial=jnp.inf, where=lengths != 0)
        return newton_direction(
            *reduce_to_free(gradient, hessian, fixed),
            self.options.or_default("eigenvalue_floor", 0.03, 0.1),
            self.options.rules,
            2 * here.problem.noise / shortest**2,
        )

    def step(
        self,
        here: Here,
        seen: Seen,
        samples: Cache,
        fitted: Fitted,
        newton: tuple[jax.Array, jax.Array],
    ) -> Outcome:
        """The directions embedded in the full space, and the state after the step."""
        state: ZOSAHState = here.state
        direction, eigenvalues = newton
        after = state._replace(
            step=state.step + 1,
            subspaces=seen.plan.subspaces,
            cache=samples,
            hessian=fitted.hessian,
            info=ZOSAHInfo(eigenvalues, fitted.gradient),
        )
        step = CoordinateUpdate(seen.plan.subspaces, direction)
        next_step = state.step if here.fresh else state.step + 1
        return _or_retreat(Outcome(after, step, seen.base), state, here.params, next_step)


def _noisy(state: ZOSAHState, problem: Problem) -> jax.Array:
    return noisy_length(problem.noise, state.cache.previous.base, state.hessian)


def _or_retreat(
    outcome: Outcome, state: ZOSAHState, params: Params, next_step: jax.Array
) -> Outcome:
    """The step, unless f(x) is not finite: differences without a centre tell nothing.

    Then the model is kept, a pending switch is postponed, and the parameters move halfway back to
    the last point with a finite value, if there is one.
    """
    lost = ~jnp.isfinite(outcome.value)
    last = state.cache.previous
    away = (gather(params, state.subspaces) - last.position) / 2
    back = CoordinateUpdate(state.subspaces, jnp.where(jnp.isfinite(last.base), away, 0))

    def unless_lost(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda n, o: jnp.where(lost, o, n), new, old)

    kept = outcome.state._replace(key=None)  # the same before and after
    after = unless_lost(kept, state._replace(key=None, step=next_step))
    return Outcome(after._replace(key=state.key), unless_lost(outcome.step, back), outcome.value)
