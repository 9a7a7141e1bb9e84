"""What a method does itself, its values left out, over the time of as many values."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

from experiments.overhead.objectives import Objective
from experiments.timing import in_turns
from zosah_jax import all_at_once
from zosah_jax.evaluate import Evaluator
from zosah_jax.method import Method
from zosah_jax.pqn.options import Options as PQNOptions
from zosah_jax.pqn.step import zopqn_method
from zosah_jax.probes import CoordinateProbes
from zosah_jax.sah.options import Options as SAHOptions
from zosah_jax.sah.step import zosah_method

_LEARNING_RATE = 0.5
_STEPS = 60  # of which the latter half is counted

METHODS: dict[str, Callable[[int], Method]] = {
    "ZO-SAH, m = d": lambda d: zosah_method(SAHOptions(subspace_dim=d)),
    "ZO-PQN": lambda d: zopqn_method(
        PQNOptions(subspace_dim=None, period=8, radius=0.1, noise=None, key=0)
    ),
}
"""What `minimize` takes beyond 256 parameters, and what it takes below."""


def own_work(
    objective: Objective, answering: Callable[[CoordinateProbes], Callable[[], Any]], repeats: int
) -> dict[str, Any]:
    """Time of ask and tell over that of the values they ask, a step of each kind as it falls.

    Args:
        objective: of d parameters.
        answering: probes -> a function that answers them and does nothing else.
        repeats: rounds, of which medians are taken.

    Returns:
        By method: the time of its own work over the time of as many values; kinds and values.
    """
    found = {}
    for name, make in METHODS.items():
        steps = _steps(make(objective.params.size), objective, all_at_once())
        values = answering(steps["probes"])
        functions = {f"kind {kind}": step for kind, step in steps["own"].items()}
        times = in_turns({**functions, "values": values}, repeats)
        asked = sum(steps["asked"][kind] * number for kind, number in steps["counts"].items())
        own = sum(times[f"kind {kind}"] * number for kind, number in steps["counts"].items())
        ratios = own / asked / (times["values"] / len(steps["probes"]))
        found[name] = {
            "ratio": float(np.median(ratios)),
            "ratio_quartiles": np.quantile(ratios, (0.25, 0.75)).tolist(),
            "steps": {str(kind): number for kind, number in steps["counts"].items()},
            "values": {str(kind): steps["asked"][kind] for kind in steps["counts"]},
        }
    return found


def _steps(method: Method, objective: Objective, evaluator: Evaluator) -> dict[str, Any]:
    """A short run: how often each kind of step comes, and its own work as a function."""
    asks = [jax.jit(round_.ask) for (round_,) in method.kinds]
    tells = [jax.jit(round_.tell) for (round_,) in method.kinds]

    @jax.jit
    def answer(params: Any, data: Any, probes: Any) -> jax.Array:
        return evaluator(lambda point: objective.value(point, data), params, probes)

    params, state = objective.params, method.init(objective.params)
    counts: Counter[int] = Counter()
    asked: dict[int, int] = {}
    own: dict[int, Callable[[], Any]] = {}
    most: Any = ()
    for number in range(_STEPS):
        kind = int(method.kind(state))
        probes = asks[kind](state, params)
        values = answer(params, objective.data, probes)
        told = tells[kind](state, params, probes, values)
        if 2 * number >= _STEPS:
            counts[kind] += 1
        asked[kind] = len(probes)
        own[kind] = _own(asks[kind], tells[kind], state, params, values)
        most = max(most, probes, key=len)
        state = told.state
        updates = told.updates.dense(params)  # type: ignore[union-attr]
        step = jax.tree.map(lambda u: -_LEARNING_RATE * u, updates)
        params = optax.apply_updates(params, step)
    return {
        "counts": dict(counts),
        "asked": asked,
        "own": {kind: own[kind] for kind in counts},
        "probes": most,
    }


def _own(ask: Any, tell: Any, state: Any, params: Any, values: jax.Array) -> Callable[[], Any]:
    def once() -> Any:
        told = tell(state, params, ask(state, params), values)
        return told.updates, told.state

    return once
