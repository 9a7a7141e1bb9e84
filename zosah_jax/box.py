"""Box bounds: probes stay inside, and so does the step."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.params import Params, gather, widen
from zosah_jax.probes import CoordinateProbes, Probes


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Box:
    """The set of parameters with lower <= x <= upper, coordinate by coordinate.

    Attributes:
        lower: pytree like the parameters, in float32 or wider; -inf where there is no bound.
        upper: likewise, +inf where there is none.
    """

    lower: Params
    upper: Params

    def project(self, params: Params) -> Params:
        """The nearest point of the box; each leaf keeps its dtype."""
        return jax.tree.map(
            lambda x, low, high: jnp.clip(x, low.astype(x.dtype), high.astype(x.dtype)),
            params,
            self.lower,
            self.upper,
        )

    def confine(self, probes: Probes, params: Params) -> Probes:
        """Probes whose points lie inside, as far as their description can say so.

        An offset of a coordinate probe that would leave the box is reflected, x - o for x + o;
        where that leaves it, too, the probe goes to the farther of the two bounds. A step is cut
        off at the bounds. Dense probes have no offsets of their own: their points are projected
        when they are evaluated.
        """
        if jax.tree.structure(params) != jax.tree.structure(self.lower):
            raise ValueError(
                "bounds: got parameters of which optax.masked or optax.partition has hidden some, "
                "wanted all of them. Freeze a parameter by lower = upper instead."
            )
        if not isinstance(probes, CoordinateProbes):
            return probes
        position = gather(params, probes.address)
        if probes.is_step:
            return _cut(probes, position, self.lower, self.upper)
        below = gather(self.lower, probes.address) - position  # <= 0
        above = gather(self.upper, probes.address) - position  # >= 0

        def fits(offset: jax.Array) -> jax.Array:
            return (below <= offset) & (offset <= above)

        offset = probes.offset
        farther = jnp.where(above >= -below, above, below)
        inside = jnp.where(fits(-offset), -offset, farther)
        at_bound = (above <= 0).astype(jnp.int32) - (below >= 0).astype(jnp.int32)
        return CoordinateProbes(probes.address, jnp.where(fits(offset), offset, inside), at_bound)


def _cut(
    probes: CoordinateProbes, position: jax.Array, lower: Params, upper: Params
) -> CoordinateProbes:
    """Steps that end at the bounds, rounded to their inner side."""
    low, high = gather(lower, probes.address), gather(upper, probes.address)
    below, above = probes.offset <= low - position, probes.offset >= high - position
    offset = jnp.clip(probes.offset, low - position, high - position)
    bit = jnp.finfo(offset.dtype).eps * jnp.abs(position + offset)
    offset = jnp.where(position + offset > high, offset - bit, offset)
    offset = jnp.where(position + offset < low, offset + bit, offset)
    bound = above.astype(jnp.int32) - below.astype(jnp.int32)
    return CoordinateProbes(probes.address, offset, bound, is_step=True)


class Boxed:
    """Objective of the points of a box: what `value_fn` is where there are bounds."""

    def __init__(self, value_fn: Any, box: Box) -> None:
        self.value_fn = value_fn
        self.box = box
        self.whole_batch = getattr(value_fn, "whole_batch", False)

    def __call__(self, params: Params) -> Any:
        """Value at the nearest point of the box."""
        return self.value_fn(self.box.project(params))


def box_of(bounds: Any, x0: Params) -> Box | None:
    """The box of `bounds=(lower, upper)`, each a number or a pytree like `x0`; None of None.

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
        x = np.asarray(x)
        outside = ~((low <= x) & (x <= high))
        if outside.any():
            raise ValueError(
                f"x0: got {x[outside][0]} at x0{name}, wanted a point within the bounds "
                f"{low[outside][0]} to {high[outside][0]}."
            )
    return Box(widen(lower), widen(upper))


def _like(side: Any, name: str, x0: Params) -> Params:
    """One side of the bounds as NumPy arrays of the shapes and working dtypes of `x0`."""
    if np.isscalar(side):
        side = jax.tree.map(lambda _: side, x0)
    if jax.tree.structure(side) != jax.tree.structure(x0):
        raise TypeError(
            f"bounds: got a {name} side of structure {jax.tree.structure(side)}, wanted a number "
            f"or a pytree like x0, {jax.tree.structure(x0)}."
        )

    def fit(bound: Any, x: Any) -> np.ndarray:
        wide = np.result_type(np.asarray(x).dtype, np.float32)
        try:
            return np.broadcast_to(np.asarray(bound, wide), np.shape(x))
        except ValueError as error:
            raise ValueError(
                f"bounds: got a {name} side of shape {np.shape(bound)}, wanted {np.shape(x)}."
            ) from error

    return jax.tree.map(fit, side, x0)
