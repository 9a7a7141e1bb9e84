"""Variants of ZO-SAH that did not pay: larger Hessians, periods without samples, learnt pairs.

Each was an option of the library; `README.md` says what it was worth. The state machine is ZO-SAH's
(`zosah_jax/methods/zosah/zosah.py`), in s dimensions a subspace and with a third stage.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.open_questions.chosen import (
    LARGEST,
    Isotropy,
    after_fit,
    is_isotropic,
    matched,
    round_hessian,
    unknown_isotropy,
    with_blocks,
    with_secant,
)
from experiments.benchmarks.open_questions.general import (
    Seen,
    determined,
    newton_direction,
    nothing_seen,
    number_of,
    sample_grid,
    settled,
)
from experiments.benchmarks.open_questions.general_fit import equations, fit_hessian, slopes
from zosah_jax.method import Batch, Method, Outcome, Problem, Stage
from zosah_jax.methods.lengths import step_length
from zosah_jax.methods.zosah.lengths import forward_differences, sample_radius
from zosah_jax.permutation import draw_places
from zosah_jax.probes import CoordinateProbes, CoordinateUpdate
from zosah_jax.pytree import (
    Address,
    Params,
    address_of,
    dimension,
    gather,
    place_of,
    precision,
    working_dtype,
)

_RIDGE = 0.03  # ZO-SAH's


class State(NamedTuple):
    """State of a variant; as `ZOSAHState`, with s in place of 2.

    Attributes:
        key: typed PRNG key.
        step: number of the coming step, int32.
        subspaces: coordinates of each W_j, leaves of shape (J, s).
        previous: gradient probes of the step before.
        before: those of the step before that.
        fresh: Hessian samples of the switching step.
        hessian: unknowns of each A, shape (J, s (s + 1) / 2).
        isotropy: of the fitted blocks.
        coupling: what is known of the whole Hessian, shape (d, d), or (0, 0).
    """

    key: jax.Array
    step: jax.Array
    subspaces: Address
    previous: Seen
    before: Seen
    fresh: Seen
    hessian: jax.Array
    isotropy: Isotropy
    coupling: jax.Array


@dataclass(frozen=True, eq=False)
class Variant(Method):
    """ZO-SAH in subspaces of s dimensions.

    Args:
        subspace_dim: m, a multiple of s.
        eigenvalue_floor: kappa, relative.
        period: T.
        hessian_dim: s.
        isotropy: the largest condition of the fitted blocks at which a period begins without fresh
            samples, by a gradient step with their mean curvature; None: never.
        pairing: "random"; "learnt" from moves and changes of the gradient; or groups of places,
            ints of shape (d/s, s).
    """

    subspace_dim: int = 24
    eigenvalue_floor: Any = 0.03
    period: int = field(default=5, kw_only=True)
    hessian_dim: int = field(default=2, kw_only=True)
    isotropy: float | None = field(default=None, kw_only=True)
    pairing: Any = field(default="random", kw_only=True)

    @property
    def _learns_pairs(self) -> bool:
        return isinstance(self.pairing, str) and self.pairing == "learnt"

    def init(self, params: Params, key: jax.Array) -> State:
        """Nothing is known."""
        d, s, dtype = dimension(params), self.hessian_dim, working_dtype(params)
        count = self.subspace_dim // s
        known = d if self._learns_pairs else 0
        if known > LARGEST:
            raise ValueError(
                f"pairing: got 'learnt' with {d} parameters, wanted {LARGEST} at most."
            )
        shape = (count, s)
        return State(
            key=key,
            step=jnp.zeros((), jnp.int32),
            subspaces=Address(jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.uint32)),
            previous=nothing_seen(count, s, s, dtype),
            before=nothing_seen(count, s, s, dtype),
            fresh=nothing_seen(count, len(sample_grid(s)), s, dtype),
            hessian=jnp.zeros((count, number_of(s)), dtype),
            isotropy=unknown_isotropy(dtype),
            coupling=jnp.zeros((known, known), dtype),
        )

    def stages(self, params: Params) -> tuple[Stage, ...]:
        """A switching step, any other, and a switching step without fresh samples."""
        del params
        stages = (
            Stage(self._ask_switching, self._tell_switching),
            Stage(self._ask_following, self._tell_following),
        )
        if self.isotropy is None:
            return stages
        return (*stages, Stage(self._ask_blind, self._tell_blind))

    def next_stage(self, state: State) -> jax.Array:
        """0, 1 or 2, in the order of `stages`."""
        following = (state.step % self.period != 0).astype(jnp.int32)
        if self.isotropy is None:
            return following
        blind = is_isotropic(state.isotropy, self.isotropy)
        return jnp.where((following == 0) & blind, 2, following)

    # --- ask --------------------------------------------------------------------------------------

    def _draw(self, state: State, params: Params) -> Address:
        number, d, s = state.step // self.period, dimension(params), self.hessian_dim
        if self._learns_pairs:
            sweep, ties = jax.random.split(state.key)
            first = draw_places(sweep, number, d, self.subspace_dim)
            tie = jax.random.uniform(jax.random.fold_in(ties, number), (d,))
            tie = tie.astype(state.coupling.dtype)
            return address_of(params, matched(state.coupling, first, tie, s))
        if isinstance(self.pairing, str):
            places = draw_places(state.key, number, d, self.subspace_dim)
            return address_of(params, places.reshape(-1, s))
        groups = np.asarray(self.pairing)
        chosen = draw_places(state.key, number, len(groups), self.subspace_dim // s)
        return address_of(params, jnp.asarray(groups, jnp.uint32)[chosen])

    def _asked(self, subspaces: Address, state: State, params: Params, *, fresh: bool) -> Batch:
        position = gather(params, subspaces)
        length = step_length(position, None, precision(params) ** 0.5)
        offset = length[:, :, None] * jnp.eye(self.hessian_dim, dtype=length.dtype)[None]
        if fresh:
            relative = sample_radius(
                precision(params), state.previous.base, state.hessian, symmetric=False
            )
            radius = step_length(position, None, relative)
            grid = jnp.asarray(sample_grid(self.hessian_dim), radius.dtype)
            offset = jnp.concatenate([offset, grid[None] * radius[:, None, :]], axis=1)
        flat = offset.reshape(-1, self.hessian_dim)
        repeated = (jnp.repeat(part, offset.shape[1], axis=0) for part in subspaces)
        address = Address(*(jnp.concatenate([part[:1], part]) for part in repeated))
        probes = CoordinateProbes(address, jnp.concatenate([jnp.zeros_like(flat[:1]), flat]))
        return Batch(probes, (subspaces, offset))

    def _ask_switching(self, state: State, params: Params, problem: Problem) -> Batch:
        del problem
        return self._asked(self._draw(state, params), state, params, fresh=True)

    def _ask_following(self, state: State, params: Params, problem: Problem) -> Batch:
        del problem
        return self._asked(state.subspaces, state, params, fresh=False)

    def _ask_blind(self, state: State, params: Params, problem: Problem) -> Batch:
        del problem
        return self._asked(self._draw(state, params), state, params, fresh=False)

    # --- tell -------------------------------------------------------------------------------------

    def _tell_switching(
        self, state: State, params: Params, problem: Problem, batch: Batch, values: jax.Array
    ) -> Outcome:
        now, fresh = self._seen(params, batch, values)
        gradient, known = _differences(now), determined(fresh, _differences(now))
        slope, hessian = self._fit(params, problem, now, [fresh], None)
        fixed = ~jnp.isfinite(gradient) | ~known.diagonal
        after = state._replace(
            subspaces=batch.plan[0], previous=now, before=_emptied(now), fresh=fresh
        )
        return self._newton(after, params, now, slope, settled(hessian, known), fixed, began=True)

    def _tell_following(
        self, state: State, params: Params, problem: Problem, batch: Batch, values: jax.Array
    ) -> Outcome:
        now, _ = self._seen(params, batch, values)
        cached = [state.previous, state.before, state.fresh]
        slope, hessian = self._fit(params, problem, now, cached, state.hessian)
        after = state._replace(previous=now, before=state.previous, fresh=_emptied(state.fresh))
        fixed = ~jnp.isfinite(_differences(now))
        return self._newton(after, params, now, slope, hessian, fixed, before=state.previous)

    def _tell_blind(
        self, state: State, params: Params, problem: Problem, batch: Batch, values: jax.Array
    ) -> Outcome:
        """A gradient step by the mean curvature, in new subspaces."""
        del problem
        now, _ = self._seen(params, batch, values)
        hessian, gradient = round_hessian(state.hessian), _differences(now)
        after = state._replace(
            subspaces=batch.plan[0],
            previous=now,
            before=_emptied(now),
            fresh=_emptied(state.fresh),
            isotropy=state.isotropy._replace(blind=state.isotropy.blind + 1),
        )
        slope = slopes(gradient, _lengths(now), hessian)
        return self._newton(
            after, params, now, slope, hessian, ~jnp.isfinite(gradient), began=True, blind=True
        )

    def _seen(self, params: Params, batch: Batch, values: jax.Array) -> tuple[Seen, Seen]:
        subspaces, offset = batch.plan
        value, s = values[1:].reshape(offset.shape[:2]), self.hessian_dim
        seen = partial(Seen, gather(params, subspaces), values[0])
        return seen(offset[:, :s], value[:, :s]), seen(offset[:, s:], value[:, s:])

    def _fit(
        self,
        params: Params,
        problem: Problem,
        now: Seen,
        samples: list[Seen],
        previous: jax.Array | None,
    ) -> tuple[jax.Array, jax.Array]:
        return fit_hessian(
            [equations(each, now.position) for each in samples],
            _differences(now),
            _lengths(now),
            previous,
            ridge=_RIDGE,
            noise=jnp.maximum(_rounding(params, now), problem.noise),
        )

    def _newton(
        self,
        state: State,
        params: Params,
        now: Seen,
        gradient: jax.Array,
        hessian: jax.Array,
        fixed: jax.Array,
        *,
        before: Seen | None = None,
        began: bool = False,
        blind: bool = False,
    ) -> Outcome:
        gradient = jnp.where(fixed, 0, gradient)
        least = jnp.zeros((), gradient.dtype)
        direction, eigenvalues = newton_direction(gradient, hessian, self.eigenvalue_floor, least)
        direction = jnp.where(fixed, 0, direction)
        seen = state.isotropy
        if not blind:
            seen = seen._replace(blind=jnp.zeros_like(seen.blind)) if began else seen
            seen = after_fit(seen, eigenvalues)
        state = state._replace(step=state.step + 1, hessian=hessian, isotropy=seen)
        if self._learns_pairs and not blind:
            state = state._replace(coupling=self._learnt(state, params, now, before))
        return Outcome(state, CoordinateUpdate(state.subspaces, direction), now.base)

    def _learnt(self, state: State, params: Params, now: Seen, before: Seen | None) -> jax.Array:
        """What is known of the whole Hessian after a step, `before` the one before it, if any."""
        place = place_of(params, state.subspaces)
        if before is None:
            return with_blocks(state.coupling, place, state.hessian)
        error = _rounding(params, now) / jnp.max(jnp.abs(_lengths(now)))
        size = jnp.sqrt(jnp.mean(state.hessian**2))
        return with_secant(
            state.coupling,
            place,
            now.position - before.position,
            _differences(now) - _differences(before),
            jnp.where(size > 0, 2 * error / jnp.where(size > 0, size, 1), 0) ** 2,
        )


def zosah_variant(**options: Any) -> Variant:
    """A variant by its options; see `Variant`."""
    return Variant(**options)


def _emptied(seen: Seen) -> Seen:
    subspaces, count, dim = seen.offset.shape
    return nothing_seen(subspaces, count, dim, seen.value.dtype)


def _lengths(now: Seen) -> jax.Array:
    return jnp.diagonal(now.offset, axis1=1, axis2=2)


def _differences(now: Seen) -> jax.Array:
    return forward_differences(now.base, now.value, _lengths(now))


def _rounding(params: Params, now: Seen) -> jax.Array:
    largest = jnp.max(jnp.where(jnp.isfinite(now.value), jnp.abs(now.value), 0))
    return precision(params) * largest
