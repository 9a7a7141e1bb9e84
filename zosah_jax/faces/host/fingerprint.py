"""Which problem a log belongs to, in words: an error can say which of them differs."""

import dataclasses
import functools
import hashlib
import re
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from zosah_jax.checks import is_typed_key
from zosah_jax.method import Method


def fingerprint(
    x0: Any, bounds: Any, noise: Any, method: Method | None, rate: Any, post: Any, key: Any
) -> dict[str, str]:
    """What must be the same for a run to go on.

    The objective itself, the budget, the target and where the calls run may change.

    Args:
        x0: pytree of arrays.
        bounds: pytree of arrays, or None.
        noise: standard deviation, or None where it is measured.
        method: None where the library chooses it.
        rate: learning rate, or a schedule of it.
        post: what comes after the method's step.
        key: typed key of the run.
    """
    import zosah_jax  # its version is set when it is whole

    shapes = jax.tree.map(lambda x: f"{x.dtype}{list(x.shape)}", x0)
    problem = {
        "zosah_jax": zosah_jax.__version__,
        "jax": jax.__version__,
        "shape of x0": str(shapes),
        "value of x0 (digest)": digest(jax.tree.leaves(x0)),
        "bounds (digest)": "none" if bounds is None else digest(jax.tree.leaves(bounds)),
        "noise": "measured" if noise is None else described(float(noise)),
        "method": "the library's choice" if method is None else type(method).__qualname__,
    }
    for name, value in {} if method is None else method.options().items():
        if name != "key":
            problem[f"option {name} of the method"] = described(value)
    problem["learning rate"] = described(rate if callable(rate) else float(rate))
    problem["post"] = described(post)
    problem["key"] = described(key)
    return problem


def digest(arrays: Iterable[Any]) -> str:
    """Hash of dtypes, shapes and contents."""
    total = hashlib.sha256()
    for array in map(np.asarray, arrays):
        total.update(f"{array.dtype}{array.shape}".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()[:16]


def described(value: Any, above: tuple[int, ...] = ()) -> str:
    """A value as text that is the same in every process.

    Arrays by their contents, typed keys by their data, functions by their qualified names and what
    they close over.

    Args:
        value: an option of a method, or the like.
        above: identities of what it is within, so that a cycle ends.
    """
    if value is None:
        return "none"
    if is_typed_key(value):
        data = np.asarray(jax.random.key_data(value)).tolist()
        return f"{jax.random.key_impl(value)}{data}"
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        array = np.asarray(value)
        return described(array.item()) if array.ndim == 0 else _array(array)
    if isinstance(value, str | bool | int | float):
        return repr(value)
    if id(value) in above:
        return "..."
    inner = functools.partial(described, above=(*above, id(value)))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{inner(k)}: {inner(v)}" for k, v in value.items()) + "}"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        fields = zip(value._fields, value, strict=True)  # type: ignore[attr-defined]
        return _call(type(value).__qualname__, fields, inner)
    if isinstance(value, list | tuple | set | frozenset):
        parts = [inner(part) for part in value]
        ordered = parts if isinstance(value, list | tuple) else sorted(parts)
        return f"{type(value).__name__}({', '.join(ordered)})"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
        return _call(type(value).__qualname__, fields, inner)
    if isinstance(value, functools.partial):
        keywords = [*enumerate(value.args), *value.keywords.items()]
        return _call(inner(value.func), keywords, inner)
    return _other(value, inner)


def _array(array: np.ndarray) -> str:
    return f"{array.dtype}{list(array.shape)} {digest([array])}"


def _call(name: str, arguments: Iterable[tuple[Any, Any]], inner: Any) -> str:
    return f"{name}({', '.join(f'{k}={inner(v)}' for k, v in arguments)})"


def _other(value: Any, inner: Any) -> str:
    """A function or an object; without the addresses that its text may hold."""
    name = getattr(value, "__qualname__", None)
    if name is None:
        return re.sub(" at 0x[0-9a-fA-F]+", "", repr(value))
    name = f"{getattr(value, '__module__', '')}.{name}"
    names = getattr(getattr(value, "__code__", None), "co_freevars", ())
    closed: list[tuple[Any, Any]] = []
    for free, cell in zip(names, getattr(value, "__closure__", None) or (), strict=False):
        try:
            closed.append((free, cell.cell_contents))
        except ValueError:  # a name that is not bound yet
            closed.append((free, None))
    return _call(name, closed, inner) if closed else name
