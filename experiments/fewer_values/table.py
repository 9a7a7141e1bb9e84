"""The results as Markdown tables."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.comparison.table import entry_name
from experiments.curves import median
from experiments.records import markdown


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    return {"data": _data(results), "methods": _methods(results), "valleys": _valleys(results)}


def ratios(found: dict[str, Any]) -> list[float]:
    """Median values of ZO-PQN over those of L-BFGS-B, or over all that it was given."""
    most = found["budget_in_d"] * found["dimension"]
    return [
        median(ours) / (most if theirs is None else theirs)
        for ours, theirs in zip(found["zopqn"], found["lbfgsb"], strict=True)
    ]


def _data(results: dict[str, Any]) -> str:
    parts = [f"{100 * fraction:g} %" for fraction in results["fractions"]]
    header = ["values / d to close", "d", *parts, *(f"ratio at {part}" for part in parts)]
    rows = []
    for name, found in results["data"].items():
        d = found["dimension"]
        both = [
            f"{_per(median(ours), d)} / {_per(theirs, d)}"
            for ours, theirs in zip(found["zopqn"], found["lbfgsb"], strict=True)
        ]
        rows.append([name, str(d), *both, *map(_ratio, ratios(found))])
    every = np.array([ratios(found) for found in results["data"].values()])
    means = [_ratio(_geometric(column)) for column in every.T]
    worst = [_ratio(value) for value in every.max(axis=0)]
    blank = [""] * (1 + len(parts))
    return markdown(header, [*rows, ["mean", *blank, *means], ["worst", *blank, *worst]])


def best_method(found: dict[str, Any], number: int) -> dict[str, Any]:
    """The library's other method, at any of its settings, with the least median at a part."""
    return min(found["methods"], key=lambda entry: median(entry["values"][number]))


def over_methods(results: dict[str, Any]) -> dict[str, list[float]]:
    """Median values of ZO-PQN over those of the best other method, by set, at each part.

    Where no other method gets there, it counts as all that it was given: the ratio is at most that.
    """
    return {
        name: [
            median(found["zopqn"][number])
            / min(
                median(best_method(found, number)["values"][number]),
                found["budget_in_d"] * found["dimension"],
            )
            for number in range(len(results["fractions"]))
        ]
        for name, found in results["data"].items()
    }


def _methods(results: dict[str, Any]) -> str:
    parts = [f"{100 * fraction:g} %" for fraction in results["fractions"]]
    header = ["values / d to close", *parts, *(f"ratio at {part}" for part in parts)]
    found_ratios = over_methods(results)
    rows = []
    for name, found in results["data"].items():
        cells, quotients = [], []
        for number, ratio in enumerate(found_ratios[name]):
            best = best_method(found, number)
            theirs = median(best["values"][number])
            there = np.isfinite(theirs)
            who = f" {entry_name(best)}" if there else ""
            d = found["dimension"]
            cells.append(f"{_per(median(found['zopqn'][number]), d)} / {_per(theirs, d)}{who}")
            quotients.append(_ratio(ratio) if there or not np.isfinite(ratio) else f"< {ratio:.2f}")
        rows.append([name, *cells, *quotients])
    every = np.array(list(found_ratios.values()))
    blank = [""] * len(parts)
    means = [_ratio(_geometric(column)) for column in every.T]
    worst = [_ratio(value) for value in every.max(axis=0)]
    return markdown(header, [*rows, ["mean", *blank, *means], ["worst", *blank, *worst]])


def _geometric(values: np.ndarray) -> float:
    with np.errstate(divide="ignore"):
        return float(np.exp(np.log(values).mean()))


def _valleys(results: dict[str, Any]) -> str:
    names = list(dict.fromkeys(name for v in results["valleys"] for name in v["peers"]))
    header = ["values to 1e-8", "ZO-PQN", "min - max", *names, "over the best", "over L-BFGS-B"]
    rows = []
    for found in results["valleys"]:
        ours, peers = median(found["zopqn"]), found["peers"]
        there = [v for v in found["zopqn"] if v is not None]
        span = f"{min(there):,} - {max(there):,}" if there else "-"
        missed = len(found["zopqn"]) - len(there)
        span += f", {missed} elsewhere" if missed and there else ""
        best = min((v for v in peers.values() if v is not None), default=np.inf)
        lbfgsb = np.inf if peers["L-BFGS-B"] is None else peers["L-BFGS-B"]
        row = [found["name"], _number(ours), span, *(_number(peers.get(name)) for name in names)]
        rows.append([*row, _ratio(ours / best), _ratio(ours / lbfgsb)])
    return markdown(header, rows)


def _number(value: float | None) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value:,.0f}"


def _per(value: float | None, d: int) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value / d:.1f}"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "-"


def spread(values: Sequence[int | None], d: int) -> tuple[float, float]:
    """Smallest and largest over seeds, in units of d; infinite where one was not reached."""
    every = [np.inf if v is None else v / d for v in values]
    return min(every), max(every)
