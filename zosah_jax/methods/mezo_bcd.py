"""MeZO-BCD: MeZO within one block of the parameters a step."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from zosah_jax.blocks import BlockOrder, BlockRule, block_at, check_blocks, split_blocks
from zosah_jax.checks import check_positive, check_static_count
from zosah_jax.method import Batch, Outcome, Problem
from zosah_jax.methods.estimate import forth_and_back, mean_value, slope_weights
from zosah_jax.methods.memoryless import Memoryless, MemorylessState
from zosah_jax.probes import BlockProbes, move_block
from zosah_jax.pytree import Params, widen


@dataclass(frozen=True, eq=False)
class MeZOBCD(Memoryless):
    r"""MeZO's gradient within one block of the parameters, another one every step.

    .. math:: G = \frac{1}{n} \sum_i \frac{f(x + \epsilon z_i) - f(x - \epsilon z_i)}{2 \epsilon}
        z_i, \quad z_i \sim N(0, I) \text{ in the block}, \; 0 \text{ elsewhere}

    A step takes 2 n values. Random numbers are drawn for the block alone, and the other leaves are
    handed on as they are, so that a step costs less than MeZO's where drawing, not evaluating,
    takes the time. Nothing is stored.
    Pairs of which a value is not finite are left out of the mean. Momentum after it moves every
    block at every step.

    Args:
        blocks: what makes a block (static), as in `zosah_jax.blocks.split_blocks`: "layer" or
            "leaf", a function from a leaf's path to a name, or a pytree of names like the
            parameters. None: "layer". Only an evaluator that answers one by one draws for the
            block alone.
        block_order: "cyclic", "reshuffled" (a new order each sweep) or "random" (with
            replacement). The abstract names none.
        num_samples: n (static).
        smoothing: epsilon, absolute (MeZO: 1e-3).
        key: an int or a typed PRNG key; blocks and directions follow from it.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax, jax.numpy as jnp, zosah_jax
        >>> params = {"first": jnp.ones(2), "second": jnp.ones(3)}
        >>> tx = zosah_jax.scale_by_mezo_bcd("leaf")
        >>> f = lambda p: sum((leaf**2).sum() for leaf in jax.tree.leaves(p))
        >>> updates, state = tx.update(None, tx.init(params), params, value_fn=f)
        >>> [bool(jnp.any(u != 0)) for u in (updates["first"], updates["second"])]
        [True, False]

    References:
        Park et al., `Elucidating Subspace Perturbation in Zeroth-Order Optimization: Theory and
        Practice at Scale <https://arxiv.org/abs/2501.19099>`_, 2025.
    """

    blocks: BlockRule | None = None
    block_order: BlockOrder = "cyclic"
    num_samples: int = 1
    smoothing: float = 1e-3

    def __post_init__(self) -> None:
        """Refuse options that are out of range; what the blocks are waits for the parameters."""
        super().__post_init__()
        check_blocks(self._rule, self.block_order)
        check_static_count("num_samples", self.num_samples)
        check_positive("smoothing", self.smoothing)

    @property
    def _rule(self) -> BlockRule:
        return "layer" if self.blocks is None else self.blocks

    def init(self, params: Params, key: jax.Array) -> MemorylessState:
        """The state before the first step; blocks that cannot be are refused here."""
        split_blocks(params, self._rule)
        return super().init(params, key)

    def ask(self, state: MemorylessState, params: Params, problem: Problem) -> Batch:
        """A step forth along each direction within the step's block, then a step back."""
        del problem
        leaves = split_blocks(params, self._rule).leaves
        choice, draw = jax.random.split(state.key)
        block = block_at(self.block_order, choice, state.step, len(leaves))
        keys = jax.random.split(jax.random.fold_in(draw, state.step), self.num_samples)
        scale = forth_and_back(self.num_samples, self.smoothing, params)
        blocks = jnp.broadcast_to(block, scale.shape)
        return Batch(BlockProbes(jnp.concatenate([keys, keys]), scale, blocks, leaves))

    def tell(
        self,
        state: MemorylessState,
        params: Params,
        problem: Problem,
        batch: Batch,
        values: jax.Array,
    ) -> Outcome:
        """Mean of z_i (f(x + eps z_i) - f(x - eps z_i)) / 2 eps over the pairs that came."""
        del problem
        probes = batch.probes
        weights = slope_weights(probes.scale, values)
        keys = probes.key[: len(weights)]

        def add(total: Params, each: tuple[jax.Array, jax.Array]) -> tuple[Params, None]:
            return move_block(total, *each, probes.block[0], probes.blocks), None

        zeros = jax.tree.map(jnp.zeros_like, widen(params))
        if len(weights) == 1:
            gradient = add(zeros, (keys[0], weights[0]))[0]
        else:
            gradient = jax.lax.scan(add, zeros, (keys, weights))[0]
        return Outcome(state._replace(step=state.step + 1), gradient, mean_value(values))
