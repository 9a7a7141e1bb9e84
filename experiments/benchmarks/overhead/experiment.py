"""What a value costs by each evaluator, and what a step adds (3 min)."""

import os
from collections import Counter
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
from experiments.benchmarks.overhead.objectives import (
    Objective,
    convolutional,
    logistic_regression,
    mlp,
)
from experiments.common import style, table
from experiments.common.timing import in_turns
from zosah_jax import automatic, in_chunks, methods, one_by_one, zosah
from zosah_jax.drive import origin_of, updates_of
from zosah_jax.evaluate import all_at_once
from zosah_jax.faces.transformation import MethodTransformation
from zosah_jax.method import Method, Problem, exact_problem, values_per_stage
from zosah_jax.probes import CoordinateProbes
from zosah_jax.pytree import address_of, dimension


@dataclass(frozen=True)
class Config(experiment.Config):
    """What a value costs by each evaluator, and what a step of ZO-SAH adds to its values."""

    chunks: tuple[int, ...] = (4, 16)
    """Sizes of chunks to try, beside one by one and all at once."""
    repeats: int = 9
    """Rounds of timings of the evaluators, taken in turns, of which medians are taken."""
    step_repeats: int = 40
    """The same for the step of ZO-SAH."""


# --- the measurement ------------------------------------------------------------------------------

OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "logistic regression, 4,000 x 124": logistic_regression,
    "perceptron, 10k": partial(mlp, (64, 80, 64, 10), num_probes=256),
    "convolutional net, 50k": partial(convolutional, num_probes=32),
    "perceptron, 300k": partial(mlp, (256, 512, 320, 10), num_probes=64),
}
"""By what they are and how many parameters they have, in the order of the latter."""

_LEARNING_RATE = 0.5
_STEPS = 60  # of the own work
SUBSPACE_DIM = 124  # of the step that is timed
LARGE = 1_000  # parameters of the problem on which the own work is timed, in float64


def measure(config: Config) -> dict[str, Any]:
    """Time a value in units of a forward pass, and a step in units of its values."""
    evaluators = {
        "one by one": one_by_one(),
        **{f"chunks of {size}": in_chunks(size) for size in config.chunks},
        "all at once": all_at_once(),
        "automatic": automatic(),
    }
    with tqdm(total=len(OBJECTIVES) + 2, unit="objective") as bar:
        costs = {}
        for name, make in OBJECTIVES.items():
            bar.set_description(name)
            costs[name] = _evaluator_costs(make(), evaluators, config.repeats)
            bar.update()
        bar.set_description("step of ZO-SAH")
        objective = logistic_regression(dimension=SUBSPACE_DIM)
        step = _step_cost(objective, evaluators, config.step_repeats)
        bar.update()
        bar.set_description("own work")
        with jax.enable_x64(True):
            own = _own_work(evaluators, config.repeats)
        bar.update()
    machine = f"{os.cpu_count()} cores, {jax.devices()[0].device_kind}"
    return {"machine": machine, "cost_of_a_value": costs, "step": step, "own_work": own}


def _own_work(evaluators: dict[str, Any], repeats: int) -> dict[str, Any]:
    """Ask and tell over as many values, by the quickest evaluator for 1,001 of them."""
    objective = logistic_regression(dimension=LARGE)
    params, data = (part.astype(float) for part in (objective.params, objective.data))
    objective = objective._replace(params=params, data=data)
    probes = _probes(objective, LARGE + 1)
    functions = {name: _answering(objective, e, probes) for name, e in evaluators.items()}
    times = in_turns(functions, max(1, repeats // 3))
    best = min(times, key=lambda name: float(np.median(times[name])))
    answering = partial(_answering, objective, evaluators[best])
    found = own_work(objective, answering, repeats)
    return {"dimension": LARGE, "best_evaluator": best, "methods": found}


def _evaluator_costs(
    objective: Objective, evaluators: dict[str, Any], repeats: int
) -> dict[str, Any]:
    """Time a value by each evaluator over that of one jitted forward pass."""
    forward = jax.jit(objective.value)
    functions: dict[str, Callable[[], Any]] = {
        "forward": lambda: forward(objective.params, objective.data)
    }
    probes = _probes(objective, objective.num_probes)
    for name, evaluator in evaluators.items():
        functions[name] = _answering(objective, evaluator, probes)
    times = in_turns(functions, repeats)
    alone = times.pop("forward")
    return {
        "dimension": dimension(objective.params),
        "num_probes": objective.num_probes,
        "forward_seconds": float(np.median(alone)),
        "ratios": {
            name: float(np.median(seconds / alone) / objective.num_probes)
            for name, seconds in times.items()
        },
    }


def _probes(objective: Objective, number: int) -> CoordinateProbes:
    """Probes that each move one random coordinate."""
    size = dimension(objective.params)
    positions = jax.random.randint(jax.random.key(1), (number, 1), 0, size).astype(jnp.uint32)
    return CoordinateProbes(address_of(objective.params, positions), jnp.full((number, 1), 1e-3))


def _answering(
    objective: Objective, evaluator: Any, probes: CoordinateProbes
) -> Callable[[], jax.Array]:
    @jax.jit
    def answer(params: Any, data: Any, probes: CoordinateProbes) -> jax.Array:
        return evaluator(lambda point: objective.value(point, data), params, probes)

    return lambda: answer(objective.params, objective.data, probes)


def _step_cost(objective: Objective, evaluators: dict[str, Any], repeats: int) -> dict[str, Any]:
    """Time of a period of jitted updates over that of as many values by the best evaluator."""
    tx = zosah(1.0, subspace_dim=SUBSPACE_DIM)

    @jax.jit
    def update(state: Any, params: Any, data: Any) -> Any:
        return tx.update(params, state, params, value_fn=lambda p: objective.value(p, data))

    states, counts = _period(update, tx, objective)
    functions: dict[str, Callable[[], Any]] = {}
    for number, state in enumerate(states):
        functions[f"step {number}"] = partial(update, state, objective.params, objective.data)
    for name, evaluator in evaluators.items():
        for count in sorted(set(counts)):
            probes = _probes(objective, count)
            functions[f"{name}, {count}"] = _answering(objective, evaluator, probes)
    times = in_turns(functions, repeats)
    period = sum(times[f"step {number}"] for number in range(len(states)))
    values = {name: sum(times[f"{name}, {count}"] for count in counts) for name in evaluators}
    best = min(values, key=lambda name: float(np.median(values[name])))
    ratios = period / values[best]
    return {
        "values_of_steps": counts,
        "best_evaluator": best,
        "period_seconds": float(np.median(period)),
        "ratio": float(np.median(ratios)),
        "ratio_quartiles": np.quantile(ratios, (0.25, 0.75)).tolist(),
    }


def _period(
    update: Callable[..., Any], tx: MethodTransformation, objective: Objective
) -> tuple[list[Any], list[int]]:
    """The states before each step of the first period, and the values that these steps ask."""
    sizes = values_per_stage(tx.method, objective.params, exact_problem(objective.params))
    states, counts = [], []
    state: Any = tx.init(objective.params)
    while not states or int(tx.method.next_stage(state[0].method)) != 0:
        states.append(state)
        counts.append(sizes[int(tx.method.next_stage(state[0].method))])
        _, state = update(state, objective.params, objective.data)
    return states, counts


METHODS: dict[str, Callable[[int], Method]] = {
    "ZO-SAH, m = d": lambda d: methods.zosah(subspace_dim=d),
    "ZO-PQN": lambda d: methods.zopqn(),
}
"""What `minimize` takes beyond 256 parameters, and what it takes below."""


def own_work(
    objective: Objective, answering: Callable[[Any], Callable[[], Any]], repeats: int
) -> dict[str, Any]:
    """Time of ask and tell over that of the values they ask, a batch of each stage as it falls.

    Args:
        objective: of d parameters.
        answering: probes -> a function that answers them and does nothing else.
        repeats: rounds, of which medians are taken.

    Returns:
        By method: the time of its own work over the time of as many values; stages and values.
    """
    found = {}
    for name, make in METHODS.items():
        steps = _steps(make(objective.params.size), objective)
        values = answering(steps["probes"])
        functions = {f"stage {number}": step for number, step in steps["own"].items()}
        times = in_turns({**functions, "values": values}, repeats)
        asked = sum(steps["asked"][number] * times_ for number, times_ in steps["counts"].items())
        own = sum(times[f"stage {number}"] * often for number, often in steps["counts"].items())
        ratios = own / asked / (times["values"] / len(steps["probes"]))
        found[name] = {
            "ratio": float(np.median(ratios)),
            "ratio_quartiles": np.quantile(ratios, (0.25, 0.75)).tolist(),
            "steps": {str(number): often for number, often in steps["counts"].items()},
            "values": {str(number): steps["asked"][number] for number in steps["counts"]},
        }
    return found


def _steps(method: Method, objective: Objective) -> dict[str, Any]:
    """A short run: how often each stage comes, and its own work as a function."""
    params, problem = objective.params, exact_problem(objective.params)
    stages = method.stages(params)
    asks = [jax.jit(stage.ask) for stage in stages]
    tells = [jax.jit(stage.tell) for stage in stages]

    @jax.jit
    def answer(origin: Any, data: Any, probes: Any) -> jax.Array:
        return all_at_once()(lambda point: objective.value(point, data), origin, probes)

    state, counts = method.init(params, jax.random.key(0)), Counter[int]()
    asked: dict[int, int] = {}
    own: dict[int, Callable[[], Any]] = {}
    most: Any = ()
    for step in range(_STEPS):
        number = int(method.next_stage(state))
        ask, tell = asks[number], tells[number]
        batch = ask(state, params, problem)
        values = answer(origin_of(batch, params), objective.data, batch.probes)
        counts[number] += 2 * step >= _STEPS  # the latter half
        asked[number] = len(values)
        own[number] = partial(_own, ask, tell, state, params, problem, values)
        most = max(most, batch.probes, key=len)
        outcome = tell(state, params, problem, batch, values)
        state = outcome.state
        if stages[number].moves:
            updates = updates_of(method, outcome, params)
            params = jax.tree.map(lambda p, u: p - _LEARNING_RATE * u, params, updates)
    counts = Counter({number: often for number, often in counts.items() if often})
    return {
        "counts": dict(counts),
        "asked": asked,
        "own": {number: own[number] for number in counts},
        "probes": most,
    }


def _own(ask: Any, tell: Any, state: Any, params: Any, problem: Problem, values: jax.Array) -> Any:
    outcome = tell(state, params, problem, ask(state, params, problem), values)
    return outcome.step, outcome.state


# --- its tables -----------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    return {
        "values": _value_table(results["cost_of_a_value"]),
        "step": _step_table(results["step"], results["machine"]),
        "own": _own_table(results["own_work"]),
    }


def _value_table(costs: dict[str, Any]) -> str:
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
    return table.markdown(header, rows)


def _step_table(step: dict[str, Any], machine: str) -> str:
    counts = step["values_of_steps"]
    header = ["a period of ZO-SAH, logistic regression 4,000 x 124, m = 124", "measured"]
    rows = [
        ["machine", machine],
        ["values", " + ".join(map(str, counts))],
        ["time of the jitted updates", f"{1e3 * step['period_seconds']:.1f} ms"],
        ["best evaluator for the same values alone", step["best_evaluator"]],
        ["ratio: median (quartiles)", table.ratio(step)],
    ]
    return table.markdown(header, rows)


def _own_table(own: dict[str, Any]) -> str:
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
    return table.markdown(header, rows)


# --- its figure -----------------------------------------------------------------------------------


def draw(results: dict[str, Any], path: Path) -> None:
    """Time a value by each evaluator, in units of a forward pass."""
    costs = results["cost_of_a_value"]
    names = list(next(iter(costs.values()))["ratios"])
    groups = np.arange(len(costs))
    with style.figure(path, 12.5, 5.6) as figure:
        axes = figure.subplots()
        axes.axhline(1, color=style.REFERENCE, linewidth=1)
        for number, name in enumerate(names):
            heights = [found["ratios"][name] for found in costs.values()]
            at = groups + 0.16 * (number - (len(names) - 1) / 2)
            marker, shade = style.MARKERS[number % len(style.MARKERS)], _shade(name, number, names)
            axes.plot(at, heights, marker, markersize=11, label=name, color=shade)
            for x, height in zip(at, heights, strict=True):
                axes.annotate(
                    f"{height:.2g}",
                    (x, height),
                    xytext=(0, 9),
                    textcoords="offset points",
                    ha="center",
                    fontsize=11,
                )
        axes.set(yscale="log", ylabel="time a value / jitted forward pass")
        axes.set_xticks(groups, [objective.replace(", ", "\n") for objective in costs])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(visible=False, axis="x")
        ratio = results["step"]["ratio"]
        axes.set_title(f"What a value costs (a step of ZO-SAH: {ratio:.2f} times its values)")
        axes.legend(ncols=len(names), fontsize=11, loc="upper left")
        axes.margins(y=0.2)


def _shade(name: str, number: int, names: list[str]) -> Any:
    """Grey by size of the chunk, the library's default in colour."""
    return style.colour("zosah") if name == "automatic" else str(0.75 - 0.6 * number / len(names))


EXPERIMENT = experiment.Experiment("overhead", Config, measure, tables, draw)
