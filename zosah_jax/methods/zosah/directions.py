"""ZO-SAH's boxes in random directions: dense, or of low rank."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from zosah_jax.method import Batch, Outcome, Problem, Stage
from zosah_jax.methods.zosah import along
from zosah_jax.methods.zosah.along import Sample
from zosah_jax.methods.zosah.boxes import Here, ZOSAHInfo
from zosah_jax.methods.zosah.directions_asked import GROWTH, SAME, Asked, keys_of
from zosah_jax.methods.zosah.directions_state import (
    DirectionsFit,
    DirectionsState,
    Followed,
    Moved,
    Seen,
    no_moves,
    nothing_seen,
)
from zosah_jax.methods.zosah.spans import gram, inner, whitening
from zosah_jax.methods.zosah.spectrum import newton_direction
from zosah_jax.pytree import Params, precision, widen, working_dtype

# T: directions are new every step, and so may the mini-batch be. With 5 and a batch for as long,
# MNIST is at a loss of 0.45 after 20,000 values, not 0.42, a language model at 1.07, not 0.88.
_PERIOD = 1
_INERTIA = 0.1  # part of a step in the next move beyond which values along moves say little
_SEEN = 0.1  # error of a length along a step, in units of it, up to which values on it are used


@dataclass(frozen=True)
class Directions(Asked):
    """Pairs of random directions, new ones every step.

    All random directions see the same curvature, up to chance: so the A_j of all pairs are one
    number times I, the only unknown, and it holds for the directions of the next step, too. It is
    measured along the step that all pairs take together: on it, by one more value, where a period
    begins; else by f(x) where it led, which is paid for anyway.
    """

    def init(self, params: Params, key: jax.Array) -> DirectionsState:
        """State of a run that has seen nothing."""
        m, dtype = self.subspace_dim(params), working_dtype(params)
        blocks = self.blocks(params)
        unit = jnp.sqrt(jnp.asarray(blocks.sizes, dtype))
        period = self.options.or_default("period", _PERIOD, _PERIOD)
        return DirectionsState(
            key=key,
            step=jnp.zeros((), jnp.int32),
            period=jnp.asarray(period, jnp.int32),
            curvature=jnp.zeros(len(unit), dtype),
            reach=unit * self.smoothing(params, 1 / 3),
            followed=no_moves(m, dtype),
            base=jnp.full((), jnp.inf, dtype),
            agreement=jnp.zeros(2, dtype),
            again=jnp.zeros((), dtype),
            asked=jnp.zeros((), bool),
            pending=nothing_seen(m, dtype),
            looking=jnp.zeros((), bool),
            careful=jnp.zeros((), bool),
            info=ZOSAHInfo(jnp.zeros((m // 2, 2), dtype), jnp.zeros((m // 2, 2), dtype)),
        )

    def stages(self, tell_step: Callable[..., Outcome]) -> tuple[Stage, ...]:
        """A step looked at, in two batches, the second the last; any other; a value before all."""
        following = Stage(self.ask_following, partial(tell_step, False))
        gradient = Stage(self.ask_following, self.tell_gradient, moves=False)
        again = Stage(self.ask_again, self.tell_again, moves=False)
        return gradient, following, Stage(self.ask_look, partial(tell_step, True)), again

    def next_stage(self, state: DirectionsState) -> jax.Array:
        """0 where a step is to be looked at, 1 where not, 2 to look; 3: one step back first."""
        begins = state.step % state.period == 0
        first = jnp.where(begins | state.careful, 0, 1)
        moved = (state.followed.last.size > 0) & jnp.isfinite(state.followed.last.slope)
        first = jnp.where(begins & moved & ~state.asked, 3, first)
        return jnp.where(state.looking, 2, first).astype(jnp.int32)

    # --- tell -------------------------------------------------------------------------------------

    def tell_gradient(
        self,
        state: DirectionsState,
        params: Params,
        problem: Problem,
        batch: Batch,
        values: jax.Array,
    ) -> Outcome:
        """Keep what came until a value on the step is there, too."""
        seen = self.seen(Here(state, params, problem, False), batch, values)
        after = state._replace(pending=seen, looking=jnp.ones((), bool))
        return Outcome(after, None, seen.base)

    def tell_again(
        self,
        state: DirectionsState,
        params: Params,
        problem: Problem,
        batch: Batch,
        values: jax.Array,
    ) -> Outcome:
        """Keep the value until that of the parameters is there, too."""
        del params, problem, batch
        after = state._replace(again=values[0], asked=jnp.ones((), bool))
        return Outcome(after, None, state.base)

    def seen(self, here: Here, batch: Batch, values: jax.Array) -> Seen:
        """The values of the directions; of a look, those of the batch before, and the trial."""
        state: DirectionsState = here.state
        if here.fresh:
            return state.pending._replace(trial=values[0], tried=batch.plan)
        followed, went = self._followed(here)
        follows = along.inertia_of(followed.response) <= _INERTIA
        length = jnp.where(follows, went, jnp.inf)
        block, basis, keys = self.block(state, here.params), batch.plan, keys_of(state, state.step)
        scale = batch.probes.scale[1:]
        change = values[1:] - values[0]
        came = jnp.isfinite(change)
        change = jnp.where(came, change, 0)
        if basis is None:
            products = gram(keys, here.params, self.law, self.mask(here.params, block))
            basis = whitening(products, came)
            gradient = basis @ (change / scale[:, 0])
        else:  # each probe was along a row of the basis
            basis = jnp.where(came[:, None], basis, 0)
            gradient = change * jnp.linalg.norm(batch.plan) / jnp.linalg.norm(scale)
        missing = jnp.full_like(values[0], jnp.inf)
        number = state.step
        return Seen(
            followed, values[0], number, basis, gradient, block, length, went, missing, missing
        )

    def _followed(self, here: Here) -> tuple[Followed, jax.Array]:
        """How the parameters followed, and how far along the last step; inf if that is not seen."""
        last, before, response = here.state.followed
        wide = widen(here.params)
        one, two = (
            self.combined(here.state, each.number, each.weight, each.block, wide)
            for each in (last, before)
        )
        size, other, cross = inner(one, one), inner(two, two), inner(one, two)
        place = jnp.stack([inner(one, wide), inner(two, wide)])
        moved = jnp.stack([last.place, before.place]) - place
        products = jnp.stack([jnp.stack([size, cross]), jnp.stack([cross, other])])
        rounding = precision(here.params) * jnp.sqrt(inner(wide, wide))
        precise = rounding < _SEEN * jnp.sqrt(jnp.diagonal(products))
        precise &= jnp.isfinite(jnp.stack([last.slope, before.slope]))  # a step, not one taken back
        response, length = along.with_move(response, products, moved, precise)
        followed = Followed(
            last._replace(place=place[0]), before._replace(place=place[1]), response
        )
        return followed, length

    # --- the boxes --------------------------------------------------------------------------------

    def gradient(self, here: Here, seen: Seen) -> jax.Array:
        """Forward differences along orthonormal directions, shape (m/2, 2)."""
        del here
        return seen.gradient.reshape(-1, 2)

    def samples(self, here: Here, seen: Seen, gradient: jax.Array) -> Sample:
        """A curvature: on the step, or along the last one, to where the parameters stand now."""
        state, last = here.state, seen.followed.last
        known = [jnp.where(jnp.isfinite(f), jnp.abs(f), 0) for f in (seen.base, state.base)]
        rounding = SAME * precision(here.params) * jnp.maximum(*known)
        error = jnp.maximum(rounding, here.problem.noise)
        if here.fresh:
            slope = jnp.sum(gradient**2)
            return along.sample_along(seen.trial - seen.base, slope, seen.tried, slope, error)
        change = jnp.where(jnp.isfinite(seen.base), seen.base, 0) - state.base
        return along.sample_along(change, last.slope, seen.length, last.size, error)

    def _agreement(self, here: Here, seen: Seen) -> jax.Array:
        """How far mini-batches agree: more is known where the value one step back was asked."""
        state, last = here.state, seen.followed.last
        again, base, before = (
            jnp.where(jnp.isfinite(f), f, 0) for f in (state.again, seen.base, state.base)
        )
        known = state.asked & jnp.isfinite(state.again) & jnp.isfinite(seen.base)
        rounding = SAME * precision(here.params) * jnp.maximum(jnp.abs(again), jnp.abs(before))
        change, expected = again - base, again - before
        curvature, back = state.curvature[last.block], along.rate_of(state.followed.response)
        after = along.with_again(
            *(state.agreement, last.slope, last.size, seen.went, back),
            *(change, expected, rounding, curvature),
        )
        return jnp.where(known, after, state.agreement)

    def fit(self, here: Here, seen: Seen, gradient: jax.Array, samples: Sample) -> DirectionsFit:
        """A_j = a I of all pairs: drawn to the fit before, a mean over steps."""
        state, last = here.state, seen.followed.last
        block = seen.block if here.fresh else last.block
        steep = along.is_steep(state.curvature[block], samples)
        kept = state.curvature.at[block].set(along.remembered(state.curvature[block], samples))
        curvature, back = kept[seen.block], jnp.zeros_like(seen.base)
        if here.fresh:  # a step that was seen to lead up is cut by what was seen, however absurd
            worst = jnp.maximum(curvature, jnp.where(steep, samples.curvature, 0))
            curvature = jnp.where(jnp.isfinite(seen.trial), worst, GROWTH * curvature)
        else:  # one that led up is taken back to the lowest point of its parabola
            lowest = last.slope / jnp.where(steep, samples.curvature * last.size, 1)
            back = jnp.where(steep, 1 - lowest / jnp.where(steep, seen.length, 1), 0)
        hessian = jnp.zeros((len(gradient), 3), gradient.dtype).at[:, ::2].set(curvature)
        return DirectionsFit(gradient, hessian, kept, back)

    def newton(self, here: Here, seen: Seen, fitted: DirectionsFit) -> tuple[jax.Array, jax.Array]:
        """Directions v_j and eigenvalues."""
        del here, seen
        options = self.options
        floor = options.or_default("eigenvalue_floor", 0.03, 0.1)
        return newton_direction(fitted.gradient, fitted.hessian, floor, options.rules)

    def step(
        self,
        here: Here,
        seen: Seen,
        samples: Sample,
        fitted: DirectionsFit,
        newton: tuple[jax.Array, jax.Array],
    ) -> Outcome:
        """The directions embedded in the full space, and the state after the step.

        It is at most so much longer than the one before, and as much shorter as the parameters will
        follow further than it says. Where f(x) is not finite, half of the last one is taken back.
        """
        del samples
        state, followed = here.state, seen.followed
        last, dtype = followed.last, state.base.dtype
        direction, eigenvalues = newton
        direction = direction.reshape(-1)
        size, reach = jnp.linalg.norm(direction), state.reach[seen.block]
        growth = jnp.where(state.step >= 2, GROWTH, 1).astype(dtype)  # till inertia was seen
        length = jnp.minimum(size, growth * reach)
        unit = length / jnp.where(size > 0, size, 1)
        agreement = self._agreement(here, seen)
        part = along.trust_in(agreement) / jnp.maximum(along.gain_of(followed.response), 1)
        share = unit * part
        slope = share * (seen.gradient @ direction)

        lost = ~jnp.isfinite(seen.base)
        back = jnp.where(lost, 0.5, fitted.back).astype(dtype)
        onward = (seen.number, share * (direction @ seen.basis), seen.block)
        returned = (last.number, -back * last.weight, last.block)
        number, weight, block = jax.tree.map(
            lambda new, old: jnp.where(back != 0, old, new), onward, returned
        )
        step = self.combined(state, number, weight, block, here.params)
        place, size = inner(step, widen(here.params)), inner(step, step)
        left = jnp.where(back != 0, (1 - back) * last.weight, weight)  # of one taken back in part
        moved = Moved(number, left, block, place, jnp.where(back != 0, jnp.inf, slope), size)

        curvature = jnp.where(lost, state.curvature, fitted.curvature)
        inert = along.inertia_of(followed.response) > _INERTIA
        after = state._replace(
            step=state.step + 1,
            curvature=curvature,
            reach=state.reach.at[seen.block].set(
                jnp.where((back != 0) | (length == 0), reach, length)
            ),
            followed=Followed(moved, last, followed.response),
            base=jnp.where(lost, state.base, seen.base),
            agreement=agreement,
            asked=jnp.zeros((), bool),
            looking=jnp.zeros((), bool),
            careful=inert | (back != 0) | (curvature[block] == 0),
            info=ZOSAHInfo(eigenvalues, fitted.gradient),
        )
        return Outcome(after, step, seen.base)
