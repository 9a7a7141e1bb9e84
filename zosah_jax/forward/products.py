"""A product with a matrix, as a function of the matrix, whose transpose is quick on a CPU.

The transpose of x W is x^T s, for which XLA walks down the columns of x: two to three times as long
as s^T x and turning that around where x is wide or s narrow, and as long elsewhere.
"""

from typing import Any

import jax

from zosah_jax.evaluate.grouped.program import Op


def applies(op: Op) -> bool:
    """Whether an operation is a product of rows with a matrix."""
    if op.name != "dot_general":
        return False
    (left, right), batched = op.eqn.params["dimension_numbers"]
    rows, matrix = (var.aval.shape for var in op.eqn.invars)
    plain = tuple(left) == (len(rows) - 1,) and tuple(right) == (0,) and len(matrix) == 2
    return plain and tuple(map(tuple, batched)) == ((), ())


def multiplied(op: Op, x: jax.Array, matrix: jax.Array) -> jax.Array:
    """The result of a product that `applies`."""
    params = op.eqn.params
    return by_rows(x, matrix, params["precision"], params["preferred_element_type"])


def by_rows(x: jax.Array, matrix: jax.Array, precision: Any, dtype: Any) -> jax.Array:
    """The last axis of x multiplied with the first of a matrix."""
    turned = jax.lax.optimization_barrier(matrix.T)  # or XLA turns it back
    numbers = (((x.ndim - 1,), (1,)), ((), ()))
    return jax.lax.dot_general(
        x, turned, numbers, precision=precision, preferred_element_type=dtype
    )
