"""ZO-RSN: a Newton step within a random subspace of a few coordinates, from differences alone."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.bounds import reflected_probes
from zosah_jax.checks import check_choice, check_positive, check_static_count
from zosah_jax.linear_algebra import eigh
from zosah_jax.method import Batch, Method, Outcome, Problem
from zosah_jax.methods.lengths import step_length
from zosah_jax.permutation import permute
from zosah_jax.probes import CoordinateProbes, CoordinateUpdate
from zosah_jax.pytree import (
    Address,
    Params,
    address_of,
    dimension,
    gather,
    precision,
    working_dtype,
)

Differences = Literal["central", "forward"]


class ZORSNState(NamedTuple):
    """State of ZO-RSN.

    Attributes:
        key: typed PRNG key, never advanced: the subspaces follow from it and the step.
        step: number k of the coming step, int32.
        eigenvalues: of the last projected Hessian before they were clipped, shape (m,).
    """

    key: jax.Array
    step: jax.Array
    eigenvalues: jax.Array


@dataclass(frozen=True, eq=False)
class ZORSN(Method):
    r"""Newton direction in a fresh random subspace of m coordinates, from function values alone.

    With S of m distinct unit columns, drawn anew at every step,

    .. math:: v = S \, \Pi(S' H S)^{-1} S' g

    where S'g and S'HS are finite differences and Pi clips eigenvalues to [l_min, l_max]. A step
    takes 1 + 2 m + m (m - 1) / 2 values: 10 where m = 3.
    A coordinate whose values are not finite does not move.

    Args:
        subspace_dim: m, at most d (static). None: the paper's 3, or d if that is less.
        smoothing: absolute length of the differences. None: the fourth root of the machine epsilon
            of the parameters (as perturbed: float32 or wider), times max(1, |x_i|).
        eigenvalue_min: l_min, a bound on the strong convexity.
        eigenvalue_max: l_max, a bound on the smoothness.
        differences: "central" or "forward", for gradient and curvature; both take as many values,
            and the mixed second derivatives are forward in both.
        key: an int or a typed PRNG key; the subspaces follow from it.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> f = lambda x: ((x - 1) ** 2 * jnp.array([1.0, 10.0, 100.0])).sum()
        >>> tx, x = zosah_jax.scale_by_zo_rsn(), jnp.zeros(3)
        >>> v, state = tx.update(None, tx.init(x), x, value_fn=f)
        >>> bool(f(x - v) < 1e-3), zosah_jax.num_evaluations(state)
        (True, 10)

    References:
        Berglund, Khirirat, Wang, `Zeroth-Order Randomized Subspace Newton Methods
        <https://arxiv.org/abs/2202.04612>`_, ICASSP 2022.
    """

    subspace_dim: int | None = None
    smoothing: float | None = None
    eigenvalue_min: float = 1e-2
    eigenvalue_max: float = 1e4
    differences: Differences = field(default="central", kw_only=True)

    def __post_init__(self) -> None:
        """Refuse options that are out of range; the subspace dimension waits for the parameters."""
        super().__post_init__()
        check_static_count("subspace_dim", self.subspace_dim, optional=True)
        check_positive("smoothing", self.smoothing, optional=True)
        check_positive("eigenvalue_min", self.eigenvalue_min)
        check_positive("eigenvalue_max", self.eigenvalue_max)
        check_choice("differences", self.differences, get_args(Differences))

    def _size(self, params: Params) -> int:
        d = dimension(params)
        if self.subspace_dim is None:
            return min(3, d)
        if self.subspace_dim > d:
            raise ValueError(f"subspace_dim: got {self.subspace_dim}, wanted at most d = {d}.")
        return self.subspace_dim

    def init(self, params: Params, key: jax.Array) -> ZORSNState:
        """The state before the first step."""
        eigenvalues = jnp.zeros(self._size(params), working_dtype(params))
        return ZORSNState(key, jnp.zeros((), jnp.int32), eigenvalues)

    def ask(self, state: ZORSNState, params: Params, problem: Problem) -> Batch:
        """The parameters, two steps along each coordinate, one along each pair of them."""
        place = jnp.arange(self._size(params), dtype=jnp.uint32)
        key = jax.random.fold_in(state.key, state.step)
        address = address_of(params, permute(key, place, dimension(params)))
        position = gather(params, address)
        length = step_length(position, self.smoothing, precision(params) ** 0.25)
        multiples = _multiples(len(length), self.differences)
        offset = jnp.asarray(multiples, length.dtype) * length[None]
        every = Address(*(jnp.broadcast_to(x, offset.shape) for x in address))
        probes, _ = reflected_probes(problem.bounds, params, CoordinateProbes(every, offset))
        return Batch(probes)

    def tell(
        self,
        state: ZORSNState,
        params: Params,
        problem: Problem,
        batch: Batch,
        values: jax.Array,
    ) -> Outcome:
        """Newton's direction in the subspace, its Hessian's eigenvalues within their bounds."""
        del params, problem
        m = batch.probes.offset.shape[1]
        length = jnp.diagonal(batch.probes.offset[1 : m + 1])
        base, forth, second, pairs = values[0], *jnp.split(values[1:], (m, 2 * m))
        step = forth - base
        if self.differences == "central":
            gradient = (forth - second) / (2 * length)
            curvature = (forth + second - 2 * base) / length**2
        else:
            gradient = step / length
            curvature = (second - 2 * forth + base) / length**2
        rows, columns = np.triu_indices(m, 1)
        mixed = (pairs - base - step[rows] - step[columns]) / (length[rows] * length[columns])
        mixed = jnp.where(jnp.isfinite(mixed), mixed, 0)
        gradient = jnp.where(jnp.isfinite(gradient), gradient, 0)
        # of a coordinate without a curvature nothing is known, so it hardly moves
        curvature = jnp.where(jnp.isfinite(curvature), curvature, self.eigenvalue_max)
        hessian = jnp.diag(curvature).at[rows, columns].set(mixed).at[columns, rows].set(mixed)
        eigenvalues, vectors = eigh(hessian)
        size = jnp.clip(eigenvalues, self.eigenvalue_min, self.eigenvalue_max)
        direction = vectors @ ((vectors.T @ gradient) / size)
        update = CoordinateUpdate(Address(*(x[0] for x in batch.probes.address)), direction)
        return Outcome(ZORSNState(state.key, state.step + 1, eigenvalues), update, base)


def _multiples(m: int, differences: Differences) -> np.ndarray:
    """Offsets of the probes in steps along each of m coordinates, shape (n, m).

    Row 0 stays; rows 1 to m step forth along each coordinate, the next m back along each (central)
    or forth twice (forward); the rest forth along each pair.
    """
    unit = np.eye(m, dtype=int)
    second = -unit if differences == "central" else 2 * unit
    pairs = [unit[i] + unit[j] for i, j in zip(*np.triu_indices(m, 1), strict=True)]
    return np.concatenate([np.zeros((1, m), int), unit, second, np.array(pairs).reshape(-1, m)])
