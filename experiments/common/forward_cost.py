"""What an estimate takes, in time and memory, over a forward pass of the same batch."""

from typing import Any

import jax
import numpy as np

from experiments.common import timing
from experiments.common.forward_tasks import Data, Task
from zosah_jax.forward import value_and_grad, with_feedback

LABELS = {
    "noise": "noise alone",
    "noise_only": "noise alone, at the logits too",
    "feedback": "with feedback",
    "backpropagation": "backpropagation",
}
"""Of what is measured."""


def costs(task: Task, data: Data, repeats: int) -> dict[str, dict[str, Any]]:
    """Time and memory over those of a forward pass, by estimate.

    Returns:
        `time`: median and quartiles of the ratios; `memory`: ratio of the temporary buffers, and of
        all buffers (arguments and results among them); `seconds`: median, of the estimate and of
        the forward pass.
    """
    size = task.batch or len(data.y)
    x, y, key = data.x[:size], data.y[:size], jax.random.key(0)
    params, options = task.init(key), dict(task.options)
    learner = with_feedback(task.losses, **options)
    state = learner.init(params, x, y)

    def mean(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return task.losses(params, x, y).mean()

    calls: timing.Calls = {
        "forward": (mean, (params, x, y)),
        "noise": (value_and_grad(task.losses, **options), (params, key, x, y)),
        "noise_only": (value_and_grad(task.losses, **options, direct=0.0), (params, key, x, y)),
        "feedback": (learner.value_and_grad, (params, state, key, x, y)),
        "backpropagation": (jax.value_and_grad(mean), (params, x, y)),
    }
    lowered = {name: jax.jit(f).lower(*given) for name, (f, given) in calls.items()}
    held = {name: _bytes(ready) for name, ready in timing.compiled(lowered).items()}
    seconds = timing.of_arrays(calls, repeats)
    found = {}
    for name in LABELS:
        ratios = seconds[name] / seconds["forward"]
        memory = np.array(held[name]) / np.maximum(held["forward"], 1)
        found[name] = {
            "time": np.quantile(ratios, [0.5, 0.25, 0.75]).round(2).tolist(),
            "memory": memory.round(2).tolist(),
            "seconds": [float(np.median(seconds[of])) for of in (name, "forward")],
        }
    return found


def _bytes(compiled: Any) -> list[int]:
    found = compiled.memory_analysis()
    temporary = found.temp_size_in_bytes
    return [temporary, temporary + found.argument_size_in_bytes + found.output_size_in_bytes]
