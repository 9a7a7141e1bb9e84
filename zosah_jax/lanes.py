"""Computations that `jax.vmap` runs one lane after another.

Under `vmap` a `lax.cond` with a batched predicate runs both branches, and a `while_loop` goes on
for the lanes that have ended: values of the objective would be paid that nobody counts.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import jaxpr_as_fun


def lane_by_lane(fun: Callable[..., Any], *args: Any) -> Any:
    """`fun(*args)`; under `vmap` the lanes follow one another, each with its own control flow.

    `fun` may close over traced values, batched ones too (which `jax.custom_batching` alone does
    not allow): they are hoisted into arguments.
    """
    closed, out_shape = jax.make_jaxpr(fun, return_shape=True)(*args)
    out_tree = jax.tree.structure(out_shape)

    @jax.custom_batching.sequential_vmap
    def run(consts: list[Any], flat: list[Any]) -> list[Any]:
        return jaxpr_as_fun(closed.replace(consts=consts))(*flat)

    return jax.tree.unflatten(out_tree, run(closed.consts, jax.tree.leaves(args)))
