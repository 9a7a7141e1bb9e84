"""A Python callable as the `value_fn` of a jitted `update`, a whole batch in one callback."""

import math
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from zosah_jax.faces.host.evaluator import HostEvaluator, ObjectiveError
from zosah_jax.faces.host.settings import Host
from zosah_jax.pytree import Params, working_dtype


class HostFunction:
    """What `host_function` returns: params -> scalar, traceable, not differentiable.

    Example:
        >>> import jax, jax.numpy as jnp, numpy as np, zosah_jax.host
        >>> f = zosah_jax.host.host_function(lambda x: float(np.sum(x**2)))
        >>> print(jax.jit(f)(jnp.ones(3)), f.num_calls)
        3.0 1
    """

    def __init__(self, evaluator: HostEvaluator) -> None:
        self._evaluator = evaluator

    @property
    def num_calls(self) -> int:
        """Calls of the Python function so far, retries included."""
        return self._evaluator.num_calls

    def __call__(self, params: Params) -> jax.Array:
        """Value at a point; under `vmap`, of all points by one callback."""
        dtype = working_dtype(params)
        ndims = tuple(np.ndim(leaf) for leaf in jax.tree.leaves(params))
        return jax.pure_callback(
            _Callback(self._evaluator, ndims, dtype),
            jax.ShapeDtypeStruct((), dtype),
            params,
            vmap_method="expand_dims",
        )


@dataclass(frozen=True)
class _Callback:
    """What JAX calls: equal in every trace, so that a run is compiled once.

    Attributes:
        evaluator: the objective as it is called here.
        ndims: numbers of axes of the leaves of a single point.
        dtype: of the values.
    """

    evaluator: HostEvaluator
    ndims: tuple[int, ...]
    dtype: Any

    def __call__(self, batch: Params) -> np.ndarray:
        """Values of a batch, with its leading axes; an axis of 1 is one that is not batched.

        Nothing of JAX is called here but the tree functions: a computation that waits for this
        callback may hold the very threads that another would need.
        """
        leaves, treedef = jax.tree.flatten(batch)
        leaves = [np.asarray(leaf) for leaf in leaves]
        shapes = [leaf.shape[leaf.ndim - n :] for leaf, n in zip(leaves, self.ndims, strict=True)]
        leading = [leaf.shape[: leaf.ndim - n] for leaf, n in zip(leaves, self.ndims, strict=True)]
        shape = np.broadcast_shapes(*leading)
        size = math.prod(shape)
        flat = [
            np.broadcast_to(leaf, (*shape, *own)).reshape(size, *own)
            for leaf, own in zip(leaves, shapes, strict=True)
        ]
        points = [jax.tree.unflatten(treedef, [leaf[i, ...] for leaf in flat]) for i in range(size)]
        before = self.evaluator.first_error
        values = np.asarray(self.evaluator(points))
        if before is None and self.evaluator.first_error and np.isnan(values).all():
            raise ObjectiveError(
                "fun: raised at every point of the first batch in which it raised. The first "
                f"traceback:\n\n{self.evaluator.first_error}"
            )
        with np.errstate(all="ignore"):  # a value beyond the dtype is infinite
            return values.astype(self.dtype).reshape(shape)


def host_function(
    fun: Callable[[Params], Any],
    executor: Executor | None = None,
    *,
    max_workers: int | None = None,
    timeout: float | None = None,
    retries: int = 0,
) -> HostFunction:
    """A Python callable as a `value_fn` that works in `tx.update` and `minimize` under `jit`.

    A batch of probes is one callback (`jax.pure_callback`), whose calls run in parallel on the
    executor. The default evaluator hands over a batch at once; one that was chosen keeps its
    chunks, a callback each. `fun` gets NumPy arrays in float32 or wider. Values that are missing
    (the call raised or timed out, the value is None or NaN) are NaN.

    `fun` must not call JAX in this thread: a computation that waits for a callback may hold the
    threads that another would need, and both would wait for ever. A process pool has no such limit.
    Logs and budgets that count retries are those of `minimize(..., host=Host(...))`.

    Args:
        fun: objective, params -> real scalar.
        executor: any `concurrent.futures.Executor`; None: the calls run one after another.
        max_workers: processes of an own pool instead.
        timeout: seconds after which a call is given up, see `Host`.
        retries: how often a point is asked again whose value is missing. Transformations
            do not count retries; `num_calls` of what is returned does.

    Returns:
        A callable of params, a `HostFunction`, whose attribute `num_calls` counts.

    Raises:
        TypeError, ValueError: an argument is out of its range, by name.

    Example:
        >>> import jax, jax.numpy as jnp, numpy as np, zosah_jax.host
        >>> f = zosah_jax.host.host_function(lambda x: float(np.sum((x - 1) ** 2)))
        >>> tx, x = zosah_jax.zosah(1.0), jnp.zeros(4)
        >>> step = jax.jit(lambda x, s: tx.update(x, s, x, value_fn=f))
        >>> updates, state = step(x, tx.init(x))
        >>> f.num_calls == zosah_jax.num_evaluations(state)
        True
    """
    host = Host(executor, max_workers, timeout, retries)
    return HostFunction(HostEvaluator(fun, host))
