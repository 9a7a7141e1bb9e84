"""Docstrings as the site wants them: a griffe extension.

The docstrings have Google's headings around reStructuredText: `.. math::` blocks, `:math:` and
links of the form `` `text <address>`_ ``, and doctests. The site is Markdown. And the names that
the package makes when it is imported (`zosah`, `scale_by_zosah`, the methods under their short
names) are taken from the imported package, as nothing that reads the source alone can know them.
"""

import inspect
import re
from typing import Any

import griffe

import zosah_jax
from zosah_jax import evaluate, extras, methods

_HEADINGS = {"Example:": "Examples:"}
_ANNOTATIONS = {  # of what the optax forms have beside the options of the method
    "learning_rate": "optax.ScalarOrSchedule",
    "evaluator": "Evaluator | None",
}
_MATH = re.compile(r"^( *)\.\. math::(.*(?:\n(?:\1[ ]+\S.*))*)", flags=re.MULTILINE)
_INLINE_MATH = re.compile(r":math:`([^`]+)`")
_LINK = re.compile(r"`([^`<>]+?)\s*<([^`<>\s]+)>`_")


def as_markdown(text: str) -> str:
    """A docstring with its mathematics, links and headings as Markdown has them."""
    text = _MATH.sub(_block, text)
    text = _INLINE_MATH.sub(lambda found: f"${found[1]}$", text)
    text = _LINK.sub(lambda found: f"[{' '.join(found[1].split())}]({found[2]})", text)
    lines = [_HEADINGS.get(line, line) for line in text.splitlines()]
    return _references_last(lines)


def _block(found: re.Match[str]) -> str:
    indent = found[1]
    body = [line.strip() for line in found[2].splitlines() if line.strip()]
    return "\n".join(["", f"{indent}$$", *(indent + line for line in body), f"{indent}$$", ""])


def _references_last(lines: list[str]) -> str:
    """References as a paragraph: what is no heading of Google's would become a box."""
    if "References:" not in lines:
        return "\n".join(lines)
    at = lines.index("References:")
    paragraph = inspect.cleandoc("\n".join(["", *lines[at + 1 :]]))
    return "\n".join([*lines[:at], f"**Source.** {paragraph}"])


class Docstrings(griffe.Extension):
    """What mkdocstrings is to show of the package."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Translate a docstring as soon as it is read."""
        del kwargs
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Put in what is made when the package is imported."""
        del kwargs
        if pkg.name != "zosah_jax":
            return
        for name, method in methods.METHODS.items():
            types = _types(pkg, method)
            pkg.set_member(name, _function(name, getattr(zosah_jax, name), types))
            bare, made = f"scale_by_{name}", getattr(zosah_jax, f"scale_by_{name}")
            text = f"The direction of `{name}` without a learning rate, for chains of your own."
            pkg.set_member(bare, _function(bare, made, types, text, name))
        _moved(pkg, "evaluate", evaluate.__all__)
        _moved(pkg, "extras", [name for name in extras.__all__ if name != "diagnostics"])
        folder = pkg["methods"]
        for name in methods.__all__:
            method = getattr(methods, name)
            if name in ("METHODS", "Method", "default_method"):
                continue
            text = f"The method that `{name}` is made of: a frozen, hashable value, its options."
            alone = name not in methods.METHODS  # no optax form, whose entry has it all
            types = _types(pkg, method)
            entry = _class(name, method, types, None if alone else text, name)
            folder.del_member(name)  # the module of the same name
            folder.set_member(name, entry)


def _moved(pkg: griffe.Module, package: str, names: list[str]) -> None:
    """Put what a package offers into it: modules of the same name hide some of it."""
    folder, found = pkg[package], {}
    for name in names:
        there, made = folder.members[name], getattr(getattr(zosah_jax, package), name)
        hidden = not there.is_alias  # by the module, whose name it has
        path = f"{made.__module__}.{made.__name__}" if hidden else there.target_path
        found[name] = pkg[path.removeprefix("zosah_jax.")]
    for name, entry in found.items():
        folder.del_member(name)
        folder.set_member(name, entry)
        if name in zosah_jax.__all__:
            pkg.set_member(name, griffe.Alias(name, entry))


def _types(pkg: griffe.Module, method: Any) -> dict[str, str]:
    """Types of the options of a method, as they are written."""
    found = dict(_ANNOTATIONS)
    for part in reversed(method.__mro__):
        if part.__module__.startswith("zosah_jax."):
            path = f"{part.__module__}.{part.__qualname__}".removeprefix("zosah_jax.")
            found |= {name: str(a.annotation) for name, a in pkg[path].attributes.items()}
    return found


def _parameters(of: Any, types: dict[str, str]) -> griffe.Parameters:
    found = []
    for p in inspect.signature(of).parameters.values():
        annotation = types.get(p.name)
        default = None if p.default is p.empty else repr(p.default)
        kind = griffe.ParameterKind(p.kind.description)
        found.append(griffe.Parameter(p.name, annotation=annotation, kind=kind, default=default))
    return griffe.Parameters(*found)


def _docstring(of: Any, text: str | None, name: str) -> griffe.Docstring:
    if text is None:
        return griffe.Docstring(as_markdown(inspect.getdoc(of) or ""), lineno=1)
    return griffe.Docstring(f"{text} Its arguments: see [`{name}`][zosah_jax.{name}].", lineno=1)


def _without(argument: str, text: str) -> str:
    """A docstring without the entry of an argument."""
    return re.sub(rf"^    {argument}: .*\n(?:     +\S.*\n)*", "", text, flags=re.MULTILINE)


def _function(
    name: str, of: Any, types: dict[str, str], text: str | None = None, see: str = ""
) -> griffe.Function:
    parameters = _parameters(of, types)
    function = griffe.Function(name, parameters=parameters, returns="MethodTransformation")
    function.docstring = _docstring(of, text, see)
    option = getattr(methods.METHODS.get(name), "learning_rate_option", None)
    if option is not None:  # the learning rate stands for it
        function.docstring.value = _without(option, function.docstring.value)
    function.docstring.parent = function
    return function


def _class(name: str, of: Any, types: dict[str, str], text: str | None, see: str) -> griffe.Class:
    found = griffe.Class(name)
    itself = griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)
    parameters = griffe.Parameters(itself, *_parameters(of, types))
    found.set_member("__init__", griffe.Function("__init__", parameters=parameters))
    found.docstring = _docstring(of, text, see)
    found.docstring.parent = found
    return found
