"""The minimum of a smooth model within a ball and a box, by Newton's method; no evaluation."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.methods.regression.trust_region import Box, minimise

_TURNS = 40  # of Newton's method on the model, at most
_ENOUGH = 1e-2  # of the decrease so far: a turn that gains less is the last
_FIRST_DAMPING = 1e-10  # of the trace of the Hessian, after a turn that gained nothing
_DAMPING = 10.0  # factor on it from turn to turn
_SHORT = 1e-12  # of the radius: a move that is no longer is none


class _Turn(NamedTuple):
    turn: jax.Array
    z: jax.Array
    value: jax.Array
    damping: jax.Array
    ended: jax.Array


def lowest(
    value: Callable[[jax.Array], jax.Array],
    newton: Callable[[jax.Array], tuple[jax.Array, jax.Array]],
    radius: jax.Array,
    box: Box,
) -> tuple[jax.Array, jax.Array]:
    """Where a model is least within the ball around 0 and the box, and its decrease from 0.

    Newton's method, damped where a move gains nothing.

    Args:
        value: of the model at z.
        newton: its gradient and Hessian at z, both up to one common factor.
        radius: of the ball.
        box: bounds of z, shapes (d,).
    """
    start = value(jnp.zeros_like(box.lower))
    d, dtype = len(box.lower), start.dtype

    def turn(at: _Turn) -> _Turn:
        gradient, hessian = newton(at.z)
        damped = hessian + at.damping * jnp.trace(jnp.abs(hessian)) * jnp.eye(d, dtype=dtype)
        z = minimise(gradient, damped, at.z, radius, box)
        new = value(z)
        better = new < at.value
        gain = at.value - new
        few = gain < _ENOUGH * (start - at.value)
        still = jnp.linalg.norm(z - at.z) < _SHORT * radius
        less = jnp.where(at.damping > _FIRST_DAMPING, at.damping / _DAMPING, 0)
        more = jnp.maximum(at.damping * _DAMPING, _FIRST_DAMPING)
        return _Turn(
            at.turn + 1,
            jnp.where(better, z, at.z),
            jnp.where(better, new, at.value),
            jnp.where(better, less, more).astype(dtype),
            jnp.where(better, few, still | ~jnp.isfinite(new) & (at.damping > 1)),
        )

    def goes_on(at: _Turn) -> jax.Array:
        return (at.turn < _TURNS) & ~at.ended

    begin = _Turn(
        jnp.zeros((), jnp.int32),
        jnp.zeros(d, dtype),
        start,
        jnp.zeros((), dtype),
        jnp.zeros((), bool),
    )
    found = jax.lax.while_loop(goes_on, turn, begin)
    return found.z, start - found.value
