"""A convolution as a sum of products, one for each place of the kernel.

As a function of the kernel: its transpose is a sum of products, too, where XLA's convolution by a
large kernel (that is what the transpose of a convolution is) takes three times as long on a CPU.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp

from zosah_jax.evaluate.grouped.program import Op

MOST = 64
"""Most places of a kernel that are taken one by one."""


def applies(op: Op) -> bool:
    """Whether an operation is a convolution that can be done so."""
    if op.name != "conv_general_dilated":
        return False
    params = op.eqn.params
    shape = op.eqn.invars[1].aval.shape
    count = 1
    for dim in params["dimension_numbers"].rhs_spec[2:]:
        count *= shape[dim]
    plain = params["feature_group_count"] == params["batch_group_count"] == 1
    return plain and count <= MOST


def convolved(op: Op, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The result of a convolution that `applies`."""
    params: dict[str, Any] = op.eqn.params
    spec, out = params["dimension_numbers"], op.eqn.outvars[0].aval
    x = jnp.transpose(x, (spec.lhs_spec[0], *spec.lhs_spec[2:], spec.lhs_spec[1]))
    kernel = jnp.transpose(kernel, (*spec.rhs_spec[2:], spec.rhs_spec[1], spec.rhs_spec[0]))
    places = range(x.ndim - 2)
    holes = [
        (low, high, params["lhs_dilation"][d] - 1)
        for d, (low, high) in enumerate(params["padding"])
    ]
    padded = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *holes, (0, 0, 0)])
    sizes = [out.shape[dim] for dim in spec.out_spec[2:]]
    steps = params["window_strides"]
    total = jnp.zeros((), out.dtype)
    for place in itertools.product(*map(range, kernel.shape[:-2])):
        first = [place[d] * params["rhs_dilation"][d] for d in places]
        last = [first[d] + (sizes[d] - 1) * steps[d] + 1 for d in places]
        part = jax.lax.slice(
            padded, (0, *first, 0), (x.shape[0], *last, x.shape[-1]), (1, *steps, 1)
        )
        total = total + jnp.matmul(
            part, kernel[place], precision=params["precision"], preferred_element_type=out.dtype
        )
    order = [0] * out.ndim
    for place, dim in enumerate((spec.out_spec[0], *spec.out_spec[2:], spec.out_spec[1])):
        order[dim] = place
    return jnp.transpose(total, order)
