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

import zosah_jax
from experiments.common.errors import InputError

_EXPERIMENTS = Path(__file__).parent.parent
_PACKAGES = ("zosah_jax", "jax", "jaxlib", "optax", "numpy", "scipy")
# Options that say where things lie on this machine, or which part is run anew, not what is run.
_PLACES = ("out", "data_dir", "checkpoints", "resume", "deepzero", "only")
_UNTOLD = ("out", "checkpoints", "resume", "only")  # of those, what a command need not say
_DIGITS = 8


def own_folder(name: str) -> Path:
    """The folder of an experiment's code."""
    return next(_EXPERIMENTS.glob(f"*/{name}/experiment.py")).parent


def folder(name: str, config: Any) -> Path:
    """Where a run writes, made now so that it fails before the work and not after.

    The kept results beside the code are what the default config gives, so only that one goes there.

    Raises:
        InputError: the folder cannot be made.
    """
    changed = settings(config) != settings(type(config)())
    chosen = config.out or (Path("runs") / name if changed else own_folder(name))
    try:
        chosen.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"out: got {chosen}, wanted a folder that can be made ({error})."
        ) from error
    return chosen


def record(
    name: str, config: Any, results: dict[str, Any], packages: tuple[str, ...] = ()
) -> dict[str, Any]:
    """What is kept of a run, as it will be read from JSON.

    Args:
        name: of the experiment.
        config: what was asked for.
        results: what came out, of the types that JSON knows.
        packages: whose versions are kept beside those of the core.
    """
    found = {
        "command": command(name, config),
        "config": settings(config),
        "versions": versions(packages),
        "results": _rounded(results),
    }
    return json.loads(json.dumps(found, allow_nan=False))


def write(
    folder: Path,
    record: dict[str, Any],
    tables: Callable[[dict[str, Any]], dict[str, str]],
    draw: Callable[[dict[str, Any], Path], None],
) -> None:
    """Keep a record, draw it, and print its tables.

    Args:
        folder: where to.
        record: of `record`.
        tables: results -> Markdown by name; each goes between its markers in a README that the
            folder has, and how they were made between the markers `made`.
        draw: (results, path of the PNG).
    """
    write_record(folder, record)
    draw(record["results"], folder / "figure.png")
    write_between(folder / "README.md", "made", how(record))
    for marker, table in tables(record["results"]).items():
        write_between(folder / "README.md", marker, table)
        print(f"\n{table}")
    print(f"\nwritten: {folder}/results.json, {folder}/figure.png")


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Keep a record alone."""
    (folder / "results.json").write_text(_dumps(record) + "\n")


def read(folder: Path) -> dict[str, Any]:
    """The record of a folder."""
    return json.loads((folder / "results.json").read_text())


def kept(name: str) -> dict[str, Any] | None:
    """The results that are kept beside an experiment's code, if there are any."""
    own = own_folder(name)
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
    words = [f"python -m experiments {name}"]
    for field in fields(config):
        value, option = getattr(config, field.name), field.name.replace("_", "-")
        if value == field.default or field.name in _UNTOLD:
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
    others = [name for name in (*_PACKAGES, *packages) if name != zosah_jax.__name__]
    found = {name: importlib.metadata.version(name) for name in others}
    own = {zosah_jax.__name__: zosah_jax.__version__}  # as it runs: it need not be installed
    return {"python": platform.python_version(), **own, **found}


def how(record: dict[str, Any]) -> str:
    """The command, seeds and versions in a sentence."""
    seeds = record["config"].get("seeds")
    over = f", seeds {', '.join(map(str, seeds))}" if seeds else ""
    packages = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return f"Made by `{record['command']}`{over}, with {packages}."


def settings(config: Any) -> dict[str, Any]:
    """What is run, without where things lie."""
    chosen = {k: v for k, v in asdict(config).items() if k not in _PLACES}
    return json.loads(json.dumps(chosen))


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
