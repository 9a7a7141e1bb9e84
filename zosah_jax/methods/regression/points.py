"""Points of one vector each, the bounds and the size of each coordinate."""

from typing import Any

import jax
import jax.numpy as jnp

from zosah_jax.bounds import Bounds
from zosah_jax.method import Problem
from zosah_jax.methods.regression.trust_region import Box
from zosah_jax.probes import CoordinateProbes
from zosah_jax.pytree import Address, Params, address_of, dimension, gather, widen

_LEAST_UNIT = 0.1  # of the first unit of a coordinate, as it comes nearer to 0
_WIDTHS = 10.0  # units between two finite bounds, at least


def everywhere(params: Params) -> Address:
    """Address of all coordinates, leaves of shape (d,)."""
    return address_of(params, jnp.arange(dimension(params), dtype=jnp.uint32))


def origin(params: Params) -> Params:
    """All coordinates 0: points are described from there, so that they are what they are."""
    return jax.tree.map(jnp.zeros_like, widen(params))


def probes_at(params: Params, points: jax.Array) -> CoordinateProbes:
    """Probes at points of one vector each, shape (n, d), as they differ from `origin`."""
    address = everywhere(params)
    every = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, points.shape), address)
    return CoordinateProbes(every, points)


def sides(params: Params, problem: Problem) -> Box:
    """Bounds as vectors, shapes (d,)."""
    address = everywhere(params)
    if isinstance(problem.bounds, Bounds):
        return Box(*problem.bounds.at(address))
    x = gather(params, address)
    return Box(jnp.full_like(x, -jnp.inf), jnp.full_like(x, jnp.inf))


def first_unit(x: jax.Array, box: Box) -> jax.Array:
    """Size of each coordinate: its own, a tenth of what its bounds allow, or 1.

    Between bounds of both signs the size of a coordinate is no length, only their distance is.
    """
    width = (box.upper - box.lower) / _WIDTHS
    own = jnp.where(x != 0, jnp.abs(x), 1)
    bounded = jnp.isfinite(width) & (width > 0)  # what is fixed has its own size
    return jnp.where(bounded, jnp.where(_crosses(box), width, jnp.minimum(own, width)), own)


def nearest(points: jax.Array, values: jax.Array, unit: jax.Array) -> jax.Array:
    """Order of points by their distance from the best in units, that one first, shape (n,)."""
    best = jnp.argmin(values)
    distance = jnp.linalg.norm((points - points[best][None]) / unit[None], axis=1)
    return jnp.argsort(distance.at[best].set(-1), stable=True)


def taken_up(state: Any, points: jax.Array, values: jax.Array, entries: Any) -> Any:
    """The state of a regression with points, all with a value, in these of its entries."""
    return state._replace(
        points=state.points.at[entries].set(points),
        values=state.values.at[entries].set(values),
        there=state.there.at[entries].set(True),
    )


def present_scale(x: jax.Array, unit: jax.Array, box: Box) -> jax.Array:
    """Size of each coordinate where the run stands now."""
    width = (box.upper - box.lower) / _WIDTHS
    own = jnp.maximum(jnp.abs(x), _LEAST_UNIT * unit)
    bounded = jnp.isfinite(width) & (width > 0)
    return jnp.where(bounded, jnp.where(_crosses(box), unit, jnp.minimum(own, width)), own)


def _crosses(box: Box) -> jax.Array:
    return (box.lower < 0) & (box.upper > 0) & jnp.isfinite(box.upper - box.lower)
