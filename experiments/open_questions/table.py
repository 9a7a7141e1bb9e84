"""The results as Markdown tables."""

from typing import Any

from experiments.ablations.table import spread
from experiments.records import markdown


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    return {
        "larger": _larger(results["larger"]),
        "online": _online(results["online"]),
        "chosen": _chosen(results["chosen"]),
    }


def _larger(found: dict[str, Any]) -> str:
    sizes = list(next(iter(found.values())))
    rows = [
        [
            f"s = {s}",
            *(f"{spread(by[s]['prices'])}, {by[s]['eigenvalue_floor']:g}" for by in found.values()),
        ]
        for s in sizes
    ]
    return markdown(["price (range), kappa", *found], rows)


def _online(found: dict[str, Any]) -> str:
    ways = list(next(iter(found.values())))
    rows = [[name, *(spread(by[way]) for way in ways)] for name, by in found.items()]
    return markdown(["fresh samples", *ways], rows)


def _chosen(found: dict[str, Any]) -> str:
    ways = ("random", "learnt", "known")
    rows = [
        [name, *(spread(case["ways"][w]["prices"]) if w in case["ways"] else "" for w in ways)]
        for name, case in found.items()
    ]
    return markdown(["coordinates come together", *ways], rows)
