"""ZO-SAH in random directions: against NumPy, its boxes, momentum, blocks, mini-batches, input."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference_subspaces as reference
from jax.flatten_util import ravel_pytree
from test_trajectory import START, D, followed, holed, smooth

import zosah_jax
from zosah_jax import methods
from zosah_jax.checks import typed_key
from zosah_jax.evaluate import factored
from zosah_jax.faces.transformation import zeroth_order_states
from zosah_jax.low_rank import LowRank, draw_factors, with_held
from zosah_jax.methods.zosah import along
from zosah_jax.methods.zosah.spans import combined, gram, whitening
from zosah_jax.probes import direction

pytestmark = pytest.mark.xdist_group("zosah dense")

STEPS, EPSILON = 40, 0.05


def raw_directions(key, steps, m, d=D):
    """What step k draws, shape (steps, m, d)."""
    keys = jax.vmap(lambda k: jax.random.split(jax.random.fold_in(typed_key(key), k), m))(
        jnp.arange(steps)
    )
    draw = jax.jit(jax.vmap(jax.vmap(lambda key: direction(key, jnp.zeros(d)))))
    return np.asarray(draw(keys))


# --- the whole ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "m", "period"), [(1.0, 4, 5), (0.7, 2, 3), (1.0, 10, 1)])
def test_equals_the_reference(x64, rate, m, period):
    tx = zosah_jax.zosah(rate, m, period, EPSILON, basis="dense", key=5)
    points, states, base = followed(tx, smooth, jnp.asarray(START), STEPS)
    drawn = raw_directions(5, STEPS, m)
    expected, curvatures = reference.trajectory(
        partial(smooth, xp=np), START, drawn, rate, EPSILON, period
    )
    np.testing.assert_allclose(points, expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(states.curvature[:, 0], curvatures, rtol=1e-8)
    assert base[-1] < base[0] / 2


@pytest.mark.parametrize("basis", ["dense", "low_rank"])
def test_values_that_are_missing_are_left_out(basis):
    tx = zosah_jax.zosah(1.0, 4, smoothing=EPSILON, basis=basis, key=5)
    points, _, base = followed(tx, holed, jnp.asarray(START, jnp.float32), 80)
    assert np.isfinite(points).all()
    assert np.isnan(base).any()
    assert np.nanmin(base[-20:]) < base[0] / 2


def valley(d):
    """A quadratic of effective dimension tr(H) / ||H|| of about three."""
    curvature = jnp.asarray(1.0 / np.arange(1, d + 1) ** 1.5, jnp.float32)
    return lambda x: jnp.sum(curvature * (x - 1) ** 2) / 2


def test_values_are_compared_within_a_period_only():
    """A constant that changes with the batch, once a period, changes no step."""
    f, period = valley(12), 3

    def run(offset):
        tx = zosah_jax.zosah(1.0, 4, period, 1e-2, basis="dense", key=2)

        def step(carry, k):
            x, state = carry
            shift = offset * (k // period).astype(jnp.float32)
            updates, state = tx.update(None, state, x, value_fn=lambda x: f(x) + shift)
            return (optax.apply_updates(x, updates), state), x

        x = jnp.zeros(12)
        return jax.lax.scan(step, (x, tx.init(x)), jnp.arange(18))[1]

    plain, shifted = jax.jit(jax.vmap(run))(jnp.array([0.5, 1.0]))
    np.testing.assert_allclose(plain, shifted, atol=2e-2)
    assert f(plain[-1]) < f(plain[0]) / 4


def test_counts_a_value_a_direction_one_more_and_one_a_period():
    method = methods.zosah(6, 5, basis="dense")
    x = jnp.zeros(8)
    tx = zosah_jax.as_optax(method, 1.0)
    state = tx.init(x)
    step = jax.jit(lambda x, s: tx.update(None, s, x, value_fn=valley(8)))
    for _ in range(5):
        updates, state = step(x, state)
        x = x + updates
    assert zosah_jax.num_evaluations(state) == 5 * 7 + 1
    _, state = step(x, state)
    assert zosah_jax.num_evaluations(state) == 6 * 7 + 3  # and where the last step came from


# --- low rank, blocks -----------------------------------------------------------------------------

TREE = {"a": jnp.ones((6, 5)), "b": jnp.zeros(5), "c": jnp.ones((5, 3))}


def network(params):
    rows = jnp.asarray(np.random.default_rng(0).normal(size=(7, 6)), jnp.float32)
    hidden = jnp.tanh(rows @ params["a"] + params["b"][None])
    return jnp.mean((hidden @ params["c"] - 1) ** 2)


def test_low_rank_steps_are_the_same_by_the_factored_evaluator():
    found = []
    for evaluator in (zosah_jax.one_by_one(), factored()):
        tx = zosah_jax.zosah(1.0, 2, smoothing=0.1, basis="low_rank", evaluator=evaluator, key=3)
        step = jax.jit(lambda p, s, tx=tx: tx.update(None, s, p, value_fn=network))
        p, state = TREE, tx.init(TREE)
        for _ in range(3):
            updates, state = step(p, state)
            p = optax.apply_updates(p, updates)
        found.append(ravel_pytree(p)[0])
    np.testing.assert_allclose(*found, rtol=2e-3, atol=2e-3)
    assert network(p) < network(TREE)


@pytest.mark.parametrize("basis", ["dense", "low_rank"])
def test_blocks_move_one_layer_a_period(basis):
    tx = zosah_jax.zosah(1.0, 2, 2, basis=basis, blocks="leaf", key=3)
    p, state, moved = TREE, tx.init(TREE), []
    step = jax.jit(lambda p, s: tx.update(None, s, p, value_fn=network))
    for _ in range(6):
        updates, state = step(p, state)
        moved.append([bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(updates)])
        p = optax.apply_updates(p, updates)
    assert np.sum(moved, axis=1).tolist() == [1] * 6
    assert np.argmax(moved, axis=1).tolist() == [0, 0, 1, 1, 2, 2]
    assert network(p) < network(TREE)


@pytest.mark.parametrize("law", ["normal", LowRank(), LowRank(2)])
def test_inner_products_of_directions_are_those_of_their_arrays(law):
    keys = jax.random.split(jax.random.key(4), 3)
    for mask in (None, jnp.array([1.0, 0.0, 1.0], jnp.float32)):
        flat = np.stack(
            [ravel_pytree(combined(key[None], jnp.ones(1), TREE, law, mask))[0] for key in keys]
        )
        products = gram(keys, TREE, law, mask)
        np.testing.assert_allclose(products, flat @ flat.T, rtol=1e-4, atol=1e-4)
    whole = whitening(products, jnp.array([True, False, True])) @ flat
    np.testing.assert_allclose(whole @ whole.T, np.diag([1, 0, 1]), atol=1e-5)


def test_laws_may_hold_a_factor_and_make_it_orthonormal():
    held, keys = jax.random.key(1), jax.random.split(jax.random.key(2), 3)
    for law in (LowRank(2, held=True), LowRank(2, held=True, orthonormal=True)):
        first, second = (draw_factors(with_held(held, key), [jnp.zeros((8, 6))], law)[0]
                         for key in keys[:2])  # fmt: skip
        np.testing.assert_array_equal(first.left, second.left)
        assert (first.right != second.right).any()
        other = draw_factors(with_held(keys[2], keys[0]), [jnp.zeros((8, 6))], law)[0]
        assert (other.left != first.left).any()
    np.testing.assert_allclose(first.left.T @ first.left, np.eye(2), atol=1e-5)


# --- boxes ----------------------------------------------------------------------------------------


def sample(change, slope=1.0, length=1.0, size=1.0, error=0.0):
    return along.sample_along(*map(jnp.float32, (change, slope, length, size, error)))


def test_a_value_on_a_line_tells_its_curvature_and_how_sure_that_is():
    for curvature, length, size in ((3.0, 0.5, 4.0), (-1.0, 2.0, 0.25)):
        change = -length * 0.7 + length**2 / 2 * curvature * size
        found = sample(change, 0.7, length, size, 0.1)
        np.testing.assert_allclose(found.curvature, curvature, rtol=1e-5)
        np.testing.assert_allclose(found.error, 2**1.5 * 0.1 / (length**2 * size), rtol=1e-5)
    for missing in (sample(np.inf), sample(np.nan), sample(1.0, np.inf), sample(1.0, size=0.0)):
        assert np.isinf(missing.curvature)
        assert missing.error == 0


def test_curvatures_are_averaged_and_absurd_ones_bounded():
    a = jnp.float32(2.0)

    def after(curvature, error=0.0, a=a):
        return float(along.remembered(a, along.Sample(jnp.float32(curvature), jnp.float32(error))))

    np.testing.assert_allclose(after(4.0), 2.4, rtol=1e-6)
    np.testing.assert_allclose(after(-9.0), 1.6, rtol=1e-6)  # none rather than less than none
    np.testing.assert_allclose(after(20.0), 20.0, rtol=1e-6)  # f rose
    np.testing.assert_allclose(after(1e30), 32.0, rtol=1e-6)
    np.testing.assert_allclose(after(4.0, 2.0), 2.2, rtol=1e-6)  # half as sure
    np.testing.assert_allclose(after(20.0, 1e9), 2.0, rtol=1e-6)
    np.testing.assert_allclose(after(np.inf), 2.0)  # missing
    np.testing.assert_allclose(after(-3.0, a=jnp.float32(0)), 3.0)  # the first
    np.testing.assert_allclose(after(1e-3, 0.5, a=jnp.float32(0)), 0.5)


def test_the_next_mini_batch_tells_what_a_gradient_was_worth():
    def after(known=(0.0, 0.0), went=1.0, change=0.0, expected=1.0, slope=2.0, back=1.0):
        numbers = (slope, 4.0, went, back, change, expected, 1e-6, 0.5)
        return along.with_again(jnp.array(known), *map(jnp.float32, numbers))

    # f(x) = <g', v> = 0.5 along v, of curvature 0.5 * 4: 0.5 t + t^2 from x, read at x - v
    np.testing.assert_allclose(after(change=0.5 - 1.0), [0.25, 1.0])
    np.testing.assert_allclose(after(change=0.0, went=0.5), [0.0, 1.0])
    np.testing.assert_allclose(after((2.0, 4.0), change=-0.5), [0.97 * 2 + 0.25, 0.97 * 4 + 1])
    np.testing.assert_allclose(after(change=0.3, expected=0.0), [1.0, 1.0])  # the same batch
    np.testing.assert_allclose(after(change=-0.25, went=0.5, back=0.5), [0.0, 1.0])
    np.testing.assert_allclose(after(change=1e30), [4.0, 1.0])
    for unseen in (after(went=np.inf), after(slope=np.inf), after(change=np.inf), after(slope=0.0)):
        np.testing.assert_array_equal(unseen, [0.0, 0.0])
    assert along.trust_in(jnp.zeros(2)) == along.trust_in(jnp.array([3.0, 2.0])) == 1
    assert along.trust_in(jnp.array([1.0, 4.0])) == 0.25
    assert 0 < along.trust_in(jnp.array([-1.0, 4.0])) < 0.05


def test_state_is_small_and_its_directions_are_regenerated():
    x = jnp.zeros(10_000)
    state = zosah_jax.zosah(1.0, basis="dense").init(x)
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) < 200
    assert len(zeroth_order_states(state)) == 1


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"basis": "sparse"}, ValueError, ("basis", "'sparse'", "'dense'", "'low_rank'")),
        ({"basis": "dense", "groups": np.array([[0, 1]])}, ValueError, ("groups", "'dense'")),
        ({"basis": "low_rank", "radius": 0.1}, ValueError, ("radius", "0.1", "'low_rank'")),
        ({"basis": "dense", "ridge": 0.1}, ValueError, ("ridge", "0.1", "'dense'")),
        ({"basis": "dense", "subspace_dim": 8}, ValueError, ("subspace_dim", "8", "d = 6")),
        ({"basis": "dense", "subspace_dim": 3}, ValueError, ("subspace_dim", "3", "even")),
        ({"basis": "low_rank", "rank": 0}, ValueError, ("rank", "0", "at least 1")),
    ],
)
def test_bad_options_are_named(options, error, words):
    with pytest.raises(error) as caught:
        zosah_jax.scale_by_zosah(**options).init(jnp.ones(6))
    assert all(word in str(caught.value) for word in (*words, "got", "wanted")), str(caught.value)
