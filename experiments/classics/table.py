"""The results as Markdown tables."""

from typing import Any

import numpy as np

from experiments import style
from experiments.classics.run import OURS, PEERS
from experiments.records import markdown

_MOST = 20.0  # ratio at which one counts in a mean, at most and, inverted, at least


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    return {"ratios": _ratios(results), "functions": _functions(results)}


def ratios(results: dict[str, Any], peer: str) -> np.ndarray:
    """Values of ZO-PQN over a peer's, by run and gap; 1 where neither gets there."""
    runs = [run["values"] for of in results["functions"].values() for run in of]
    ours, theirs = (_numbers([run[name] for run in runs]) for name in (OURS, peer))
    with np.errstate(invalid="ignore"):
        quotient = np.where(np.isinf(ours) & np.isinf(theirs), 1, ours / theirs)
    return np.clip(quotient, 1 / _MOST, _MOST)


def _numbers(values: list[list[float | None]]) -> np.ndarray:
    return np.array([[np.inf if v is None else v for v in of] for of in values], float)


def _ratios(results: dict[str, Any]) -> str:
    header = ["ZO-PQN's values over", *(f"{gap:g} of the gap left" for gap in results["gaps"])]
    rows = []
    for peer in PEERS:
        found = ratios(results, peer)
        means = np.exp(np.log(found).mean(axis=0))
        fewer = (found < 1).sum(axis=0)
        rows.append([f"{peer}'s, geometric mean", *(f"{mean:.2f}" for mean in means)])
        rows.append([f"fewer than {peer}", *(f"{number} of {len(found)}" for number in fewer)])
    return markdown(header, rows)


def _functions(results: dict[str, Any]) -> str:
    names = (OURS, *PEERS)
    label = " / ".join(style.label(name) if name == OURS else name for name in names)
    header = [label, *(f"{gap:g} of the gap left" for gap in results["gaps"])]
    rows = []
    for name, runs in results["functions"].items():
        middle = [np.median(_numbers([run["values"][of] for run in runs]), axis=0) for of in names]
        cells = [
            " / ".join(_per(v, results["dimension"]) for v in at)
            for at in zip(*middle, strict=True)
        ]
        rows.append([name, *cells])
    return markdown(header, rows)


def _per(value: float, d: int) -> str:
    return f"{value / d:.1f}" if np.isfinite(value) else "-"
