"""A convolution as one product, of patches with the kernel.

As a function of the kernel: its transpose is one product, too, where XLA's convolution by a large
kernel (that is what the transpose of a convolution is) is many times slower within a compiled loop
on a CPU.
"""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp

from zosah_jax.evaluate.grouped.program import Op
from zosah_jax.forward import products

MOST = 64
"""Most places of a kernel, so many times larger than the input are the patches at most."""


_FEW = 16  # places of a kernel that are sliced at once: one more copy costs more than it saves


def applies(op: Op) -> bool:
    """Whether an operation is a convolution that can be done so."""
    if op.name != "conv_general_dilated":
        return False
    params = op.eqn.params
    shape = op.eqn.invars[1].aval.shape
    count = math.prod(shape[dim] for dim in params["dimension_numbers"].rhs_spec[2:])
    plain = params["feature_group_count"] == params["batch_group_count"] == 1
    return plain and count <= MOST


def convolved(op: Op, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The result of a convolution that `applies`."""
    params: dict[str, Any] = op.eqn.params
    spec, out = params["dimension_numbers"], op.eqn.outvars[0].aval
    kernel = jnp.transpose(kernel, (*spec.rhs_spec[2:], spec.rhs_spec[1], spec.rhs_spec[0]))
    patches = _patches(params, x, kernel.shape[:-2], [out.shape[d] for d in spec.out_spec[2:]])
    total = products.by_rows(
        patches.reshape(*patches.shape[: x.ndim - 1], -1),
        kernel.reshape(-1, kernel.shape[-1]),
        params["precision"],
        out.dtype,
    )
    order = [0] * out.ndim
    for place, dim in enumerate((spec.out_spec[0], *spec.out_spec[2:], spec.out_spec[1])):
        order[dim] = place
    return jnp.transpose(total, order)


def _patches(
    params: dict[str, Any], x: jax.Array, kernel: tuple[int, ...], sizes: list[int]
) -> jax.Array:
    """What each result is a product of: shape (examples, *sizes, *kernel, channels).

    Of large kernels made along one axis after the other: as many slices as the sides of the kernel
    have together, and not as their product.
    """
    spec = params["dimension_numbers"].lhs_spec
    x = jnp.transpose(x, (spec[0], *spec[2:], spec[1]))
    holes = [
        (low, high, params["lhs_dilation"][d] - 1)
        for d, (low, high) in enumerate(params["padding"])
    ]
    found = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *holes, (0, 0, 0)])
    dims = list(reversed(range(len(kernel))))
    for group in [dims] if math.prod(kernel) <= _FEW else [[dim] for dim in dims]:
        slices = []
        for place in itertools.product(*(range(kernel[dim]) for dim in reversed(group))):
            part = found
            for dim, at in zip(reversed(group), place, strict=True):
                first, step = at * params["rhs_dilation"][dim], params["window_strides"][dim]
                last = first + (sizes[dim] - 1) * step + 1
                part = jax.lax.slice_in_dim(part, first, last, step, 1 + dim)
            slices.append(part)
        # kept apart: XLA would make all of it entry by entry
        found = jax.lax.optimization_barrier(jnp.stack(slices, axis=1 + len(kernel)))
    return found
