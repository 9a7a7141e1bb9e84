"""The results as Markdown tables."""

from typing import Any

import numpy as np

from experiments.curves import median
from experiments.records import markdown
from experiments.style import label
from zosah_jax import METHODS

Entry = dict[str, Any]


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    parts = [_of_dataset(name, found, results) for name, found in results["datasets"].items()]
    return {
        "claim": _claims(results, "tuned"),
        "pairs": _pairs(results),
        "simple": _claims(results, "simple"),
        "table": "\n\n".join(parts),
    }


def summary(results: dict[str, Any]) -> str:
    """Every method's price of 97 % on every data set, tuned."""
    found = results["datasets"]
    header = ["values / d to close 97 %, tuned (median)", *found]
    lines: dict[str, list[str]] = {}
    for name in found:
        d = found[name]["dimension"]
        for entry in found[name]["entries"]:
            if entry["setting"] != "documented":
                at = results["fractions"].index(0.97)
                price = median(entry["values_to_reach"][at]) / d
                lines.setdefault(entry_name(entry), []).append(_plain(price))
    return markdown(header, [[name, *cells] for name, cells in lines.items()])


def entry_label(entry: Entry) -> str:
    """Name of an entry, with its learning rate and how that was chosen."""
    if entry["method"] not in METHODS:
        return entry_name(entry)
    options = entry.get("options", {})
    name = label(entry["method"]) + (", no check" if entry["setting"] == "unchecked" else "")
    m = f", m {options['subspace_dim']}" if "subspace_dim" in options else ""
    how = {"simple": "tuned with m", "unchecked": "tuned"}.get(entry["setting"], entry["setting"])
    edge = ", edge" if entry.get("at_edge") else ""
    return f"{name}, {entry['learning_rate']:g}{m} ({how}{edge})"


def entry_name(entry: Entry) -> str:
    """Name of an entry, without its learning rate."""
    if entry["method"] not in METHODS:
        return f"{entry['method']} (SciPy)"
    more = {"simple": ", m tuned too", "unchecked": ", no check"}
    return label(entry["method"]) + more.get(entry["setting"], "")


def _goals(results: dict[str, Any]) -> list[str]:
    return [*(f"{100 * part:g} %" for part in results["fractions"]), f"f < {results['value']:g}"]


def _of_dataset(name: str, found: dict[str, Any], results: dict[str, Any]) -> str:
    d = found["dimension"]
    title = f"**{name}**: {found['rows']:,} rows, d = {d}, optimum {found['optimum']:.4f}"
    header = ["method, learning rate", *_goals(results), "closed"]
    rows = [
        [
            entry_label(entry),
            *(_price(reached, d) for reached in entry["values_to_reach"]),
            f"{100 * float(np.mean(entry['gap_closed'])):.2f} %",
        ]
        for entry in found["entries"]
    ]
    return f"{title}\n\n{markdown(header, rows)}"


def _price(reached: list[int | None], d: int) -> str:
    """Mean and spread over seeds, or how many seeds got there if not all did."""
    there = np.array([values for values in reached if values is not None]) / d
    if len(there) < len(reached):
        return f"- ({len(there)}/{len(reached)})" if len(reached) > 1 else "-"
    return f"{there.mean():.1f} ± {there.std(ddof=1):.1f}" if len(there) > 1 else f"{there[0]:.1f}"


def _claims(results: dict[str, Any], setting: str) -> str:
    """The best other method's median price over ZO-SAH's, and which method it is."""
    goals = _goals(results)
    header = ["best other / ZO-SAH", *goals]
    rows = []
    for name, found in results["datasets"].items():
        tuned = [e for e in found["entries"] if e["setting"] in ("tuned", "unchecked")]
        ours = [e for e in found["entries"] if (e["method"], e["setting"]) == ("zosah", setting)]
        others = [e for e in tuned if e["method"] != "zosah"]
        if ours and others:
            rows.append([name, *(_duel(ours[0], others, n) for n in range(len(goals)))])
    return markdown(header, rows) if rows else ""


def _pairs(results: dict[str, Any]) -> str:
    """On how many data sets ZO-SAH's median price is less than each other method's."""
    wins: dict[str, list[list[bool]]] = {}
    if not all(_has(found, "zosah") for found in results["datasets"].values()):
        return ""
    for found in results["datasets"].values():
        ours = [median(reached) for reached in _of(found, "zosah")["values_to_reach"]]
        for entry in found["entries"]:
            if entry["method"] != "zosah" and entry["setting"] != "documented":
                theirs = [median(reached) for reached in entry["values_to_reach"]]
                ahead = [mine < other for mine, other in zip(ours, theirs, strict=True)]
                wins.setdefault(entry_name(entry), []).append(ahead)
    header = [f"ZO-SAH ahead, of {len(results['datasets'])} sets", *_goals(results)]
    rows = [[name, *map(str, np.sum(ahead, axis=0))] for name, ahead in wins.items()]
    return markdown(header, rows)


def _has(found: dict[str, Any], method: str) -> bool:
    return any((e["method"], e["setting"]) == (method, "tuned") for e in found["entries"])


def _of(found: dict[str, Any], method: str) -> Entry:
    return next(e for e in found["entries"] if (e["method"], e["setting"]) == (method, "tuned"))


def _duel(ours: Entry, others: list[Entry], goal: int) -> str:
    mine = median(ours["values_to_reach"][goal])
    best = min(others, key=lambda entry: median(entry["values_to_reach"][goal]))
    theirs = median(best["values_to_reach"][goal])
    if np.isinf(mine):
        return "neither" if np.isinf(theirs) else f"{entry_name(best)} alone"
    if np.isinf(theirs):
        return "**ZO-SAH alone**"
    text = f"{theirs / mine:.2f} ({entry_name(best)})"
    return f"**{text}**" if theirs > mine else text


def _plain(price: float) -> str:
    return "-" if np.isinf(price) else f"{price:.1f}"
