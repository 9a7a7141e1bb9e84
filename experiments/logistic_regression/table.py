"""The results as Markdown tables."""

from typing import Any

import numpy as np

from experiments.records import markdown
from experiments.style import label
from zosah_jax import METHODS


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    parts = [_of_dataset(name, found, results) for name, found in results["datasets"].items()]
    return {"table": "\n\n".join(parts), "duel": _duels(results)}


def _of_dataset(name: str, found: dict[str, Any], results: dict[str, Any]) -> str:
    d = found["dimension"]
    title = f"**{name}**: {found['rows']} rows, d = {d}"
    header = ["values / d to close", *(f"{100 * f:g} %" for f in results["fractions"]), "closed"]
    rows = [
        [
            entry_label(entry),
            *(_price(reached, d) for reached in entry["values_to_close"]),
            _percent(float(np.mean(entry["gap_closed"]))),
        ]
        for entry in found["entries"]
    ]
    return f"{title}\n\n{markdown(header, rows)}"


def entry_label(entry: dict[str, Any]) -> str:
    """Name of an entry, with its learning rate and how that was chosen."""
    if entry["method"] not in METHODS:
        return f"{entry['method']} (SciPy, finite differences)"
    how = entry["setting"] + (", edge of the grid" if entry.get("at_edge") else "")
    return f"{label(entry['method'])}, learning rate {entry['learning_rate']:g} ({how})"


def _price(reached: list[int | None], d: int) -> str:
    """Mean and spread over seeds, or how many seeds got there if not all did."""
    there = np.array([values for values in reached if values is not None]) / d
    if len(there) < len(reached):
        return f"- ({len(there)}/{len(reached)})" if len(reached) > 1 else "-"
    return f"{there.mean():.1f} ± {there.std(ddof=1):.1f}" if len(there) > 1 else f"{there[0]:.1f}"


def _percent(part: float) -> str:
    return f"{100 * part:.3f} %"


def _duels(results: dict[str, Any]) -> str:
    """Gap closed, seed by seed."""
    header = ["gap closed, seed", *map(str, results["seeds"]), "ahead"]
    rows = []
    for name, found in results["datasets"].items():
        duel = found["default_against_rspg"]
        ahead = f"{duel['seeds_ahead']} of {len(results['seeds'])}"
        rows.append([f"{name}: ZO-SAH, default", *map(_percent, duel["zosah"]), ahead])
        rspg = [
            f"{_percent(part)} ({rate:g})"
            for part, rate in zip(duel["rspg"], duel["rspg_learning_rates"], strict=True)
        ]
        rows.append([f"{name}: RSPG, its best learning rate for the seed", *rspg, ""])
    return markdown(header, rows)
