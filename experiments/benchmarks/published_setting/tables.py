"""The tables of the published setting: values to a loss, and what the whole costs."""

from typing import Any

import numpy as np

from experiments.benchmarks.published_setting.entries import ENTRIES, LEVELS, PEERS
from experiments.common import table

_HOUR = 3_600.0
_MARKS = "*†‡§"


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    return {
        **{name: _losses(results, name) for name in results["datasets"]},
        "cost": _cost(results),
    }


# --- values to a loss -----------------------------------------------------------------------------


def _losses(results: dict[str, Any], dataset: str) -> str:
    runs = [run for run in results["runs"] if run["dataset"] == dataset]
    if not runs:
        why = "its data were not there" if dataset in results["missing"] else "not begun"
        return f"Not run: {why}."
    parts = []
    for network in results["networks"]:
        own: dict[str, list[dict[str, Any]]] = {}
        for run in runs:
            if run["network"] == network:
                own.setdefault(run["method"], []).append(run)
        if own:
            parts.append(_prices(network, dataset, own))
            ratios = [row for name in own for row in _ratios(name, dataset, own)]
            if ratios:
                header = ["values over DeepZero's", *_levels(dataset)]
                parts.append(table.markdown(header, ratios))
    return "\n\n".join(parts)


def _levels(dataset: str) -> list[str]:
    return [f"to {level:g}" for level in LEVELS[dataset]]


def _prices(network: str, dataset: str, own: dict[str, list[dict[str, Any]]]) -> str:
    """What each method took to each loss, and where it stands."""
    places: dict[str, str] = {}
    rows = []
    for name in [name for name in ENTRIES if name in own]:
        runs, entry = own[name], ENTRIES[name]
        where = " and ".join(sorted({place for run in runs for place in run["places"]}))
        mark = places.setdefault(where, _MARKS[: len(places)][-1:])
        lost = sum(run["diverged"] for run in runs)
        losses = [run["loss"] for run in runs]
        end = table.mean(losses, 3) if not lost else f"diverged ({lost}/{len(runs)})"
        rows.append(
            [
                f"{entry.label}, learning rate {entry.learning_rate:g}{mark}",
                *(_reached(runs, f"{level:g}") for level in LEVELS[dataset]),
                f"{min(run['spent'] for run in runs):,}",
                f"{min(run['steps'] for run in runs):,}",
                end,
                table.mean([100 * run["accuracy"] for run in runs], 1, " %"),
            ]
        )
    seeds = max(map(len, own.values()))
    told = "; ".join(f"{mark}: {where}" if mark else where for where, mark in places.items())
    header = [f"values, {seeds} seed{'s' * (seeds > 1)}", *_levels(dataset)]
    header += ["so far", "steps", "training loss", "test accuracy"]
    return f"**{network}**, on {told}:\n\n{table.markdown(header, rows)}"


def _reached(runs: list[dict[str, Any]], level: str) -> str:
    """Median over seeds, or how many got there if not all did."""
    there = [run["prices"][level] for run in runs if run["prices"][level] is not None]
    if len(there) < len(runs):
        return f"- ({len(there)}/{len(runs)})"
    return f"{np.median(there):,.0f}"


def _ratios(name: str, dataset: str, own: dict[str, list[dict[str, Any]]]) -> list[list[str]]:
    """A row for each DeepZero; "<" where DeepZero is not there yet."""
    if name in PEERS:
        return []
    rows = []
    for peer in [peer for peer in PEERS if peer in own]:
        cells = []
        for level in LEVELS[dataset]:
            mine, theirs = (_median(own[one], f"{level:g}") for one in (name, peer))
            spent = min(run["spent"] for run in own[peer])
            if mine is None:
                cells.append("-")
            else:
                cells.append(f"{mine / theirs:.2f}" if theirs else f"< {mine / spent:.2f}")
        if set(cells) != {"-"}:
            rows.append([f"{ENTRIES[name].label} / {ENTRIES[peer].label}", *cells])
    return rows


def _median(runs: list[dict[str, Any]], level: str) -> float | None:
    prices = [run["prices"][level] for run in runs]
    return None if None in prices else float(np.median(prices))


# --- the cost -------------------------------------------------------------------------------------


def _cost(results: dict[str, Any]) -> str:
    """Seconds of a value, and hours of all runs of the plan, for each device."""
    times = len(results["seeds"]) * len(results["datasets"])
    looks, parts = results["budget"] / results["chunk"], []
    for place in dict.fromkeys(one["place"] for one in results["cost"]):
        known = [one for one in results["cost"] if one["place"] == place]
        rows, total = [], 0.0
        order = [(n, m) for n in results["networks"] for m in ENTRIES if m in results["methods"]]
        for network, method in order:
            found = [one for one in known if (one["network"], one["method"]) == (network, method)]
            own = found or _like(known, network, method)
            label = f"{network}: {ENTRIES[method].label}"
            if not own:
                rows.append([label, *["-"] * 4])
                total = np.nan
                continue
            cost = own[0]
            chunks = min(looks, results["budget"] / cost["values_a_step"])
            hours = results["budget"] * cost["seconds_a_value"] + chunks * cost["seconds_a_look"]
            hours *= times / _HOUR
            total += hours
            rows.append(
                [
                    label + ("" if found else " (as its sparser form)"),
                    f"{1e3 * cost['seconds_a_value']:.2f}",
                    f"{cost['values_a_step']:,.0f}" if found else "-",
                    f"{cost['seconds_a_look']:.2f}",
                    f"{hours:,.1f}",
                ]
            )
        whole = "-" if np.isnan(total) else f"{total:,.1f}"
        rows.append(["all", *["-"] * 3, whole])
        header = [place, "ms a value", "values a step", "s a look", "hours, whole"]
        parts.append(table.markdown(header, rows))
    return "\n\n".join(parts)


def _like(known: list[dict[str, Any]], network: str, method: str) -> list[dict[str, Any]]:
    """What another form of the method costs on the network, where the form itself was not run."""
    name = ENTRIES[method].method
    return [
        one
        for one in known
        if one["network"] == network and ENTRIES[one["method"]].method == name != "zosah"
    ]
