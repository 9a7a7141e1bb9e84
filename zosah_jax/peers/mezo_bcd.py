"""MeZO-BCD: MeZO within one block of the parameters a step."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from zosah_jax.blocks import BlockOrder, BlockRule, block_at, check_blocks, split_blocks
from zosah_jax.checks import check_positive, check_static_count, typed_key
from zosah_jax.estimate import mean_value, mean_weights
from zosah_jax.evaluate import Evaluator
from zosah_jax.method import Method, Told, one_kind
from zosah_jax.params import Params, widen, working_dtype
from zosah_jax.peers.memoryless import MemorylessState, init_memoryless
from zosah_jax.probes import BlockProbes, move_block
from zosah_jax.transform import as_transformation


class _Options(NamedTuple):
    blocks: BlockRule
    block_order: BlockOrder
    num_samples: int
    smoothing: float
    key: Any


def _init(options: _Options, params: Params) -> MemorylessState:
    split_blocks(params, options.blocks)  # refuses them before the first step
    return init_memoryless(options.key, params)


def _ask(options: _Options, state: MemorylessState, params: Params) -> BlockProbes:
    """A step forth along each direction within the step's block, then a step back."""
    leaves = split_blocks(params, options.blocks).leaves
    choice, draw = jax.random.split(state.key)
    block = block_at(options.block_order, choice, state.step, len(leaves))
    keys = jax.random.split(jax.random.fold_in(draw, state.step), options.num_samples)
    forth = jnp.full(options.num_samples, options.smoothing, working_dtype(params))
    scale = jnp.concatenate([forth, -forth])
    blocks = jnp.broadcast_to(block, scale.shape)
    return BlockProbes(jnp.concatenate([keys, keys]), scale, blocks, leaves)


def _tell(state: MemorylessState, params: Params, probes: BlockProbes, values: jax.Array) -> Told:
    """Mean of z_i (f(x + eps z_i) - f(x - eps z_i)) / 2 eps over the pairs that came."""
    forth, back = jnp.split(values, 2)
    keys, scale = probes.key[: len(forth)], probes.scale[: len(forth)]
    weights = mean_weights((forth - back) / (2 * scale))

    def add(total: Params, each: tuple[jax.Array, jax.Array]) -> tuple[Params, None]:
        return move_block(total, *each, probes.block[0], probes.blocks), None

    zeros = jax.tree.map(jnp.zeros_like, widen(params))
    if len(weights) == 1:
        gradient = add(zeros, (keys[0], weights[0]))[0]
    else:
        gradient = jax.lax.scan(add, zeros, (keys, weights))[0]
    return Told(gradient, state._replace(step=state.step + 1), mean_value(values))


def mezo_bcd_method(
    blocks: BlockRule | None = None,
    block_order: BlockOrder = "cyclic",
    num_samples: int = 1,
    smoothing: float = 1e-3,
    key: Any = 0,
) -> Method:
    """MeZO-BCD by the protocol of `method.py`; arguments as in `scale_by_mezo_bcd`."""
    blocks = "layer" if blocks is None else blocks
    check_blocks(blocks, block_order)
    check_static_count("num_samples", num_samples)
    check_positive("smoothing", smoothing)
    typed_key(key)
    options = _Options(blocks, block_order, num_samples, smoothing, key)
    return one_kind(partial(_init, options), partial(_ask, options), _tell)


def scale_by_mezo_bcd(
    blocks: BlockRule | None = None,
    block_order: BlockOrder = "cyclic",
    num_samples: int = 1,
    smoothing: float = 1e-3,
    *,
    key: Any = 0,
    evaluator: Evaluator | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""MeZO's gradient within one block of the parameters, another one every step.

    .. math:: G = \frac{1}{n} \sum_i \frac{f(x + \epsilon z_i) - f(x - \epsilon z_i)}{2 \epsilon}
        z_i, \quad z_i \sim N(0, I) \text{ in the block}, \; 0 \text{ elsewhere}

    A step takes 2 n values. Random numbers are drawn for the block alone, and the other leaves are
    handed on as they are, so that a step costs less than MeZO's where drawing, not evaluating,
    takes the time. Nothing is stored.

    Args:
        blocks: what makes a block (static), as in `zosah_jax.blocks.split_blocks`: "layer" or
            "leaf", a function from a leaf's path to a name, or a pytree of names like the
            parameters. None: "layer".
        block_order: "cyclic", "reshuffled" (a new order each sweep) or "random" (with
            replacement). The abstract names none.
        num_samples: n (static).
        smoothing: epsilon, absolute (MeZO: 1e-3).
        key: an int or a typed PRNG key; blocks and directions follow from it.
        evaluator: how probes are answered; None picks by the size of the parameters. Only one that
            answers one by one draws for the block alone.

    Returns:
        A `GradientTransformationExtraArgs`; `update` wants `params` and the keyword `value_fn`.
        Pairs of which a value is not finite are left out of the mean. The state is a
        `ZerothOrderState` around a `MemorylessState`.

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
    method = mezo_bcd_method(blocks, block_order, num_samples, smoothing, key)
    return as_transformation(method, evaluator)


def mezo_bcd(
    learning_rate: optax.ScalarOrSchedule,
    blocks: BlockRule | None = None,
    block_order: BlockOrder = "cyclic",
    num_samples: int = 1,
    smoothing: float = 1e-3,
    *,
    key: Any = 0,
    evaluator: Evaluator | None = None,
) -> optax.GradientTransformationExtraArgs:
    """MeZO-BCD: `scale_by_mezo_bcd`, then x <- x - learning_rate * G.

    Args:
        learning_rate: or a schedule of it.
        blocks: as in `scale_by_mezo_bcd`.
        block_order: as in `scale_by_mezo_bcd`.
        num_samples: as in `scale_by_mezo_bcd`.
        smoothing: as in `scale_by_mezo_bcd`.
        key: as in `scale_by_mezo_bcd`.
        evaluator: as in `scale_by_mezo_bcd`.

    Returns:
        A `GradientTransformationExtraArgs`. Momentum after it moves every block at every step.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> tx = zosah_jax.mezo_bcd(0.1, blocks="leaf")
        >>> x0 = {"first": jnp.ones(2), "second": jnp.ones(3)}
        >>> f = lambda p: (p["first"] ** 2).sum() + (p["second"] ** 2).sum()
        >>> out = zosah_jax.minimize(f, x0, tx, budget=600)
        >>> bool(out.best_value < 1e-3)
        True

    References:
        Park et al., `Elucidating Subspace Perturbation in Zeroth-Order Optimization
        <https://arxiv.org/abs/2501.19099>`_, 2025.
    """
    direction = scale_by_mezo_bcd(
        blocks, block_order, num_samples, smoothing, key=key, evaluator=evaluator
    )
    return optax.chain(direction, optax.scale_by_learning_rate(learning_rate))  # type: ignore[return-value]
