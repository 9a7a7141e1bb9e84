"""ZO-Muon: a gradient averaged in a subspace that stays for a while, and then orthogonalised."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from zosah_jax.checks import check_count, check_positive, check_static_count
from zosah_jax.low_rank import Factors, LowRank, draw_factors, with_held
from zosah_jax.method import Batch, Outcome, Problem
from zosah_jax.methods.estimate import from_here, mean_weights
from zosah_jax.methods.memoryless import Memoryless, MemorylessState
from zosah_jax.pytree import Params

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of Muon's iteration
_ROUNDS = 5  # of it


@dataclass(frozen=True, eq=False)
class ZOMuon(Memoryless):
    r"""Every matrix moves along P msign(G), with G estimated in the columns of P.

    .. math:: G = \frac{1}{q} \sum_i \frac{f(x + \mu P \Psi_i) - f(x)}{\mu} \Psi_i, \qquad
        P'P = I_r, \quad \Psi_i \sim N(0, I)

    P, of shape (m, r), is drawn every nu steps and kept by *all* samples in between; the
    published code draws it anew for each sample of a refreshing step and lifts them all by the
    last, which ZO-MOPI's repairs. msign sets all singular values to about 1 (five steps of Newton
    and Schulz, as of Muon). Leaves that are no matrices, or have no more entries than the factors,
    move by their estimated gradient times `vector_rate`. A step takes q + 1 values; those that are
    not finite are left out of the mean.

    Args:
        num_directions: q (static; paper: 4 for language models, 16 for vision).
        rank: r (static; paper: 64).
        smoothing: mu, absolute (paper: 1e-3).
        period: nu, steps for which P stays (paper: 100).
        vector_rate: learning rate of the other leaves, in units of that of the matrices (published
            code: 1e-2 for vision, 1e-5 for language models).
        key: an int or a typed PRNG key; the directions follow from it.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> f = lambda p: jnp.sum((p["w"] - 1) ** 2)
        >>> tx = zosah_jax.zo_muon(0.02, rank=1, period=5)
        >>> out = zosah_jax.minimize(f, {"w": jnp.zeros((4, 6))}, tx, budget=6000)
        >>> bool(out.value < 0.5)
        True

    References:
        Lang et al., `Powering Up Zeroth-Order Training via Subspace Gradient Orthogonalization
        <https://arxiv.org/abs/2602.17155>`_, 2026; `ZO-MOPI <https://arxiv.org/abs/2605.09034>`_,
        2026.
    """

    num_directions: int = 4
    rank: int = 64
    smoothing: float = 1e-3
    period: int = field(default=100, kw_only=True)
    vector_rate: float = field(default=1e-2, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse options that are out of range."""
        super().__post_init__()
        check_static_count("num_directions", self.num_directions)
        check_static_count("rank", self.rank)
        check_positive("smoothing", self.smoothing)
        check_count("period", self.period)
        check_positive("vector_rate", self.vector_rate)

    @property
    def _law(self) -> LowRank:
        return LowRank(self.rank, held=True, orthonormal=True)

    def ask(self, state: MemorylessState, params: Params, problem: Problem) -> Batch:
        """The parameters (scale 0), then a step along each direction, all with one P."""
        del problem
        kept, own = jax.random.split(state.key)
        held = jax.random.fold_in(kept, state.step // self.period)
        keys = jax.random.split(jax.random.fold_in(own, state.step), self.num_directions)
        keys = with_held(held, keys)
        return Batch(from_here(keys, self.smoothing, params, self._law))

    def tell(
        self,
        state: MemorylessState,
        params: Params,
        problem: Problem,
        batch: Batch,
        values: jax.Array,
    ) -> Outcome:
        """P msign(G) of every matrix; of the others the gradient, at a rate of their own."""
        del problem
        weight = mean_weights((values[1:] - values[0]) / batch.probes.scale[1:, 0])
        leaves, treedef = jax.tree.flatten(params)
        drawn = jax.vmap(lambda key: draw_factors(key, leaves, self._law))
        moved = [self._moved(each, weight) for each in drawn(batch.probes.key[1:, 0])]
        step = jax.tree.unflatten(treedef, moved)
        return Outcome(state._replace(step=state.step + 1), step, values[0])

    def _moved(self, each: Factors | jax.Array, weight: jax.Array) -> jax.Array:
        """What a leaf moves by, of its directions with a leading axis."""
        if not isinstance(each, Factors):
            rate = jnp.asarray(self.vector_rate, each.dtype)
            return rate * jnp.tensordot(weight.astype(each.dtype), each, 1)
        found = jnp.tensordot(weight.astype(each.right.dtype), each.right, 1)
        shared = [axis for axis in each.left_axes if axis in each.right_axes]
        sign = matrix_sign(found.reshape(*found.shape[: len(shared)], -1, found.shape[-1]))
        lifted = Factors(
            each.left[0], sign.reshape(found.shape), each.left_axes, each.right_axes, each.ndim
        )
        return lifted.product()


def matrix_sign(matrix: jax.Array) -> jax.Array:
    """The matrix with all its singular values at about 1, over the last two axes.

    Five steps of the iteration X <- a X + (b X X' + c (X X')^2) X, from X over its Frobenius norm:
    singular values end between 0.7 and 1.2.

    Example:
        >>> [round(float(s), 1) for s in jnp.linalg.svd(matrix_sign(jnp.diag(jnp.ones(3))))[1]]
        [0.7, 0.7, 0.7]
    """
    norm = jnp.sqrt(jnp.sum(matrix**2, axis=(-2, -1), keepdims=True))
    unit = matrix / jnp.where(norm > 0, norm, 1)
    wide = unit.shape[-2] <= unit.shape[-1]
    x = unit if wide else jnp.swapaxes(unit, -2, -1)
    a, b, c = (jnp.asarray(number, x.dtype) for number in _NEWTON_SCHULZ)

    def times(one: jax.Array, other: jax.Array) -> jax.Array:
        return jnp.matmul(one, other, precision=jax.lax.Precision.HIGHEST)

    for _ in range(_ROUNDS):
        square = times(x, jnp.swapaxes(x, -2, -1))
        x = a * x + times(b * square + c * times(square, square), x)
    return x if wide else jnp.swapaxes(x, -2, -1)
