"""The jitted run: what it returns, when it ends, and what it is compiled for."""

import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from counting import compilations

import zosah_jax
from zosah_jax import Status, methods, minimize
from zosah_jax.faces import jitted, live
from zosah_jax.methods.noisy_regression.state import NoisyRegressionState
from zosah_jax.methods.quadratic_regression.state import QuadraticRegressionState

CENTRE = np.array([1.0, -2.0, 3.0, -1.0], np.float32)
X0 = np.zeros(4, np.float32)
RSPG = zosah_jax.rspg(0.05)  # two values a step


def bowl(x):
    return jnp.sum((x - jnp.asarray(CENTRE, x.dtype)) ** 2)


class Recorder:
    """An objective that keeps what it was asked."""

    def __init__(self):
        self.points, self.values = [], []

    def _see(self, x, value):
        self.points.append(np.array(x))
        self.values.append(float(value))

    def __call__(self, x):
        value = bowl(x)
        jax.debug.callback(self._see, x, value)
        return value


@functools.cache
def stepper(tx, f):
    return jax.jit(lambda x, state: tx.update(None, state, x, value_fn=f))


def points_of(tx, f, x, steps):
    """Points of a run by hand."""
    update, points, state = stepper(tx, f), [x], tx.init(x)
    for _ in range(steps):
        updates, state = update(x, state)
        x = optax.apply_updates(x, updates)
        points.append(x)
    return points


# --- what it returns ------------------------------------------------------------------------------


def test_result_and_history_tell_the_run():
    out = minimize(bowl, X0, RSPG, budget=42)
    points = points_of(RSPG, bowl, jnp.asarray(X0), 20)
    values = np.array([bowl(x) for x in points])
    np.testing.assert_array_equal(out.history.num_evaluations, [*range(2, 41, 2), 41])
    np.testing.assert_allclose(out.history.value, values, rtol=3e-3)
    assert (np.diff(out.history.best_value) <= 0).all()
    assert (out.history.best_value <= np.minimum.accumulate(out.history.value)).all()
    assert out.num_evaluations == 41
    assert isinstance(out.num_evaluations, int)
    np.testing.assert_allclose(out.last_params, points[-1], rtol=1e-3)
    np.testing.assert_allclose(bowl(out.last_params), out.last_value, rtol=1e-6)
    np.testing.assert_allclose(bowl(out.params), out.value, rtol=1e-6)
    assert out.last_value == out.history.value[-1]
    assert out.value == out.history.best_value[-1] <= np.min(out.history.value)
    assert out.status is Status.BUDGET_SPENT
    assert out.message == "budget spent"
    assert out.success


@pytest.mark.parametrize("rate", [0.05, -0.05])
def test_the_best_is_the_best_of_all_that_were_asked(rate):
    """Probes too, whether the run goes down or climbs."""
    f = Recorder()
    out = minimize(f, X0, zosah_jax.rspg(rate, smoothing=0.3, key=2), budget=42)
    jax.effects_barrier()
    assert len(f.values) == out.num_evaluations
    assert out.value == min(f.values)
    np.testing.assert_array_equal(out.params, f.points[int(np.argmin(f.values))])
    assert set(out.history.value.tolist()) < set(f.values)
    assert set(out.history.best_value.tolist()) < set(f.values)
    if rate < 0:
        assert out.last_value > 2 * bowl(X0)
        assert out.value < np.min(out.history.value)  # a probe


def test_params_are_wide_and_last_params_keep_their_dtypes():
    x0 = {"a": jnp.zeros((), jnp.bfloat16), "b": jnp.zeros((1, 3)), "c": 0.5}

    def f(p):
        assert p["a"].dtype == jnp.float32
        return bowl(jnp.concatenate([p["a"][None], p["b"][0]])) + (p["c"] - 2) ** 2

    out = minimize(f, x0, budget=80)
    for end, narrow in ((out.params, "float32"), (out.last_params, "bfloat16")):
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype.name), end) == {
            "a": ((), narrow),
            "b": ((1, 3), "float32"),
            "c": ((), "float32"),
        }
    assert out.value < 1e-3
    assert out.num_evaluations <= 80
    assert isinstance(out.state, QuadraticRegressionState)


def test_the_default_method_goes_by_size_noise_and_bounds():
    chosen = functools.partial(methods.default_method, noisy=False)
    assert chosen(jnp.zeros(9)) == methods.quadratic_regression()
    assert chosen(jnp.zeros(10)) == chosen(jnp.zeros(256)) == methods.zopqn()
    assert chosen(jnp.zeros(256), bounded=True) == methods.quadratic_regression()
    assert chosen(jnp.zeros(257), bounded=True) == methods.block_newton()
    assert chosen(jnp.zeros(257)) == methods.block_newton()
    noisy = functools.partial(methods.default_method, noisy=True)
    assert noisy(jnp.zeros(50)) == methods.noisy_regression()
    assert noisy(jnp.zeros(51)) == noisy(jnp.zeros(3000)) == methods.noisy_descent()
    assert noisy(jnp.zeros(51), workers=8) == methods.noisy_descent(num_pairs=2)
    shapes = {
        noise: jax.eval_shape(
            lambda x, noise=noise: minimize(bowl, x, budget=80, noise=noise).state, X0
        )
        for noise in (0.0, 0.1)
    }
    assert isinstance(shapes[0.0], QuadraticRegressionState)
    assert isinstance(shapes[0.1], NoisyRegressionState)


# --- when it ends ---------------------------------------------------------------------------------


def test_target():
    for share in (2.0, 0.5, 0.01, -1.0):
        target = share * float(bowl(X0))
        out = minimize(bowl, X0, RSPG, budget=800, target=target)
        assert (out.history.best_value[:-1] > target).all()
        if share < 0:
            assert out.status is Status.BUDGET_SPENT
            assert out.num_evaluations in (799, 800)
            assert not out.success
            continue
        assert out.status is Status.TARGET_REACHED
        assert out.message == "target reached"
        assert out.success
        assert out.value <= target
        np.testing.assert_allclose(bowl(out.params), out.value, rtol=1e-6)
        assert np.isnan(out.last_value)  # not asked
        assert out.history.num_evaluations[-1] == out.num_evaluations
        assert out.num_evaluations == 2 * len(out.history.value)
        if share > 1:
            assert out.num_evaluations == 2


def test_a_probe_may_meet_the_target():
    """A point beside the start is a pit."""

    def f(x):
        return jnp.where(jnp.all(x == 1), bowl(x), -7.0)

    out = minimize(f, X0 + 1, RSPG, budget=800, target=-1.0)
    assert out.status is Status.TARGET_REACHED
    assert out.num_evaluations == 2
    assert out.value == -7
    assert (out.params != 1).any()


def test_target_met_by_the_last_value_only():
    tx = zosah_jax.rspg(0.05, smoothing=1e-3)
    full = minimize(bowl, X0, tx, budget=42)
    spent, values = full.history.num_evaluations[:-1], np.asarray(full.history.value[:-1])
    before = np.r_[np.inf, full.history.best_value[:-2]]  # of all batches before
    last = int(np.flatnonzero(values < 0.99 * before)[-1])
    target = float(values[last]) * 1.0005
    budget = int(spent[last]) - 1  # the batches before, and the point after them
    out = minimize(bowl, X0, tx, budget=budget, target=target)
    assert out.num_evaluations == budget
    assert out.status is Status.TARGET_REACHED
    assert out.last_value == out.value <= target
    assert (out.history.best_value[:-1] > target).all()
    np.testing.assert_array_equal(out.params, out.last_params)


def test_objective_without_a_value_ends_at_once_and_loses_nothing():
    def without(missing, x):
        return jnp.sum(x) * missing

    for tx, missing in ((RSPG, np.inf), (zosah_jax.zosah(1.0), np.nan)):
        out = minimize(functools.partial(without, missing), X0 + 1, tx, budget=1000)
        assert out.status is Status.NOT_FINITE
        assert "no finite value" in out.message
        assert out.num_evaluations <= 20
        np.testing.assert_array_equal(out.params, X0 + 1)
        np.testing.assert_array_equal(out.last_params, X0 + 1)
        assert out.value == np.inf
        assert np.isnan(out.last_value)
        assert not out.success


def test_start_without_a_value_among_points_that_have_one():
    def f(x):
        return jnp.where(jnp.all(x == 1), jnp.nan, bowl(x))

    out = minimize(f, X0 + 1, RSPG, budget=1000)
    assert out.status is Status.NOT_FINITE
    assert out.num_evaluations < 100
    np.testing.assert_array_equal(out.last_params, X0 + 1)
    np.testing.assert_allclose(bowl(out.params), out.value, rtol=1e-6)
    assert not out.success


def test_minus_infinity_is_a_missing_value_and_meets_no_target():
    def f(x):
        return jnp.where(x[0] > 0.1, -jnp.inf, bowl(x))

    out = minimize(f, X0, RSPG, budget=200, target=-1e9)
    assert out.status is Status.NOT_FINITE
    assert np.isfinite(out.value)
    assert out.params[0] <= 0.1


@pytest.mark.slow
@pytest.mark.parametrize(("d", "period"), [(2, None), (6, 3)])
def test_comes_back_from_where_there_are_no_values(d, period):
    tx = zosah_jax.zosah(1.0, period=period)

    def f(x):  # Newton's step from beyond 2 leads below 0
        return jnp.sum(x - jnp.log(x))

    def run(key):
        return minimize(f, jnp.linspace(2.1, 4.0, d), tx, budget=60 * d, key=key)

    out = jax.vmap(run)(jax.random.split(jax.random.key(0), 5))
    used = np.asarray(out.history.num_evaluations) > 0
    assert all(np.isnan(out.history.value[lane][used[lane]][:20]).any() for lane in range(5))
    assert out.message == ["budget spent"] * 5
    np.testing.assert_allclose(out.value, d, rtol=1e-3)


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


# --- its history ----------------------------------------------------------------------------------


@pytest.fixture
def history_of(monkeypatch):
    """Sets how many entries a history has at most."""

    def set_to(entries):
        monkeypatch.setattr(jitted, "HISTORY", entries)
        jitted._program.cache_clear()  # it is part of the program

    yield set_to
    jitted._program.cache_clear()


@pytest.mark.parametrize("entries", [1, 7, 20])
def test_a_long_history_is_thinned(history_of, entries):
    full = minimize(bowl, X0, RSPG, budget=42)
    history_of(entries)
    out = minimize(bowl, X0, RSPG, budget=42)
    thin = out.history
    assert 1 <= len(thin.value) <= entries
    assert len(thin.value) > entries / 2 - 1
    assert (np.diff(thin.num_evaluations) > 0).all()
    assert (np.diff(thin.best_value) <= 0).all()
    at = np.searchsorted(full.history.num_evaluations, thin.num_evaluations)
    for few, all_ in zip(thin, full.history, strict=True):
        np.testing.assert_array_equal(few, all_[at])
    assert thin.num_evaluations[-1] == out.num_evaluations
    assert (out.value, out.last_value) == (full.value, full.last_value)


def test_a_thinned_history_ends_at_the_target_too(history_of):
    target = 0.01 * float(bowl(X0))
    full = minimize(bowl, X0, RSPG, budget=800, target=target)
    for entries in (3, 5):
        history_of(entries)
        out = minimize(bowl, X0, RSPG, budget=800, target=target)
        assert out.num_evaluations == full.num_evaluations
        assert out.value == out.history.best_value[-1] == full.value
        assert out.history.num_evaluations[-1] == full.history.num_evaluations[-1]
        assert (np.diff(out.history.num_evaluations) > 0).all()


def test_entries_come_one_for_every_so_many_values():
    assert jitted.HISTORY == 1000
    out = minimize(bowl, X0, RSPG, budget=2500)  # one for three values: of the later batch in them
    spent = out.history.num_evaluations
    assert len(spent) == 833  # the last of two batches is at 2498, and the last value at 2499
    assert len(np.unique((spent - 1) // 3)) == len(spent)
    assert spent[-1] == out.num_evaluations == 2499


def test_unused_entries_of_a_traced_history_are_blank():
    out = jax.jit(lambda x: minimize(bowl, x, RSPG, budget=42))(X0)
    plain = minimize(bowl, X0, RSPG, budget=42)
    assert out.history.value.shape == (1000,)
    used = np.asarray(out.history.num_evaluations) > 0
    assert used.sum() == len(plain.history.value) == 21
    np.testing.assert_array_equal(out.history.num_evaluations[used], plain.history.num_evaluations)
    np.testing.assert_allclose(out.history.value[used], plain.history.value, rtol=1e-3)
    np.testing.assert_allclose(out.history.best_value[used], plain.history.best_value, rtol=1e-3)
    assert np.isnan(out.history.value[~used]).all()
    assert np.isposinf(out.history.best_value[~used]).all()


# --- what it is compiled for ----------------------------------------------------------------------


def test_a_second_call_compiles_nothing():
    """Equal options and an equal program, whoever made them; the rest are its arguments."""
    traced = []

    def objective(data, shift=0.0):
        def f(x):
            traced.append(x)
            return jnp.sum((x - data) ** 2) + shift

        return f

    def tx(rate=0.05):
        return zosah_jax.rspg(rate, 2, key=3)

    two, goal = jax.random.key(2), float(bowl(X0))
    jax.random.clone(two)  # compiled once
    call = functools.partial(minimize, budget=20, key=1, target=0.0, bounds=(-9.0, 9.0), noise=0.1)
    first = call(objective(CENTRE), X0, tx())
    assert len(traced) == 1
    before = jitted._program.cache_info()
    assert call(objective(CENTRE), X0, tx()).value == first.value  # the same of everything
    changes = {
        "data": lambda: call(objective(CENTRE + 1), X0, tx()),
        "start": lambda: call(objective(CENTRE), X0 + 1, tx()),
        "learning rate": lambda: call(objective(CENTRE), X0, tx(0.1)),
        "budget": lambda: call(objective(CENTRE), X0, tx(), budget=40),
        "target": lambda: call(objective(CENTRE), X0, tx(), target=goal),
        "no target": lambda: call(objective(CENTRE), X0, tx(), budget=14, target=None),
        "bounds": lambda: call(objective(CENTRE), X0, tx(), bounds=(-0.01, 0.01)),
        "key": lambda: call(objective(CENTRE), X0, tx(), key=two),
        "the method's key": lambda: call(objective(CENTRE), X0, tx(), key=None),
        "noise": lambda: call(objective(CENTRE), X0, tx(), noise=None),
    }
    seen = {}
    for what, change in changes.items():
        with compilations() as compiled:
            seen[what] = change()
        assert not compiled, what
    after = jitted._program.cache_info()
    assert after.misses == before.misses
    assert len(traced) == 2 + len(changes)  # once a call
    same = {what for what, out in seen.items() if out.last_value == first.last_value}
    assert same == {"noise"}  # which this method does not look at

    with compilations() as compiled:  # that this sees one
        call(objective(CENTRE, shift=1.0), X0, tx())
    assert compiled
    assert jitted._program.cache_info().misses == before.misses + 1


def test_methods_of_unlike_options_are_compiled_apart_and_stay_apart():
    runs = [minimize(bowl, X0, zosah_jax.rspg(0.05, n), budget=20) for n in (1, 2, 1, 2)]
    assert [run.history.num_evaluations[0] for run in runs] == [2, 3, 2, 3]
    for one, again in zip(runs[:2], runs[2:], strict=True):
        np.testing.assert_array_equal(one.params, again.params)
    used = zosah_jax.rspg(0.05)  # one object for two objectives
    minimize(bowl, X0, used, budget=20)
    again = minimize(lambda x: 1e4 * bowl(x), X0, used, budget=20)
    fresh = minimize(lambda x: 1e4 * bowl(x), X0, zosah_jax.rspg(0.05), budget=20)
    np.testing.assert_array_equal(again.last_params, fresh.last_params)


DATA = {
    "plain": lambda data: lambda x: jnp.sum((x - data) ** 2),
    "jitted": lambda data: jax.jit(lambda x: jnp.sum((x - data) ** 2)),
    "jitted twice": lambda data: lambda x: jax.jit(jax.jit(lambda x: jnp.sum((x - data) ** 2)))(x),
    "in a branch": lambda data: (
        lambda x: jax.lax.cond(x[0] < 99, lambda x: jnp.sum((x - data) ** 2), jnp.sum, x)
    ),
    "in a loop": lambda data: (
        lambda x: jax.lax.fori_loop(
            0, 2, lambda _, total: total + jnp.sum((x - data) ** 2) / 2, jnp.zeros(())
        )
    ),
    "jitted in a loop": lambda data: (
        lambda x: jax.lax.fori_loop(
            0, 2, lambda _, y: y + jax.jit(lambda x: jnp.sum((x - data) ** 2) / 2)(x), jnp.zeros(())
        )
    ),
    "a loop that is jitted": lambda data: jax.jit(
        lambda x: jax.lax.fori_loop(
            0, 2, lambda _, total: total + jnp.sum((x - data) ** 2) / 2, jnp.zeros(())
        )
    ),
    "of its own derivative": lambda data: lambda x: jax.nn.relu(jnp.sum((x - data) ** 2)),
}


@pytest.mark.parametrize("where", DATA)
def test_data_that_changed_are_seen(where):
    """Written to between two calls; of another array of the same shape, nothing is compiled."""
    data = np.ones(4, np.float32)
    f = DATA[where](data)
    first = minimize(f, X0, RSPG, budget=10)
    data[:] = 2
    if where not in ("jitted", "a loop that is jitted"):  # there JAX itself may keep the old ones
        again = minimize(f, X0, RSPG, budget=10)
        assert (first.history.value[0], again.history.value[0]) == (4, 16)
    before = jitted._program.cache_info().misses
    for value in (3.0, 4.0):
        out = minimize(DATA[where](np.full(4, value, np.float32)), X0, RSPG, budget=10)
        assert out.history.value[0] == 4 * value**2
    in_an_inner_program = where == "jitted in a loop"
    assert jitted._program.cache_info().misses == before + (2 if in_an_inner_program else 0)


def test_no_more_than_so_many_runs_are_kept():
    assert jitted._program.cache_info().maxsize == 32


@pytest.mark.parametrize("name", [pytest.param("zosah", marks=pytest.mark.xdist_group("zosah"))])
def test_an_update_traces_the_objective_once(name):
    traced = []

    def f(x):
        traced.append(x)
        return bowl(x)

    tx = getattr(zosah_jax, name)(0.1)
    jax.eval_shape(lambda x: tx.update(None, tx.init(x), x, value_fn=f), X0)
    assert len(traced) == 1


# --- keys, chains, transformations of the run -----------------------------------------------------


def test_key_replaces_the_methods_own():
    def end(tx, key):
        return minimize(bowl, X0, tx, budget=20, key=key).last_params

    other = zosah_jax.rspg(0.05, key=7)
    np.testing.assert_array_equal(end(RSPG, 7), end(RSPG, jax.random.key(7)))
    np.testing.assert_array_equal(end(RSPG, 7), end(other, None))
    np.testing.assert_array_equal(end(RSPG, 7), end(other, 7))
    assert (end(RSPG, 7) != end(RSPG, 8)).any()


def test_what_comes_after_the_step():
    rate, momentum = 0.01, optax.trace(0.9)
    tx = optax.chain(zosah_jax.rspg(rate, 4), momentum)
    points = points_of(tx, bowl, jnp.asarray(X0), 20)
    out = minimize(bowl, X0, zosah_jax.rspg(rate, 4), post=momentum, budget=101)
    np.testing.assert_allclose(out.last_params, points[-1], rtol=1e-2)
    assert out.last_value < bowl(X0) / 2

    def halved(count):
        return jnp.array([rate, 0.0])[jnp.minimum(count, 1)]

    out = minimize(bowl, X0, zosah_jax.rspg(halved, 4), budget=101)
    np.testing.assert_allclose(out.last_params, points[1], rtol=1e-3)


def test_post_is_handed_the_value():
    def init(params):
        del params
        return jnp.zeros(())

    def update(updates, state, params=None, *, value):
        del params, state
        return jax.tree.map(lambda u: jnp.where(value < 10, 0, u), updates), value

    post = optax.GradientTransformationExtraArgs(init, update)
    out = minimize(bowl, X0, RSPG, post=post, budget=201)
    below = np.flatnonzero(out.history.value < 10)
    assert len(below) > 10
    assert len(set(out.history.value[below].tolist())) == 1  # it stays


def test_a_chain_is_refused_and_told_of_post():
    chains = {
        "a chain": optax.chain(zosah_jax.scale_by_rspg(4), optax.trace(0.9), optax.scale(-0.01)),
        "a wrapper": optax.masked(RSPG, True),
        "gradients": optax.sgd(0.1),
    }
    for tx in chains.values():
        with pytest.raises(
            TypeError, match=r"method: got an optax chain or wrapper, wanted.*post="
        ):
            minimize(bowl, X0, tx, budget=101)


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
    assert batch.success.tolist() == [True, False, False]
    assert batch.message[:2] == ["target reached", "budget spent"]
    assert batch.message[2].startswith("stopped")
    for lane in range(3):
        alone = run(centres[lane], X0, keys[lane])
        used = np.asarray(batch.history.num_evaluations[lane]) > 0
        assert alone.num_evaluations == batch.num_evaluations[lane]
        np.testing.assert_array_equal(
            alone.history.num_evaluations, batch.history.num_evaluations[lane][used]
        )
        for name in ("params", "value", "last_params", "last_value"):
            np.testing.assert_allclose(
                getattr(alone, name), getattr(batch, name)[lane], rtol=1e-3, err_msg=name
            )
        np.testing.assert_allclose(alone.history.value, batch.history.value[lane][used], rtol=1e-3)
        assert np.isnan(batch.history.value[lane][~used]).all()


def test_inside_jit():
    def run(x, target, noise, key):
        return minimize(bowl, x, RSPG, budget=20, target=target, noise=noise, key=key)

    out = jax.jit(run)(X0, -1.0, 0.0, jax.random.key(0))
    plain = minimize(bowl, X0, RSPG, budget=20, target=-1.0)
    assert out.num_evaluations == plain.num_evaluations
    np.testing.assert_allclose(out.params, plain.params, rtol=1e-3)
    assert out.message == plain.message
    assert bool(out.success) is plain.success is False


# --- callbacks ------------------------------------------------------------------------------------


def test_a_callback_is_told_of_every_step():
    told = []
    out = minimize(bowl, X0, RSPG, budget=21, callback=told.append)
    plain = minimize(bowl, X0, RSPG, budget=21)
    assert [p.step for p in told] == list(range(1, 11))
    assert [p.num_evaluations for p in told] == out.history.num_evaluations[:-1].tolist()
    assert [p.value for p in told] == out.history.best_value[:-1].tolist()
    assert [p.last_value for p in told] == out.history.value[:-1].tolist()
    np.testing.assert_array_equal(told[-1].last_params, out.last_params)
    points = points_of(RSPG, bowl, jnp.asarray(X0), 10)
    np.testing.assert_allclose([p.last_params for p in told], points[1:], rtol=1e-3)
    np.testing.assert_allclose(out.last_params, plain.last_params, rtol=1e-3)
    for p in told:
        np.testing.assert_allclose(bowl(p.params), p.value, rtol=1e-6)
        p.params[:] = 0  # its own, to write to


def test_a_callback_stops_the_run_by_true_or_stop_iteration():
    def by_raising(progress):
        if progress.step == 3:
            raise StopIteration

    ways = {
        "bool": lambda p: p.step == 3,
        "numpy": lambda p: np.bool_(p.step == 3),
        "array": lambda p: np.asarray(p.step == 3),
        "raised": by_raising,
    }
    minimize(bowl, X0, RSPG, budget=42, callback=lambda p: None)
    before = jitted._program.cache_info().misses
    for way in ways.values():
        out = minimize(bowl, X0, RSPG, budget=42, callback=way)
        assert out.status is Status.STOPPED
        assert out.num_evaluations == 6
        assert out.message == "stopped by the callback"
        assert not out.success
    for truthy in (1, "stop", [True]):  # no answer to whether it stops
        out = minimize(bowl, X0, RSPG, budget=42, callback=lambda p, truthy=truthy: truthy)
        assert out.status is Status.BUDGET_SPENT
    assert jitted._program.cache_info().misses == before  # a callback is not compiled for
    assert not live.WATCHERS


def test_what_a_callback_raises_comes_through():
    def broken(progress):
        if progress.step == 2:
            raise KeyError("mine")

    told = []
    for error, callback in ((KeyError, broken), (KeyboardInterrupt, interrupted)):
        with pytest.raises(error):
            minimize(bowl, X0, RSPG, budget=42, callback=callback)
    assert not live.WATCHERS
    minimize(bowl, X0, RSPG, budget=11, callback=told.append)  # and the next run is none the worse
    assert len(told) == 5


def interrupted(progress):
    raise KeyboardInterrupt


def test_a_callback_is_not_told_of_batches_that_move_nothing():
    told = []
    out = minimize(bowl, X0, methods.zopqn(), budget=40, callback=told.append)
    assert [p.step for p in told] == list(range(1, len(told) + 1))
    assert 1 < len(told) < len(out.history.value)


class FakeBar:
    """In tqdm's place."""

    bars: ClassVar[list] = []

    def __init__(self, total, unit):
        self.total, self.n, self.seen, self.closed = total, 0, [], False
        self.bars.append(self)

    def update(self, more):
        self.n += more
        self.seen.append(self.n)

    def set_postfix_str(self, text, refresh):
        self.text = text

    def close(self):
        self.closed = True


@pytest.fixture
def bars(monkeypatch):
    monkeypatch.setattr("tqdm.auto.tqdm", FakeBar)
    monkeypatch.setattr(FakeBar, "bars", [])
    return FakeBar.bars


@pytest.mark.parametrize("budget", [21, 1001])
def test_a_bar_of_a_traced_run_moves_at_its_pace(bars, budget):
    plain = minimize(bowl, X0, RSPG, budget=budget)
    assert not bars
    shown = minimize(bowl, X0, RSPG, budget=budget, progress=True)
    (bar,) = bars
    assert bar.total == budget
    assert bar.closed
    assert bar.seen == sorted(bar.seen)
    assert bar.n == shown.num_evaluations == plain.num_evaluations
    assert len(bar.seen) in (11, 101)  # every batch of two, or every hundredth; and the end
    assert bar.text == f"best {float(shown.value):.6g}"
    np.testing.assert_allclose(shown.last_params, plain.last_params, rtol=1e-3, atol=1e-6)
    before = jitted._program.cache_info().misses
    minimize(bowl, X0, RSPG, budget=budget, progress=True)
    assert jitted._program.cache_info().misses == before  # nor is a bar
    assert not live.WATCHERS


def test_a_bar_and_a_callback_at_once_on_the_host_too(bars):
    for host in (None, zosah_jax.Host()):
        told = []
        f = bowl if host is None else lambda x: float(np.sum((x - CENTRE) ** 2))
        out = minimize(
            f, X0, RSPG, budget=21, noise=0, callback=told.append, progress=True, host=host
        )
        assert len(told) == 10
        assert bars[-1].n == out.num_evaluations == 21


def test_a_bar_is_for_a_run_of_its_own(bars):
    def run(key):
        return minimize(bowl, X0, RSPG, budget=21, key=key, progress=True)

    key = jax.random.key(0)
    for way, given in ((jax.vmap(run), jax.random.split(key, 2)), (jax.jit(run), key)):
        with pytest.raises(ValueError, match="progress: got a run within jit or vmap"):
            way(given)
    assert all(bar.closed for bar in bars)
    with pytest.raises(TypeError, match="progress: got 1, wanted True or False"):
        minimize(bowl, X0, RSPG, budget=21, progress=1)


@pytest.mark.parametrize("host", [None, zosah_jax.Host()])
def test_what_comes_after_is_handed_the_value(host):
    """A plateau schedule wants the loss as `value=`: it halves steps where that does not fall."""
    plateau = optax.contrib.reduce_on_plateau(patience=3, factor=0.5)
    f = bowl if host is None else lambda x: float(np.sum((x - CENTRE) ** 2))
    with jax.numpy_dtype_promotion("standard"):  # optax's own arithmetic there is not strict
        out = minimize(f, X0, zosah_jax.methods.zosah(), budget=120, post=plateau, host=host)
    assert out.value < 1e-5 * bowl(jnp.asarray(X0))  # it halves the steps on the way
