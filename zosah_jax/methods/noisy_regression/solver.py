"""Noisy regression: designs of noisy values, in the metric of the Hessian that they tell."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from zosah_jax.checks import check_static_count
from zosah_jax.method import Batch, Known, Method, Outcome, Problem, Stage
from zosah_jax.methods.noisy_regression import steps
from zosah_jax.methods.noisy_regression.fit import Fit
from zosah_jax.methods.noisy_regression.state import NoisyRegressionState, num_asked, num_kept
from zosah_jax.methods.regression.points import everywhere, origin, probes_at, sides
from zosah_jax.methods.regression.start import one_side
from zosah_jax.pytree import Params, dimension, gather, unflattened, widen, working_dtype

MOST_PARAMETERS = 50
"""Up to so many, it is measured to be ahead of `noisy_descent`; its own work grows with d^3."""


@dataclass(frozen=True, eq=False)
class NoisyRegression(Method):
    r"""Minimum of a regression over noisy values, around which the next ones are taken.

    .. math:: f(x_0 + D T z) = b + g^T z + p(z) + \tau \epsilon, \quad D = \mathrm{diag}(|x|)

    A single noisy value says little of a point; many around it do. So a step asks a design: points
    around the model's minimum, in random directions, at distances of all sizes up to rho. All
    values that are kept, those of earlier designs too, go into one regression (`fit`): a quadratic
    with smooth terms beyond, whose size s and length L are what makes the values most likely. It
    has three choices to make, and each follows from the noise tau of a value:

    - the metric T: in z the Hessian is about tau I, so that a step of length 1 costs as much as a
      value's noise, whatever the conditioning;
    - rho: where the terms beyond the quadratic come to tau; nearer, noise hides the slopes,
      farther, the model is wrong;
    - where to stand: at the model's minimum, unless the values there lie above what the model said
      by more than their noise explains. Then the trust region halves.

    What is handed back is the model's minimum, not the point with the luckiest value. A run has
    converged when, over as many values as are kept, the minimum's value has become no surer, and
    the model promised nothing beyond that error.

    It owns its x; the model is dense. A step takes O(N^3) arithmetic, of N = 150 points (few
    parameters), 300 (from 17 on), or 3 d. It is for objectives whose noise has one size; where
    `noise` is 0, it takes values to be as exact as their dtype.

    Args:
        num_points: points of a design (static). None: a third of the parameters, 2 to 12.
        key: an int or a typed PRNG key: where the designs lie.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import numpy as np, zosah_jax
        >>> rng = np.random.default_rng(0)
        >>> fun = lambda x: (x[0] - 3) ** 2 + 9 * (x[1] + x[0]) ** 2 + 0.1 * rng.normal()
        >>> method, host = zosah_jax.methods.noisy_regression(), zosah_jax.Host()
        >>> x0 = np.array([1.0, 1.0])
        >>> out = zosah_jax.minimize(fun, x0, method, budget=100, noise=0.1, host=host)
        >>> bool(np.abs(out.params - [3, -3]).max() < 0.2)
        True

    References:
        This library's own. Radii of noisy models: Cartis, Fiala, Marteau, Roberts, `Improving the
        flexibility and robustness of model-based derivative-free optimization solvers
        <https://arxiv.org/abs/1804.00154>`_, 2018 (DFO-LS, Py-BOBYQA).
    """

    num_points: int | None = None

    default_learning_rate: ClassVar[float | None] = 1.0
    keeps_bits: ClassVar[bool] = False
    weighs_noise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        if self.num_points is not None:
            check_static_count("num_points", self.num_points)

    def init(self, params: Params, key: jax.Array) -> NoisyRegressionState:
        """A state without a point."""
        d, dtype = dimension(params), working_dtype(params)
        entries = max(num_kept(d) + self._number(d), 2 * d + 1)

        def zeros(*shape: int) -> jax.Array:
            return jnp.zeros(shape, dtype)

        model = Fit(
            z=zeros(entries, d),
            value=zeros(),
            slope=zeros(d),
            weights=zeros(entries),
            bend=zeros(),
            length=jnp.ones((), dtype),
            scatter=zeros(),
        )
        return NoisyRegressionState(
            key=key,
            x=widen(params),
            value=jnp.full((), jnp.inf, dtype),
            stage=jnp.zeros((), jnp.int32),
            points=zeros(entries, d),
            values=zeros(entries),
            there=jnp.zeros(entries, bool),
            centre=zeros(d),
            level=zeros(),
            unit=jnp.ones(d, dtype),
            metric=jnp.eye(d, dtype=dtype),
            inverse=jnp.eye(d, dtype=dtype),
            radius=jnp.ones((), dtype),
            reach=jnp.ones((), dtype),
            spread=zeros(),
            length=jnp.ones((), dtype),
            model=model,
            step=zeros(d),
            decrease=zeros(),
            least=jnp.full((), jnp.inf, dtype),
            idle=jnp.zeros((), jnp.int32),
            start=zeros(),
            turn=jnp.zeros((), jnp.int32),
        )

    def informed(
        self, state: NoisyRegressionState, params: Params, problem: Problem, known: Known
    ) -> NoisyRegressionState:
        """With the values that are nearest to the best, beside the first points."""
        number = self._number(dimension(params))
        return steps.informed(state, known, sides(params, problem), number)

    def position(self, state: NoisyRegressionState) -> tuple[Params, jax.Array]:
        """The model's minimum, and the model's value there."""
        return state.x, state.value

    def converged(self, state: NoisyRegressionState) -> jax.Array:
        """Whether as many values as are kept have told nothing new."""
        return state.idle >= num_kept(len(state.unit))

    def next_stage(self, state: NoisyRegressionState) -> jax.Array:
        """First x0, then both sides of each coordinate, then designs."""
        return state.stage

    def stages(self, params: Params) -> tuple[Stage, ...]:
        """x0; a point a coordinate; another; a design."""
        number = self._number(dimension(params))
        return (
            _stage(
                lambda s, box, p: gather(s.x, everywhere(p))[None],
                lambda s, points, values, noise, box, bounded: steps.begin(s, points, values, box),
                moves=False,
            ),
            _stage(
                lambda s, box, p: one_side(s.centre, s.unit, box),
                lambda s, points, values, noise, box, bounded: steps.gathered(s, points, values),
                moves=False,
            ),
            _stage(lambda s, box, p: steps.other_points(s, box), steps.begun),
            _stage(lambda s, box, p: steps.design(s, number, box), steps.learn),
        )

    def _number(self, d: int) -> int:
        return num_asked(d) if self.num_points is None else self.num_points


def _stage(points_of, learn, *, moves: bool = True) -> Stage:  # type: ignore[no-untyped-def]
    """A stage; its `tell` learns, and puts x where the model is least."""

    def ask(state: NoisyRegressionState, params: Params, problem: Problem) -> Batch:
        points = points_of(state, sides(params, problem), params)
        return Batch(probes_at(params, points), points, origin(params))

    def tell(
        state: NoisyRegressionState,
        params: Params,
        problem: Problem,
        batch: Batch,
        values: jax.Array,
    ) -> Outcome:
        before, box = state, sides(params, problem)
        bounded = problem.bounds is not None
        state = learn(state, batch.plan, values, problem.noise, box, bounded)
        if moves:
            point, value = steps.stands(state, box)
            state = state._replace(x=unflattened(params, point), value=value)
        stood = (before if moves else state).value
        return Outcome(state, None, jnp.where(jnp.isfinite(stood), stood, jnp.nan))

    return Stage(ask, tell, moves)
