"""What an experiment keeps: results.json, figure.png and the tables in its README.

A record holds the config, the versions and the command, and no date, so that a rerun which finds
the same writes the same bytes.
"""

import importlib.metadata
import json
import math
import platform
import re
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from experiments.errors import InputError

_EXPERIMENTS = Path(__file__).parent
_PACKAGES = ("zosah_jax", "jax", "jaxlib", "optax", "numpy", "scipy")
# Options that say where things lie on this machine, or which part is run anew, not what is run.
_PLACES = ("out", "data_dir", "checkpoints", "resume", "deepzero", "only")
_DIGITS = 8


def folder(name: str, config: Any) -> Path:
    """Where a run writes, made now so that it fails before the work and not after.

    The kept results beside the code are what the default config gives, so only that one goes there.

    Raises:
        InputError: the folder cannot be made.
    """
    changed = _settings(config) != _settings(type(config)())
    own = _EXPERIMENTS / name
    chosen = config.out or (Path("runs") / name if changed else own)
    try:
        chosen.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"out: got {chosen}, wanted a folder that can be made ({error})."
        ) from error
    return chosen


def write(
    name: str,
    folder: Path,
    config: Any,
    results: dict[str, Any],
    tables: dict[str, str],
    draw: Callable[[dict[str, Any], Path], None],
    packages: tuple[str, ...] = (),
) -> None:
    """Keep what was measured, draw it, and print its tables.

    Args:
        name: of the experiment.
        folder: where to.
        config: what was asked for.
        results: what came out, of the types that JSON knows.
        tables: Markdown by name; each goes between its markers in a README that the folder has,
            and how they were made between the markers `made`.
        draw: (results, path of the PNG).
        packages: whose versions are kept beside those of the core.
    """
    record = {
        "command": command(name, config),
        "config": _settings(config),
        "versions": versions(packages),
        "results": _rounded(results),
    }
    (folder / "results.json").write_text(_dumps(record) + "\n")
    draw(read(folder)["results"], folder / "figure.png")
    write_between(folder / "README.md", "made", _how(record))
    for marker, table in tables.items():
        write_between(folder / "README.md", marker, table)
        print(f"\n{table}")
    print(f"\nwritten: {folder}/results.json, {folder}/figure.png")


def read(folder: Path) -> dict[str, Any]:
    """The record of a folder."""
    return json.loads((folder / "results.json").read_text())


def kept(name: str) -> dict[str, Any] | None:
    """The results that are kept beside an experiment's code, if there are any."""
    own = _EXPERIMENTS / name
    return read(own)["results"] if (own / "results.json").exists() else None


def write_between(readme: Path, name: str, text: str) -> None:
    """Put text between `<!-- name -->` and `<!-- /name -->`, where a README has these markers."""
    if not readme.exists():
        return
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    readme.write_text(pattern.sub(lambda _: f"{begin}\n\n{text}\n\n{end}", readme.read_text()))


def command(name: str, config: Any) -> str:
    """The command that gives this config; places on the machine are named, not told."""
    words = [f"python -m experiments.{name}"]
    for field in fields(config):
        value, option = getattr(config, field.name), field.name.replace("_", "-")
        if value == field.default or field.name in ("out", "checkpoints", "resume", "only"):
            continue
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        elif isinstance(value, tuple):
            words.append(f"--{option} {' '.join(map(str, value))}")
        else:
            words.append(f"--{option} {'DIR' if field.name in _PLACES else value}")
    return " ".join(words)


def versions(packages: tuple[str, ...] = ()) -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {name: importlib.metadata.version(name) for name in (*_PACKAGES, *packages)}
    return {"python": platform.python_version(), **found}


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns line up, readable on a terminal too."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: list[str]) -> str:
        first, *others = cells
        padded = [
            first.ljust(widths[0]),
            *(c.rjust(w) for c, w in zip(others, widths[1:], strict=True)),
        ]
        return "| " + " | ".join(padded) + " |"

    rule = (
        "|"
        + "|".join([":" + "-" * (widths[0] + 1), *("-" * (w + 1) + ":" for w in widths[1:])])
        + "|"
    )
    return "\n".join([line(header), rule, *map(line, rows)])


def _how(record: dict[str, Any]) -> str:
    """The command, seeds and versions in a sentence."""
    seeds = record["config"].get("seeds")
    over = f", seeds {', '.join(map(str, seeds))}" if seeds else ""
    packages = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return f"Made by `{record['command']}`{over}, with {packages}."


def _settings(config: Any) -> dict[str, Any]:
    settings = {k: v for k, v in asdict(config).items() if k not in _PLACES}
    return json.loads(json.dumps(settings))


def _rounded(value: Any) -> Any:
    """Floats to some digits; null where there is no number (a run that diverged)."""
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(entry) for entry in value]
    if not isinstance(value, float):
        return value
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


def _dumps(record: dict[str, Any]) -> str:
    """JSON with innermost lists on one line each."""
    text = json.dumps(record, indent=1, allow_nan=False)
    return re.sub(r"\[[^\[\]{}]*\]", lambda found: " ".join(found.group().split()), text)
