"""Newton steps in blocks of coordinates and along kept directions: any number of parameters."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.core
import jax.numpy as jnp

from zosah_jax.checks import check_static_count
from zosah_jax.method import Batch, Method, Outcome, Problem, Stage
from zosah_jax.methods.block_newton import look, plane
from zosah_jax.methods.block_newton.state import (
    BASE,
    HORIZONS,
    BlockNewtonState,
    with_next_block,
)
from zosah_jax.probes import CoordinateProbes
from zosah_jax.pytree import Params, address_of, dimension, flattened, widen, working_dtype

_BLOCK = 16  # coordinates: 8 and 32 take 16 and 4 % more values, and 32 a third more in places
_FIRST = 0.1  # length of the first differences in units of x0


@dataclass(frozen=True, eq=False)
class BlockNewton(Method):
    r"""Newton steps in blocks of coordinates and along directions that are kept, with O(d) memory.

    A block of m coordinates is looked at: a value each, two where it is met for the first time and
    its curvature h_i is measured, too. Its own Newton step is

    .. math:: p = -\sum_{i} (g_i / w_i) \, e_i, \quad w_i = \max(|h_i|, 0.01 \, \overline{|h|})

    How far to go along p, and along two directions q_j in which the steps so far have added up,

    .. math:: q_j \leftarrow e^{-m / (\tau_j d)} q_j + s, \quad \tau = (0.3, 3),

    follows from the Hessian in their plane. p'Hp takes a value, and each p'Hq_j another. The rest
    is known: the new q_j lie in the old plane, so g'q_j and q_i'Hq_j follow from its model. That is
    what makes conjugate gradients cheap, and a plane three values a step. Where a step was off by
    more than 30 % of what the plane had promised, both are measured again.

    - First come coordinates that were never looked at, then those of largest age^2 sqrt(g_i^2 /
      w_i): the older, and the more there was to gain, the sooner.
    - Where the curvatures that were met are all alike, those not yet met are taken to be so, too,
      and a value each is enough.
    - A step is taken only to a point that is lower.

    Use it for deterministic objectives of more parameters than a dense model holds. It owns its x:
    f(x) is not asked again, so it is not for mini-batches.

    Args:
        block_dim: m, coordinates of a block (static). None: 16, or d if that is less.
        key: an int or a typed PRNG key: the order in which coordinates are met.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax, jax.numpy as jnp, zosah_jax
        >>> curvature = jnp.logspace(0, 3, 300)
        >>> f = lambda x: jnp.sum(curvature * (x - 1) ** 2)
        >>> method = zosah_jax.methods.block_newton()
        >>> out = zosah_jax.minimize(f, jnp.zeros(300), method, budget=1_000)
        >>> bool(out.value < 1e-3 * f(jnp.zeros(300)))
        True

    References:
        This library's own. Blocks of coordinates: Nesterov, `Efficiency of coordinate descent
        methods on huge-scale optimization problems <https://doi.org/10.1137/100802001>`_, 2012. A
        new direction and those of before minimised together: Narkiss, Zibulevsky, Sequential
        subspace optimization method for large-scale unconstrained problems, 2005; Knyazev, `Toward
        the optimal preconditioned eigensolver <https://doi.org/10.1137/S1064827500366124>`_, 2001.
    """

    block_dim: int | None = None

    default_learning_rate: ClassVar[float | None] = 1.0
    keeps_bits: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse options that are out of range; what is more than d waits for the parameters."""
        super().__post_init__()
        check_static_count("block_dim", self.block_dim, optional=True)

    def _size(self, d: int) -> int:
        if self.block_dim is None:
            return min(_BLOCK, d)
        if self.block_dim > d:
            raise ValueError(f"block_dim: got {self.block_dim}, wanted at most d = {d}, or None.")
        return self.block_dim

    def init(self, params: Params, key: jax.Array) -> BlockNewtonState:
        """A state that knows nothing of f."""
        d, dtype, kept = dimension(params), working_dtype(params), len(HORIZONS)
        m = self._size(d)
        size = jnp.sqrt(jnp.mean(flattened(widen(params)) ** 2))

        def zeros(*shape: int, of: Any = dtype) -> jax.Array:
            return jnp.zeros(shape, of)

        return BlockNewtonState(
            key=key,
            x=jax.tree.map(lambda leaf: leaf + 0, widen(params)),
            value=jnp.full((), jnp.inf, dtype),
            stage=zeros(of=jnp.int32) + BASE,
            turn=zeros(of=jnp.int32),
            first=zeros(d) + _FIRST * jnp.where(size > 0, size, 1),
            curvature=zeros(d),
            gain=zeros(d),
            seen=zeros(d, of=jnp.int32),
            block=zeros(m, of=jnp.uint32),
            slope=zeros(m),
            share=jnp.ones((), dtype),
            kept=zeros(kept, d),
            kept_slope=zeros(kept),
            matrix=zeros(kept, kept),
            doubtful=zeros(of=bool),
            length=zeros(),
            along=jnp.full((), jnp.inf, dtype),
            plane=zeros(1 + kept, 1 + kept),
        )

    def stages(self, params: Params) -> tuple[Stage, ...]:
        """Numbered as in `state.py`."""
        del params
        return (
            _stage(_ask_base, lambda state, problem, plan, values: _tell_base(state, values)),
            _stage(look.ask_meet, look.tell_meet),
            _stage(look.ask_look, look.tell_look),
            _stage(lambda state, problem: plane.ask_refresh(state), plane.tell_refresh),
            _stage(lambda state, problem: plane.ask_plane(state), plane.tell_plane),
            _stage(plane.ask_trial, plane.tell_trial, moves=True),
        )

    def next_stage(self, state: BlockNewtonState) -> jax.Array:
        """The number that the state holds."""
        return state.stage

    def position(self, state: BlockNewtonState) -> tuple[Params, jax.Array]:
        """x, and f there; inf where it is not known."""
        return state.x, state.value


def _ask_base(state: BlockNewtonState, problem: Problem) -> Batch:
    """f(x)."""
    del problem
    where = address_of(state.x, jnp.zeros((1, 1), jnp.uint32))
    return Batch(CoordinateProbes(where, jnp.zeros((1, 1), state.gain.dtype)), (), state.x)


def _tell_base(state: BlockNewtonState, values: jax.Array) -> BlockNewtonState:
    """The first block. Without a value no slope is known, and the first trial asks x0 again."""
    value = jnp.where(jnp.isfinite(values[0]), values[0], jnp.inf)
    return with_next_block(state._replace(value=value))


def _stage(
    ask: Callable[[BlockNewtonState, Problem], Batch],
    learn: Callable[[BlockNewtonState, Problem, Any, jax.Array], BlockNewtonState],
    *,
    moves: bool = False,
) -> Stage:
    """A stage; f(x) before it is what its outcome says."""

    def asked(state: BlockNewtonState, params: Params, problem: Problem) -> Batch:
        del params
        return ask(state, problem)

    def tell(
        state: BlockNewtonState, params: Params, problem: Problem, batch: Batch, values: jax.Array
    ) -> Outcome:
        del params
        after = learn(state, problem, batch.plan, values)
        stood = jnp.where(jnp.isfinite(state.value), state.value, after.value)
        return Outcome(after, None, jnp.where(jnp.isfinite(stood), stood, jnp.nan))

    return Stage(asked, tell, moves)
