"""The results as Markdown tables."""

from typing import Any

from experiments.records import markdown


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    return {
        "values": _values(results["cost_of_a_value"]),
        "step": _step(results["step"], results["machine"]),
        "own": _own_work(results["own_work"]),
    }


def _values(costs: dict[str, Any]) -> str:
    names = list(next(iter(costs.values()))["ratios"])
    header = ["time a value / forward pass", "parameters", "forward pass", *names]
    rows = [
        [
            objective,
            f"{found['dimension']:,}",
            f"{1e3 * found['forward_seconds']:.2f} ms",
            *(f"{found['ratios'][name]:.2f}" for name in names),
        ]
        for objective, found in costs.items()
    ]
    return markdown(header, rows)


def _step(step: dict[str, Any], machine: str) -> str:
    counts, (low, high) = step["values_of_steps"], step["ratio_quartiles"]
    header = ["a period of ZO-SAH, logistic regression 4,000 x 124, m = 124", "measured"]
    rows = [
        ["machine", machine],
        ["values", " + ".join(map(str, counts))],
        ["time of the jitted updates", f"{1e3 * step['period_seconds']:.1f} ms"],
        ["best evaluator for the same values alone", step["best_evaluator"]],
        ["ratio: median (quartiles)", f"{step['ratio']:.2f} ({low:.2f} - {high:.2f})"],
    ]
    return markdown(header, rows)


def _own_work(own: dict[str, Any]) -> str:
    header = [
        f"d = {own['dimension']:,}, logistic regression of 4,000 rows",
        "ask + tell / as many values: median (quartiles)",
        "values of its kinds of steps",
    ]
    rows = []
    for name, found in own["methods"].items():
        low, high = found["ratio_quartiles"]
        cost = f"{100 * found['ratio']:.1f} % ({100 * low:.1f} - {100 * high:.1f})"
        kinds = (f"{n} x {found['values'][kind]:,}" for kind, n in found["steps"].items())
        rows.append([name, cost, ", ".join(kinds)])
    return markdown(header, rows)
