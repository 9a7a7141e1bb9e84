"""What the results come to: tables, and the figure."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from experiments.benchmarks.accelerator.runs import METHODS, PLAIN
from experiments.common import style, table
from experiments.common.forward_cost import LABELS as ESTIMATES
from experiments.common.forward_runs import VARIANTS

# --- its tables -----------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> dict[str, str]:
    """What there are parts for."""
    parts = results["parts"]
    made = {
        "network": _network_table(parts, results),
        "plain": _plain_table(parts),
        "cost": _cost_table(parts),
        "population": _population_table(parts, results["members"]),
    }
    return {name: text for name, text in made.items() if text is not None}


def _network_table(parts: dict[str, Any], results: dict[str, Any]) -> str | None:
    runs = [(name, parts[name]) for name in METHODS if name in parts]
    if not runs:
        return None
    if parts.get("longer"):
        runs.append((parts["longer"]["method"], parts["longer"]))
    goals = (0.3, 0.5, 0.7)
    header = [
        f"passes of {results['batch_size']} images",
        "learning rate",
        *(f"passes to {goal:.0%}" for goal in goals),
        "passes",
        "test accuracy",
        "seconds",
        "ms a pass",
    ]
    rows = []
    for name, found in runs:
        history = found["history"]
        passes, seconds = history["passes"][-1], history["seconds"][-1]
        rows.append(
            [
                METHODS[name].label,
                f"{found['learning_rate']:g}" + ("*" if _at_edge(name, found) else ""),
                *(_first(history, goal) for goal in goals),
                f"{passes:,.0f}" + (" (out of time)" if found["stopped"] else ""),
                f"{100 * history['test_accuracy'][-1]:.1f} %",
                f"{seconds:.1f}",
                f"{1e3 * seconds / passes:.2f}",
            ]
        )
    return table.markdown(header, rows)


def _at_edge(name: str, found: dict[str, Any]) -> bool:
    """Whether the learning rate is at an end of those that were tried."""
    rates = METHODS[name].rates
    return found["learning_rate"] in (min(rates), max(rates))


def _first(history: dict[str, Any], goal: float) -> str:
    there = np.flatnonzero(np.array(history["test_accuracy"]) >= goal)
    return f"{history['passes'][there[0]]:,.0f}" if there.size else "-"


def _plain_table(parts: dict[str, Any]) -> str | None:
    runs = {f"mnist: {name}": found for name, found in parts.get("mnist", {}).items()}
    runs |= {
        f"{name}: {variant}": parts[f"{name}: {variant}"]
        for name, variant in PLAIN
        if f"{name}: {variant}" in parts
    }
    if not runs:
        return None
    rows = []
    for name, found in runs.items():
        task, variant = name.split(":")[0], name.split(": ")[1].split(",")[0]
        accuracies = [100 * run["accuracy"][-1] for run in found]
        passes = found[0]["passes"][-1]
        rows.append(
            [
                f"{task}: {VARIANTS[variant].label}",
                f"{passes:,.0f}",
                table.mean(accuracies, 2, " %"),
                f"{np.median([run['seconds'] for run in found]):.1f}",
            ]
        )
    return table.markdown(["network", "passes", "test accuracy", "seconds"], rows)


def _cost_table(parts: dict[str, Any]) -> str | None:
    rows = []
    for name, cost in parts.items():
        if not name.startswith("cost: "):
            continue
        for variant, label in ESTIMATES.items():
            middle, low, high = cost[variant]["time"]
            rows.append(
                [
                    f"{name.removeprefix('cost: ')}: {label}",
                    f"{middle:.1f} ({low:.1f} - {high:.1f})",
                    "{:.1f} ({:.1f})".format(*cost[variant]["memory"]),
                    " / ".join(f"{1e3 * seconds:.3f}" for seconds in cost[variant]["seconds"]),
                ]
            )
    header = ["over a forward pass", "time", "memory", "ms: estimate / pass"]
    return table.markdown(header, rows) if rows else None


def _population_table(parts: dict[str, Any], number: int) -> str | None:
    found = parts.get("population")
    if found is None:
        return None
    rows = [
        ["forward pass of a member's batch", f"{1e3 * found['forward_seconds']:.3f} ms"],
        *([name, table.ratio(ratio)] for name, ratio in found["ratios"].items()),
        ["low rank, one product / dense, on copies", table.ratio(found["of_copies"])],
    ]
    quick = parts.get("population, TF32")
    if quick is not None:
        rows += [
            [
                f"in TF32: forward pass ({quick['device']})",
                f"{1e3 * quick['forward_seconds']:.3f} ms",
            ],
            ["in TF32: dense, on copies", table.ratio(quick["copied"])],
            ["in TF32: low rank, one product", table.ratio(quick["shared"])],
            ["in TF32: low rank, one product / dense, on copies", table.ratio(quick["of_copies"])],
        ]
    return table.markdown([f"{number} members: time a member / forward pass", "median"], rows)


# --- its figure -----------------------------------------------------------------------------------


_COLOURS = {  # of ways and variants; the library's own colours of RSPG and feedback are one
    "backpropagation": style.REFERENCE,
    **dict.fromkeys(("forward_feedback", "feedback"), style.colour("forward_feedback")),
    **dict.fromkeys(("forward", "noise"), style.colour("forward")),
    "rspg": style.series(0),
    "deepzero": style.series(3),
}


def draw(results: dict[str, Any], path: Path) -> None:
    """Test accuracy on CIFAR-10 against passes: the network named, and plain ones."""
    parts = results["parts"]
    with style.figure(path, 12.6, 5.0) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        for name in [name for name in METHODS if name in parts]:
            known = [parts[name]["history"][of] for of in ("passes", "test_accuracy", "seconds")]
            _line(panels[0], METHODS[name].label, name, *known)
        for task, variant in PLAIN:
            for run in parts.get(f"{task}: {variant}", []):
                label = f"{task}, {VARIANTS[variant].label.split(' (')[0]}"
                known = [run[of] for of in ("passes", "accuracy", "seconds")]
                line = _line(panels[1], label, variant, *known)
                line.set_marker("" if task == PLAIN[0][0] else "o")
        for axes, title, place in (
            (panels[0], f"Residual network, on {results['device']}", (0.24, 0.52)),
            (panels[1], "Plain networks", (0.24, 0.03)),
        ):
            axes.set(ylim=(0, 80), xlabel=f"forward passes of {results['batch_size']} images")
            axes.set_title(title)
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
            axes.xaxis.set_major_formatter("{x:,.0f}")
            if axes.lines:
                axes.legend(loc="lower left", bbox_to_anchor=place)
        panels[0].set_ylabel("test accuracy on CIFAR-10, %")


def _line(axes: Axes, label: str, way: str, passes: Any, accuracy: Any, seconds: Any) -> Line2D:
    """A run, told with the seconds at its end."""
    told, style_of = f"{label}: {np.max(seconds):.0f} s", "--" if way == "backpropagation" else "-"
    rows = (passes, 100 * np.array(accuracy))
    return axes.plot(*rows, label=told, color=_COLOURS[way], linestyle=style_of)[0]
