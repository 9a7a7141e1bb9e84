"""The measurement: ratios of times taken in turns."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from experiments.overhead.objectives import Objective, convolutional, logistic_regression, mlp
from experiments.overhead.own_work import own_work
from experiments.timing import in_turns
from zosah_jax import all_at_once, automatic, in_chunks, one_by_one, zosah
from zosah_jax.params import address_of, dimension
from zosah_jax.probes import CoordinateProbes

OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "logistic regression, 4,000 x 124": logistic_regression,
    "perceptron, 10k": partial(mlp, (64, 80, 64, 10), num_probes=256),
    "convolutional net, 50k": partial(convolutional, num_probes=32),
    "perceptron, 300k": partial(mlp, (256, 512, 320, 10), num_probes=64),
}
"""By what they are and how many parameters they have, in the order of the latter."""

SUBSPACE_DIM = 124  # of the step that is timed
LARGE = 1_000  # parameters of the problem on which the own work is timed, in float64


def measure(*, chunks: tuple[int, ...], repeats: int, step_repeats: int) -> dict[str, Any]:
    """Time the evaluators on every objective, and a step of ZO-SAH.

    Args:
        chunks: sizes of chunks to try.
        repeats: rounds, of which medians are taken.
        step_repeats: the same for the step.

    Returns:
        For JSON: time a value in units of a forward pass, and the step in units of its values.
    """
    evaluators = {
        "one by one": one_by_one(),
        **{f"chunks of {size}": in_chunks(size) for size in chunks},
        "all at once": all_at_once(),
        "automatic": automatic(),
    }
    with tqdm(total=len(OBJECTIVES) + 2, unit="objective") as bar:
        costs = {}
        for name, make in OBJECTIVES.items():
            bar.set_description(name)
            costs[name] = _evaluator_costs(make(), evaluators, repeats)
            bar.update()
        bar.set_description("step of ZO-SAH")
        step = _step_cost(logistic_regression(dimension=SUBSPACE_DIM), evaluators, step_repeats)
        bar.update()
        bar.set_description("own work")
        with jax.enable_x64(True):
            own = _own_work(evaluators, repeats)
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

    states, counts = _period(update, tx.init(objective.params), objective)
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
    update: Callable[..., Any], state: Any, objective: Objective
) -> tuple[list[Any], list[int]]:
    """The states before each step of the first period, and the values that these steps ask."""
    states, counts = [], []
    while not counts or _asks(state) != counts[0]:
        states.append(state)
        counts.append(_asks(state))
        _, state = update(state, objective.params, objective.data)
    return states, counts


def _asks(state: Any) -> int:
    return int(state[0].next_num_evaluations)
