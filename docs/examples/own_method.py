"""A method of your own: look around, go to the best point seen, and learn how far to look."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

import zosah_jax
from zosah_jax.method import Batch, Method, Outcome
from zosah_jax.probes import DirectionProbes, combine_directions


class State(NamedTuple):
    """The key, never advanced; the number of the step; how far to look."""

    key: jax.Array
    step: jax.Array
    reach: jax.Array


@dataclass(frozen=True, eq=False)  # Method compares and hashes options by their contents
class RandomSearch(Method):
    """The best of n points around, where it is better than here; reach doubled or cut by 0.7."""

    num_directions: int = 8
    reach: float = 0.5

    def init(self, params, key):
        """Nothing is seen yet."""
        return State(key, jnp.zeros((), jnp.int32), jnp.asarray(self.reach, jnp.float32))

    def ask(self, state, params, problem):
        """The parameters (scale 0), then a step along each direction."""
        keys = jax.random.split(jax.random.fold_in(state.key, state.step), self.num_directions + 1)
        scale = jnp.full(len(keys), state.reach).at[0].set(0)
        return Batch(DirectionProbes(keys[:, None], scale[:, None]))

    def tell(self, state, params, problem, batch, values):
        """A step to the best point; the step is subtracted, so it points the other way."""
        values = jnp.where(jnp.isfinite(values), values, jnp.inf)  # one that never came
        best = jnp.argmin(values)  # 0: here
        probes = batch.probes
        step = combine_directions(probes.key[best], -probes.scale[best], params)
        reach = state.reach * jnp.where(best > 0, 2.0, 0.7)
        return Outcome(State(state.key, state.step + 1, reach), step, values[0])


def rosenbrock(x):
    """The valley of Rosenbrock."""
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


result = zosah_jax.minimize(rosenbrock, jnp.array([-1.2, 1.0]), RandomSearch(), budget=2000)
print(result.message, result.value, result.num_evaluations)
tx = zosah_jax.as_optax(RandomSearch(num_directions=4, key=1), learning_rate=1.0)  # for chains
assert result.value < 1e-2
