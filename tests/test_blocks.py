"""Blocks of parameters, and ZO-SAH confined to one of them for a period."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zosah_jax
from zosah_jax.blocks import block_at, split_blocks
from zosah_jax.methods.zosah.subspaces import draw_in_block
from zosah_jax.pytree import dimension

PARAMS = {
    "a": {"kernel": jnp.zeros((3, 4)), "bias": jnp.zeros(4)},
    "b": {"kernel": jnp.zeros((4, 5)), "bias": jnp.zeros(())},
    "c": {"scale": jnp.zeros(2), "empty": jnp.zeros((0, 3))},
}


def test_layers_leaves_functions_and_names():
    layers = split_blocks(PARAMS)
    assert layers.names == ("['a']", "['b']", "['c']")
    assert layers.leaves == ((0, 1), (2, 3), (5,))
    assert layers.sizes == (16, 21, 2)
    joined = split_blocks(PARAMS, at_least=4)  # the last layer is too small
    assert joined.sizes == (16, 23)
    assert split_blocks(PARAMS, "leaf").sizes == (4, 12, 1, 20, 2)
    kernels = split_blocks(PARAMS, lambda path: "k" if "kernel" in path else "rest")
    assert dict(zip(kernels.names, kernels.sizes, strict=True)) == {"rest": 7, "k": 32}
    named = split_blocks(PARAMS, {"a": "x", "b": "y", "c": "x"})
    assert named.sizes == (18, 21)
    assert sum(named.sizes) == dimension(PARAMS)


@pytest.mark.parametrize("order", ["cyclic", "reshuffled", "random"])
def test_orders(order):
    visit = jax.jit(jax.vmap(lambda n: block_at(order, jax.random.key(1), n, 4)))
    sweeps = np.asarray(visit(jnp.arange(400))).reshape(100, 4)
    counts = np.bincount(sweeps.ravel(), minlength=4)
    if order == "random":
        assert counts.min() > 60
        assert counts.max() < 140
    else:
        assert (counts == 100).all()
        assert (np.sort(sweeps, axis=1) == np.arange(4)).all()
    assert (len({tuple(sweep) for sweep in sweeps}) == 1) == (order == "cyclic")


def test_a_block_is_swept_without_replacement():
    blocks = split_blocks(PARAMS, at_least=4)
    draw = jax.jit(
        jax.vmap(
            lambda n: draw_in_block(
                jax.random.key(0), n, PARAMS, m=4, blocks=blocks, order="cyclic"
            )
        )
    )
    address = draw(jnp.arange(8))  # four visits to each of two blocks
    drawn = [
        {(int(leaf), int(index)) for leaf, index in zip(*map(np.ravel, period), strict=True)}
        for period in zip(address.leaf, address.index, strict=True)
    ]
    assert all(len(period) == 4 for period in drawn)
    first = set.union(*drawn[::2])
    assert first == {(0, n) for n in range(4)} | {(1, n) for n in range(12)}
    assert all({leaf for leaf, _ in period} <= {2, 3, 5} for period in drawn[1::2])
    assert len(set.union(*drawn[1::2])) == 16  # of 23: nothing twice


def test_zosah_moves_one_block_a_period_and_all_in_a_sweep():
    target = jax.tree.map(lambda x: x + 1.0, PARAMS)

    def f(p):
        return sum(
            jnp.sum((a - b) ** 2) for a, b in zip(*map(jax.tree.leaves, (p, target)), strict=True)
        )

    tx = zosah_jax.zosah(1.0, 4, 2, blocks="layer", block_order="reshuffled", key=3)
    params, state = PARAMS, tx.init(PARAMS)
    step = jax.jit(lambda p, s: tx.update(None, s, p, value_fn=f))
    moved = []
    for _ in range(4):  # two periods of two steps: each of the two blocks once
        updates, state = step(params, state)
        params = optax.apply_updates(params, updates)
        moved.append(tuple(bool(jnp.any(u != 0)) for u in jax.tree.leaves(updates)))
    assert moved[0] == moved[1] != moved[2] == moved[3]
    first, second = np.array(moved[0]), np.array(moved[2])
    assert not (first & second).any()
    assert f(params) < f(PARAMS)
    assert zosah_jax.num_evaluations(state) == 2 * (11 + 5)
