"""ZO-PQN: a quadratic model in which every value keeps working, and a trust region."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.core
import jax.numpy as jnp

from zosah_jax.checks import check_count, check_positive
from zosah_jax.method import Batch, Method, Outcome, Problem, Stage, state_where
from zosah_jax.methods.zopqn.measure import ask_known, ask_new, tell_known, tell_new
from zosah_jax.methods.zopqn.state import (
    FEW,
    MEET,
    ZOPQNState,
    anew,
    block_dim,
    draw_block,
    in_batches,
    initial_state,
    probes_of,
)
from zosah_jax.methods.zopqn.trial import ask_trial, tell_base, tell_trial
from zosah_jax.pytree import Params, dimension


@dataclass(frozen=True, eq=False)
class ZOPQN(Method):
    r"""Step of a quadratic model in which every value ever paid keeps working.

    .. math:: f(x + s) \approx f(x) + g^T s + s^T B s / 2

    g and B are Gaussian beliefs. Each value is a linear equation on them: a difference along
    coordinate i tells g_i, and since that coordinate was last measured (B s)_i; the value of a step
    tells g's + s'Bs / 2. After a move g is carried as g + B s, its covariance grown by what is not
    known of B. A step is two kinds of stages:

    - *measurements* of derivatives: of the coordinates that are not yet known, from both sides; or
      of the 8 that promise the largest decrease;
    - a *trial* asks for the value at the minimum of the model within a trust region, and goes there
      if it is lower; so no learning rate but 1 is needed. A rise of a hundred times what the slope
      promised (a pole) teaches nothing. After eleven refused steps everything is measured anew.

    After 8 D values (at once for D < 14, where whole gradients are cheap) the gradient is no longer
    carried. A whole one follows each accepted step, and the Hessian is that of the secant pairs
    since then, by BFGS in a trust region of its own; a further trial continues along a step where a
    parabola says so. Where values have noise the gradient is carried throughout.

    Use it for deterministic objectives of up to some hundred parameters whose values are expensive.
    It owns its x: f(x) is hardly ever asked again, so it is not for mini-batches. The parameters
    follow x at the learning rate, or as exactly as their dtype can; x does not depend on them.

    Args:
        subspace_dim: D, how many coordinates are modelled at a time (static), with eight arrays of
            shape (D, D). None: all d up to 256; beyond that, 256 drawn anew every `period * D`
            values, so that memory grows with d + D^2.
        period: values spent in a block, in units of D, where D < d (static).
        radius: of the first differences along each coordinate, in units of max(|x_i|, rms of x);
            absolute where x = 0, as nothing there tells the unit. Later differences follow from
            the curvature and the error of a value.
        noise: relative error of a value of f. None: four machine epsilons of the parameters (as
            perturbed: float32 or wider).
        key: an int or a typed PRNG key; the order of the coordinates follows from it.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax, jax.numpy as jnp, zosah_jax
        >>> rosenbrock = lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
        >>> with jax.enable_x64(True):
        ...     x0 = jnp.array([-1.2, 1.0])
        ...     out = zosah_jax.minimize(rosenbrock, x0, zosah_jax.methods.zopqn(), budget=200)
        >>> float(out.value) < 1e-8
        True

    References:
        The prior of B: Hennig, Kiefel, `Quasi-Newton methods: a new direction
        <https://jmlr.org/papers/v14/hennig13a.html>`_, 2013. BFGS: Nocedal, Wright, `Numerical
        Optimization`, 2006, equation 6.17. Carrying the gradient, choosing what to measure by its
        covariance, and the size that the pairs' prior gets anew with each, are this library's own.
    """

    subspace_dim: int | None = None
    period: int = 8
    radius: float = 0.1
    noise: float | None = None

    default_learning_rate: ClassVar[float | None] = 1.0
    keeps_bits: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse options that are out of range; the subspace dimension waits for the parameters."""
        super().__post_init__()
        check_count("subspace_dim", self.subspace_dim, optional=True)
        check_count("period", self.period)
        for name in ("subspace_dim", "period"):
            if isinstance(getattr(self, name), jax.core.Tracer):
                raise TypeError(
                    f"{name}: got a traced value, wanted an int (it is a shape: under "
                    "optax.inject_hyperparams name it in static_args)."
                )
        check_positive("radius", self.radius)
        check_positive("noise", self.noise, optional=True)

    def init(self, params: Params, key: jax.Array) -> ZOPQNState:
        """The state before the first value."""
        return initial_state(self.subspace_dim, params, key)

    def stages(self, params: Params) -> tuple[Stage, ...]:
        """Those that can come for so many coordinates, numbered as in `state.py`."""
        dim = block_dim(self.subspace_dim, dimension(params))
        stages = (
            Stage(_ask_base, self._tell_base, moves=False),
            Stage(self._ask_new, _told(partial(tell_new, self.noise)), moves=False),
            Stage(_ask_trial, self._tell_trial),
            self._look(dim),
        )
        return (*stages, self._look(FEW)) if in_batches(dim) else stages

    def next_stage(self, state: ZOPQNState) -> jax.Array:
        """The number that the state holds."""
        return state.stage

    def position(self, state: ZOPQNState) -> tuple[Params, jax.Array]:
        """x, and f there; inf where it is not known."""
        return state.x, state.value

    def _look(self, count: int) -> Stage:
        def asked(state: ZOPQNState, params: Params, problem: Problem) -> Batch:
            del params
            return ask_known(count, self.noise, state, problem)

        return Stage(asked, _told(partial(tell_known, self.noise)), moves=False)

    def _ask_new(self, state: ZOPQNState, params: Params, problem: Problem) -> Batch:
        del params
        return ask_new(self.radius, state, problem)

    def _tell_base(
        self,
        state: ZOPQNState,
        params: Params,
        problem: Problem,
        batch: Batch,
        values: jax.Array,
    ) -> Outcome:
        del params, problem, batch
        after = tell_base(state._replace(spent=state.spent + 1), values[0])
        return Outcome(after, None, _value(after))

    def _tell_trial(
        self,
        state: ZOPQNState,
        params: Params,
        problem: Problem,
        batch: Batch,
        values: jax.Array,
    ) -> Outcome:
        before = jnp.where(jnp.isfinite(state.value), state.value, values[0])
        after = _finite(tell_trial(self.noise, state, problem, batch, values), state)
        dim = len(state.unit)
        if dim < dimension(params):
            over = after.spent >= self.period * dim
            after = state_where(over, _next_block(after), after)
        return Outcome(after, None, before)


def _value(state: ZOPQNState) -> jax.Array:
    """f(x), NaN where it is not known: so an outcome says it, while a state holds no NaN."""
    return jnp.where(jnp.isfinite(state.value), state.value, jnp.nan)


def _ask_base(state: ZOPQNState, params: Params, problem: Problem) -> Batch:
    """f(x)."""
    del params, problem
    here = jnp.zeros((1,), state.unit.dtype)
    return Batch(probes_of(state, jnp.zeros((1,), jnp.int32), here), None, state.x)


def _ask_trial(state: ZOPQNState, params: Params, problem: Problem) -> Batch:
    del params
    return ask_trial(state, problem)


def _told(tell: Any) -> Any:
    """The `tell` of a stage that measures: it moves nothing."""

    def told(
        state: ZOPQNState, params: Params, problem: Problem, batch: Batch, values: jax.Array
    ) -> Outcome:
        del params
        after = _finite(tell(state, problem, batch, values), state)
        return Outcome(after, None, _value(state))

    return told


def _finite(after: ZOPQNState, before: ZOPQNState) -> ZOPQNState:
    """The state; a model of f that is not finite (values may underflow) stays what it was."""

    def kept(new: Any, old: Any) -> Any:
        leaves = jax.tree.leaves(new)
        finite = jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]).all()
        return jax.tree.map(lambda n, o: jnp.where(finite, n, o), new, old)

    return after._replace(
        model=kept(after.model, before.model),
        secants=kept(after.secants, before.secants),
        radius=jnp.where(jnp.isnan(after.radius), before.radius, after.radius),
    )


def _next_block(state: ZOPQNState) -> ZOPQNState:
    """The state in another block; of the last one, the mean correlation is kept."""
    turn = state.turn + 1
    spent, stage = jnp.zeros_like(state.spent), jnp.full_like(state.stage, MEET)
    address = draw_block(state.key, turn, state.x, len(state.unit))
    state = state._replace(turn=turn, spent=spent, stage=stage)
    return anew(state, address, state.model.correlation)
