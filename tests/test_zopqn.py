"""ZO-PQN against its NumPy reference, its boxes, and what it promises."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from reference_zopqn import Reference

import zosah_jax
from zosah_jax import methods
from zosah_jax.drive import advance
from zosah_jax.evaluate.evaluators import all_at_once
from zosah_jax.method import exact_problem
from zosah_jax.methods.zopqn.measure import first_batch
from zosah_jax.methods.zopqn.secants import (
    inverse_of,
    learn_pair,
    no_pairs,
    product_with,
)
from zosah_jax.methods.zopqn.state import carry_again, initial_state, is_carried, living
from zosah_jax.methods.zopqn.trial import ask_trial, tell_trial
from zosah_jax.methods.zopqn.trust_region import spectrum, spectrum_of_inverse, trust_region_step

D, STAGES, NOISE = 21, 60, 1e-8  # differences so long that rounding is 1e-12 of them
_DRAW = np.random.default_rng(3)
ROWS, START = _DRAW.normal(size=(60, D)) + 0.5, 0.3 * _DRAW.normal(size=D)
KINDS = ("base", "meet", "try", "whole", 8)


def smooth(x, xp=jnp):
    """Logistic loss, a quartic bowl, and a term that is not convex."""
    return (
        xp.mean(xp.logaddexp(0.0, -xp.asarray(ROWS) @ x))
        + xp.sum(x**4) / 40
        + xp.sum(xp.sin(3 * x)) / 30
    )


def stages_of(method, f, x, problem=None):
    """The stages of a run, compiled: state -> (state, number of values)."""
    problem = exact_problem(x) if problem is None else problem

    def compiled(stage):
        def run(state):
            taken = advance(stage, state, x, problem, all_at_once(), f)
            return taken.outcome.state, jnp.asarray(len(taken.values))

        return jax.jit(run)

    return [compiled(stage) for stage in method.stages(x)]


def followed(method, f, x, count, stages=None):
    """A run by stages: where it stood before each, the value after it, kinds, values spent."""
    stages = stages_of(method, f, x) if stages is None else stages
    state, spent = method.init(x, jax.random.key(method.key)), 0
    points, told, kinds = [], [], []
    for _ in range(count):
        points.append(np.asarray(state.x))
        kinds.append(KINDS[int(method.next_stage(state))])
        state, asked = stages[int(method.next_stage(state))](state)
        spent += asked
        told.append(float(state.value))
    return np.array(points), np.array(told), kinds, state, int(spent)


def test_equals_the_reference(x64):
    # Other orders of the coordinates meet the hard case of the trust region: a gradient orthogonal
    # to the lowest eigenvector but for rounding, where the last bit decides which way a step goes.
    method, x = methods.zopqn(noise=NOISE, key=1), jnp.asarray(START)
    points, told, kinds, state, spent = followed(method, smooth, x, STAGES)
    order = np.asarray(state.address.index, int)
    run = Reference(partial(smooth, xp=np), START, order, NOISE)
    for _ in range(STAGES):
        run.step()
    assert kinds == run.kinds
    assert {"base", "meet", 8, "try", "whole"} <= set(kinds)
    assert spent == run.values
    np.testing.assert_allclose(points, run.points, rtol=0, atol=1e-7)
    stood = [*points[1:], np.asarray(state.x)]
    np.testing.assert_allclose(told, [smooth(p, np) for p in stood], rtol=1e-12)
    np.testing.assert_allclose(told[:-1], [smooth(p, np) for p in run.points[1:]], rtol=1e-8)
    assert told[-1] < told[0] - 0.1
    assert state.secants.size > 0 < run.theta


@pytest.mark.slow
def test_scales_of_f_and_x_change_nothing(x64):
    method = methods.zopqn(noise=NOISE)
    plain = followed(method, smooth, jnp.asarray(START), 30)
    for f_scale, x_scale in ((2.0**20, 1.0), (1.0, 2.0**10)):
        f = lambda x: f_scale * smooth(x / x_scale)  # noqa: B023, E731
        points, told, kinds, *_ = followed(method, f, x_scale * jnp.asarray(START), 30)
        assert kinds == plain[2]
        np.testing.assert_allclose(points / x_scale, plain[0], rtol=0, atol=1e-7)
        np.testing.assert_allclose(told / f_scale, plain[1], rtol=1e-8)


def test_steps_never_climb_where_values_are_missing(x64):
    def f(x):  # a wall of missing values, and curvature of both signs
        inside = jnp.sum(jnp.cos(2 * x) + x**2 / 4 + x**4 / 20) + x[0] * x[1]
        return jnp.where(x[0] > 0.2, jnp.nan, inside)

    x = jnp.array([0.19, 0.3, -0.2])
    points, told, kinds, state, spent = followed(methods.zopqn(), f, x, 41)
    np.testing.assert_allclose(told[:-1], [f(x) for x in points[1:]], rtol=1e-12)
    assert (np.diff(told) <= 0).all()
    assert not np.isfinite(f(points[0] + jnp.array([0.02, 0, 0])))  # its first probe
    assert told[-1] < told[0] - 2
    assert np.abs(jax.grad(f)(state.x)).max() < 1e-4
    cost = {"base": 1, "meet": 6, "whole": 3, "try": 1}
    assert spent == sum(cost[kind] for kind in kinds)


def test_a_start_without_a_value_ends_each_update(x64):
    tx, x = zosah_jax.zopqn(), jnp.array([1.0, -2.0, 0.5])
    update = jax.jit(
        lambda state, x, there: tx.update(
            None, state, x, value_fn=lambda x: jnp.where(there, bowl(x), jnp.nan)
        )
    )
    state = tx.init(x)
    for _ in range(3):
        updates, state = update(state, x, False)
        np.testing.assert_array_equal(updates, 0)
    assert zosah_jax.num_evaluations(state) == 4
    for _ in range(25):
        updates, state = update(state, x, True)
        x = optax.apply_updates(x, updates)
    assert bowl(x) < 1e-12


def bowl(x):
    return jnp.sum(jnp.array([1.0, 10.0, 100.0], x.dtype) * (x - 1) ** 2)


def after(tx, f, x, updates):
    """Parameters and count after so many updates."""
    state = tx.init(x)
    step = jax.jit(lambda x, state: tx.update(None, state, x, value_fn=f))
    for _ in range(updates):
        moves, state = step(x, state)
        x = optax.apply_updates(x, moves)
    return x, zosah_jax.num_evaluations(state)


def test_parameters_in_bfloat16_converge():
    f = lambda x: jnp.sum((x.astype(jnp.float32) - 3) ** 2)  # noqa: E731
    x, _ = after(zosah_jax.zopqn(), f, jnp.zeros(8, jnp.bfloat16), 40)
    assert f(x) < 1e-3


@pytest.mark.parametrize("rate", [0.5, 0.9])
def test_any_learning_rate_converges_with_the_same_values(rate):
    f = lambda x: jnp.sum((1 + jnp.arange(8.0)) * (x - 3) ** 2)  # noqa: E731
    _, whole = after(zosah_jax.zopqn(), f, jnp.zeros(8), 80)
    x, spent = after(zosah_jax.zopqn(rate), f, jnp.zeros(8), 80)
    assert f(x) < 1e-6
    assert spent <= 1.3 * whole


@pytest.mark.slow
def test_a_change_of_the_objective_is_noticed(x64):
    tx = zosah_jax.zopqn()
    update = jax.jit(
        lambda state, x, lift: tx.update(x, state, x, value_fn=lambda x: bowl(x) + lift)
    )
    x = jnp.array([1.0, -2.0, 0.5])
    state = tx.init(x)
    for number in range(80):
        updates, state = update(state, x, 0.0 if number < 2 else 1e6)
        x = optax.apply_updates(x, updates)
    assert bowl(x) < 1e-4


def test_a_minimum_that_moves_is_followed(x64):
    tx = zosah_jax.zopqn()
    update = jax.jit(lambda state, x, to: tx.update(x, state, x, value_fn=lambda x: bowl(x - to)))
    x = jnp.array([1.0, -2.0, 0.5])
    state = tx.init(x)
    for to in (0.0, 2.0, -1.0):  # each time long after it has converged, and the steps are tiny
        for _ in range(60):
            updates, state = update(state, x, to)
            x = optax.apply_updates(x, updates)
        assert bowl(x - to) < 1e-6


def test_a_value_beside_a_pole_teaches_nothing(x64):
    method, x = methods.zopqn(), jnp.asarray(START)
    *_, state, _ = followed(method, smooth, x, 11)
    problem = exact_problem(x)
    batch, before = ask_trial(state, problem), state.model.hessian
    promised = jnp.abs(state.model.gradient @ batch.plan[0])
    for rise, learns in ((50, True), (150, False), (1e30, False)):
        after = tell_trial(None, state, problem, batch, state.value + rise * promised[None])
        assert after.value == state.value
        assert after.radius < jnp.inf
        assert bool((after.model.hessian != before).any()) == learns


def test_what_f_does_not_depend_on_stays_near(x64):
    rows = jnp.asarray(ROWS[:8, :8]).at[:, ::4].set(0)
    f = lambda x: jnp.sum((rows @ (x - 1)) ** 2) + jnp.sum(jnp.logaddexp(0.0, rows @ x))  # noqa: E731
    out = zosah_jax.minimize(f, jnp.zeros(8), methods.zopqn(), budget=800)
    assert jnp.abs(jax.grad(f)(out.params)).max() < 1e-5
    assert jnp.abs(out.params).max() < 1e3


@pytest.mark.slow
def test_more_parameters_than_are_modelled():
    method = methods.zopqn(subspace_dim=5, period=3)
    f = lambda x: jnp.sum((1 + jnp.arange(17.0)) * (x - 1) ** 2)  # noqa: E731
    out = zosah_jax.minimize(f, jnp.zeros(17), method, budget=1_000)
    assert out.value < 1e-3
    assert out.state.turn > 20
    assert max(leaf.size for leaf in jax.tree.leaves(out.state.model)) == 25


def test_rosenbrock(x64):
    def f(x):
        return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2

    out = zosah_jax.minimize(f, jnp.array([-1.2, 1.0]), budget=250, target=1e-10)
    assert out.value < 1e-10


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
    """The newest equation holds, rounding apart; what is not convex is refused."""
    rng, dim = np.random.default_rng(6), 7
    root = rng.normal(size=(dim, dim))
    hessian, unit = jnp.asarray(root @ root.T + np.eye(dim)), jnp.asarray(rng.uniform(1, 5, dim))
    learn, pairs = jax.jit(partial(learn_pair, unit=unit)), no_pairs(dim, unit.dtype)
    for _ in range(3 * dim):
        step = jnp.asarray(rng.normal(size=dim))
        pairs = learn(pairs, step=step, change=hessian @ step)
        np.testing.assert_allclose(product_with(pairs, unit, step), hessian @ step, rtol=1e-9)
    seen = spectrum_of_inverse(*jnp.linalg.eigh(inverse_of(pairs)), unit)
    assert (seen.eigenvalues > 0).all()
    scaled = hessian * jnp.outer(unit, unit)
    np.testing.assert_allclose(seen.eigenvalues, jnp.linalg.eigvalsh(scaled), rtol=0.5)
    refused = learn(pairs, step=step, change=-hessian @ step)
    np.testing.assert_array_equal(refused.rest, pairs.rest)


def test_how_long_the_gradient_is_carried():
    assert [living(dim) for dim in (1, 13, 14, 100)] == [0, 0, 112, 800]
    exact = exact_problem(jnp.zeros(20))
    noisy = exact.__class__(None, jnp.asarray(1e-9))
    state = initial_state(None, jnp.zeros(20), jax.random.key(0))._replace(spent=jnp.asarray(160))
    assert is_carried(state, exact)  # nothing is measured yet
    met = state._replace(model=state.model._replace(scale=jnp.ones(20)))
    assert not is_carried(met, exact)
    assert is_carried(met._replace(spent=jnp.asarray(159)), exact)
    assert is_carried(met, noisy)
    assert is_carried(carry_again(met), exact)
