"""ZO-SAH (arXiv 2507.06125): Newton steps in random pairs of coordinates, from values alone."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.blocks import BlockOrder, BlockRule, check_blocks
from zosah_jax.checks import check_count, check_positive
from zosah_jax.method import Batch, Method, Outcome, Problem, Stage
from zosah_jax.methods.lengths import step_length
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
from zosah_jax.methods.zosah.reading import Reading, reading_of
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
from zosah_jax.methods.zosah.subspaces import (
    check_groups,
    check_subspace_dim,
    choose_draw,
    default_period,
)
from zosah_jax.probes import CoordinateUpdate
from zosah_jax.pytree import Address, Params, dimension, gather, precision, working_dtype


class ZOSAHInfo(NamedTuple):
    """Diagnostics of the last step; nothing depends on them.

    Attributes:
        eigenvalues: of each fitted 2x2 Hessian, larger first, before the floor, shape (m/2, 2).
        gradient: estimated gradient in each pair, shape (m/2, 2).
    """

    eigenvalues: jax.Array
    gradient: jax.Array


class ZOSAHState(NamedTuple):
    """State of ZO-SAH. J = m/2; floats are in the working dtype.

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


@dataclass(frozen=True, eq=False)
class ZOSAH(Method):
    r"""Newton direction in random two-dimensional subspaces, from function values alone.

    Every T steps m coordinates are drawn and paired into m/2 subspaces W_j. In each, at every step,

    .. math:: v_j = |A_j|_\kappa^{-1} g_j, \qquad g_i = (f(x + \epsilon e_i) - f(x)) / \epsilon,

    where the 2x2 Hessian A_j is fitted to values that are mostly already paid for, and
    |A|_kappa has the absolute eigenvalues, floored. A step takes m + 1 values, the first of a
    period 3m/2 more (4m with the paper's grid). Values that are not finite are left out of the
    fits.

    The published descriptions leave points open; the defaults are what measured best (see
    `experiments/README.md`), and `reading="paper"` is the paper's reading of all of them.

    Args:
        subspace_dim: m, even, 2 to d (static). None: about d/2, at most 16.
        period: T, steps between subspace switches. None: 5, or 1 where d = 2 (paper: 20).
        smoothing: epsilon, absolute length of the forward differences. None: the square root of
            the machine epsilon of the parameters (as perturbed: float32 or wider), times
            max(1, |x_i|). An objective that computes or is measured less exactly than that needs
            a larger one: the square root of its relative error.
        radius: l, absolute radius of the fresh Hessian samples. None: what balances rounding
            and truncation at the last fit, see `methods/zosah/lengths.py`.
        eigenvalue_floor: kappa, relative to the largest eigenvalue of all pairs. None: 0.03 (paper:
            0.1, absolute).
        ridge: how strongly the fit is drawn to the previous one, see `methods/zosah/hessian.py`.
            None: 0.03 (paper: 1e-6, to zero).
        groups: known pairs of coordinates that belong together, ints of shape (d/2, 2): each
            coordinate's place in the concatenation of the parameters once. None: pairs are drawn at
            random. Not with `blocks`.
        blocks: confine V to one block of the parameters for a period: "layer", "leaf", a function
            from a leaf's path to the name of its block, or a pytree of names (`split_blocks`). The
            probes of a period then share all that the objective does before that block. None: V is
            drawn from all parameters.
        block_order: which block comes next: "cyclic", "reshuffled" (each once a sweep) or "random".
        reading: of what the paper leaves open: "measured", "paper", or a `Reading` of each point.
        key: an int or a typed PRNG key; the subspaces follow from it.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax, jax.numpy as jnp, optax, zosah_jax
        >>> f = lambda x: ((x - 1) ** 2 * jnp.array([1.0, 10.0, 100.0])).sum()
        >>> tx = zosah_jax.zosah(learning_rate=1.0)
        >>> x = jnp.zeros(3)
        >>> state = tx.init(x)
        >>> step = jax.jit(lambda x, s: tx.update(jnp.zeros_like(x), s, x, value_fn=f))
        >>> for _ in range(20):
        ...     updates, state = step(x, state)
        ...     x = optax.apply_updates(x, updates)
        >>> bool(f(x) < 1e-10), zosah_jax.num_evaluations(state)
        (True, 72)

    References:
        Kim et al., `Subspace-based Approximate Hessian Method for Zeroth-Order Optimization
        <https://arxiv.org/abs/2507.06125>`_, 2025.
    """

    subspace_dim: int | None = None
    period: int | None = None
    smoothing: float | None = None
    radius: float | None = None
    eigenvalue_floor: float | None = None
    ridge: float | None = field(default=None, kw_only=True)
    groups: Any = field(default=None, kw_only=True)
    blocks: BlockRule | None = field(default=None, kw_only=True)
    block_order: BlockOrder = field(default="cyclic", kw_only=True)
    reading: Literal["measured", "paper"] | Reading = field(default="measured", kw_only=True)

    def __post_init__(self) -> None:
        """Refuse options that are out of range; the subspace dimension waits for the parameters."""
        super().__post_init__()
        check_count("period", self.period, optional=True)
        for name in ("smoothing", "radius", "eigenvalue_floor", "ridge"):
            check_positive(name, getattr(self, name), optional=True)
        check_groups(self.groups)
        check_blocks(self.blocks, self.block_order)
        if self.blocks is not None and self.groups is not None:
            raise ValueError("groups: got them with blocks, wanted one of the two.")
        reading_of(self.reading)

    @property
    def rules(self) -> Reading:
        """The reading of every open point."""
        return reading_of(self.reading)

    def or_default(self, name: str, measured: float, paper: float) -> Any:
        """An option, or its default, which the paper's reading has of its own."""
        given = getattr(self, name)
        default = paper if self.reading == "paper" else measured
        return default if given is None else given

    def init(self, params: Params, key: jax.Array) -> ZOSAHState:
        """State of a run that has seen nothing."""
        d, dtype = dimension(params), working_dtype(params)
        pairs = check_subspace_dim(self.subspace_dim, d) // 2
        self.draw(params, 2 * pairs)  # what cannot be drawn is refused here
        shape = (pairs, 2)
        return ZOSAHState(
            key=key,
            step=jnp.zeros((), jnp.int32),
            period=jnp.asarray(self.or_default("period", default_period(d), 20), jnp.int32),
            subspaces=Address(jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.uint32)),
            cache=empty_cache(pairs, num_fresh(self.rules), dtype),
            hessian=jnp.zeros((pairs, 3), dtype),
            info=ZOSAHInfo(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)),
        )

    def draw(self, params: Params, m: int) -> Any:
        """How the pairs of a period are drawn."""
        return choose_draw(params, m, self.groups, self.blocks, self.block_order)

    def stages(self, params: Params) -> tuple[Stage, ...]:
        """The first step of a period, which draws new pairs, and any other."""
        del params
        return (
            Stage(self.ask_switching, partial(self.tell_step, True)),
            Stage(self.ask_following, partial(self.tell_step, False)),
        )

    def next_stage(self, state: ZOSAHState) -> jax.Array:
        """0 where a period begins, 1 elsewhere."""
        return (state.step % state.period != 0).astype(jnp.int32)

    # --- ask --------------------------------------------------------------------------------------

    def ask_switching(self, state: ZOSAHState, params: Params, problem: Problem) -> Batch:
        """Draw the pairs; ask f(x), a forward probe a coordinate, and a grid in each pair."""
        draw = self.draw(params, state.subspaces.leaf.size)
        subspaces = draw(state.key, state.step // state.period)
        return self.ask_with_samples(subspaces, state, params, problem)

    def ask_with_samples(
        self, subspaces: Address, state: ZOSAHState, params: Params, problem: Problem
    ) -> Batch:
        """The same in given pairs."""
        position = gather(params, subspaces)
        forward = forward_offsets(self._forward_length(state, params, problem, position))
        symmetric = self.rules.grid == "paper"
        relative = sample_radius(
            precision(params), state.cache.previous.base, state.hessian, symmetric=symmetric
        )
        relative = jnp.where(problem.noise > 0, _noisy(state, problem), relative)
        radius = step_length(position, self.radius, relative)
        fresh = jnp.asarray(sample_grid(self.rules.grid), radius.dtype)[None] * radius[:, None, :]
        return pair_batch(problem, subspaces, position, jnp.concatenate([forward, fresh], axis=1))

    def ask_following(self, state: ZOSAHState, params: Params, problem: Problem) -> Batch:
        """Ask f(x) and a forward probe a coordinate, each of one coordinate: cheap to answer."""
        return self.ask_forward(state.subspaces, state, params, problem)

    def ask_forward(
        self, subspaces: Address, state: ZOSAHState, params: Params, problem: Problem
    ) -> Batch:
        """The same in given pairs."""
        position = gather(params, subspaces)
        length = self._forward_length(state, params, problem, position)
        return forward_batch(problem, subspaces, position, length)

    def _forward_length(
        self, state: ZOSAHState, params: Params, problem: Problem, position: jax.Array
    ) -> jax.Array:
        """Lengths of the forward probes, shape (J, 2)."""
        rounding = jnp.asarray(precision(params) ** 0.5, position.dtype)
        relative = jnp.where(problem.noise > 0, _noisy(state, problem), rounding)
        return step_length(position, self.smoothing, relative)

    # --- tell -------------------------------------------------------------------------------------

    def tell_step(
        self,
        switches: bool,
        state: ZOSAHState,
        params: Params,
        problem: Problem,
        batch: Batch,
        values: jax.Array,
    ) -> Outcome:
        """The paper's steps 1 to 6."""
        # 1. Subspaces: every T steps new pairs W_j; `ask` has drawn them.
        plan: Plan = batch.plan
        seen = samples_of(plan, params, values)
        now, fresh = part_of(seen, slice(0, 2)), part_of(seen, slice(2, None))
        # 2. Gradient: g_i = (f(x + eps e_i) - f(x)) / eps for every coordinate of V.
        gradient = forward_differences(now.base, now.value, forward_lengths(now))
        # 3. Samples for the Hessian: fresh where a period begins, then those of two steps before.
        cache = begin_period(now, fresh) if switches else push(state.cache, now)
        # 4. Fit: A_j by regularised least squares.
        fit = partial(self._fit, params, problem, now, gradient)
        fitted = fit([fresh], None) if switches else fit(list(state.cache), state.hessian)
        if switches:
            fitted = self._identified(state, params, plan, fresh, gradient, fitted, fit)
        else:  # where no curvature was measured at the switch, what is left of it says nothing
            unknown = ~jnp.any(state.hessian != 0)
            hessian = jnp.where(unknown, state.hessian, fitted.hessian)
            fitted = Fitted(fitted.gradient, hessian, fitted.fixed | unknown)
        # 5. Spectrum: |eigenvalues|, floored by kappa; and 6. v_j = A_j^-1 g_j of every pair.
        return self.step_from(fitted, now, cache, plan, state, params, problem, switches=switches)

    def step_from(
        self,
        fitted: Fitted,
        now: Samples,
        cache: Cache,
        plan: Plan,
        state: ZOSAHState,
        params: Params,
        problem: Problem,
        *,
        switches: bool,
    ) -> Outcome:
        """The step to the minimum of every fitted quadratic, and the state after it."""
        direction, eigenvalues = self._newton(problem, plan, now, fitted)
        after = state._replace(
            step=state.step + 1,
            subspaces=plan.subspaces,
            cache=cache,
            hessian=fitted.hessian,
            info=ZOSAHInfo(eigenvalues, fitted.gradient),
        )
        step = CoordinateUpdate(plan.subspaces, direction)
        next_step = state.step if switches else state.step + 1
        return _or_retreat(Outcome(after, step, now.base), state, params, next_step)

    def _fit(
        self,
        params: Params,
        problem: Problem,
        now: Samples,
        gradient: jax.Array,
        samples: list[Samples],
        previous: jax.Array | None,
    ) -> Fitted:
        """Every pair's quadratic."""
        slopes, hessian = fit_hessian(
            [equations(each, now.position, now.base, self.rules) for each in samples],
            gradient,
            forward_lengths(now),
            previous,
            reading=self.rules,
            ridge=self.or_default("ridge", 0.03, 1e-6),
            noise=error_of(now, params, problem),
        )
        return Fitted(slopes, hessian, ~jnp.isfinite(gradient))

    def _identified(
        self,
        state: ZOSAHState,
        params: Params,
        plan: Plan,
        fresh: Samples,
        gradient: jax.Array,
        fitted: Fitted,
        fit: Any,
    ) -> Fitted:
        """The fit to fresh samples where some of them are missing."""
        known = identifiable(fresh, gradient)
        hessian = fill_unidentified(fitted.hessian, known)
        filled = Fitted(fitted.gradient, hessian, fitted.fixed | ~known.diagonal)
        if dimension(params) > 2:
            return filled
        # There is no other pair, and so nothing to forget: older samples complete the fit.
        whole = jnp.all(known.entry) | ~jnp.any(state.hessian != 0)
        cached, previous = reordered(state.cache, state.hessian, state.subspaces, plan.subspaces)
        again = fit([fresh, *cached], previous)
        return jax.tree.map(partial(jnp.where, whole), filled, again)

    def _newton(
        self, problem: Problem, plan: Plan, now: Samples, fitted: Fitted
    ) -> tuple[jax.Array, jax.Array]:
        """Directions v_j and eigenvalues; a coordinate that lacks something does not move.

        Nor does one at a bound beyond which f falls.
        """
        gradient, hessian, fixed = fitted
        if problem.bounds is not None:
            fixed |= plan.at_bound.astype(gradient.dtype) * gradient < 0
        # what noise of the values makes of a second difference over the probes' length
        lengths = forward_lengths(now)
        shortest = jnp.min(jnp.abs(lengths), initial=jnp.inf, where=lengths != 0)
        return newton_direction(
            *reduce_to_free(gradient, hessian, fixed),
            self.or_default("eigenvalue_floor", 0.03, 0.1),
            self.rules,
            2 * problem.noise / shortest**2,
        )


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
