"""What a run that is driven from outside knows."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.checks import is_typed_key
from zosah_jax.pytree import Params


class AskTellState(NamedTuple):
    """All that an `AskTell` knows: a pytree of NumPy arrays, to be kept, sent and set again.

    Attributes:
        params: where the run stands.
        method: the method's state, typed keys as their data.
        after: state of the schedule and of `post`.
        stage: number of the method's stage that is asked or told next.
        asked: whether its points were asked and are still to be told.
        step: moves taken.
        num_evaluations: values told, missing ones included.
        best_params: the point with the smallest value told.
        best_value: that value; inf before there is one.
        value: value where the run stood at the last batch; NaN where it is not known.
        num_missing: values of the last batch that were missing.
        value_size: how many numbers a value is; 0: a scalar, -1: not known yet.

    Example:
        >>> import pickle, numpy as np, zosah_jax
        >>> solver = zosah_jax.AskTell(np.ones(2), zosah_jax.methods.rspg())
        >>> points = solver.ask()
        >>> kept = pickle.dumps(solver.state)  # between the two moves, or at any other time
        >>> later = zosah_jax.AskTell(np.ones(2), zosah_jax.methods.rspg())
        >>> later.state = pickle.loads(kept)
        >>> later.tell([float((x**2).sum()) for x in points])
        >>> later.state.step, later.state.num_evaluations
        (array(1), array(2))
    """

    params: Params
    method: Any
    after: Any
    stage: np.ndarray
    asked: np.ndarray
    step: np.ndarray
    num_evaluations: np.ndarray
    best_params: Params
    best_value: np.ndarray
    value: np.ndarray
    num_missing: np.ndarray
    value_size: np.ndarray


def raw(leaf: Any) -> np.ndarray:
    """A leaf as a NumPy array of its own, a typed key as its data."""
    return np.array(jax.random.key_data(leaf) if is_typed_key(leaf) else leaf)


def restored(leaf: np.ndarray, like: Any) -> jax.Array:
    """The inverse of `raw`."""
    if is_typed_key(like):
        return jax.random.wrap_key_data(jnp.array(leaf), impl=jax.random.key_impl(like))
    return jnp.array(leaf)


def check_like(state: Any, wanted: AskTellState) -> None:
    """Refuse a state whose structure, shapes or dtypes are not those of this problem."""
    if jax.tree.structure(state) != jax.tree.structure(wanted):
        raise ValueError("state: got one of another structure, wanted that of this x0 and method.")
    have, want = jax.tree.leaves_with_path(state), jax.tree.leaves(wanted)
    for (path, leaf), other in zip(have, want, strict=True):
        leaf = np.asarray(leaf)
        if (leaf.shape, leaf.dtype) != (other.shape, other.dtype):
            raise ValueError(
                f"state: got {leaf.dtype}{list(leaf.shape)} at {jax.tree_util.keystr(path)}, "
                f"wanted {other.dtype}{list(other.shape)} as for this x0 and method."
            )
