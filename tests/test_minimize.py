from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zosah_jax
from zosah_jax import Status, minimize

CENTRE = np.array([1.0, -2.0, 3.0, -1.0], np.float32)
X0 = np.zeros(4, np.float32)
RSPG = zosah_jax.rspg(0.05)  # two values a step


def bowl(x):
    return jnp.sum((x - jnp.asarray(CENTRE, x.dtype)) ** 2)


def points_of(tx, f, x, steps, state=None):
    """Points of a run by hand."""
    update = jax.jit(lambda x, state: tx.update(jnp.zeros_like(x), state, x, value_fn=f))
    points, state = [x], tx.init(x) if state is None else state
    for _ in range(steps):
        updates, state = update(x, state)
        x = optax.apply_updates(x, updates)
        points.append(x)
    return points


def test_result_and_history_tell_the_run():
    out = minimize(bowl, X0, RSPG, budget=42)
    points = points_of(RSPG, bowl, jnp.asarray(X0), 20)
    values = np.array([bowl(x) for x in points])
    np.testing.assert_array_equal(out.history.num_evaluations, np.arange(1, 42, 2))
    np.testing.assert_allclose(out.history.value, values, rtol=3e-3)
    np.testing.assert_array_equal(out.history.best_value, np.minimum.accumulate(out.history.value))
    assert out.num_evaluations == 41
    np.testing.assert_allclose(out.params, points[-1], rtol=1e-3)
    np.testing.assert_allclose(bowl(out.params), out.value, rtol=1e-6)
    np.testing.assert_allclose(bowl(out.best_params), out.best_value, rtol=1e-6)
    assert out.value == out.history.value[-1]
    assert out.best_value == out.history.best_value[-1] == np.min(out.history.value)
    assert out.status is Status.BUDGET_SPENT
    assert out.message == "budget spent"


def test_best_point_survives_a_run_that_climbs():
    tx = optax.chain(zosah_jax.scale_by_rspg(), optax.scale(0.05))
    out = minimize(bowl, X0, tx, budget=42)
    assert out.value > 2 * bowl(X0)
    assert out.best_value < out.value
    np.testing.assert_allclose(bowl(out.best_params), out.best_value, rtol=1e-6)


def test_target():
    for share in (2.0, 0.5, 0.01, -1.0):
        target = share * float(bowl(X0))
        out = minimize(bowl, X0, RSPG, budget=800, target=target)
        missed = out.history.value[:-1]
        assert (missed > target).all()
        if share < 0:
            assert out.status is Status.BUDGET_SPENT
            assert out.num_evaluations in (799, 800)
            continue
        assert out.status is Status.TARGET_REACHED
        assert out.message == "target reached"
        assert out.value <= target
        np.testing.assert_allclose(bowl(out.params), out.value, rtol=1e-6)
        np.testing.assert_array_equal(out.params, out.best_params)
        assert out.history.num_evaluations[-1] == 2 * len(missed) + 1
        assert out.num_evaluations == 2 * len(missed) + 2
        if share > 1:
            np.testing.assert_array_equal(out.params, X0)


def test_target_met_by_the_last_value_only():
    full = minimize(bowl, X0, RSPG, budget=42)
    values = np.asarray(full.history.value)
    last = int(
        np.flatnonzero(values < 0.999 * np.minimum.accumulate(np.r_[np.inf, values[:-1]]))[-1]
    )
    target = float(values[last]) * 1.0005
    out = minimize(bowl, X0, RSPG, budget=2 * last + 1, target=target)
    assert out.num_evaluations == 2 * last + 1
    assert out.status is Status.TARGET_REACHED


@pytest.mark.parametrize("entries", [1, 7, 20])
def test_a_long_history_is_thinned(entries):
    full = minimize(bowl, X0, RSPG, budget=42)
    out = minimize(bowl, X0, RSPG, budget=42, max_history=entries)
    thin = out.history
    assert 2 <= len(thin.value) <= max(2, entries)
    assert len(thin.value) > entries / 2 - 1
    assert (np.diff(thin.num_evaluations) > 0).all()
    assert (np.diff(thin.best_value) <= 0).all()
    at = np.searchsorted(full.history.num_evaluations, thin.num_evaluations)
    for few, all_ in zip(thin, full.history, strict=True):
        np.testing.assert_array_equal(few, all_[at])
    assert thin.num_evaluations[0] == 1
    assert thin.num_evaluations[-1] == out.num_evaluations
    assert (out.value, out.best_value) == (full.value, full.best_value)


def test_a_thinned_history_ends_at_the_target_too():
    target = 0.01 * float(bowl(X0))
    full = minimize(bowl, X0, RSPG, budget=800, target=target)
    for entries in (3, 4, 5):
        out = minimize(bowl, X0, RSPG, budget=800, target=target, max_history=entries)
        assert out.num_evaluations == full.num_evaluations
        assert out.value == out.history.value[-1] == full.value
        assert out.history.num_evaluations[-1] == full.history.num_evaluations[-1]
        assert (np.diff(out.history.num_evaluations) > 0).all()


def test_unused_entries_of_a_traced_history_are_blank():
    out = jax.jit(lambda x: minimize(bowl, x, RSPG, budget=42, max_history=7))(X0)
    used = np.count_nonzero(out.history.num_evaluations)
    plain = minimize(bowl, X0, RSPG, budget=42, max_history=7)
    assert 2 <= used == len(plain.history.value) < 7
    np.testing.assert_array_equal(out.history.num_evaluations[:used], plain.history.num_evaluations)
    assert np.isnan(out.history.value[used:]).all()
    assert np.isinf(out.history.best_value[used:]).all()
    np.testing.assert_array_equal(out.history.num_evaluations[used:], 0)


def test_second_call_with_the_same_objects_compiles_nothing():
    traced = []

    def f(x):
        traced.append(x)
        return bowl(x)

    first = minimize(f, X0, RSPG, budget=20, key=1, target=0.0)
    before = len(traced)
    other = minimize(f, X0 + 1, RSPG, budget=20, key=2, target=1.0)
    assert before == len(traced) > 0
    assert first.value != other.value


def test_key_replaces_the_transformations_own():
    def end(tx, key):
        return minimize(bowl, X0, tx, budget=20, key=key).params

    other = zosah_jax.rspg(0.05, key=7)
    np.testing.assert_array_equal(end(RSPG, 7), end(RSPG, jax.random.key(7)))
    np.testing.assert_allclose(end(RSPG, 7), end(other, None), rtol=1e-3)
    np.testing.assert_array_equal(end(RSPG, 7), end(other, 7))
    assert (end(RSPG, 7) != end(RSPG, 8)).any()


def test_chain_with_momentum():
    tx = optax.chain(zosah_jax.scale_by_rspg(4), optax.trace(0.9), optax.scale(-0.01))
    out = minimize(bowl, X0, tx, budget=101)
    np.testing.assert_allclose(out.params, points_of(tx, bowl, jnp.asarray(X0), 20)[-1], rtol=1e-2)
    assert out.value < bowl(X0) / 2


@pytest.mark.slow
def test_under_vmap_each_run_is_its_own():
    def run(centre, x0, key):
        return minimize(
            lambda x: jnp.sum((x - centre) ** 2), x0, RSPG, budget=30, target=0.05, key=key
        )

    centres = jnp.stack([jnp.full(4, 0.1), jnp.full(4, 3.0), jnp.full(4, jnp.nan)])
    keys = jax.random.split(jax.random.key(0), 3)
    batch = jax.vmap(run, in_axes=(0, None, 0))(centres, X0, keys)
    assert batch.status.tolist() == [
        Status.TARGET_REACHED,
        Status.BUDGET_SPENT,
        Status.NOT_FINITE,
    ]
    assert batch.message[:2] == ["target reached", "budget spent"]
    assert batch.message[2].startswith("stopped")
    for lane in range(2):
        alone = run(centres[lane], X0, keys[lane])
        used = len(alone.history.value)
        assert alone.num_evaluations == batch.num_evaluations[lane]
        np.testing.assert_allclose(alone.params, batch.params[lane], rtol=1e-3)
        np.testing.assert_allclose(alone.history.value, batch.history.value[lane, :used], rtol=1e-3)
        assert np.isnan(batch.history.value[lane, used:]).all()
        np.testing.assert_allclose(alone.value, batch.value[lane], rtol=1e-3)


def test_inside_jit():
    out = jax.jit(lambda x: minimize(bowl, x, RSPG, budget=20))(X0)
    plain = minimize(bowl, X0, RSPG, budget=20)
    assert out.num_evaluations == plain.num_evaluations
    np.testing.assert_allclose(out.params, plain.params, rtol=1e-3)
    assert out.message == plain.message


@pytest.mark.slow
def test_without_a_transformation_zosah_runs_and_dtypes_stay():
    x0 = {"a": jnp.zeros((), jnp.bfloat16), "b": jnp.zeros((1, 3)), "c": 0.5}

    def f(p):
        assert p["a"].dtype == jnp.float32
        return bowl(jnp.concatenate([p["a"][None], p["b"][0]])) + (p["c"] - 2) ** 2

    out = minimize(f, x0, budget=80)
    for end in (out.params, out.best_params):
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype.name), end) == {
            "a": ((), "bfloat16"),
            "b": ((1, 3), "float32"),
            "c": ((), "float32"),
        }
    assert out.best_value < 1e-3
    assert out.num_evaluations <= 80


def test_objective_without_a_value_ends_at_once_and_loses_nothing():
    def without(missing, x):
        return jnp.sum(x) * missing

    for tx, missing in ((RSPG, np.inf), (zosah_jax.zosah(1.0), np.nan)):
        out = minimize(partial(without, missing), X0 + 1, tx, budget=1000)
        assert out.status is Status.NOT_FINITE
        assert "no finite value" in out.message
        assert out.num_evaluations <= 20
        np.testing.assert_array_equal(out.params, X0 + 1)
        np.testing.assert_array_equal(out.best_params, X0 + 1)
        assert not np.isfinite(out.value)


def test_start_without_a_value_among_points_that_have_one():
    def f(x):
        return jnp.where(jnp.all(x == 1), jnp.nan, bowl(x))

    out = minimize(f, X0 + 1, RSPG, budget=1000)
    assert out.status is Status.NOT_FINITE
    assert out.num_evaluations < 100
    np.testing.assert_array_equal(out.params, X0 + 1)


def test_minus_infinity_is_a_missing_value_and_meets_no_target():
    def f(x):
        return jnp.where(x[0] > 0.1, -jnp.inf, bowl(x))

    out = minimize(f, X0, RSPG, budget=200, target=-1e9)
    assert out.status is Status.NOT_FINITE
    assert np.isfinite(out.best_value)
    assert out.best_params[0] <= 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("d", "period"), [(2, None), (6, 3)])
def test_comes_back_from_where_there_are_no_values(d, period):
    tx = zosah_jax.zosah(1.0, period=period)

    def f(x):  # Newton's step from beyond 2 leads below 0
        return jnp.sum(x - jnp.log(x))

    def run(key):
        return minimize(f, jnp.linspace(2.1, 4.0, d), tx, budget=60 * d, key=key)

    out = jax.vmap(run)(jax.random.split(jax.random.key(0), 5))
    assert np.isnan(out.history.value[:, :20]).any()
    assert out.message == ["budget spent"] * 5
    np.testing.assert_allclose(out.best_value, d, rtol=1e-3)


@pytest.mark.slow
def test_an_outage_at_a_switching_step_costs_that_step_only():
    tx = zosah_jax.zosah(1.0, 4, 5)

    def f(x, outage):
        return jnp.where(outage, jnp.nan, bowl(x))

    step = jax.jit(lambda x, state, outage: tx.update(None, state, x, value_fn=f, outage=outage))
    x = jnp.asarray(X0)
    state = tx.init(x)
    updates, state = step(x, state, True)
    np.testing.assert_array_equal(updates, 0)
    for _ in range(4):
        updates, state = step(x, state, False)
        x = optax.apply_updates(x, updates)
    assert bowl(x) < bowl(X0) / 2
