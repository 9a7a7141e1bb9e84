"""Products with a perturbed matrix: one that all probes share, and two thin ones of each probe."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.evaluate.factored.perturbed import Perturbed, spread
from zosah_jax.evaluate.grouped.program import Op, perform
from zosah_jax.low_rank import Factors


def product(op: Op, operands: Sequence[Any]) -> list[Any]:
    """Result of a product, one of whose operands is perturbed; of two, the smaller is spread.

    That of two matrices stays apart where its factors are fewer numbers than its entries.
    """
    if all(isinstance(operand, Perturbed) for operand in operands):
        both = _of_two(op, *operands)
        if both is not None:
            return [both]
    perturbed = [n for n in (0, 1) if isinstance(operands[n], Perturbed)]
    side = max(perturbed, key=lambda n: operands[n].base.size)
    value, other = operands[side], spread(operands[1 - side])
    out = op.eqn.outvars[0].aval.dtype
    wide = np.result_type(out, value.base.dtype)
    summed = wide if _is_plain(op) else op.eqn.params["preferred_element_type"]
    whole = [other, other]
    whole[side] = value.base.astype(value.dtype)
    (shared,) = perform(op, whole, preferred_element_type=summed)
    added = _added(op, side, other.astype(wide), value.factors, wide)
    return [(shared.astype(wide) + added).astype(out)]


def _of_two(op: Op, one: Perturbed, other: Perturbed) -> Perturbed | None:
    """(A + a b') (C + c d') = A C + (A c + a (b' c)) d' + a (C' b)', where both are matrices."""
    contracted, batch = op.eqn.params["dimension_numbers"]
    same = one.dtype == one.base.dtype == other.dtype == other.base.dtype
    if batch[0] or [len(axes) for axes in contracted] != [1, 1] or not same:
        return None
    mine, its = _oriented(one, contracted[0][0]), _oriented(other, contracted[1][0])
    if mine is None or its is None:
        return None
    (left, met), (right, meets) = mine, its
    rows, columns = len(left), len(right)
    if (left.shape[1] + right.shape[1]) * (rows + columns) >= rows * columns:
        return None
    first, second = contracted[0][0], contracted[1][0]
    dot = partial(jnp.tensordot, precision=op.eqn.params["precision"] if _is_plain(op) else None)
    moved = dot(one.base, meets, (first, 0)) + left @ (met.T @ meets)
    factors = Factors(
        jnp.concatenate([moved, left], axis=1),
        jnp.concatenate([right, dot(other.base, met, (second, 0))], axis=1),
        (0,), (1,), 2,
    )  # fmt: skip
    (base,) = perform(op, [one.base, other.base])
    return Perturbed(base, factors, base.dtype)


def _oriented(value: Perturbed, contracted: int) -> tuple[jax.Array, jax.Array] | None:
    """The factors of a matrix: that of its free axis, and that of the contracted one."""
    factors = value.factors
    axes = factors.left_axes, factors.right_axes
    if axes == ((1 - contracted,), (contracted,)):
        return factors.left, factors.right
    if axes == ((contracted,), (1 - contracted,)):
        return factors.right, factors.left
    return None


def _added(op: Op, side: int, other: jax.Array, factors: Factors, dtype: Any) -> jax.Array:
    """The product of the other operand with left right': with one factor, then with the other."""
    letters, other_letters, out = _letters(op, side, factors.ndim, other.ndim)
    left = factors.left.astype(dtype), [letters[n] for n in factors.left_axes]
    right = factors.right.astype(dtype), [letters[n] for n in factors.right_axes]
    gone = set(letters) - set(out)
    first, second = (left, right) if _size(left, gone) > _size(right, gone) else (right, left)
    rank = len(letters) + len(other_letters)
    precision = op.eqn.params["precision"] if _is_plain(op) else None

    def thin(other: jax.Array, first_factor: jax.Array, second_factor: jax.Array) -> jax.Array:
        known = dict.fromkeys([*other_letters, *first[1]])
        kept = [n for n in known if n in out or n in second[1]]
        met = jnp.einsum(
            other, other_letters, first_factor, [*first[1], rank], [*kept, rank],
            precision=precision,
        )  # fmt: skip
        return jnp.einsum(
            met, [*kept, rank], second_factor, [*second[1], rank],
            [n for n in out if n in kept or n in second[1]], precision=precision,
        )  # fmt: skip

    def padded(other: jax.Array, *pair: jax.Array) -> jax.Array:
        return thin(other, *(pad_rank(factor) for factor in pair))

    if factors.left.shape[-1] == 1:
        found = jax.lax.platform_dependent(other, first[0], second[0], tpu=padded, default=thin)
    else:
        found = thin(other, first[0], second[0])
    known = {*other_letters, *left[1], *right[1]}  # the array may be constant along an axis
    return jnp.expand_dims(found, [n for n, letter in enumerate(out) if letter not in known])


def pad_rank(factor: jax.Array) -> jax.Array:
    """A factor of rank 1 as one of rank 2 whose second column is zero.

    On a TPU, a product over an axis of size 1 becomes multiplications, which keep copies of the
    size of activations: rank 1 was seen to run out of memory where rank 4 did not.
    """
    return jnp.pad(factor, [(0, 0)] * (factor.ndim - 1) + [(0, 1)])


def _letters(
    op: Op, side: int, ndim: int, other_ndim: int
) -> tuple[list[int], list[int], list[int]]:
    """Numbers for the axes of the perturbed operand, the other one and the result, as of einsum."""
    contracted, batch = op.eqn.params["dimension_numbers"]
    letters = list(range(ndim))
    other = list(range(ndim, ndim + other_ndim))
    for pair in (contracted, batch):
        for axis, met in zip(pair[side], pair[1 - side], strict=True):
            other[met] = letters[axis]
    sides = (letters, other) if side == 0 else (other, letters)
    shared = [letters[axis] for axis in batch[side]]
    gone = {letters[axis] for axis in contracted[side]} | set(shared)
    free = [[n for n in part if n not in gone] for part in sides]
    return letters, other, [*shared, *free[0], *free[1]]


def _size(factor: tuple[jax.Array, list[int]], gone: set[int]) -> int:
    """Number of entries that a factor contracts at once."""
    array, letters = factor
    sizes = [size for size, n in zip(array.shape, letters, strict=False) if n in gone]
    return int(np.prod(sizes)) if sizes else 0


def _is_plain(op: Op) -> bool:
    """Whether the precision of a product is no algorithm for operands of one dtype."""
    precision = op.eqn.params["precision"]
    parts = precision if isinstance(precision, tuple) else (precision,)
    return all(part is None or isinstance(part, jax.lax.Precision) for part in parts)
