"""The results as Markdown tables."""

from typing import Any

import numpy as np

from experiments.alignment.run import KINDS
from experiments.records import markdown


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    return {"table": _alignment(results), "blocks": _blocks(results)}


def _alignment(results: dict[str, Any]) -> str:
    """Median over seeds at the start, the middle and the end of the run."""
    steps = results["step"]
    chosen = sorted({0, len(steps) // 2, len(steps) - 1})
    header = ["median over seeds", *(f"step {steps[i]}" for i in chosen)]
    rows = [
        [f"{kind}: mean (a tenth - nine tenths)", *(_spread(results, kind, i) for i in chosen)]
        for kind in KINDS
    ]
    rows.append(["loss", *(f"{over_seeds(results, 'loss')[i]:.3f}" for i in chosen)])
    dimensions = over_seeds(results, "effective_dimension")
    rows.append(["effective dimension", *(f"{dimensions[i]:.1f}" for i in chosen)])
    return markdown(header, rows)


def _spread(results: dict[str, Any], kind: str, look: int) -> str:
    parts = (over_seeds(results, kind, part)[look] for part in ("mean", "low", "high"))
    return "{:.2f} ({:.2f} - {:.2f})".format(*parts)


def _blocks(results: dict[str, Any]) -> str:
    """Alignment of every layer at the start and the end."""
    each = np.median([run["each block"] for run in results["runs"]], axis=0)
    header = ["layer", "parameters", f"step {results['step'][0]}", f"step {results['step'][-1]}"]
    rows = [
        [str(number + 1), str(size), f"{each[0, number]:.2f}", f"{each[-1, number]:.2f}"]
        for number, size in enumerate(results["block_sizes"])
    ]
    return markdown(header, rows)


def over_seeds(results: dict[str, Any], *names: str) -> np.ndarray:
    """Median over seeds of a quantity, along the run."""

    def within(run: Any) -> Any:
        for name in names:
            run = run[name]
        return run

    return np.median([within(run) for run in results["runs"]], axis=0)
