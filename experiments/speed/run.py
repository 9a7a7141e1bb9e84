"""The measurement: ratios of times taken in turns, and counts that need no clock."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from experiments.speed import deepzero as deepzero_code
from experiments.speed.launch import measure_mesh
from experiments.speed.network import (
    Problem,
    last_stage_block,
    probes_in,
    problem,
    random_probes,
)
from experiments.timing import in_turns
from zosah_jax import all_at_once, grouped, one_by_one, scale_by_zosah
from zosah_jax.params import dimension
from zosah_jax.sah.options import Options
from zosah_jax.sah.step import zosah_method

_FEW = 8  # probes of the evaluators that take a forward pass a value or more


def measure(
    *,
    network: str,
    batch_size: int,
    num_probes: int,
    subspace_dim: int,
    repeats: int,
    largest: int,
    devices: int,
    deepzero: Path | None,
) -> dict[str, Any]:
    """Everything that the tables show; for JSON."""
    task = problem(network, batch_size)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "values": lambda: _values(task, batch_size, num_probes, repeats, deepzero),
        "update": lambda: _update(task, subspace_dim, repeats),
        "memory": lambda: _memory(task, subspace_dim),
        "dimension": lambda: _dimension(subspace_dim, largest, repeats),
        "mesh": lambda: measure_mesh(devices),
    }
    results: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, {jax.devices()[0].device_kind}",
        "network": f"{network}, batch {batch_size}, {dimension(task.params):,} parameters",
    }
    with tqdm(parts.items(), unit="part") as bar:
        for name, part in bar:
            bar.set_description(name)
            results[name] = part()
    return results


# --- a value -------------------------------------------------------------------------------------


def _values(
    task: Problem, batch_size: int, num_probes: int, repeats: int, deepzero: Path | None
) -> dict[str, Any]:
    """Time a value, in units of a jitted forward pass, and of a value of DeepZero's code."""
    forward = jax.jit(task.value)
    block = last_stage_block(task.params)
    uniform = random_probes(task.params, num_probes, 0)
    few = random_probes(task.params, _FEW - 1, 0)
    inside = probes_in(task.params, block, num_probes, 0)
    functions: dict[str, tuple[Callable[[], Any], int]] = {
        "forward": (lambda: forward(task.params), 1),
        "all copies at once (naive vmap)": (_answering(task, all_at_once(), few), _FEW),
        "one by one": (_answering(task, one_by_one(), few), _FEW),
        "grouped": (_answering(task, grouped(), uniform), num_probes + 1),
        "grouped, one block of the last stage": (
            _answering(task, grouped(), inside),
            num_probes + 1,
        ),
    }
    if deepzero is not None:
        passes, estimate = deepzero_code.functions(deepzero, batch_size, num_probes)
        functions["DeepZero's forward"] = passes, 1
        functions["DeepZero's code, feature reuse"] = estimate, num_probes
    times = in_turns({name: call for name, (call, _) in functions.items()}, repeats)
    each = {name: times[name] / count for name, (_, count) in functions.items()}
    return {name: _compared(seconds, each) for name, seconds in each.items()}


def _compared(seconds: np.ndarray, each: dict[str, np.ndarray]) -> dict[str, Any]:
    """Median time a value, and its ratio to others of the same round."""
    found: dict[str, Any] = {"seconds": float(np.median(seconds))}
    for name, key in (("forward", "of_forward"), ("DeepZero's code, feature reuse", "of_deepzero")):
        if name in each:
            ratio = seconds / each[name]
            found[key] = float(np.median(ratio))
            found[f"{key}_quartiles"] = np.quantile(ratio, (0.25, 0.75)).tolist()
    return found


def _answering(task: Problem, evaluator: Any, probes: Any) -> Callable[[], jax.Array]:
    answer = jax.jit(lambda params, probes: evaluator(task.value, params, probes))
    return lambda: answer(task.params, probes)


# --- a step --------------------------------------------------------------------------------------


def _update(task: Problem, subspace_dim: int, repeats: int) -> dict[str, Any]:
    """Time of a period's updates over that of the evaluation of the same probes alone."""
    tx = scale_by_zosah(subspace_dim, evaluator=grouped())
    method = zosah_method(Options(subspace_dim=subspace_dim))

    @jax.jit
    def update(params: Any, state: Any) -> Any:
        return tx.update(params, state, params, value_fn=task.value)  # type: ignore[arg-type]

    answer = jax.jit(lambda params, probes: grouped()(task.value, params, probes))
    asks = [jax.jit(kind[0].ask) for kind in method.kinds]
    state: Any = tx.init(task.params)
    functions: dict[str, Callable[[], Any]] = {}
    counts: list[int] = []
    while not counts or int(state.next_num_evaluations) != counts[0]:
        probes = asks[int(method.kind(state.method))](state.method, task.params)
        functions[f"step {len(counts)}"] = partial(update, task.params, state)
        functions[f"values {len(counts)}"] = partial(answer, task.params, probes)
        counts.append(len(probes))
        _, state = update(task.params, state)
    times = in_turns(functions, repeats)
    steps, values = (
        sum(times[f"{kind} {number}"] for number in range(len(counts)))
        for kind in ("step", "values")
    )
    ratio = steps / values
    return {
        "values": counts,
        "ratio": float(np.median(ratio)),
        "ratio_quartiles": np.quantile(ratio, (0.25, 0.75)).tolist(),
    }


def _memory(task: Problem, subspace_dim: int) -> dict[str, Any]:
    """Temporary memory of a step that goes one by one, over that of a forward pass; by XLA."""
    tx = scale_by_zosah(subspace_dim, evaluator=one_by_one())

    def update(params: Any, state: Any) -> Any:
        return tx.update(params, state, params, value_fn=task.value)  # type: ignore[arg-type]

    def temporary(function: Callable[..., Any], *args: Any) -> int:
        analysis: Any = jax.jit(function).lower(*args).compile().memory_analysis()
        return analysis.temp_size_in_bytes

    forward = temporary(task.value, task.params)
    step = temporary(update, task.params, tx.init(task.params))
    return {"forward_bytes": forward, "step_bytes": step, "ratio": step / forward}


# --- a billion parameters ------------------------------------------------------------------------


def _dimension(subspace_dim: int, largest: int, repeats: int) -> dict[str, Any]:
    """Time of ask and tell, without values, at `largest` parameters over that at a million."""
    functions = {}
    for d in (1_000_000, largest):
        functions[str(d)] = _asking_and_telling(subspace_dim, jnp.zeros(d, jnp.bfloat16))
    times = in_turns(functions, 3 * repeats)
    ratio = times[str(largest)] / times["1000000"]
    return {
        "largest": largest,
        "ratio": float(np.median(ratio)),
        "ratio_quartiles": np.quantile(ratio, (0.25, 0.75)).tolist(),
    }


def _asking_and_telling(subspace_dim: int, params: jax.Array) -> Callable[[], Any]:
    """One step of each kind, on values that cost nothing; the update is described, not spread."""
    method = zosah_method(Options(subspace_dim=subspace_dim))

    @jax.jit
    def step(params: jax.Array, state: Any) -> Any:
        for ((ask, tell),) in method.kinds:
            probes = ask(state, params)
            values = jnp.cos(jnp.arange(len(probes), dtype=jnp.float32))
            told = tell(state, params, probes, values)
            state = told.state
        return told.updates, state

    state = method.init(params)
    return lambda: step(params, state)
