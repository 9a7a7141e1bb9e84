"""Pages made of the repository's own files, so that nothing is written twice.

README, CONTRIBUTING and CHANGELOG, the README of every experiment (whose tables the experiments'
runner writes from the kept JSON), the executed notebooks, a page for each method, and the source
files that any of these links to.
"""

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import notebooks
import zosah_jax
from zosah_jax import methods

ROOT = Path(__file__).resolve().parents[2]
_LINK = re.compile(r"(?<=\]\()(?!https?:|#|mailto:)([^)\s]+)(?=\))")
_FENCE = re.compile(r"^(```.*?^```$)", flags=re.MULTILINE | re.DOTALL)
_LANGUAGES = {".py": "python", ".toml": "toml", ".cff": "yaml", ".md": "markdown", ".json": "json"}

TUTORIALS = {
    f"notebooks/{path.name}": f"tutorials/{path.stem}.md"
    for path in sorted((ROOT / "notebooks").glob("*.ipynb"))
}
BENCHMARKS, EXAMPLES = (
    {
        path.relative_to(ROOT).as_posix(): f"measurements/{path.parent.name}.md"
        for path in sorted((ROOT / "experiments" / kind).glob("*/README.md"))
    }
    for kind in ("benchmarks", "examples")
)
PAGES = {
    "README.md": "overview.md",
    "CONTRIBUTING.md": "house.md",
    "CHANGELOG.md": "changelog.md",
    "experiments/README.md": "measurements/index.md",
    **BENCHMARKS,
    **EXAMPLES,
}
METHODS = {
    name: f"reference/methods/{name}.md"
    for name in methods.__all__
    if name not in ("METHODS", "Method", "default_method")
}


# --- what mkdocs calls ----------------------------------------------------------------------------


def on_config(config: MkDocsConfig) -> None:
    """Fill in the parts of the navigation that follow from what is there."""
    by_title = {title: part for entry in config.nav for title, part in entry.items()}
    by_title["Tutorials"].extend(TUTORIALS.values())
    by_title["Measurements"].append("measurements/index.md")
    by_title["Measurements"].append({"Benchmarks": list(BENCHMARKS.values())})
    by_title["Measurements"].append({"Examples": list(EXAMPLES.values())})
    for entry in by_title["Reference"]:
        if isinstance(entry, dict) and "Methods" in entry:
            entry["Methods"].append("reference/methods/index.md")
            entry["Methods"].extend({name: page} for name, page in METHODS.items())


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the pages, and what they show."""
    shown = _Shown(files, config)
    for source, target in PAGES.items():
        shown.add(target, shown.linked((ROOT / source).read_text(), source, target))
    for source, target in TUTORIALS.items():
        text, pictures = notebooks.as_markdown(ROOT / source)
        shown.add(target, shown.linked(text, source, target, known=pictures))
        for name, picture in pictures.items():
            shown.add(posixpath.join(posixpath.dirname(target), name), picture)
    shown.add("reference/methods/index.md", _methods_page())
    for name, target in METHODS.items():
        shown.add(target, _method_page(name))
    for page in list(files.documentation_pages()):  # written by hand: `repo:` is the root
        if page.generated_by is None:
            for found in re.findall(r"\]\(repo:([^)\s#]+)\)", page.content_string):
                shown.link(found, page.src_uri)


def on_page_markdown(markdown: str, page: Page, files: Files, **kwargs: Any) -> str:
    """Links of pages written by hand to files of the repository."""
    del files, kwargs
    here = page.file.src_uri
    return re.sub(
        r"(?<=\]\()repo:([^)\s#]+)", lambda found: _relative(_target(found[1]), here), markdown
    )


# --- links ----------------------------------------------------------------------------------------


def _target(path: str) -> str:
    """The page of a file of the repository."""
    known = {**PAGES, **TUTORIALS}
    if path in known:
        return known[path]
    if path.startswith("docs/") and path.endswith(".md"):
        return path.removeprefix("docs/")
    return f"source/{path}" if _is_picture(path) else f"source/{path}.md"


def _is_picture(path: str) -> bool:
    return path.endswith((".png", ".svg", ".jpg"))


def _relative(target: str, page: str) -> str:
    return posixpath.relpath(target, posixpath.dirname(page) or ".")


class _Shown:
    """The files of the site, to which pages are added.

    Args:
        files: of the site.
        config: mkdocs's.
    """

    def __init__(self, files: Files, config: MkDocsConfig) -> None:
        self._files, self._config = files, config

    def add(self, target: str, content: str | bytes) -> None:
        """Add a file, unless it is there."""
        if self._files.get_file_from_path(target) is None:
            self._files.append(File.generated(self._config, target, content=content))

    def link(self, path: str, page: str) -> str:
        """The link from a page to a file of the repository, which becomes a page if it is none."""
        target, there = _target(path), ROOT / path
        if target.startswith("source/"):
            if not there.is_file():
                raise FileNotFoundError(f"{page} links to {path}, which is no file.")
            self.add(target, there.read_bytes() if _is_picture(path) else _source_page(there))
        return _relative(target, page)

    def linked(self, text: str, source: str, page: str, known: Any = ()) -> str:
        """The text of a file of the repository with links that hold where its page is."""

        def replaced(found: re.Match[str]) -> str:
            if found[0] in known:
                return found[0]
            path, _, anchor = found[0].partition("#")
            path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
            return self.link(path, page) + (f"#{anchor}" if anchor else "")

        return _outside_code(text, lambda part: _LINK.sub(replaced, part))


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    parts = _FENCE.split(text)
    return "".join(part if n % 2 else change(part) for n, part in enumerate(parts))


# --- pages ----------------------------------------------------------------------------------------


def _source_page(path: Path) -> str:
    name, language = path.relative_to(ROOT).as_posix(), _LANGUAGES.get(path.suffix, "text")
    head = "---\nsearch:\n  exclude: true\n---\n"
    return f"{head}\n# {name}\n\n````{language}\n{path.read_text()}\n````\n"


def _first_line(name: str) -> str:
    return (getattr(methods, name).__doc__ or "").splitlines()[0]


def _methods_page() -> str:
    rows = [f"| [`{name}`]({name}.md) | {_first_line(name)} |" for name in METHODS]
    table = "\n".join(["| method | what it is |", "|---|---|", *rows])
    entries = "\n\n".join(
        f"::: zosah_jax.methods.{name}" for name in ("METHODS", "Method", "default_method")
    )
    return (
        "# Methods\n\nA method is a frozen, hashable value: `zosah_jax.methods.zosah(period=5)`. "
        "`minimize` and `AskTell` take one; its optax form, `zosah_jax.zosah(learning_rate, ...)`, "
        "has a learning rate and an evaluator beside its options.\n\n"
        f"{table}\n\n::: zosah_jax.methods\n    options:\n      members: false\n\n{entries}\n"
    )


def _method_page(name: str) -> str:
    names = [f"methods.{name}"]
    if hasattr(zosah_jax, f"scale_by_{name}"):
        names = [name, f"scale_by_{name}", *names]
    entries = (f"::: zosah_jax.{each}\n    options:\n      toc_label: {each}" for each in names)
    return "\n\n".join([f"# {name}", *entries]) + "\n"
