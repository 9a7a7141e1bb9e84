"""The least-squares solver: a Jacobian that every evaluation corrects."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from zosah_jax.checks import check_positive, check_static_count
from zosah_jax.method import Batch, Method, Outcome, Problem, Stage
from zosah_jax.methods.least_squares import steps
from zosah_jax.methods.least_squares.loss import loss_of, total
from zosah_jax.methods.least_squares.state import LeastSquaresState, num_kept
from zosah_jax.methods.regression.points import (
    everywhere,
    origin,
    probes_at,
    sides,
)
from zosah_jax.methods.regression.trust_region import Box
from zosah_jax.pytree import Params, dimension, gather, unflattened, widen, working_dtype


@dataclass(frozen=True, eq=False)
class LeastSquares(Method):
    r"""Least squares from residuals alone: one regression over all points, Newton on its model.

    .. math:: \min_x \sum_i \rho(r_i(x)^2), \quad
        r(x + D z) \approx r_0 + J z + \sigma \sum_n k(z'z_n / L^2) w_n

    The objective returns the vector r of k residuals. A first batch tells a Jacobian by
    differences; from then on every evaluation is one equation for each residual, and all that are
    kept are fitted at once (`regression.fit`): J, and the curvature of every residual, drawn to 0.
    The next point is the minimum of that model, found by Newton's method within a trust region and
    the bounds. Nothing is measured again, but where the noise of the residuals hides a direction,
    or where a simulation failed.

    Args:
        num_points: points that a step asks, P (static). The first is the model's minimum, the
            others its minima within other radii: for P workers.
        num_residuals: k, where the shape of the state must be known before the first values (in
            `jax.lax.scan`, or to take up a state that was kept). None: as the first values have it.
        loss: rho, "linear", "soft_l1", "huber", "cauchy", "arctan" (as SciPy's, of scale 1), or a
            function of the squared residual, elementwise, with rho(0) = 0 and rho'(0) = 1.
        noise: standard deviation of the noise of a residual. None: x0 is asked twice, and the noise
            is what the two differ by. 0: the residuals are exact.
        tolerance: the run has converged where the objective changed by less than this part of it,
            and the model promises no more.
        key: not used; nothing is random.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import numpy as np, zosah_jax
        >>> t = np.linspace(0, 2, 20)
        >>> solver = zosah_jax.AskTell(np.array([1.0, 1.0]), zosah_jax.methods.least_squares())
        >>> while solver.num_evaluations < 15:
        ...     points = solver.ask()
        ...     solver.tell([x[0] * np.exp(-x[1] * t) - 3 * np.exp(-0.5 * t) for x in points])
        >>> bool(solver.best_value < 1e-12)
        True

    References:
        This library's own. Interpolation by polynomials of least curvature for all residuals at
        once: Wild, `POUNDERS in TAO <https://doi.org/10.1137/1.9781611974683.ch40>`_, 2017; linear
        models: Cartis, Roberts, `A derivative-free Gauss-Newton method
        <https://arxiv.org/abs/1710.11005>`_, 2019 (DFO-LS).
    """

    num_points: int = 1
    num_residuals: int | None = None
    loss: Any = "linear"
    noise: float | None = None
    tolerance: float = 1e-12

    value_ndims: ClassVar[tuple[int, ...]] = (1,)
    keeps_bits: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_static_count("num_points", self.num_points)
        if self.num_residuals is not None:
            check_static_count("num_residuals", self.num_residuals)
        loss_of(self.loss)
        if self.noise is not None and self.noise != 0:
            check_positive("noise", self.noise)
        check_positive("tolerance", self.tolerance)

    def init(self, params: Params, key: jax.Array) -> LeastSquaresState:
        """A state without a point."""
        d, k = dimension(params), self.num_residuals or 0
        dtype = working_dtype(params)
        entries = num_kept(d) + self.num_points

        def zero() -> jax.Array:
            return jnp.zeros((), dtype)

        return LeastSquaresState(
            key=key,
            x=widen(params),
            value=jnp.full((), jnp.inf, dtype),
            stage=jnp.zeros((), jnp.int32),
            points=jnp.zeros((entries, d), dtype),
            residuals=jnp.zeros((entries, k), dtype),
            there=jnp.zeros(entries, bool),
            missing=jnp.zeros((entries, k), bool),
            centre=jnp.zeros((), jnp.int32),
            unit=jnp.ones(d, dtype),
            scale=jnp.ones(d, dtype),
            radius=zero(),
            variance=zero(),
            noise=jnp.asarray(self.noise or 0.0, dtype),
            start=zero(),
            turn=jnp.zeros((), jnp.int32),
            converged=jnp.zeros((), bool),
        )

    def merit(self, values: jax.Array) -> jax.Array:
        """Sum over the residuals of rho(r^2)."""
        return total(self.loss, values)

    def position(self, state: LeastSquaresState) -> tuple[Params, jax.Array]:
        """x, and the objective there."""
        return state.x, state.value

    def converged(self, state: LeastSquaresState) -> jax.Array:
        """Whether there is nothing more to gain."""
        return state.converged

    def next_stage(self, state: LeastSquaresState) -> jax.Array:
        """First x0, then differences, then steps."""
        return state.stage

    def stages(self, params: Params) -> tuple[Stage, ...]:
        """x0 (twice, if the noise is to be measured); a difference a coordinate; a step."""
        del params
        loss = self.loss
        return (
            Stage(
                self._ask_start,
                _told(lambda s, batch, r, box: steps.begin(s, batch.probes.offset, r, box, loss)),
            ),
            Stage(
                self._ask_differences,
                _told(lambda s, batch, r, box: steps.first(s, batch.probes.offset, r, box, loss)),
            ),
            Stage(
                self._ask_step,
                _told(
                    lambda s, batch, r, box: steps.learn(
                        s, batch.plan, r, box, loss, self.tolerance
                    )
                ),
            ),
        )

    def _ask_start(self, state: LeastSquaresState, params: Params, problem: Problem) -> Batch:
        del problem
        x = gather(state.x, everywhere(params))
        times = 2 if self.noise is None else 1
        points = jnp.broadcast_to(x, (times, *x.shape))
        return Batch(probes_at(params, points), None, origin(params))

    def _ask_differences(self, state: LeastSquaresState, params: Params, problem: Problem) -> Batch:
        points = steps.differences(state, sides(params, problem))
        return Batch(probes_at(params, points), None, origin(params))

    def _ask_step(self, state: LeastSquaresState, params: Params, problem: Problem) -> Batch:
        plan = steps.plan(state, sides(params, problem), self.loss, self.num_points)
        return Batch(probes_at(params, plan.points), plan, origin(params))


Learn = Callable[[LeastSquaresState, Batch, jax.Array, Box], LeastSquaresState]


def _told(learn: Learn) -> Callable[..., Outcome]:
    """The `tell` of a stage: what it learns, and x at the centre."""

    def tell(
        state: LeastSquaresState,
        params: Params,
        problem: Problem,
        batch: Batch,
        values: jax.Array,
    ) -> Outcome:
        state = learn(state, batch, values, sides(params, problem))
        x = unflattened(params, state.points[state.centre])
        known = jnp.isfinite(state.value)
        x = jax.tree.map(lambda new, old: jnp.where(known, new, old), x, state.x)
        return Outcome(state._replace(x=x), None, state.value)

    return tell
