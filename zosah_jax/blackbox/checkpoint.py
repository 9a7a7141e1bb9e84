"""States on disk, through orbax: written whole or not at all, and checked when they are read."""

import hashlib
import json
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Arrays = dict[str, np.ndarray]

_KEPT = 3
_ABOUT, _DIGEST = "about", "digest"


class OtherProblem(ValueError):
    """A log or a checkpoint that belongs to another problem."""


def _orbax() -> ModuleType:
    try:
        import orbax.checkpoint as ocp
    except ImportError as error:
        raise ImportError(
            "checkpoint: wanted orbax, which is not installed: pip install 'zosah_jax[orbax]'."
        ) from error
    return ocp


def to_arrays(tree: Any, prefix: str) -> Arrays:
    """Leaves of a pytree by number, typed keys by their data, leaves without elements left out."""
    named = ((f"{prefix}{number:04d}", raw(x)) for number, x in enumerate(jax.tree.leaves(tree)))
    return {name: array for name, array in named if array.size}


def from_arrays(arrays: Arrays, prefix: str, like: Any) -> Any:
    """The pytree of `to_arrays`, in the structure of `like`.

    Raises:
        OtherProblem: number, shapes or dtypes of the leaves are not those of `like`.
    """
    leaves, treedef = jax.tree.flatten(like)
    wanted = to_arrays(like, prefix)
    found = {name: array for name, array in arrays.items() if name.startswith(prefix)}
    if {k: (a.shape, a.dtype) for k, a in found.items()} != {
        k: (a.shape, a.dtype) for k, a in wanted.items()
    }:
        raise OtherProblem(
            "checkpoint: got a state of other shapes, wanted that of this x0 and tx."
        )
    for number, leaf in enumerate(leaves):
        array = found.get(f"{prefix}{number:04d}", raw(leaf))
        if _is_key(leaf):
            leaves[number] = jax.random.wrap_key_data(
                jnp.asarray(array), impl=jax.random.key_impl(leaf)
            )
        elif isinstance(leaf, jax.Array):
            leaves[number] = jnp.asarray(array)
        else:
            leaves[number] = array
    return jax.tree.unflatten(treedef, leaves)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def raw(leaf: Any) -> np.ndarray:
    """A leaf as a NumPy array, a typed key as its data."""
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def digest_of(arrays: Arrays) -> str:
    """SHA-256 over names, dtypes, shapes and contents."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {array.dtype} {array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


class Checkpoints:
    """The newest few checkpoints of a run in a folder, one a step.

    Args:
        folder: made where it is not there.
        problem: what a checkpoint must belong to, by name.

    Raises:
        ImportError: orbax is not installed.
    """

    def __init__(self, folder: Path, problem: dict[str, str]) -> None:
        ocp = _orbax()
        self._args, self._problem = ocp.args, problem
        self._folder = folder.resolve()
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=_KEPT, enable_async_checkpointing=False, create=True
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    def save(self, step: int, arrays: Arrays, about: dict[str, Any]) -> None:
        """Write a checkpoint beside its predecessors; it is there whole or not at all."""
        text = json.dumps({"problem": self._problem, **about}).encode()
        tree = {**arrays, _ABOUT: np.frombuffer(text, np.uint8)}
        tree[_DIGEST] = np.frombuffer(digest_of(tree).encode(), np.uint8)
        self._manager.save(step, args=self._args.StandardSave(tree), force=True)

    def next_number(self) -> int:
        """A number beyond those of all checkpoints."""
        return max(self._manager.all_steps(), default=-1) + 1

    def newest(self) -> tuple[Arrays, dict[str, Any]] | None:
        """The newest checkpoint that is whole; a damaged one is passed over with a warning.

        Raises:
            OtherProblem: it belongs to another problem.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                arrays, about = self._read(step)
            except OtherProblem:
                raise
            except Exception as error:
                warnings.warn(
                    f"checkpoint: {self._folder / str(step)} is damaged ({_first_line(error)}); "
                    "going back to the one before it.",
                    stacklevel=2,
                )
                self._manager.delete(step)
                continue
            check_problem(f"checkpoint {self._folder}", about["problem"], self._problem)
            return arrays, about
        return None

    def _read(self, step: int) -> tuple[Arrays, dict[str, Any]]:
        tree = self._manager.restore(step, args=self._args.StandardRestore())
        kept = bytes(tree.pop(_DIGEST)).decode()
        if kept != digest_of(tree):
            raise ValueError("its contents are not what was written")
        return tree, json.loads(bytes(tree.pop(_ABOUT)))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def check_problem(what: str, found: dict[str, str], wanted: dict[str, str]) -> None:
    """Refuse what belongs to another problem.

    Raises:
        OtherProblem: by the name of the first difference.
    """
    for name, value in wanted.items():
        if found.get(name) != value:
            other = "".join(
                f" (written with jax {found.get('jax')}, this is {wanted['jax']})"
                for _ in range(found.get("jax") != wanted["jax"])
            )
            raise OtherProblem(
                f"{what}: got one of another problem, whose {name} is {found.get(name)}, wanted "
                f"{value}{other}. Nothing was changed; give another path to begin anew."
            )
