"""What a value costs beside the objective, and how much is kept."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from experiments.benchmarks.many_parameters.runs import OURS, method
from experiments.common import timing
from zosah_jax import minimize

_ROWS = 4_000  # of the product that a value is compared with: the issue's
_ENTRIES = 40_000_000  # of its matrix at most, 320 MB; with fewer rows the time is scaled


def costs(dimensions: Sequence[int], values: int, repeats: int) -> list[dict[str, Any]]:
    """Microseconds a value of whole compiled runs, and of one product with a matrix."""
    return [_costs(d, values, repeats) for d in tqdm(dimensions)]


def _costs(d: int, values: int, repeats: int) -> dict[str, Any]:
    solver, x0 = method(OURS), jnp.zeros(d)
    rows = min(_ROWS, max(1, _ENTRIES // d))
    matrix = jnp.asarray(np.random.default_rng(0).standard_normal((rows, d)))
    product = jax.jit(lambda x: matrix @ x)
    seconds = timing.in_turns(
        {
            "run": lambda: minimize(_cheap, x0, solver, budget=values).value,
            "product": lambda: product(x0),
        },
        repeats,
    )
    spent = int(minimize(_cheap, x0, solver, budget=values).num_evaluations)
    state = jax.eval_shape(solver.init, x0, jax.random.key(0))
    bytes_kept = sum(
        math.prod(leaf.shape) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(state._replace(key=None))
    )
    return {
        "dimension": d,
        "values": spent,
        "microseconds": 1e6 * float(np.median(seconds["run"])) / spent,
        "rows": rows,
        "product_microseconds": 1e6 * float(np.median(seconds["product"])) * _ROWS / rows,
        "vectors_kept": bytes_kept / (d * x0.dtype.itemsize),
    }


def _cheap(x: jax.Array) -> jax.Array:
    """A few operations a coordinate, all curvatures much alike.

    So every block is looked at by one value a coordinate, as in the long run, and not by two, as in
    the first sweep.
    """
    return jnp.sum((x - 1) ** 2) + jnp.sum(x[1:] * x[:-1]) / 2
