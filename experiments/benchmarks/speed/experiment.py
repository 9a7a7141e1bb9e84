"""What a value of a ResNet-20 costs; update, memory, a billion parameters, devices (10 min)."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from experiments import experiment
from experiments.benchmarks.speed import deepzero
from experiments.benchmarks.speed.network import (
    Problem,
    last_stage_block,
    probes_in,
    problem,
    random_probes,
)
from experiments.common import style, table
from experiments.common.timing import in_turns
from zosah_jax import grouped, one_by_one, scale_by_zosah
from zosah_jax.evaluate import all_at_once
from zosah_jax.method import exact_problem
from zosah_jax.methods import zosah
from zosah_jax.pytree import dimension


@dataclass(frozen=True)
class Config(experiment.Config):
    """What a value of a ResNet-20 costs by each evaluator, and what the method around it adds."""

    network: str = "resnet20"
    """Network to measure on: resnet20, resnet8 or convnet."""
    batch_size: int = 64
    """Images a value."""
    num_probes: int = 256
    """Probes of random coordinates that the grouped evaluator answers; others get fewer."""
    subspace_dim: int = 128
    """Dimension of V in the step of ZO-SAH."""
    repeats: int = 7
    """Rounds of timings, taken in turns, of which medians are taken."""
    largest: int = 1_000_000_000
    """Parameters of the largest problem whose ask and tell are timed, over those of a million."""
    devices: int = 8
    """Simulated devices."""
    deepzero: Path | None = None
    """Checkout of DeepZero's own code (needs PyTorch), to time beside ours. None: left out."""


# --- the measurement ------------------------------------------------------------------------------

_FEW = 8  # probes of the evaluators that take a forward pass a value or more


def measure(config: Config) -> dict[str, Any]:
    """Ratios of times taken in turns, and counts that need no clock."""
    task, m, repeats = (
        problem(config.network, config.batch_size),
        config.subspace_dim,
        config.repeats,
    )
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "values": lambda: _values(task, config),
        "update": lambda: _update(task, m, repeats),
        "memory": lambda: _memory(task, m),
        "dimension": lambda: _dimension(m, config.largest, repeats),
        "mesh": lambda: measure_mesh(config.devices),
    }
    size = f"batch {config.batch_size}, {dimension(task.params):,} parameters"
    results: dict[str, Any] = {
        "machine": f"{os.cpu_count()} cores, {jax.devices()[0].device_kind}",
        "network": f"{config.network}, {size}",
    }
    with tqdm(parts.items(), unit="part") as bar:
        for name, part in bar:
            bar.set_description(name)
            results[name] = part()
    return results


# --- a value -------------------------------------------------------------------------------------


def _values(task: Problem, config: Config) -> dict[str, Any]:
    """Time a value, in units of a jitted forward pass, and of a value of DeepZero's code."""
    forward, num_probes = jax.jit(task.value), config.num_probes
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
    if config.deepzero is not None:
        passes, estimate = deepzero.functions(config.deepzero, config.batch_size, num_probes)
        functions["DeepZero's forward"] = passes, 1
        functions["DeepZero's code, feature reuse"] = estimate, num_probes
    times = in_turns({name: call for name, (call, _) in functions.items()}, config.repeats)
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
    method, exact = zosah(subspace_dim=subspace_dim), exact_problem(task.params)

    @jax.jit
    def update(params: Any, state: Any) -> Any:
        return tx.update(params, state, params, value_fn=task.value)  # type: ignore[arg-type]

    answer = jax.jit(lambda params, probes: grouped()(task.value, params, probes))
    asks = [jax.jit(stage.ask) for stage in method.stages(task.params)]
    state: Any = tx.init(task.params)
    functions: dict[str, Callable[[], Any]] = {}
    counts: list[int] = []
    while not counts or int(method.next_stage(state.method)) != 0:
        number = int(method.next_stage(state.method))
        probes = asks[number](state.method, task.params, exact).probes
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
    """A batch of each stage, on values that cost nothing; the update is described, not spread."""
    method, exact = zosah(subspace_dim=subspace_dim), exact_problem(params)

    @jax.jit
    def step(params: jax.Array, state: Any) -> Any:
        steps = []
        for stage in method.stages(params):
            batch = stage.ask(state, params, exact)
            values = jnp.cos(jnp.arange(len(batch.probes), dtype=jnp.float32))
            outcome = stage.tell(state, params, exact, batch, values)
            state = outcome.state
            steps.append(outcome.step)
        return steps, state

    state = method.init(params, jax.random.key(0))
    return lambda: step(params, state)


# --- devices --------------------------------------------------------------------------------------


def measure_mesh(devices: int) -> dict[str, Any]:
    """Operations a device on a mesh over an even share of all, and whether trajectories agree."""
    alone = _train(processes=1, devices=1)
    many = _train(processes=1, devices=devices)
    both = _train(processes=2, devices=devices // 2)
    return {
        "devices": devices,
        "values": alone["values"],
        "operations_ratio": devices * many["flops"] / alone["flops"],
        "same_bits_on_devices": many["bits"] == alone["bits"],
        "same_bits_by_two_processes": both["bits"] == alone["bits"],
    }


def _train(processes: int, devices: int) -> dict[str, Any]:
    """What `on_a_mesh` prints, run by so many processes with so many simulated devices each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        sys.executable,
        "-m",
        "experiments.benchmarks.speed.on_a_mesh",
        "--devices",
        str(devices),
    ]
    if processes > 1:
        command += ["--processes", str(processes), "--address", address]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    running = [
        subprocess.Popen(
            [*command, "--process", str(number)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    try:
        outputs = [process.communicate(timeout=500) for process in running]
    finally:
        for process in running:
            process.kill()
    for process, (_, errors) in zip(running, outputs, strict=True):
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{errors}")
    return json.loads(outputs[0][0].splitlines()[-1])


# --- its tables -----------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    return {"values": _value_table(results), "rest": _rest_table(results)}


def _value_table(results: dict[str, Any]) -> str:
    values = results["values"]
    header = [results["network"], "ms a value", "/ forward pass (quartiles)"]
    against = any("of_deepzero" in found for found in values.values())
    header += ["/ DeepZero's"] if against else []
    rows = []
    for name, found in values.items():
        row = [name, f"{1e3 * found['seconds']:.1f}"]
        row.append(table.ratio(found, "of_forward"))
        rows.append(row + ([f"{found['of_deepzero']:.2f}"] if against else []))
    return table.markdown(header, rows)


def _rest_table(results: dict[str, Any]) -> str:
    update, memory, mesh = results["update"], results["memory"], results["mesh"]
    dimension = results["dimension"]
    rows = [
        ["machine", results["machine"]],
        [
            f"a period of updates ({' + '.join(map(str, update['values']))} values) / its values",
            table.ratio(update),
        ],
        ["temporary memory, a step one by one / a forward pass", f"{memory['ratio']:.2f}"],
        [f"ask and tell, d = {dimension['largest']:.0e} / d = 1e+06", table.ratio(dimension)],
        [
            f"operations a device, {mesh['devices']} devices / an even share",
            f"{mesh['operations_ratio']:.2f}",
        ],
        [f"trajectory on {mesh['devices']} devices", _same(mesh["same_bits_on_devices"])],
        ["trajectory of two processes", _same(mesh["same_bits_by_two_processes"])],
    ]
    return table.markdown(["what", "measured"], rows)


def _same(same: bool) -> str:
    return "bit by bit that of one" if same else "differs from that of one"


# --- its figure -----------------------------------------------------------------------------------


def draw(results: dict[str, Any], path: Path) -> None:
    """Time a value by each way, in units of a forward pass."""
    values = {name: found for name, found in results["values"].items() if "forward" not in name}
    names = list(values)[::-1]
    ratios = [values[name]["of_forward"] for name in names]
    with style.figure(path, 10.5, 1.6 + 0.75 * len(names)) as figure:
        axes = figure.subplots()
        ours = [style.colour("zosah") if "grouped" in name else "0.65" for name in names]
        axes.barh(names, ratios, color=ours, height=0.6)
        for place, ratio in enumerate(ratios):
            axes.annotate(
                f"{ratio:.2f}",
                (ratio, place),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
            )
        axes.axvline(1, color=style.REFERENCE, linewidth=1)
        axes.set(xscale="log", xlabel="time a value / a jitted forward pass")
        axes.set_title(results["network"])
        axes.xaxis.set_major_formatter("{x:g}")
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.15)


EXPERIMENT = experiment.Experiment("speed", Config, measure, tables, draw, packages=("flax",))
