"""The results as a Markdown table."""

from typing import Any

from experiments.records import markdown

LABELS = {
    "zosah": "ZO-SAH",
    "zosah_paper": "ZO-SAH, paper's reading",
    "rspg": "RSPG, best learning rate",
}


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    header = [f"values to f <= {results['target']:g}", "learning rate", "median", "min - max"]
    rows = []
    for name, found in results["methods"].items():
        rate = f"{found['learning_rate']:g}"
        rows.append([LABELS[name], rate, _number(found["median"]), _range(found["values"])])
    for name, found in results["references"].items():
        rows.append([f"SciPy {name}", "", _number(found["values"]), ""])
    ratio = results["rspg_over_zosah"]
    rows.append(["RSPG / ZO-SAH", "", "-" if ratio is None else f"{ratio:.0f}x", ""])
    return {"table": markdown(header, rows)}


def _number(values: float | None) -> str:
    return "-" if values is None else f"{values:,.0f}"


def _range(values: list[int | None]) -> str:
    there = [v for v in values if v is not None]
    if len(there) < len(values):
        return f"{len(there)} of {len(values)} seeds"
    return f"{min(there):,} - {max(there):,}"
