"""HiZOO: MeZO in a metric, a diagonal that is learnt from second differences."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from zosah_jax.checks import check_choice, check_positive
from zosah_jax.low_rank import Directions, Law, law_of
from zosah_jax.method import Batch, Method, Outcome, Problem
from zosah_jax.probes import DirectionProbes, direction, tree_broadcast
from zosah_jax.pytree import Params, precision, widen, working_dtype

Scaling = Literal["inverse_root", "hessian"]
UpdatedBy = Literal["new", "old"]


class HiZOOState(NamedTuple):
    """State of HiZOO.

    Attributes:
        key: typed PRNG key, never advanced: the directions follow from it and the step.
        step: number k of the coming step, int32.
        hessian: H, the diagonal, like the parameters in float32 or wider; ones at first.
    """

    key: jax.Array
    step: jax.Array
    hessian: Params


@dataclass(frozen=True, eq=False)
class HiZOO(Method):
    r"""Two-sided difference along a random direction, in a metric learnt from second differences.

    With z ~ N(0, I), l_0 = f(x) and l_+- = f(x +- epsilon H^-1/2 z),

    .. math:: H \leftarrow (1 - a) H + a \frac{|l_+ + l_- - 2 l_0|}{2 \epsilon^2} H z^2, \qquad
        v = \frac{l_+ - l_-}{2 \epsilon} H^{-1/2} z

    where H is a diagonal. A step takes 3 values (the original asks a fourth for its log alone).

    A trap: the original code's default is a = 0, at which H never changes and this is MeZO at one
    value more; the command of its README has a = 1e-8, which in float32 hardly differs. The default
    here lets H follow within some hundred steps.
    What needs a value that is not finite stays as it is: the parameters, or H, which is a copy of
    the parameters' size.

    Args:
        smoothing: epsilon, absolute (code: 1e-3). None: the fourth root of the machine epsilon,
            as a second difference needs it.
        hessian_smoothing: a, in (0, 1] (code: 0, README: 1e-8).
        scaling: "inverse_root" scales z by 1/sqrt(H), as paper and code do. "hessian" scales it by
            H, as some reimplementations do.
        updated_by: the H that scales the update: "new", as in the code, or "old", that of the
            probes, with which E[v] = H^-1 grad f on a quadratic.
        directions: "dense", or "low_rank": every matrix of z is a product of two thin factors, as
            of `low_rank.LowRank`. As H scales each coordinate, probes share nothing, and z^2, from
            which H is learnt, is noisier.
        rank: of the factors (static).
        key: an int or a typed PRNG key; the directions follow from it.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax, jax.numpy as jnp, zosah_jax
        >>> f = lambda x: (jnp.array([1.0, 100.0]) * x**2).sum() / 2
        >>> tx, x = zosah_jax.scale_by_hizoo(), jnp.ones(2)
        >>> step = jax.jit(lambda state: tx.update(None, state, x, value_fn=f)[1])
        >>> state = tx.init(x)
        >>> for _ in range(500):
        ...     state = step(state)
        >>> flat, steep = state.method.hessian
        >>> bool(steep > 2 * flat)
        True

    References:
        Zhao et al., `Second-Order Fine-Tuning without Pain for LLMs: A Hessian Informed
        Zeroth-Order Optimizer <https://arxiv.org/abs/2402.15173>`_, 2024 (algorithm 1).
    """

    smoothing: float | None = None
    hessian_smoothing: float = 1e-2
    scaling: Scaling = field(default="inverse_root", kw_only=True)
    updated_by: UpdatedBy = field(default="new", kw_only=True)
    directions: Directions = field(default="dense", kw_only=True)
    rank: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_positive("smoothing", self.smoothing, optional=True)
        check_positive("hessian_smoothing", self.hessian_smoothing)
        check_choice("scaling", self.scaling, get_args(Scaling))
        check_choice("updated_by", self.updated_by, get_args(UpdatedBy))
        law_of(self.directions, self.rank)

    @property
    def _law(self) -> Law:
        return law_of(self.directions, self.rank)

    def init(self, params: Params, key: jax.Array) -> HiZOOState:
        """The state before the first step: H = I."""
        ones = jax.tree.map(jnp.ones_like, widen(params))
        return HiZOOState(key, jnp.zeros((), jnp.int32), ones)

    def _metric(self, hessian: Params) -> Params:
        """What scales z."""
        return hessian if self.scaling == "hessian" else jax.tree.map(jax.lax.rsqrt, hessian)

    def ask(self, state: HiZOOState, params: Params, problem: Problem) -> Batch:
        """The parameters, and a step forth and back along one scaled direction."""
        del problem
        key = jax.random.fold_in(state.key, state.step)
        epsilon = precision(params) ** 0.25 if self.smoothing is None else self.smoothing
        scale = jnp.asarray([0, 1, -1], working_dtype(params)) * epsilon
        scaling = tree_broadcast(self._metric(state.hessian), 3)
        keys = jnp.stack([key] * 3)[:, None]
        return Batch(DirectionProbes(keys, scale[:, None], scaling, self._law))

    def tell(
        self,
        state: HiZOOState,
        params: Params,
        problem: Problem,
        batch: Batch,
        values: jax.Array,
    ) -> Outcome:
        """H moves towards |l+ + l- - 2 l0| / (2 eps^2) H z^2; then slope (l+ - l-) / (2 eps)."""
        del problem
        base, forth, back = values
        epsilon = batch.probes.scale[1, 0]
        curvature = jnp.abs(forth + back - 2 * base) / (2 * epsilon**2)
        known = jnp.isfinite(curvature)
        curvature = jnp.where(known, curvature, 0)
        rate = jnp.where(known, self.hessian_smoothing, 0).astype(values.dtype)
        slope = (forth - back) / (2 * epsilon)
        slope = jnp.where(jnp.isfinite(slope), slope, 0)
        least = precision(params)  # H of a straight line would fall to 0, its steps grow for ever
        z = direction(batch.probes.key[0, 0], params, self._law)

        def learnt(h: jax.Array, z: jax.Array) -> jax.Array:
            a, c = rate.astype(h.dtype), curvature.astype(h.dtype)
            return jnp.maximum((1 - a) * h + a * c * h * z**2, least)

        hessian = jax.tree.map(learnt, state.hessian, z)
        scaling = self._metric(hessian if self.updated_by == "new" else state.hessian)
        update = jax.tree.map(lambda s, z: slope.astype(z.dtype) * s * z, scaling, z)
        return Outcome(HiZOOState(state.key, state.step + 1, hessian), update, base)
