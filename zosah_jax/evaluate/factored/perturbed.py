"""A matrix of the parameters and what a probe adds to it, kept apart."""

from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.low_rank import Factors


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Perturbed:
    """base + left right', as the program sees it: rounded to `dtype`. Never formed unless spread.

    Attributes:
        base: the array at the parameters, in float32 or wider; all probes share it.
        factors: what is added, in float32 or wider.
        dtype: what the program has cast it to (static). The product with the base is taken in it,
            that with the factors in float32 or wider.
    """

    base: jax.Array
    factors: Factors
    dtype: np.dtype = field(metadata={"static": True})

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.base.shape

    @property
    def ndim(self) -> int:
        """Number of its axes."""
        return self.base.ndim


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Squared:
    """The squares of the entries of a perturbed matrix, until it is known what they are for."""

    of: Perturbed


def is_apart(value: Any) -> bool:
    """Whether a value is kept as parts."""
    return isinstance(value, Perturbed | Squared)


def spread(value: Any) -> Any:
    """A value as a whole array."""
    if isinstance(value, Squared):
        return jnp.square(spread(value.of))
    if not isinstance(value, Perturbed):
        return value
    return (value.base + value.factors.product().astype(value.base.dtype)).astype(value.dtype)


def scaled(factors: Factors, by: Any) -> Factors:
    """Factors of the array times a number."""
    return replace(factors, left=factors.left * jnp.asarray(by, factors.left.dtype))


def renumbered(factors: Factors, to: dict[int, int], ndim: int) -> Factors:
    """Factors of an array whose axis n is now `to[n]`; axes that are gone were of size 1."""
    left, left_axes = _renumbered(factors.left, factors.left_axes, to)
    right, right_axes = _renumbered(factors.right, factors.right_axes, to)
    return Factors(left, right, left_axes, right_axes, ndim)


def _renumbered(
    factor: jax.Array, axes: tuple[int, ...], to: dict[int, int]
) -> tuple[jax.Array, tuple[int, ...]]:
    gone = tuple(place for place, axis in enumerate(axes) if axis not in to)
    factor = jax.lax.squeeze(factor, gone)
    new = [to[axis] for axis in axes if axis in to]
    order = sorted(range(len(new)), key=lambda place: new[place])
    factor = jax.lax.transpose(factor, (*order, len(new)))
    return factor, tuple(new[place] for place in order)


def along(factors: Factors, axis: int, change: Any) -> Factors:
    """Factors with `change(factor, place of the axis)` done to those that have the axis."""
    left, right = factors.left, factors.right
    if axis in factors.left_axes:
        left = change(left, factors.left_axes.index(axis))
    if axis in factors.right_axes:
        right = change(right, factors.right_axes.index(axis))
    return replace(factors, left=left, right=right)
