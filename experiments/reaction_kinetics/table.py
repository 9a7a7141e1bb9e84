"""The results as a Markdown table."""

from typing import Any

import numpy as np

from experiments.records import markdown


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    rows = [[name, *_summary(misfits)] for name, misfits in results["final"].items()]
    rows.append(["first guess", *_summary(results["start"])])
    rows.append(["true constants", *_summary(results["truth"])])
    return {"table": markdown(["misfit", "median", "min", "max"], rows)}


def _summary(misfits: list[float]) -> list[str]:
    return [f"{value:.3g}" for value in (np.median(misfits), min(misfits), max(misfits))]
