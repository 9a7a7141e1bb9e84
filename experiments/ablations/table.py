"""The results as Markdown tables."""

from typing import Any

import numpy as np

from experiments.records import markdown

NAMES = {"subspace_dim": "m", "eigenvalue_floor": "kappa", "period": "T"}


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    numbers = {name: _table(results, name, symbol) for name, symbol in NAMES.items()}
    return numbers | {"fit": _fit(results)}


def price(prices: list[float]) -> float:
    """Geometric mean over seeds."""
    return float(np.exp(np.mean(np.log(prices))))


def spread(prices: list[float]) -> str:
    """The mean, and the range over seeds."""
    return f"{price(prices):.1f} ({min(prices):.1f} - {max(prices):.1f})"


def _table(results: dict[str, Any], name: str, symbol: str) -> str:
    problems = results["problems"]
    lines = {problem: list(found[name].items()) for problem, found in problems.items()}
    count = len(next(iter(lines.values())))
    if name == "subspace_dim":
        first = [f"about {p:g} d" for p in (0.1, 0.25, 0.5, 0.75, 1)]
        cells = [
            [f"{m}: {spread(p)}" for m, p in (line[i] for line in lines.values())]
            for i in range(count)
        ]
    else:
        first = [value for value, _ in next(iter(lines.values()))]
        cells = [[spread(line[i][1]) for line in lines.values()] for i in range(count)]
    return markdown([symbol, *problems], [[f, *c] for f, c in zip(first, cells, strict=True)])


def _fit(results: dict[str, Any]) -> str:
    problems = results["problems"]
    header = ["values a step, price, learning rate", *problems]
    settings = list(next(iter(problems.values()))["fit"])

    def cell(found: dict[str, Any], setting: str) -> str:
        step, rate = found["values_per_step"][setting], found["learning_rate"][setting]
        return f"{step:.1f}, {spread(found['fit'][setting])}, {rate:g}"

    rows = [[s, *(cell(found, s) for found in problems.values())] for s in settings]
    return markdown(header, rows)
