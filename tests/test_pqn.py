"""ZO-PQN against its NumPy reference, its boxes, and what it promises."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from reference_pqn import Reference

import zosah_jax
from zosah_jax.pqn.model import empty_model
from zosah_jax.pqn.options import Options, first_batch, living
from zosah_jax.pqn.secants import believed, learn_pair, no_pairs, product_with, spectrum_of_pairs
from zosah_jax.pqn.state import initial_state, lives_on, revived
from zosah_jax.pqn.trust_region import spectrum, trust_region_step
from zosah_jax.transform import zeroth_order_states

D, STEPS, NOISE = 21, 58, 1e-8  # differences so long that rounding is 1e-12 of them
_DRAW = np.random.default_rng(3)
ROWS, START = _DRAW.normal(size=(60, D)) + 0.5, 0.3 * _DRAW.normal(size=D)
KINDS = ("start", "meet", 8, 32, "whole", "try", "recheck")


def smooth(x, xp=jnp):
    """Logistic loss, a quartic bowl, and a term that is not convex."""
    return (
        xp.mean(xp.logaddexp(0.0, -xp.asarray(ROWS) @ x))
        + xp.sum(x**4) / 40
        + xp.sum(xp.sin(3 * x)) / 30
    )


def followed(tx, f, x, steps):
    """A run: points before each step, their values as told, kinds, and the last count."""

    @jax.jit
    def step(x, state):
        updates, after = tx.update(None, state, x, value_fn=f)
        return optax.apply_updates(x, updates), after

    state, points, told, kinds = tx.init(x), [], [], []
    for _ in range(steps):
        points.append(np.asarray(x))
        (now,) = zeroth_order_states(state)
        kinds.append(KINDS[int(now.method.kind)])
        x, state = step(x, state)
        (seen,) = zeroth_order_states(state)
        told.append(float(seen.info.base_value))
    return np.array(points), np.array(told), kinds, state


def test_equals_the_reference(x64):
    tx = zosah_jax.zopqn(noise=NOISE, key=4)
    x = jnp.asarray(START)
    points, told, kinds, state = followed(tx, smooth, x, STEPS)
    address = zeroth_order_states(state)[0].method.address
    run = Reference(partial(smooth, xp=np), START, np.asarray(address.index, int), NOISE)
    for _ in range(STEPS):
        run.step()
    assert kinds == run.kinds
    assert {"start", "meet", 8, "try", "recheck"} <= set(kinds)
    assert zosah_jax.num_evaluations(state) == run.values
    np.testing.assert_allclose(points, run.points, rtol=0, atol=1e-7)
    np.testing.assert_allclose(told, [smooth(p, np) for p in points], rtol=1e-12)
    np.testing.assert_allclose(told, [smooth(p, np) for p in run.points], rtol=1e-8)
    assert told[-1] < told[0] - 0.1
    assert zeroth_order_states(state)[0].method.secants.size > 0 < run.theta
    assert run.evidence != 0


def scaled_run(step, f_scale, x_scale, steps=30):
    """Points of a run on f_scale f(x / x_scale), in units of x_scale."""
    x = x_scale * jnp.asarray(START)
    state, points, told, kinds = TX.init(x), [], [], []
    for _ in range(steps):
        points.append(np.asarray(x) / x_scale)
        kinds.append(int(zeroth_order_states(state)[0].method.kind))
        x, state = step(x, state, f_scale, x_scale)
        told.append(float(zeroth_order_states(state)[0].info.base_value) / f_scale)
    return np.array(points), np.array(told), kinds


TX = zosah_jax.zopqn(noise=NOISE)


@pytest.mark.slow
def test_scales_of_f_and_x_change_nothing(x64):
    @jax.jit
    def step(x, state, f_scale, x_scale):
        f = lambda x: f_scale * smooth(x / x_scale)  # noqa: E731
        updates, after = TX.update(None, state, x, value_fn=f)
        return optax.apply_updates(x, updates), after

    plain = scaled_run(step, 1.0, 1.0)
    for scales in ((2.0**20, 1.0), (1.0, 2.0**10)):
        points, told, kinds = scaled_run(step, *scales)
        assert kinds == plain[2]
        np.testing.assert_allclose(points, plain[0], rtol=0, atol=1e-7)
        np.testing.assert_allclose(told, plain[1], rtol=1e-8)


def test_steps_never_climb_and_values_told_are_those_of_the_points(x64):
    def f(x):  # a wall of missing values, and curvature of both signs
        inside = jnp.sum(jnp.cos(2 * x) + x**2 / 4 + x**4 / 20) + x[0] * x[1]
        return jnp.where(x[0] > 0.2, jnp.nan, inside)

    points, told, kinds, state = followed(zosah_jax.zopqn(), f, jnp.array([0.19, 0.3, -0.2]), 40)
    np.testing.assert_allclose(told, [f(x) for x in points], rtol=1e-12)
    assert (np.diff(told) <= 0).all()
    assert not np.isfinite(f(points[0] + jnp.array([0.02, 0, 0])))  # its first probe
    assert told[-1] < told[0] - 2
    assert np.abs(jax.grad(f)(points[-1])).max() < 1e-4
    looks = [kind for kind in kinds if kind != "try"]
    cost = {"start": 7, "meet": 6, "whole": 3, "try": 1}
    assert zosah_jax.num_evaluations(state) == sum(cost[kind] for kind in kinds)
    assert 0 < len(looks) < len(kinds)


def test_parameters_moved_by_others_are_valued_anew(x64):
    tx = zosah_jax.zopqn()
    x, update = jnp.array([1.0, -2.0, 0.5]), jax.jit(partial(tx.update, value_fn=bowl))
    state = tx.init(x)
    for number in range(30):
        if number in (5, 6, 11):
            x = jnp.asarray(x) + jnp.array([0.3, 0.0, -0.2])
        updates, state = update(None, state, x)
        told = zeroth_order_states(state)[0].info.base_value
        np.testing.assert_allclose(told, bowl(x), rtol=1e-12, atol=1e-20)
        x = optax.apply_updates(x, updates)
    assert bowl(x) < 1e-12


def bowl(x):
    return jnp.sum(jnp.array([1.0, 10.0, 100.0], x.dtype) * (x - 1) ** 2)


@pytest.mark.slow
def test_a_change_of_the_objective_is_noticed(x64):
    tx = zosah_jax.zopqn()
    update = jax.jit(
        lambda state, x, lift: tx.update(x, state, x, value_fn=lambda x: bowl(x) + lift)
    )
    x = jnp.array([1.0, -2.0, 0.5])
    state = tx.init(x)
    for number in range(80):
        updates, state = update(state, x, 0.0 if number < 4 else 1e6)
        x = optax.apply_updates(x, updates)
    assert bowl(x) < 1e-4


@pytest.mark.slow
def test_more_parameters_than_are_modelled():
    tx = zosah_jax.zopqn(subspace_dim=5, period=3)
    f = lambda x: jnp.sum((1 + jnp.arange(17.0)) * (x - 1) ** 2)  # noqa: E731
    out = zosah_jax.minimize(f, jnp.zeros(17), tx, budget=1_000)
    assert out.best_value < 1e-3
    (state,) = zeroth_order_states(out.state)
    assert state.method.turn > 20
    assert max(leaf.size for leaf in jax.tree.leaves(state.method.model)) == 25


def test_rosenbrock(x64):
    def f(x):
        return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2

    out = zosah_jax.minimize(f, jnp.array([-1.2, 1.0]), TX_EXACT, budget=250, target=1e-10)
    assert out.best_value < 1e-10


TX_EXACT = zosah_jax.zopqn()


def test_trust_region_step_is_the_smallest_within(x64):
    rng = np.random.default_rng(1)
    for radius in (0.1, 2.0, 1e3):
        a = rng.normal(size=(4, 4))
        hessian, scale, gradient = a + a.T, rng.uniform(0.5, 2, 4), rng.normal(size=4)
        known = spectrum(jnp.asarray(hessian), jnp.asarray(scale))
        step, decrease = map(
            np.asarray, trust_region_step(known, jnp.asarray(gradient), jnp.asarray(radius))
        )
        length = np.sqrt(step @ (scale * step))
        assert length <= radius * (1 + 1e-6)
        np.testing.assert_allclose(decrease, -(gradient @ step + step @ hessian @ step / 2))
        others = rng.normal(size=(4_000, 4))
        norms = np.sqrt(np.sum(others**2 * scale, axis=1))
        others *= (radius / norms * rng.uniform(0, 1, 4_000) ** 0.25)[:, None]
        values = others @ gradient + np.einsum("ki,ij,kj->k", others, hessian, others) / 2
        assert -decrease <= values.min() + 1e-6 * abs(decrease)


def test_first_sweep_divides_well():
    assert [first_batch(d) for d in (1, 2, 4, 6, 10, 31, 124)] == [1, 2, 4, 3, 5, 4, 4]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"subspace_dim": 0}, ValueError, "subspace_dim: got 0"),
        ({"subspace_dim": 2.5}, TypeError, "subspace_dim: got 2.5"),
        ({"period": None}, TypeError, "period: got None"),
        ({"radius": -1.0}, ValueError, "radius: got -1.0"),
        ({"noise": 0.0}, ValueError, "noise: got 0.0"),
        ({"key": 0.5}, TypeError, "key: got 0.5"),
    ],
)
def test_bad_options(options, error, words):
    with pytest.raises(error, match=words):
        zosah_jax.zopqn(**options)


def test_more_coordinates_than_parameters():
    with pytest.raises(ValueError, match="subspace_dim: got 4, wanted at most d = 3"):
        zosah_jax.zopqn(subspace_dim=4).init(jnp.zeros(3))


def test_secant_pairs(x64):
    """The newest equation holds, rounding apart; noise and what is not convex are refused."""
    rng, dim = np.random.default_rng(6), 7
    root = rng.normal(size=(dim, dim))
    hessian, unit = jnp.asarray(root @ root.T + np.eye(dim)), jnp.asarray(rng.uniform(1, 5, dim))
    model, exact = empty_model(dim, unit.dtype), jnp.zeros(dim)
    model = model._replace(hessian=hessian / 2, scale=jnp.ones(dim))
    learn = jax.jit(partial(learn_pair, model=model, unit=unit))
    pairs = no_pairs(dim, unit.dtype)
    assert not believed(pairs)
    for _ in range(3 * dim):
        step = jnp.asarray(rng.normal(size=dim))
        pairs = learn(pairs, step=step, change=hessian @ step, noise=exact)
        np.testing.assert_allclose(product_with(pairs, unit, step), hessian @ step, rtol=1e-9)
    assert believed(pairs)
    seen = spectrum_of_pairs(pairs, unit)
    assert (seen.eigenvalues > 0).all()
    scaled = hessian * jnp.outer(unit, unit)
    np.testing.assert_allclose(seen.eigenvalues, jnp.linalg.eigvalsh(scaled), rtol=0.5)
    assert pairs.evidence > 0  # B is off by a half, the pairs by less
    for change, noise in ((-hessian @ step, exact), (hessian @ step, exact + 1e6)):
        refused = learn(pairs, step=step, change=change, noise=noise)
        np.testing.assert_array_equal(refused.rest, pairs.rest)


def test_how_long_the_gradient_lives_on():
    assert [living(dim) for dim in (1, 13, 14, 100)] == [0, 0, 112, 800]
    options = Options(subspace_dim=None, period=8, radius=0.1, noise=None, key=0)
    state = initial_state(options, jnp.zeros(20))._replace(spent=jnp.asarray(160))
    assert lives_on(state)  # nothing is met yet
    met = state._replace(model=state.model._replace(scale=jnp.ones(20)))
    assert not lives_on(met)
    assert lives_on(met._replace(spent=jnp.asarray(159)))
    assert lives_on(met._replace(noise=jnp.asarray(1e-9)))
    assert lives_on(revived(met))
