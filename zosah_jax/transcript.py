"""A step whose questions are answered outside: what makes ask and tell of any transformation.

`tx.update` is one function from values to updates, and optax's chains, masks and wrappers are built
around it. So it is not split. A `Transcript` stands in the place of `value_fn` and answers whole
rounds from values that are already known:

- to *ask* is to run `update` as far as the first round without values, and to keep its points;
- to *tell* is to run it again with the values of all rounds, and to keep what it returns.

Both are traced and compiled. What a round's answer does not reach, XLA leaves out; nothing is
evaluated, and `ask` is deterministic by the protocol of `method.py`, so that both runs see the same
probes.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from zosah_jax.box import Box
from zosah_jax.method import Method, State
from zosah_jax.params import Params, working_dtype
from zosah_jax.probes import Probes


class Transcript:
    """The values of a step, by round; given to `update` as its `value_fn`.

    Attributes:
        kinds: the kind of step of each transformation of this library within the optimizer, in the
            order in which they run (static). None: nothing is asked, and the kinds are found out.
        values: the values of the rounds that are known, in order.
        whole: the whole parameters, for points of which a mask has hidden some.
        box: the bounds, or None.
        found: the kinds that the states call for, int32 scalars.
        points: the points of each round, with a leading axis of probes.
    """

    def __init__(
        self,
        kinds: tuple[int, ...] | None,
        values: Sequence[jax.Array],
        whole: Params,
        box: Box | None,
    ) -> None:
        self.kinds = kinds
        self.values = values
        self.whole = whole
        self.box = box
        self.found: list[jax.Array] = []
        self.points: list[Params] = []

    def enter(self, method: Method, state: State) -> int | None:
        """The kind of the step that a transformation is about to take."""
        number = len(self.found)
        self.found.append(method.kind(state))
        return None if self.kinds is None else self.kinds[number]

    def answer(self, params: Params, probes: Probes) -> jax.Array:
        """Values of the next round; NaN where they are not known."""
        number = len(self.points)
        self.points.append(self._points(params, probes))
        if number < len(self.values):
            return self.values[number]
        return jnp.full(len(probes), jnp.nan, working_dtype(params))

    def _points(self, params: Params, probes: Probes) -> Params:
        points = jax.vmap(lambda probe: self._inside(probe.apply(params)))(probes)

        def filled(part: Any, full: jax.Array) -> jax.Array:
            if isinstance(part, optax.MaskedNode):
                return jnp.broadcast_to(full, (len(probes), *jnp.shape(full)))
            return part

        return jax.tree.map(
            filled, points, self.whole, is_leaf=lambda x: isinstance(x, optax.MaskedNode)
        )

    def _inside(self, point: Params) -> Params:
        return point if self.box is None else self.box.project(point)
