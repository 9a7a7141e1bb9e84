"""Convolutions whose kernels have noise for each example, without a kernel for each example.

The signs of a copied leaf are the outer product of one vector of signs for each of its axes: any
two entries are uncorrelated, as those of independent signs are, so that the estimate has the same
mean and the same variance. A convolution with such a kernel is a sum over channels, one over the
places along each axis in turn, and a product with the signs of the results' channels.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from zosah_jax.evaluate.grouped.program import Op, Slot
from zosah_jax.forward.program import Program
from zosah_jax.jaxprs import is_literal


def applies(program: Program, op: Op, factors: dict[Slot, list[jax.Array]]) -> bool:
    """Whether an operation is a convolution of examples with a kernel that has such noise."""
    if op.name != "conv_general_dilated" or is_literal(op.inputs[1]):
        return False
    groups = {op.eqn.params[name] for name in ("feature_group_count", "batch_group_count")}
    return op.inputs[1] in factors and groups == {1} and program.axis(op.inputs[0]) is not None


def convolved(program: Program, op: Op, x: jax.Array, factors: list[jax.Array]) -> jax.Array:
    """Each example convolved with the outer product of its factors.

    Args:
        program: that the operation is of.
        op: a convolution that `applies`.
        x: its first operand.
        factors: one for each axis of the kernel, shapes (B, entries along it).
    """
    params: dict[str, Any] = op.eqn.params
    spec, inner = params["dimension_numbers"], program.axes[op.inputs[0]].inner
    results, channels, *along = (jnp.repeat(factors[dim], inner, 0) for dim in spec.rhs_spec)
    y = jnp.einsum("bc...,bc->b...", jnp.transpose(x, spec.lhs_spec), channels)
    for dim, factor in enumerate(along):
        size = program.avals[op.outputs[0]].shape[spec.out_spec[2 + dim]]
        y = _along(y, factor, dim, size, params)
    out = y[:, None] * results.reshape(*results.shape, *[1] * len(along))
    places = [0] * out.ndim
    for place, dim in enumerate(spec.out_spec):
        places[dim] = place
    return jnp.transpose(out, places)


def _along(
    y: jax.Array, factor: jax.Array, dim: int, size: int, params: dict[str, Any]
) -> jax.Array:
    """Convolved along one axis, examples first and no channels."""
    padding = [(0, 0, 0)] * y.ndim
    padding[1 + dim] = (*params["padding"][dim], params["lhs_dilation"][dim] - 1)
    padded = jax.lax.pad(y, jnp.zeros((), y.dtype), padding)
    step, apart = params["window_strides"][dim], params["rhs_dilation"][dim]
    parts = []
    for place in range(factor.shape[1]):
        first = place * apart
        part = jax.lax.slice_in_dim(padded, first, first + (size - 1) * step + 1, step, 1 + dim)
        parts.append(part * factor[:, place].reshape(-1, *[1] * (y.ndim - 1)))
    return functools.reduce(jnp.add, parts)
