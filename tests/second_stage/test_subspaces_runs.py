"""Longer runs of ZO-SAH in random directions: what it sees of momentum and of mini-batches."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_subspaces import valley
from test_trajectory import followed

import zosah_jax
from zosah_jax.faces.transformation import zeroth_order_states
from zosah_jax.methods.zosah import along


@pytest.mark.parametrize(("m", "momentum"), [(2, None), (8, None), (40, None), (2, 0.9), (8, 0.9)])
def test_a_learning_rate_of_one_never_diverges(m, momentum):
    """With momentum, too: what is above the effective dimension is seen along the steps."""
    f, x0 = valley(40), jnp.zeros(40)
    tx = zosah_jax.zosah(1.0, m, basis="dense", key=1)
    if momentum is not None:
        tx = optax.chain(tx, optax.trace(momentum))
    points, _, base = followed(tx, f, x0, 150)
    assert f(points[-1]) < base[0] * (0.1 if momentum is None else 0.5)
    assert np.max(base) < (2 if momentum is None else 4) * base[0]


def test_what_momentum_makes_of_a_step_is_seen():
    """Under `trace(0.9)` a step leads ten times as far; under `ema`, and at rates below 1, not."""
    f, x0 = valley(200), jnp.zeros(200)
    for after, gain in (
        ([optax.trace(0.9), optax.scale(0.5)], 5.0),
        ([optax.ema(0.9, debias=False)], 1.0),
        ([optax.scale(0.3)], 0.3),
    ):
        tx = optax.chain(zosah_jax.zosah(1.0, 4, basis="dense", key=1), *after)
        _, states, _ = followed(tx, f, x0, 30)
        response = jax.tree.map(lambda leaf: leaf[-1], states.followed.response)
        np.testing.assert_allclose(along.gain_of(response), gain, rtol=0.25)


def test_noise_between_mini_batches_shortens_the_steps():
    """A gradient of pure noise but for a part in five does not lead up, and the part is seen."""
    d, period = 400, 5

    def f(x, batch):
        noise = jax.random.normal(jax.random.fold_in(jax.random.key(9), batch), (d,))
        return jnp.sum((x - 1) ** 2) / 2 + 2 * noise @ x

    tx = zosah_jax.zosah(1.0, period=period, smoothing=1e-2, basis="dense", key=1)

    def step(carry, k):
        x, state = carry
        updates, state = tx.update(None, state, x, value_fn=lambda x: f(x, k // period))
        x = optax.apply_updates(x, updates)
        return (x, state), (jnp.sum((x - 1) ** 2), zeroth_order_states(state)[0].method.agreement)

    x = jnp.zeros(d)
    _, (left, agreement) = jax.jit(lambda x: jax.lax.scan(step, (x, tx.init(x)), jnp.arange(600)))(
        x
    )
    assert left[-1] < 0.5 * d  # Newton steps on every batch end at 4 d
    assert jnp.all(left < 1.5 * d)
    assert along.trust_in(agreement[-1]) < 0.3
    assert jnp.all(along.trust_in(agreement) > 0)
