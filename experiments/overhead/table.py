"""The results as Markdown tables."""

from typing import Any

from experiments.records import markdown


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    return {
        "values": _values(results["cost_of_a_value"]),
        "step": _step(results["step"], results["machine"]),
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
