"""What a checkpoint must agree in before a run goes on from it, and the names of its arrays."""

import hashlib
import json
from dataclasses import asdict
from typing import Any

import jax

import zosah_jax
from experiments.common.image_data import ImageData
from experiments.common.training import Setting

_DIGEST_BYTES = 16


def fingerprint(data: ImageData) -> str:
    """A data set by name and content."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in (data.train, data.test):
        for array in part:
            digest.update(array.tobytes())
    return f"{data.source}, {digest.hexdigest()}"


def identity(setting: Setting, data: str) -> dict[str, Any]:
    """What a checkpoint must agree in: the setting, the data and the library, for JSON.

    Args:
        setting: the run.
        data: its `fingerprint`.
    """
    about = {**asdict(setting), "data": data, "zosah_jax": zosah_jax.__version__}
    return json.loads(json.dumps(about))  # as it will be read: tuples become lists


def first_difference(found: dict[str, Any], wanted: dict[str, Any]) -> str | None:
    """In what two identities differ first, in words; None if in nothing."""
    for name in [*wanted, *(name for name in found if name not in wanted)]:
        if found.get(name) != wanted.get(name):
            return f"{name} = {found.get(name)!r}, wanted {wanted.get(name)!r}"
    return None


def named_leaves(state: Any) -> list[tuple[str, Any]]:
    """Leaves of a state by name."""
    return [
        (jax.tree_util.keystr(path, simple=True, separator="."), leaf)
        for path, leaf in jax.tree.leaves_with_path(state)
    ]
