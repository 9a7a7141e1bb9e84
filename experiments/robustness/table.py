"""The results as a Markdown table."""

from typing import Any

import numpy as np

from experiments.records import markdown


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    kills, needed = results["kills"], results["failing"]
    clean, failing = np.median(needed["clean"]), np.median(needed["failing"])
    speed, overhead = results["throughput"], max(results["overhead_ms"].values())
    faults = kills["lost"] + kills["asked_twice"]
    ratio = f"{failing / clean:.2f} ({failing:.0f} / {clean:.0f})"
    rows = [
        ["runs killed by SIGKILL and resumed", f"{kills['killed']} of {kills['runs']}", ""],
        ["of them bitwise equal to the undisturbed run", str(kills["equal"]), "all"],
        ["of them with a logged value lost or asked twice", str(faults), "0"],
        ["values to 1e-6, a fifth failing / clean", ratio, "<= 1.5"],
        *(
            [f"noise 1e-3, {name}: distance from the optimum / sigma", _spread(gaps), "<= 10"]
            for name, gaps in results["noise"].items()
        ),
        ["50 ms a value: two processes / one", f"{speed['ratio']:.2f}", ">= 1.8"],
        ["own work a value, at most (ms of CPU)", f"{overhead:.2f}", "<= 1"],
    ]
    return {"table": markdown(["what", "measured", "wanted"], rows)}


def _spread(values: list[float]) -> str:
    return f"{np.median(values):.1f} ({min(values):.1f} - {max(values):.1f})"
