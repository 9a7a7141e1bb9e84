"""How probes are answered. An evaluator never knows which method asks.

    evaluator(value_fn, params, probes) -> values, shape (number of probes, *shape of a value)

Every evaluator answers every probe exactly once. Those here call the objective for each. Further
ones: `grouped/` redoes only what a probe changes, `sharded.py` shares probes out over devices, and
`automatic.py` chooses. Evaluators are hashable values: two that are made alike are equal.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import jax

from zosah_jax.checks import check_count
from zosah_jax.probes import Probes, split_shared
from zosah_jax.pytree import Params

ValueFn = Callable[[Params], jax.Array]


class Evaluator(Protocol):
    """How probes are answered: any callable of this shape, hashable.

    Two that are made alike are best equal (a frozen dataclass): then a run is compiled once.

    Example:
        >>> import jax, jax.numpy as jnp, zosah_jax
        >>> def in_a_loop(value_fn, params, probes):  # what `one_by_one` does
        ...     return jax.lax.map(lambda probe: value_fn(probe.apply(params)), probes)
        >>> tx = zosah_jax.rspg(0.1, evaluator=in_a_loop)
        >>> out = zosah_jax.minimize(lambda x: (x**2).sum(), jnp.ones(4), tx, budget=100)
        >>> bool(out.value < 1)
        True
    """

    def __call__(self, value_fn: ValueFn, params: Params, probes: Probes, /) -> jax.Array:
        """Values of the probes, in their order, each answered once.

        Args:
            value_fn: the objective.
            params: where the probes are from.
            probes: what is asked.
        """
        ...


def traces_itself(evaluator: Evaluator) -> bool:
    """Whether an evaluator wants the objective untraced.

    One that answers within a mesh of its own does: a program that was traced outside has the layout
    of the mesh outside in it. It says so by an attribute `traces_itself`.
    """
    return getattr(evaluator, "traces_itself", False)


@dataclass(frozen=True)
class InChunks:
    """See `in_chunks`; `size` None: all probes at once."""

    size: int | None

    def __call__(self, value_fn: ValueFn, params: Params, probes: Probes) -> jax.Array:
        """Values of the probes."""
        each, whole = split_shared(probes)

        def answer(probe: Any) -> jax.Array:
            return value_fn(whole(probe).apply(params))

        if self.size is None or self.size >= len(probes):
            return jax.vmap(answer)(each)
        return jax.lax.map(answer, each, batch_size=self.size if self.size > 1 else None)


def in_chunks(size: int) -> Evaluator:
    r"""Evaluator that answers `size` probes at a time, each on its own copy of the parameters.

    Args:
        size: probes in a chunk (static). 1 is one by one, with the least memory. The remainder
            of a division is a smaller chunk: nothing is evaluated that is not asked.

    Returns:
        An evaluator.

    Raises:
        TypeError, ValueError: `size` is no positive int.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> tx = zosah_jax.zosah(1.0, evaluator=zosah_jax.in_chunks(8))
        >>> out = zosah_jax.minimize(lambda x: (x**2).sum(), jnp.ones(4), tx, budget=40)
        >>> bool(out.value < 1e-6)
        True
    """
    check_count("size", size)
    return InChunks(size)


def one_by_one() -> Evaluator:
    """Evaluator that answers one probe after another: the memory of a single evaluation.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> tx = zosah_jax.rspg(0.1, evaluator=zosah_jax.one_by_one())
        >>> out = zosah_jax.minimize(lambda x: (x**2).sum(), jnp.ones(4), tx, budget=100)
        >>> bool(out.value < 1)
        True
    """
    return InChunks(1)


def all_at_once() -> Evaluator:
    """Evaluator that answers a batch at once, with as many copies of the parameters.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> tx = zosah_jax.rspg(0.1, evaluator=zosah_jax.evaluate.all_at_once())
        >>> out = zosah_jax.minimize(lambda x: (x**2).sum(), jnp.ones(4), tx, budget=100)
        >>> bool(out.value < 1)
        True
    """
    return InChunks(None)
