"""The comparison, entry by entry: what is there is not run again, what is done is kept at once."""

import json
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.benchmarks.subspaces import lanes
from experiments.benchmarks.subspaces.entries import ENTRIES, PLANS, TUNING_SEED, Entry, Plan
from experiments.benchmarks.subspaces.tasks import Task, load

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy", "scikit-learn")


def compare(
    tasks: tuple[str, ...],
    data_dir: Path | None,
    kept: Path,
    seconds: float,
    tell: Callable[[str], None] = print,
    only: tuple[str, ...] = (),
    plans: dict[str, Plan] = PLANS,
) -> dict[str, Any]:
    """Run what is not kept yet, until the time is over.

    Args:
        tasks: by name.
        data_dir: where data lie.
        kept: file of the results, written after every entry.
        seconds: time for all.
        tell: is told what is done.
        only: names of entries; none: all.
        plans: how each task is run.

    Returns:
        Results by "task/entry".
    """
    until = time.monotonic() + seconds
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    for name in tasks:
        plan, task = plans[name], None
        for which in [entry for entry in plan.entries if not only or entry in only]:
            place = f"{name}/{which}"
            if place in found and not found[place]["history"].get("cut"):
                continue
            if time.monotonic() > until:
                tell(f"{place}: no time left")
                continue
            task = load(name, data_dir) if task is None else task
            begun = time.monotonic()
            try:  # differences of losses are lost in TF32, in which JAX multiplies on a GPU
                with jax.default_matmul_precision("highest"):
                    entry = _entry(task, ENTRIES[which], plan, until, lambda text: tell(text))
            except lanes.OutOfTime:
                tell(f"{place}: no time left; not kept")
                continue
            took = round(time.monotonic() - begun, 1)
            found[place] = entry | {"took": took, **_where(task)}
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(found, indent=1) + "\n")
            tell(f"{place}: {_short(found[place], plan)} in {took} s")
            jax.clear_caches()
    return found


def _entry(
    task: Task, entry: Entry, plan: Plan, until: float, tell: Callable[[str], None]
) -> dict[str, Any]:
    """An entry tuned, where there is a choice, and run from every seed."""
    tuning: list[dict[str, Any]] = []
    best: tuple[float, lanes.Runs, dict[str, Any], float] | None = None
    for options in entry.options:
        runs = lanes.compiled(task, entry, options)
        if len(entry.rates) == 1:
            best = (0.0, runs, options, entry.rates[0])
            continue
        rates = list(entry.rates)
        every = plan.tuning // 4  # the loss in the mean over the run, not at its end alone
        seen = lanes.run(runs, [TUNING_SEED] * len(rates), rates, plan.tuning, every, until)
        losses = np.array([[np.inf if x is None else x for x in row] for row in seen["loss"]])
        score = losses.mean(axis=0)
        tuning.append(
            {
                "options": options,
                "loss": {
                    str(rate): round(float(s), 4) if np.isfinite(s) else None
                    for rate, s in zip(rates, score, strict=True)
                },
            }
        )
        number = int(np.argmin(score))
        tell(f"  {task.name}, {entry.label} {options}: learning rate {rates[number]:g}")
        if best is None or score[number] < best[0]:
            best = (float(score[number]), runs, options, rates[number])
    assert best is not None
    _, runs, options, rate = best

    def enough(loss: np.ndarray, accuracy: np.ndarray) -> bool:
        goal = max(plan.accuracies, default=np.inf)
        level = min(plan.losses, default=-np.inf)
        return bool(np.all(accuracy >= goal) or np.all(loss <= level))

    seeds, chosen = list(range(plan.seeds)), [rate] * plan.seeds
    history = lanes.run(runs, seeds, chosen, plan.budget, plan.every, until, enough, partly=True)
    return {
        "label": entry.label,
        "method": entry.method,
        "options": options,
        "momentum": entry.momentum,
        "learning_rate": rate,
        "tuning": tuning,
        "seeds": seeds,
        "history": history,
    }


def price(entry: dict[str, Any], accuracy: float | None, loss: float | None) -> list[int | None]:
    """Values of each seed until a test accuracy, or a training loss, was first seen."""
    history = entry["history"]
    found: list[int | None] = []
    for lane in range(len(entry["seeds"])):
        there = None
        for number, spent in enumerate(history["spent"]):
            right, lost = history["accuracy"][number][lane], history["loss"][number][lane]
            reached = (accuracy is not None and right is not None and right >= accuracy) or (
                loss is not None and lost is not None and lost <= loss
            )
            if reached:
                there = spent[lane]
                break
        found.append(there)
    return found


def _short(entry: dict[str, Any], plan: Plan) -> str:
    prices = {f"{goal:.0%}": price(entry, goal, None) for goal in plan.accuracies}
    prices |= {f"loss {level}": price(entry, None, level) for level in plan.losses}
    rate = entry["learning_rate"]
    return f"{entry['label']}, learning rate {rate:g}, {entry['options']}: {prices}"


def _where(task: Task) -> dict[str, Any]:
    device = jax.devices()[0]
    return {
        "source": task.source,
        "device": device.device_kind,
        "platform": device.platform,
        "versions": {
            "python": platform.python_version(),
            **{package: _version(package) for package in _PACKAGES},
        },
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except ModuleNotFoundError:
        return None
