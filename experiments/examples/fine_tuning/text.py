"""Text that every installation has, of four kinds; and snippets to tell them apart."""

import importlib
import inspect
import json
import pydoc_data.topics
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

_LARGEST = 20_000  # bytes of a document
_SMALLEST = 200
_SOURCE_MODULES = (
    *("argparse", "ast", "calendar", "csv", "datetime", "difflib", "fractions", "gzip", "heapq"),
    *("inspect", "json.decoder", "locale", "logging", "mailbox", "optparse", "pathlib", "queue"),
    *("random", "smtplib", "tarfile", "urllib.request", "warnings", "xml.dom.minidom", "zipfile"),
)


class Text(NamedTuple):
    """Documents of one kind, one after another.

    Attributes:
        tokens: int32, shape (n,).
        titles: first letter of the title of the document that each is of, int32, shape (n,).
    """

    tokens: np.ndarray
    titles: np.ndarray


class Corpus(NamedTuple):
    """A kind of text: what is learnt from, and what is held back.

    Attributes:
        train: the first four fifths of every document.
        test: the last fifth.
    """

    train: Text
    test: Text


class Snippets(NamedTuple):
    """Pieces of text, and the kind of each.

    Attributes:
        tokens: int32, shape (n, length).
        labels: int32, shape (n,).
    """

    tokens: np.ndarray
    labels: np.ndarray


def corpora() -> dict[str, Corpus]:
    """The kinds of text by name."""
    return {name: _corpus(read()) for name, read in _KINDS.items()}


def snippets(
    found: dict[str, Corpus], part: str, per_kind: int, length: int, seed: int
) -> Snippets:
    """Pieces drawn from every kind of text.

    Args:
        found: the kinds.
        part: "train" or "test".
        per_kind: how many of each.
        length: bytes of a piece.
        seed: of the draw.
    """
    generator = np.random.default_rng(seed)
    tokens, labels = [], []
    for label, corpus in enumerate(found.values()):
        text = getattr(corpus, part).tokens
        start = generator.integers(0, len(text) - length, per_kind)
        tokens.append(text[start[:, None] + np.arange(length)[None]])
        labels.append(np.full(per_kind, label, np.int32))
    return Snippets(np.concatenate(tokens), np.concatenate(labels))


Documents = Iterable[tuple[str, str]]  # title, text


def _reference() -> Documents:
    return sorted(pydoc_data.topics.topics.items())


def _source() -> Documents:
    for name in _SOURCE_MODULES:
        yield name, inspect.getsource(importlib.import_module(name))


# In a process of its own: libraries write into docstrings of NumPy's (importing SciPy adds a table
# to that of np.sinc), so that here they depend on what else has been imported.
_DOCSTRINGS = """
import inspect, json
import numpy as np
members = ((name, getattr(np, name)) for name in sorted(np.__all__))
print(json.dumps([(n, inspect.getdoc(member) or "") for n, member in members if callable(member)]))
"""


def _docstrings() -> Documents:
    command = [sys.executable, "-c", _DOCSTRINGS]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return [(name, text) for name, text in json.loads(found.stdout)]


def _headers() -> Documents:
    for path in sorted(Path(np.get_include()).rglob("*.h")):
        yield path.name, path.read_text(encoding="utf-8", errors="ignore")


_KINDS: dict[str, Callable[[], Documents]] = {
    "Python's reference": _reference,
    "Python's standard library, source": _source,
    "NumPy's docstrings": _docstrings,
    "NumPy's headers in C": _headers,
}


def _corpus(documents: Documents) -> Corpus:
    """Documents one after another, each split."""
    parts: list[tuple[Text, Text]] = []
    for title, text in documents:
        tokens = _tokens(text)
        if len(tokens) >= _SMALLEST:
            letters = np.full(len(tokens), ord(title.lower().lstrip("_")[0]), np.int32)
            end = len(tokens) * 4 // 5
            parts.append((Text(tokens[:end], letters[:end]), Text(tokens[end:], letters[end:])))
    train, test = zip(*parts, strict=True)
    return Corpus(*(Text(*map(np.concatenate, zip(*part, strict=True))) for part in (train, test)))


def _tokens(text: str) -> np.ndarray:
    """ASCII alone, runs of blanks as one, so that indentation does not tell the kind."""
    plain = " ".join(text.encode("ascii", "ignore").decode().split())[:_LARGEST]
    return np.frombuffer(plain.encode(), np.uint8).astype(np.int32)
