"""What ZO-SAH in random directions asks: which directions, how far along each."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.blocks import Blocks, block_at, split_blocks
from zosah_jax.low_rank import Law, law_of
from zosah_jax.method import Batch, Problem
from zosah_jax.methods.zosah import along
from zosah_jax.methods.zosah.directions_state import DirectionsState
from zosah_jax.methods.zosah.lengths import noisy_length
from zosah_jax.methods.zosah.spans import combined, gram, inner, whitening
from zosah_jax.methods.zosah.subspaces import check_subspace_dim
from zosah_jax.probes import DirectionProbes, tree_broadcast
from zosah_jax.pytree import Params, dimension, precision, widen, working_dtype

# m: on digits 8 takes 0.95 of the values of 16, of which a seed does not get to 95 %; on MNIST both
# measure alike, on a language model 16 is ahead (`experiments/benchmarks/subspaces`).
_SUBSPACE_DIM = 8
GROWTH = 16  # how much longer a step may be than the one before: what is known holds near by
_CROWDED = 8  # d / m below which probes go along orthonormal combinations of the directions
_ORDER = 2**31  # no step: the order of blocks has a key of its own
SAME = 4  # roundings of a value within which two are of the same point and mini-batch


@dataclass(frozen=True)
class Asked:
    """What is asked of random directions, for boxes that are told (`directions.Directions`).

    Attributes:
        options: the method.
    """

    options: Any  # ZOSAH

    @property
    def law(self) -> Law:
        """How directions are distributed."""
        basis = self.options.basis
        return law_of("low_rank" if basis == "low_rank" else "dense", self.options.rank)

    def blocks(self, params: Params) -> Blocks:
        """What moves at a time."""
        whole = (lambda path: "all") if self.options.blocks is None else self.options.blocks
        return split_blocks(params, whole, at_least=self.options.subspace_dim or 2)

    def subspace_dim(self, params: Params) -> int:
        """Dimension m of what is spanned."""
        m = check_subspace_dim(self.options.subspace_dim, dimension(params))
        least = min(self.blocks(params).sizes)
        return min(_SUBSPACE_DIM, least // 2 * 2) if self.options.subspace_dim is None else m

    def is_crowded(self, params: Params) -> bool:
        """Whether m is near d: then raw directions are far from orthogonal, and errors grow."""
        return _CROWDED * self.subspace_dim(params) > min(self.blocks(params).sizes)

    def ask_following(self, state: DirectionsState, params: Params, problem: Problem) -> Batch:
        """Ask f(x) and a step along each of m new directions."""
        keys, block = keys_of(state, state.step), self.block(state, params)
        length = self._length(state, params, problem)
        scale, basis = jnp.broadcast_to(length, (len(keys), 1)), None
        each = keys[:, None]
        if self.is_crowded(params):
            products = gram(keys, params, self.law, self.mask(params, block))
            basis = whitening(products, jnp.ones(len(keys), bool))
            size = jnp.sqrt(jnp.mean(jnp.diagonal(products)))
            scale, each = length * size * basis, jnp.broadcast_to(keys, (len(keys), len(keys)))
        scale = jnp.concatenate([jnp.zeros_like(scale[:1]), scale])
        each = jnp.concatenate([each[:1], each])
        scaling = self._scaling(params, block, len(each))
        return Batch(DirectionProbes(each, scale, scaling, self.law), basis)

    def ask_look(self, state: DirectionsState, params: Params, problem: Problem) -> Batch:
        """Ask a value on the step: where it will lead, by what is known; at first, near by."""
        del problem
        seen = state.pending
        curvature, reach = state.curvature[seen.block], state.reach[seen.block]
        slope = jnp.linalg.norm(seen.gradient)
        near = reach / jnp.where(slope > 0, slope, 1)
        known = jnp.where(curvature > 0, curvature, 1)
        tried = jnp.where(curvature > 0, jnp.minimum(1 / known, GROWTH * near), near)
        weight = -tried * (seen.gradient @ seen.basis)
        scaling = self._scaling(params, seen.block, 1)
        probes = DirectionProbes(keys_of(state, seen.number)[None], weight[None], scaling, self.law)
        return Batch(probes, tried)

    def ask_again(self, state: DirectionsState, params: Params, problem: Problem) -> Batch:
        """Ask a value where the last step came from, as far as is known."""
        del problem
        last = state.followed.last
        scaling = self._scaling(params, last.block, 1)
        keys = keys_of(state, last.number)
        weight = along.rate_of(state.followed.response) * last.weight
        return Batch(DirectionProbes(keys[None], weight[None], scaling, self.law), None)

    def smoothing(self, params: Params, power: float = 1 / 2) -> Any:
        """Length of a probe at each coordinate, in the root mean square.

        A forward difference wants the root of the precision, the first curvature its third root.
        """
        if self.options.smoothing is not None:
            return self.options.smoothing
        wide = widen(params)
        size = jnp.sqrt(inner(wide, wide) / dimension(params))
        return precision(params) ** power * jnp.maximum(1, size)

    def _length(self, state: DirectionsState, params: Params, problem: Problem) -> jax.Array:
        rounding = jnp.asarray(self.smoothing(params), state.base.dtype)
        if self.options.smoothing is not None:
            return rounding
        trace = dimension(params) * state.curvature[None]
        noisy = noisy_length(problem.noise, state.base, trace)
        return jnp.where(problem.noise > 0, noisy, rounding)

    def block(self, state: DirectionsState, params: Params) -> jax.Array:
        """Number of the block that moves."""
        count = len(self.blocks(params).sizes)
        turn = state.step // state.period
        key = jax.random.fold_in(state.key, _ORDER)
        return block_at(self.options.block_order, key, turn, count)

    def mask(self, params: Params, block: jax.Array) -> jax.Array | None:
        """1 for leaves in a block, 0 for others; None: all are."""
        blocks = self.blocks(params)
        if len(blocks.sizes) == 1:
            return None
        member = np.zeros((len(blocks.sizes), len(jax.tree.leaves(params))), np.float32)
        for row, numbers in zip(member, blocks.leaves, strict=True):
            row[list(numbers)] = 1
        return jnp.asarray(member)[block]

    def _scaling(self, params: Params, block: jax.Array, count: int) -> Params | None:
        mask = self.mask(params, block)
        if mask is None:
            return None
        leaves, treedef = jax.tree.flatten(params)
        scaled = [mask[n].astype(working_dtype(leaf)) for n, leaf in enumerate(leaves)]
        return tree_broadcast(jax.tree.unflatten(treedef, scaled), count)

    def combined(
        self,
        state: DirectionsState,
        number: jax.Array,
        weight: jax.Array,
        block: jax.Array,
        like: Params,
    ) -> Params:
        """Sum of a step's directions, each with its weight."""
        return combined(keys_of(state, number), weight, like, self.law, self.mask(like, block))


def keys_of(state: DirectionsState, number: jax.Array) -> jax.Array:
    """Keys of the directions that a step draws, shape (m,)."""
    m = len(state.followed.last.weight)
    return jax.random.split(jax.random.fold_in(state.key, number), m)
