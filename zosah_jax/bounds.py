"""Bounds: probes are reflected at them, steps cut off, points projected."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from zosah_jax.probes import CoordinateProbes
from zosah_jax.pytree import Address, Params, gather, widen


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Bounds:
    """The set of parameters with lower <= x <= upper, coordinate by coordinate.

    Attributes:
        lower: pytree like the parameters, in float32 or wider; -inf where there is no bound.
        upper: likewise, +inf where there is none.
    """

    lower: Params
    upper: Params

    def project(self, params: Params) -> Params:
        """The nearest point within; each leaf keeps its dtype."""

        def nearest(x: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
            return jnp.clip(x, *_rounded(low, high, x.dtype, jnp))

        return jax.tree.map(nearest, params, self.lower, self.upper)

    def at(self, address: Address) -> tuple[jax.Array, jax.Array]:
        """Lower and upper bounds of addressed coordinates, in the shape of the address."""
        return gather(self.lower, address), gather(self.upper, address)


def projected(bounds: Bounds | None, params: Params) -> Params:
    """The nearest point within the bounds; the point itself where there are none."""
    return params if bounds is None else bounds.project(params)


def reflect(
    bounds: Bounds | None, address: Address, position: jax.Array, offset: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Differences that stay within the bounds.

    An offset o that would leave them is reflected, x - o for x + o; where that leaves them, too, it
    goes to the farther of the two bounds. (What is asked along dense directions has no offsets of
    its own; such points are projected when they are evaluated.)

    Args:
        bounds: or None, which changes nothing.
        address: the coordinates, leaves of any shape.
        position: where they stand, same shape.
        offset: o, same shape.

    Returns:
        The offsets, and 1 where x is at its upper bound, -1 at the lower, 0 elsewhere, int32.
    """
    if bounds is None:
        return offset, jnp.zeros(offset.shape, jnp.int32)
    lower, upper = bounds.at(address)
    below, above = lower - position, upper - position  # <= 0 <=
    fits = (below <= offset) & (offset <= above)
    turned_fits = (below <= -offset) & (-offset <= above)
    farther = jnp.where(above >= -below, above, below)
    inside = jnp.where(fits, offset, jnp.where(turned_fits, -offset, farther))
    return inside, (above <= 0).astype(jnp.int32) - (below >= 0).astype(jnp.int32)


def reflected_probes(
    bounds: Bounds | None, params: Params, probes: CoordinateProbes
) -> tuple[CoordinateProbes, jax.Array]:
    """`reflect` of coordinate probes around the parameters."""
    position = gather(params, probes.address)
    offset, at_bound = reflect(bounds, probes.address, position, probes.offset)
    return CoordinateProbes(probes.address, offset), at_bound


def cut(
    bounds: Bounds | None, address: Address, position: jax.Array, offset: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """A step that ends at the bounds, rounded to their inner side.

    Args:
        bounds: as in `reflect`.
        address: as in `reflect`.
        position: as in `reflect`.
        offset: the step.

    Returns:
        The step, and 1 where it ends at an upper bound, -1 at a lower, 0 elsewhere, int32.
    """
    if bounds is None:
        return offset, jnp.zeros(offset.shape, jnp.int32)
    lower, upper = bounds.at(address)
    at_lower, at_upper = offset <= lower - position, offset >= upper - position
    offset = jnp.clip(offset, lower - position, upper - position)
    # the last bit of the point, or of the offset where that is longer
    bit = jnp.finfo(offset.dtype).eps * jnp.maximum(jnp.abs(position + offset), jnp.abs(offset))
    offset = jnp.where(position + offset > upper, offset - bit, offset)
    offset = jnp.where(position + offset < lower, offset + bit, offset)
    return offset, at_upper.astype(jnp.int32) - at_lower.astype(jnp.int32)


def bounds_of(bounds: Any, x0: Params) -> Bounds | None:
    """The bounds `(lower, upper)`, each a number or a pytree like `x0`; None of None.

    Raises:
        TypeError: no pair, or another tree than `x0`.
        ValueError: NaN, bounds crossed, or `x0` outside.
    """
    if bounds is None:
        return None
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise TypeError(
            f"bounds: got {bounds!r}, wanted (lower, upper), each a number or a pytree like x0."
        )
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(bounds)):
        raise TypeError("bounds: got traced values, wanted numbers that are known.")
    lower, upper = (
        _like(side, name, x0) for side, name in zip(bounds, ("lower", "upper"), strict=True)
    )
    flat = [jax.tree.leaves_with_path(x0), jax.tree.leaves(lower), jax.tree.leaves(upper)]
    for (path, x), low, high in zip(*flat, strict=True):
        name = jax.tree_util.keystr(path)
        if np.isnan(low).any() or np.isnan(high).any():
            raise ValueError(
                f"bounds: got NaN at x0{name}, wanted numbers (inf where there is none)."
            )
        crossed = low > high
        if crossed.any():
            raise ValueError(
                f"bounds: got lower {low[crossed][0]} above upper {high[crossed][0]} at x0{name}, "
                "wanted lower <= upper."
            )
        if isinstance(x, jax.core.Tracer):  # under vmap or jit: projected where it is used
            continue
        x = np.asarray(x)
        with np.errstate(over="ignore"):  # all in the dtype in which it runs
            near, near_low, near_high = (y.astype(jnp.result_type(x)) for y in (x, low, high))
        outside = ~((near_low <= near) & (near <= near_high))
        if outside.any():
            raise ValueError(
                f"x0: got {x[outside][0]} at x0{name}, wanted a point within the bounds "
                f"{low[outside][0]} to {high[outside][0]}."
            )
    inner = [
        jax.tree.map(
            lambda low, high, x, side=side: _rounded(low, high, _wide(x), np)[side],
            lower,
            upper,
            x0,
        )
        for side in (0, 1)
    ]
    return Bounds(*map(widen, inner))


def _wide(x: Any) -> np.dtype:
    return np.result_type(jnp.result_type(x), np.float32)


def _rounded(low: Any, high: Any, dtype: Any, xp: Any) -> tuple[Any, Any]:
    """Both sides in another dtype, rounded to the inner side; a fixed one to the nearest.

    The nearest float32 of 0.3 is above 0.3: a point there would be outside. Where no number of the
    dtype is between the two, they are fixed.

    Args:
        low: array.
        high: array of the same shape.
        dtype: theirs, or a narrower one.
        xp: numpy or jax.numpy.
    """
    if low.dtype == dtype:
        return low, high
    ends = xp.asarray([-xp.inf, xp.inf], dtype)
    with np.errstate(all="ignore"):
        near_low, near_high = low.astype(dtype), high.astype(dtype)
        above, below = xp.nextafter(near_low, ends[1]), xp.nextafter(near_high, ends[0])
    inner_low = xp.where(near_low.astype(low.dtype) < low, above, near_low)
    inner_high = xp.where(near_high.astype(high.dtype) > high, below, near_high)
    none = inner_low > inner_high
    return xp.where(none, near_low, inner_low), xp.where(none, near_low, inner_high)


def _like(side: Any, name: str, x0: Params) -> Params:
    """One side of the bounds as NumPy arrays of the shapes of `x0`, in float64 or as given."""
    if np.isscalar(side):
        side = jax.tree.map(lambda _: side, x0)
    if jax.tree.structure(side) != jax.tree.structure(x0):
        raise TypeError(
            f"bounds: got a {name} side of structure {jax.tree.structure(side)}, wanted a number "
            f"or a pytree like x0, {jax.tree.structure(x0)}."
        )

    def fit(bound: Any, x: Any) -> np.ndarray:
        try:
            return np.broadcast_to(np.asarray(bound, np.float64), np.shape(x))
        except ValueError as error:
            raise ValueError(
                f"bounds: got a {name} side of shape {np.shape(bound)}, wanted {np.shape(x)}."
            ) from error

    return jax.tree.map(fit, side, x0)
