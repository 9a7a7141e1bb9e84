"""The results as a Markdown table."""

from typing import Any

import numpy as np

from experiments.records import markdown


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    rows = [
        [name, _median(runs, "cost"), _range(runs, "cost"), _median(runs, "held_out")]
        for name, runs in {**results["runs"], "first guess": results["first"]}.items()
    ]
    return {
        "table": markdown(["mean cost a step", "median", "min - max", "held out, median"], rows)
    }


def _median(runs: list[dict[str, Any]], name: str) -> str:
    return f"{np.median([run[name] for run in runs]):.3f}"


def _range(runs: list[dict[str, Any]], name: str) -> str:
    values = [run[name] for run in runs]
    return f"{min(values):.3f} - {max(values):.3f}"
