"""Directions whose matrices have low rank: drawn as factors, and added up as one product.

A direction for a matrix of m x n is left right' / sqrt(r), which takes r (m + n) random numbers in
place of m n. Which axes of a leaf make the rows of that matrix follows from its shape alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.checks import check_choice, check_static_count
from zosah_jax.linear_algebra import inverse_cholesky
from zosah_jax.pytree import working_dtype

Distribution = Literal["normal", "rademacher"]
Directions = Literal["dense", "low_rank"]

_AT_ONCE = 2**24  # random numbers of factors that may be there at once as directions are added up


@dataclass(frozen=True)
class LowRank:
    r"""Distribution of directions whose matrices are products of random factors.

    .. math:: U = \frac{1}{\sqrt{r}} L R', \quad L \in \mathbb{R}^{m \times r},
        \; R \in \mathbb{R}^{n \times r}

    The entries of L and R are independent with mean 0 and variance 1, so those of U have mean 0 and
    variance 1 and are uncorrelated. Factors take r (m + n) random numbers; a leaf that has no more
    entries than that, a vector above all, gets independent ones.

    A leaf of three axes or more is made a matrix by its shape: if its first axis is shorter than
    every other, it is a stack of matrices (layers, heads), each with factors of its own. The
    others are cut into rows and columns where that takes fewest numbers: the kernel of an attention
    (width, heads, features of a head) after its first axis, the one that leads out of it and those
    of convolutions before the last.

    Args:
        rank: r.
        distribution: of the factors and of dense leaves: "normal", or "rademacher" signs.
        held: whether L follows from the first half of the key alone, so that directions whose keys
            agree in it (`with_held`) share L.
        orthonormal: whether the columns of L are made orthonormal; U is then L R', not divided
            by the root of r, and its entries have variance r / m in the mean.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from zosah_jax.probes import direction
        >>> u = direction(jax.random.key(0), {"kernel": jnp.zeros((5, 7))}, LowRank(2))["kernel"]
        >>> u.shape, int(jnp.linalg.matrix_rank(u))
        ((5, 7), 2)

    References:
        Sarkar et al., `Evolution Strategies at the Hyperscale <https://arxiv.org/abs/2511.16652>`_,
        2025 (EGGROLL).
    """

    rank: int = 1
    distribution: Distribution = "normal"
    held: bool = False
    orthonormal: bool = False


Law = Distribution | LowRank
"""How directions are distributed: independent entries, or matrices of low rank."""


def law_of(directions: Directions, rank: int, distribution: Distribution = "normal") -> Law:
    """The distribution that a method's options name.

    Raises:
        ValueError, TypeError: an option is out of its range, by name.
    """
    check_choice("directions", directions, ("dense", "low_rank"))
    check_static_count("rank", rank)
    return LowRank(rank, distribution) if directions == "low_rank" else distribution


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Factors:
    """An array as a product of two factors, summed over their last axis.

    Attributes:
        left: shape (sizes of its axes, r).
        right: shape (sizes of its axes, r).
        left_axes: axes of the array that the left factor has, ascending (static).
        right_axes: those of the right one (static). An axis of both counts matrices; along an
            axis of neither the array is constant.
        ndim: number of axes of the array (static).
    """

    left: jax.Array
    right: jax.Array
    left_axes: tuple[int, ...] = field(metadata={"static": True})
    right_axes: tuple[int, ...] = field(metadata={"static": True})
    ndim: int = field(metadata={"static": True})

    def product(self) -> jax.Array:
        """The array, of size 1 along axes that neither factor has."""
        axes = [n for n in range(self.ndim) if n in self.left_axes or n in self.right_axes]
        found = self._contracted([], [], axes)
        return jnp.expand_dims(found, [n for n in range(self.ndim) if n not in axes])

    def total(self, axes: Sequence[int], shape: tuple[int, ...]) -> jax.Array:
        """Sum of the array, of this shape, over some of its axes."""
        kept = [n for n in range(self.ndim) if n not in axes]
        known = [n for n in kept if n in self.left_axes or n in self.right_axes]
        unknown = [n for n in axes if n not in self.left_axes and n not in self.right_axes]
        found = self._contracted([], [], known) * math.prod(shape[n] for n in unknown)
        return jnp.expand_dims(found, [n for n, axis in enumerate(kept) if axis not in known])

    def inner(self, other: jax.Array) -> jax.Array:
        """Sum of the products of its entries with those of an array of its shape."""
        return self._contracted([other], list(range(self.ndim)), [])

    def overlap(self, other: "Factors") -> jax.Array:
        """Sum of the products of its entries with those of factors of the same axes."""
        rank, more = self.ndim, self.ndim + 1
        return jnp.einsum(
            self.left,
            [*self.left_axes, rank],
            other.left,
            [*self.left_axes, more],
            self.right,
            [*self.right_axes, rank],
            other.right,
            [*self.right_axes, more],
            [],
            precision=jax.lax.Precision.HIGHEST,
        )

    def square(self) -> "Factors":
        """The squares of its entries, of rank r^2."""

        def paired(factor: jax.Array) -> jax.Array:
            pairs = factor[..., :, None] * factor[..., None, :]
            return pairs.reshape(*factor.shape[:-1], -1)

        return replace(self, left=paired(self.left), right=paired(self.right))

    def _contracted(self, others: list[jax.Array], letters: list[int], out: list[int]) -> jax.Array:
        """Einsum of the factors, and of an array that meets them; `out` are axes that remain."""
        rank = self.ndim  # the letter after those of the axes
        with_right = [part for other in others for part in (other, letters)]
        operands = [*with_right, self.right, [*self.right_axes, rank]]
        return jnp.einsum(
            *operands,
            self.left,
            [*self.left_axes, rank],
            out,
            precision=jax.lax.Precision.HIGHEST,
        )


# --- how leaves are made matrices -----------------------------------------------------------------


class MatrixForm(NamedTuple):
    """Axes of a leaf that each factor has; those of both count matrices."""

    left: tuple[int, ...]
    right: tuple[int, ...]


def matrix_form(shape: tuple[int, ...], rank: int) -> MatrixForm | None:
    """How a leaf of this shape is a matrix or a stack of them; None: its directions are dense."""
    axes = tuple(range(len(shape)))
    if len(shape) < 2:
        return None
    stack = axes[:1] if len(shape) > 2 and shape[0] < min(shape[1:]) else ()
    cuts = range(len(stack) + 1, len(shape))
    forms = [MatrixForm(axes[:cut], stack + axes[cut:]) for cut in cuts]
    form = min(reversed(forms), key=lambda form: _size(shape, form))
    return form if rank * _size(shape, form) < math.prod(shape) else None


def _size(shape: tuple[int, ...], form: MatrixForm) -> int:
    return sum(math.prod(shape[n] for n in axes) for axes in form)


# --- how they are drawn ---------------------------------------------------------------------------


def draw(key: jax.Array, size: int, dtype: Any, distribution: Distribution) -> jax.Array:
    """Independent random numbers of mean 0 and variance 1, shape (size,)."""
    if distribution == "normal":
        return jax.random.normal(key, (size,), dtype)
    return jax.random.rademacher(key, (size,), dtype)


def with_held(held: jax.Array, key: jax.Array) -> jax.Array:
    """Keys whose first half is that of `held`: directions of a law that holds L share it.

    Args:
        held: a typed key.
        key: typed keys of the same kind, of any shape.
    """
    data = jax.random.key_data(key)
    half = data.shape[-1] // 2
    first = jnp.broadcast_to(jax.random.key_data(held)[:half], (*key.shape, half))
    joined = jnp.concatenate([first, data[..., half:]], axis=-1)
    return jax.random.wrap_key_data(joined, impl=jax.random.key_impl(key))


def _held(key: jax.Array) -> jax.Array:
    data = jax.random.key_data(key)
    rest = jnp.arange(data.shape[-1]) >= data.shape[-1] // 2
    kept = jnp.where(rest, jnp.zeros((), data.dtype), data)
    return jax.random.wrap_key_data(kept, impl=jax.random.key_impl(key))


def draw_factors(
    key: jax.Array, leaves: Sequence[jax.Array], law: LowRank
) -> list[Factors | jax.Array]:
    """The direction of a key: factors of the leaves that are matrices, arrays for the others.

    All is one draw, so that random numbers are compiled once and not for every leaf.

    Args:
        key: typed key.
        leaves: only shapes and dtypes matter.
        law: how directions are distributed.
    """
    shapes = [jnp.shape(leaf) for leaf in leaves]
    forms = [matrix_form(shape, law.rank) for shape in shapes]
    parts: list[tuple[int, ...]] = []
    for shape, form in zip(shapes, forms, strict=True):
        own = [(*(shape[n] for n in axes), law.rank) for axes in form or ()]
        parts += own or [shape]
    ends = np.cumsum([math.prod(part) for part in parts])
    dtype = working_dtype(list(leaves))
    flat = _draw_in_turns(key, int(ends[-1]), dtype, law.distribution)
    if law.held:
        kept = _draw_in_turns(_held(key), int(ends[-1]), dtype, law.distribution)
        flat = jnp.where(jnp.asarray(_is_left(forms, parts)), kept, flat)
    drawn = iter(
        piece.reshape(part) for piece, part in zip(jnp.split(flat, ends[:-1]), parts, strict=True)
    )
    found: list[Factors | jax.Array] = []
    for leaf, shape, form in zip(leaves, shapes, forms, strict=True):
        dtype = working_dtype(leaf)
        if form is None:
            found.append(next(drawn).astype(dtype))
            continue
        left, right = (next(drawn).astype(dtype) for _ in form)
        unit = np.asarray(1 if law.orthonormal else law.rank**-0.5, dtype)
        left = _orthonormal(left) if law.orthonormal else left
        found.append(Factors(left * unit, right, form.left, form.right, len(shape)))
    return found


def _is_left(forms: Sequence[MatrixForm | None], parts: Sequence[tuple[int, ...]]) -> np.ndarray:
    """Which of the numbers drawn are of left factors."""
    left = [own for form in forms for own in ((False,) if form is None else (True, False))]
    return np.repeat(left, [math.prod(part) for part in parts])


def _orthonormal(left: jax.Array) -> jax.Array:
    """The factor with orthonormal columns of the same span."""
    flat = left.reshape(-1, left.shape[-1])
    products = jnp.matmul(flat.T, flat, precision=jax.lax.Precision.HIGHEST)
    inverse = inverse_cholesky(products)
    return jnp.matmul(flat, inverse.T, precision=jax.lax.Precision.HIGHEST).reshape(left.shape)


def _draw_in_turns(key: jax.Array, size: int, dtype: Any, distribution: Distribution) -> jax.Array:
    """Random numbers of a loop of two turns, and so there as numbers when they are used.

    Else XLA draws them again in everything that uses them (measured on a CPU: a third of a pass).
    """
    half = (size + 1) // 2
    keys = jax.random.split(key)
    drawn = jax.lax.map(lambda key: draw(key, half, dtype, distribution), keys)
    return drawn.reshape(-1)[:size]


def combine_factors(
    key: jax.Array, weight: jax.Array, leaves: Sequence[jax.Array], law: LowRank
) -> list[Factors | jax.Array]:
    """Sum over k of weight_k u_k, the matrices still factors: of rank k r.

    Args:
        key: typed keys, shape (k,).
        weight: shape (k,).
        leaves: only shapes and dtypes matter.
        law: how directions are distributed.
    """
    if len(weight) == 1:
        return [_times(each, weight[0]) for each in draw_factors(key[0], leaves, law)]
    drawn = jax.vmap(lambda key, weight: combine_factors(key[None], weight[None], leaves, law))
    return [_summed(each) for each in drawn(key, weight)]


def _times(each: Factors | jax.Array, weight: jax.Array) -> Factors | jax.Array:
    if isinstance(each, Factors):
        return replace(each, left=each.left * weight.astype(each.left.dtype))
    return each * weight.astype(each.dtype)


def _summed(each: Factors | jax.Array) -> Factors | jax.Array:
    """Sum over the leading axis of directions; of factors, that axis joins the rank."""
    if not isinstance(each, Factors):
        return jnp.sum(each, axis=0)

    def joined(factor: jax.Array) -> jax.Array:
        last = jnp.moveaxis(factor, 0, -2)
        return last.reshape(*last.shape[:-2], -1)

    return replace(each, left=joined(each.left), right=joined(each.right))


def add_low_rank(
    leaves: Sequence[jax.Array], key: jax.Array, weight: jax.Array, law: LowRank
) -> list[jax.Array]:
    """Leaves with weight_k u_k added for every k: of each matrix, one product of its factors.

    Args:
        leaves: in float32 or wider.
        key: typed keys, shape (k,).
        weight: shape (k,).
        law: how directions are distributed.
    """
    drawn = jax.eval_shape(lambda key: draw_factors(key, leaves, law), key[0])
    size = max(sum(math.prod(part.shape) for part in jax.tree.leaves(drawn)), 1)
    chunk = max(1, _AT_ONCE // size)

    def added(leaves: Sequence[jax.Array], key: jax.Array, weight: jax.Array) -> list[jax.Array]:
        moves = combine_factors(key, weight, leaves, law)
        dense = [move.product() if isinstance(move, Factors) else move for move in moves]
        return [leaf + move for leaf, move in zip(leaves, dense, strict=True)]

    whole = len(weight) // chunk * chunk
    if whole > chunk:
        keys, weights = key[:whole].reshape(-1, chunk), weight[:whole].reshape(-1, chunk)
        leaves, _ = jax.lax.scan(
            lambda leaves, each: (added(leaves, *each), None), list(leaves), (keys, weights)
        )
        key, weight = key[whole:], weight[whole:]
    return added(leaves, key, weight) if len(weight) else list(leaves)
