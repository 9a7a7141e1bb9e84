"""Text that every installation has, from four sources; and snippets to tell them apart."""

import importlib
import inspect
import pydoc_data.topics
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import sklearn.datasets

_LARGEST = 200_000  # bytes of a source
_SOURCE_MODULES = ("argparse", "ast", "datetime", "inspect", "logging", "pathlib", "tarfile")
_DESCRIBED = (
    *("load_breast_cancer", "load_diabetes", "load_digits", "load_iris", "load_linnerud"),
    "load_wine",
)


class Corpus(NamedTuple):
    """A source's text: what is learnt from, and what is held back.

    Attributes:
        train: tokens, int32, shape (n,).
        test: tokens, int32, shape (n,): the last fifth.
    """

    train: np.ndarray
    test: np.ndarray


class Snippets(NamedTuple):
    """Pieces of text, and the source of each.

    Attributes:
        tokens: int32, shape (n, length).
        labels: int32, shape (n,).
    """

    tokens: np.ndarray
    labels: np.ndarray


def corpora() -> dict[str, Corpus]:
    """The sources by name."""
    return {name: _split(_tokens(read())) for name, read in _SOURCES.items()}


def snippets(
    found: dict[str, Corpus], part: str, per_source: int, length: int, seed: int
) -> Snippets:
    """Pieces drawn from every source.

    Args:
        found: the sources.
        part: "train" or "test".
        per_source: how many of each.
        length: bytes of a piece.
        seed: of the draw.
    """
    generator = np.random.default_rng(seed)
    tokens, labels = [], []
    for label, corpus in enumerate(found.values()):
        text = getattr(corpus, part)
        start = generator.integers(0, len(text) - length, per_source)
        tokens.append(text[start[:, None] + np.arange(length)[None]])
        labels.append(np.full(per_source, label, np.int32))
    return Snippets(np.concatenate(tokens), np.concatenate(labels))


def _reference() -> str:
    topics = pydoc_data.topics.topics
    return "\n".join(topics[name] for name in sorted(topics))


def _source() -> str:
    return "\n".join(inspect.getsource(importlib.import_module(m)) for m in _SOURCE_MODULES)


def _docstrings() -> str:
    members = (getattr(np, name) for name in sorted(np.__all__))
    found = (inspect.getdoc(member) or "" for member in members if callable(member))
    return "\n".join(dict.fromkeys(found))


def _descriptions() -> str:
    load = (f for name, f in sorted(vars(sklearn.datasets).items()) if name in _DESCRIBED)
    return "\n".join(loader().DESCR for loader in load)


_SOURCES: dict[str, Callable[[], str]] = {
    "Python's reference": _reference,
    "Python's standard library, source": _source,
    "NumPy's docstrings": _docstrings,
    "scikit-learn's data sets, described": _descriptions,
}


def _tokens(text: str) -> np.ndarray:
    """ASCII alone, runs of blanks as one, so that indentation does not tell the source."""
    plain = " ".join(text.encode("ascii", "ignore").decode().split())[:_LARGEST]
    return np.frombuffer(plain.encode(), np.uint8).astype(np.int32)


def _split(tokens: np.ndarray) -> Corpus:
    end = len(tokens) * 4 // 5
    return Corpus(tokens[:end], tokens[end:])
