"""Which problem a log or a checkpoint belongs to."""

import hashlib
import re
from typing import Any

import jax
import numpy as np

from zosah_jax.blackbox.ask_tell import AskTell
from zosah_jax.params import Params


def problem_of(solver: AskTell, x0: Params, noise: Any) -> dict[str, str]:
    """What must be the same for a run to go on, by name and in words that an error can show.

    The objective itself, the budget, the target and the executor may change. The method and its
    options are known by the program that a step compiles to, so that two that differ in any constant
    differ here.
    """
    import zosah_jax  # its version is set when it is whole

    described = jax.tree.map(lambda x: f"{np.asarray(x).dtype}{list(np.shape(x))}", x0)
    program = re.sub("0x[0-9a-f]+", "", solver.program())
    state = [np.asarray(leaf) for leaf in jax.tree.leaves(_raw_keys(solver.state.optimizer))]
    return {
        "zosah_jax": zosah_jax.__version__,
        "jax": jax.__version__,
        "shape of x0": str(described),
        "value of x0 (digest)": _digest(*map(np.asarray, jax.tree.leaves(x0))),
        "bounds (digest)": "none"
        if solver.box is None
        else _digest(*map(np.asarray, jax.tree.leaves(solver.box))),
        "noise": str(noise),
        "method with its options and key (digest)": _digest(
            np.frombuffer(program.encode(), np.uint8), *state
        ),
    }


def _raw_keys(tree: Any) -> Any:
    def raw(leaf: Any) -> Any:
        typed = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(leaf) if typed else leaf

    return jax.tree.map(raw, tree)


def _digest(*arrays: np.ndarray) -> str:
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.dtype}{array.shape}".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()[:16]
