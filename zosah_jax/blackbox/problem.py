"""Which problem a log or a checkpoint belongs to."""

import hashlib
from typing import Any

import jax
import numpy as np


def problem_of(solver: Any, noise: Any = None) -> dict[str, str]:
    """What must be the same for a run to go on, by name and in words that an error can show.

    The objective itself, the budget, the target and the executor may change. The method and its
    options are known by the program that a step compiles to, so that two that differ in any
    constant differ here.

    Args:
        solver: an `AskTell`.
        noise: as the user gave it.
    """
    import zosah_jax  # its version is set when it is whole

    described = jax.tree.map(lambda x: f"{x.dtype}{list(x.shape)}", solver.x0)
    box = jax.tree.leaves(solver.box)
    program, start = solver.program()
    return {
        "zosah_jax": zosah_jax.__version__,
        "jax": jax.__version__,
        "shape of x0": str(described),
        "value of x0 (digest)": _digest(jax.tree.leaves(solver.x0)),
        "bounds (digest)": _digest(box) if box else "none",
        "noise": str(noise),
        "method with its options and key (digest)": _digest(
            [np.frombuffer(program.encode(), np.uint8), *start]
        ),
    }


def _digest(arrays: list[Any]) -> str:
    total = hashlib.sha256()
    for array in map(np.asarray, arrays):
        total.update(f"{array.dtype}{array.shape}".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()[:16]
