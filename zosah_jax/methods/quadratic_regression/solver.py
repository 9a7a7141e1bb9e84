"""Quadratic regression: every value that was paid for keeps telling of the model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from zosah_jax.checks import check_not_negative, check_static_count
from zosah_jax.method import Batch, Known, Method, Outcome, Problem, Stage
from zosah_jax.methods.quadratic_regression import steps
from zosah_jax.methods.quadratic_regression.state import QuadraticRegressionState, num_kept
from zosah_jax.methods.regression.points import everywhere, origin, probes_at, sides
from zosah_jax.methods.regression.start import one_side
from zosah_jax.methods.regression.trust_region import Box
from zosah_jax.pytree import Params, dimension, gather, unflattened, widen, working_dtype

MOST_PARAMETERS = 9
"""Up to so many, it needs fewer values than `zopqn`: what a quadratic has of unknowns is paid."""


@dataclass(frozen=True, eq=False)
class QuadraticRegression(Method):
    r"""Minimum of a quadratic through all stored values, within a trust region and the bounds.

    .. math:: f(x + D z) \approx f(x) + g^T z + z^T (B + C) z / 2, \quad
        C \sim N(0, \sigma^2), \quad D = \mathrm{diag}\sqrt{|x_0 x|}

    D holds the sizes of the coordinates, halfway between those at the start and those of now. B is
    the Hessian of the fit before, in these units, and C what the stored values say that
    has changed since: a symmetric matrix of independent entries, drawn to 0. Nothing is assumed of
    g. As a regression this is dual: its unknowns are as many as there are stored points, and one
    covariance of values at two of them, sigma^2 (z'w)^2 / 2, says it all; sigma follows from how
    far off B alone would have been. A point is stored until nearer ones are as many as a quadratic
    has unknowns.

    A run asks x0, and for each coordinate a point on one side and one on the other, or twice as far
    where the first was lower. Each further value is asked where the model is least within the trust
    region; or, where that is here, in some direction at its edge, which then shrinks. It has
    converged when the region has shrunk to the precision of x.

    It owns its x: f(x) is not asked again, so it is not for mini-batches. A step takes O(d^6)
    arithmetic up to 19 parameters, and O(d^3) beyond, where fewer points are kept.

    Args:
        num_points: points that a step asks, P (static), for P workers: the model's minimum, that
            within a quarter of the radius, and points beside the former in random directions.
        xtol: the run has converged where the trust region is smaller than this, in the sizes of the
            coordinates. 0: where it has shrunk to the precision of x.
        ftol: it has also converged where a step changed the value by less than this part of it, and
            the model had promised no more. 0: by the trust region alone.
        key: an int or a typed PRNG key: where to look when the model promises nothing.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax, jax.numpy as jnp, zosah_jax
        >>> rosenbrock = lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
        >>> with jax.enable_x64(True):
        ...     method = zosah_jax.methods.quadratic_regression()
        ...     out = zosah_jax.minimize(rosenbrock, jnp.array([-1.2, 1.0]), method, budget=100)
        >>> float(out.value) < 1e-12
        True

    References:
        This library's own. Quadratics through fewer values than they have unknowns, with the least
        change of their Hessian: Powell, `Least Frobenius norm updating of quadratic models
        <https://doi.org/10.1007/s10107-003-0490-7>`_, 2004 (NEWUOA); here the values are more, and
        their errors are part of the fit.
    """

    num_points: int = 1
    xtol: float = 0.0
    ftol: float = 0.0

    default_learning_rate: ClassVar[float | None] = 1.0
    keeps_bits: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_static_count("num_points", self.num_points)
        check_not_negative("xtol", self.xtol)
        check_not_negative("ftol", self.ftol)

    def init(self, params: Params, key: jax.Array) -> QuadraticRegressionState:
        """A state without a point."""
        d, dtype = dimension(params), working_dtype(params)
        entries = max(num_kept(d) + self.num_points, 2 * d + 1)

        def zero() -> jax.Array:
            return jnp.zeros((), dtype)

        return QuadraticRegressionState(
            key=key,
            x=widen(params),
            value=jnp.full((), jnp.inf, dtype),
            stage=jnp.zeros((), jnp.int32),
            points=jnp.zeros((entries, d), dtype),
            values=jnp.zeros(entries, dtype),
            there=jnp.zeros(entries, bool),
            centre=jnp.zeros((), jnp.int32),
            unit=jnp.ones(d, dtype),
            scale=jnp.ones(d, dtype),
            radius=zero(),
            hessian=jnp.zeros((d, d), dtype),
            variance=zero(),
            start=zero(),
            turn=jnp.zeros((), jnp.int32),
            converged=jnp.zeros((), bool),
        )

    def informed(
        self, state: QuadraticRegressionState, params: Params, problem: Problem, known: Known
    ) -> QuadraticRegressionState:
        """With the values that are nearest to the best; 2 d + 1 replace the first points."""
        return steps.informed(state, known, sides(params, problem), self.num_points)

    def position(self, state: QuadraticRegressionState) -> tuple[Params, jax.Array]:
        """x, and f there."""
        return state.x, state.value

    def converged(self, state: QuadraticRegressionState) -> jax.Array:
        """Whether the trust region has shrunk to the precision of x."""
        return state.converged

    def next_stage(self, state: QuadraticRegressionState) -> jax.Array:
        """First x0, then both sides of each coordinate, then steps."""
        return state.stage

    def stages(self, params: Params) -> tuple[Stage, ...]:
        """x0; a point a coordinate; another; a step."""
        del params
        return (
            _stage(_ask_start, lambda s, b, v, box: steps.begin(s, b.plan, v, box), moves=False),
            _stage(
                _asked(lambda s, box: one_side(s.points[s.centre], s.unit, box)),
                lambda s, b, v, box: steps.gathered(s, b.plan, v, box, last=False),
                moves=False,
            ),
            _stage(
                _asked(steps.other_points),
                lambda s, b, v, box: steps.gathered(s, b.plan, v, box, last=True),
                moves=True,
            ),
            _stage(self._ask_step, self._learn, moves=True),
        )

    def _learn(
        self, state: QuadraticRegressionState, batch: Batch, values: jax.Array, box: Box
    ) -> QuadraticRegressionState:
        dtype = state.radius.dtype
        tolerances = steps.Tolerances(*(jnp.asarray(t, dtype) for t in (self.xtol, self.ftol)))
        return steps.learn(state, batch.plan, values, box, tolerances)

    def _ask_step(self, state: QuadraticRegressionState, params: Params, problem: Problem) -> Batch:
        plan = steps.plan(state, sides(params, problem), problem.noise, self.num_points)
        return Batch(probes_at(params, plan.points), plan, origin(params))


def _ask_start(state: QuadraticRegressionState, params: Params, problem: Problem) -> Batch:
    del problem
    points = gather(state.x, everywhere(params))[None]
    return Batch(probes_at(params, points), points, origin(params))


def _asked(points_of: Callable[[QuadraticRegressionState, Box], jax.Array]) -> Callable[..., Batch]:
    def ask(state: QuadraticRegressionState, params: Params, problem: Problem) -> Batch:
        points = points_of(state, sides(params, problem))
        return Batch(probes_at(params, points), points, origin(params))

    return ask


Learn = Callable[[QuadraticRegressionState, Batch, jax.Array, Box], QuadraticRegressionState]


def _stage(ask: Callable[..., Batch], learn: Learn, *, moves: bool) -> Stage:
    """A stage; its `tell` learns, and puts x at the centre."""

    def tell(
        state: QuadraticRegressionState,
        params: Params,
        problem: Problem,
        batch: Batch,
        values: jax.Array,
    ) -> Outcome:
        before, state = state, learn(state, batch, values, sides(params, problem))
        x = unflattened(params, state.points[state.centre])
        known = jnp.isfinite(state.value)
        x = jax.tree.map(lambda new, old: jnp.where(known, new, old), x, state.x)
        stood = (before if moves else state).value
        stood = jnp.where(jnp.isfinite(stood), stood, jnp.nan)
        return Outcome(state._replace(x=x), None, stood)

    return Stage(ask, tell, moves)
