"""Ask and tell: the same run as `tx.update`, driven from outside."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zosah_jax
from zosah_jax import AskTell, OtherProblem
from zosah_jax.method import Method, Round, Told
from zosah_jax.params import Address, widen
from zosah_jax.probes import CoordinateProbes
from zosah_jax.transform import as_transformation

X0 = np.array([0.3, -0.7, 1.1, 0.2, -0.4])
CENTRE = np.array([1.0, -2.0, 0.5, 0.0, 1.5])
CHAIN = optax.chain(
    zosah_jax.scale_by_zosah(2, 3), optax.clip(0.5), optax.trace(0.3), optax.scale(-0.5)
)


def bowl(x):
    return float((np.array([1, 2, 3, 4, 5.0]) * (x - CENTRE) ** 2).sum())


def tell(solver, fun=bowl):
    points = solver.ask()
    solver.tell([fun(x) for x in points])
    return points


class TwoLooksState(NamedTuple):
    key: jax.Array
    slope: jax.Array


def two_looks():
    """A method with two rounds a step: a slope, then two step lengths, of which the better."""

    def along(offsets, params):
        n = offsets.shape[0]
        address = Address(jnp.zeros((n, 1), jnp.int32), jnp.zeros((n, 1), jnp.uint32))
        return CoordinateProbes(address, offsets[:, None].astype(params.dtype))

    def first(state, params):
        return along(jnp.array([0.0, 1e-4]), params)

    def seen(state, params, probes, values):
        return Told(None, state._replace(slope=(values[1] - values[0]) / 1e-4), values[0])

    def second(state, params):
        return along(-state.slope * jnp.array([0.1, 0.6, 0.0]), params)

    def chosen(state, params, probes, values):
        best = jnp.argmin(values)
        step = -probes.offset[best, 0]
        return Told(jnp.zeros_like(params).at[0].set(step), state, values[2])

    def init(params):
        return TwoLooksState(jax.random.key(0), jnp.zeros((), widen(params).dtype))

    method = Method(
        init, ((Round(first, seen), Round(second, chosen)),), lambda s: jnp.zeros((), jnp.int32)
    )
    return optax.chain(as_transformation(method), optax.scale(-1.0))


def chained(make):
    return optax.chain(make(0.05), optax.clip(0.5), optax.trace(0.3))


TRANSFORMATIONS = {
    **{name: partial(chained, make) for name, make in zosah_jax.METHODS.items()},
    "hyperparameters": lambda: optax.inject_hyperparams(
        zosah_jax.rspg, static_args=("num_directions", "key")
    )(learning_rate=0.05),
    "two rounds": two_looks,
}


@pytest.fixture
def x64_in_every_thread():
    jax.config.update("jax_enable_x64", True)  # callbacks may run in a thread of XLA's
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_it_is_the_run_of_update(name, x64_in_every_thread):
    tx = TRANSFORMATIONS[name]()
    solver = AskTell(X0, tx)
    host = zosah_jax.host_function(bowl)
    step = jax.jit(lambda x, s: tx.update(jnp.zeros_like(x), s, x, value_fn=host))
    x, state = jnp.asarray(X0), tx.init(jnp.asarray(X0))
    for _ in range(4):
        updates, state = step(x, state)
        x = optax.apply_updates(x, updates)
        before = solver.step
        while solver.step == before:
            tell(solver)
        np.testing.assert_allclose(solver.params, x, rtol=1e-9)
    assert solver.num_evaluations == zosah_jax.num_evaluations(state) == host.num_calls
    assert bowl(solver.best_params) == pytest.approx(solver.best_value, rel=1e-12)


def test_two_rounds_are_two_batches():
    solver = AskTell(X0, two_looks())
    assert solver.sizes == (2, 3)
    tell(solver)
    assert (solver.step, solver.round) == (0, 1)
    np.testing.assert_array_equal(solver.params, X0)
    points = tell(solver)
    assert len(points) == 3
    assert (solver.step, solver.round) == (1, 0)
    assert bowl(solver.params) < bowl(X0)


def test_asked_again_it_answers_the_same_and_points_are_the_users_own():
    solver = AskTell(X0, CHAIN)
    first = solver.ask()
    for point in first:
        point += 100
    again = solver.ask()
    np.testing.assert_array_equal(again[0], X0)
    assert len(again) == solver.sizes[0]
    solver.tell([bowl(x) for x in again])
    assert solver.best_value <= bowl(X0)


def test_pytrees_and_dtypes():
    x0 = {"a": 0.5, "b": np.ones((2, 1), np.float32)}
    solver = AskTell(x0, CHAIN)
    for point in solver.ask():
        assert jax.tree.map(lambda x: (type(x), x.shape), point) == {
            "a": (np.ndarray, ()),
            "b": (np.ndarray, (2, 1)),
        }
    for _ in range(20):
        tell(solver, lambda p: (p["a"] - 2) ** 2 + ((p["b"] + 1) ** 2).sum())
    assert solver.params["a"].dtype == np.float64
    assert solver.params["b"].dtype == np.float32
    assert solver.best_value < 1e-2
    assert AskTell(np.ones(3, np.float32), CHAIN).ask()[0].dtype == np.float32


def test_frozen_parameters_are_filled_in():
    x0 = {"w": X0[:3], "frozen": X0[3:]}
    solver = AskTell(x0, optax.masked(zosah_jax.zosah(1.0), {"w": True, "frozen": False}))
    for _ in range(10):
        tell(solver, lambda p: bowl(np.concatenate([p["w"], p["frozen"]])))
    np.testing.assert_array_equal(solver.params["frozen"], x0["frozen"])
    np.testing.assert_allclose(solver.params["w"], CENTRE[:3], atol=1e-3)


@pytest.mark.parametrize("lost", [0, 1, -1, slice(None)])
def test_missing_values(lost):
    solver = AskTell(X0, CHAIN)
    for number in range(60):
        values = [bowl(x) for x in solver.ask()]
        if number % 3 == 1:
            for i in range(*lost.indices(len(values))) if isinstance(lost, slice) else [lost]:
                values[i] = (None, np.nan, np.inf)[number % 2]
        solver.tell(values)
    assert solver.best_value < 1e-4 * bowl(X0)
    assert np.isfinite(solver.params).all()


def assert_continues(one, other):
    for _ in range(3):
        points = tell(one)
        np.testing.assert_array_equal(points, other.ask())
        other.tell([bowl(x) for x in other.ask()])
    for a, b in zip(
        *(jax.tree.leaves(s.state._replace(optimizer=None)) for s in (one, other)), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("batches", [1, 2, 3])
def test_state_goes_to_another_solver_bit_by_bit(batches, tmp_path):
    one = AskTell(X0, two_looks(), key=3)
    for _ in range(batches):
        tell(one)
    one.ask()
    other = AskTell(X0, two_looks(), key=3)
    other.state = one.state
    with_disk = AskTell(X0, TWO, key=3)
    source = AskTell(X0, TWO, key=3)
    source.state = one.state
    source.save(tmp_path / "run")
    assert with_disk.load(tmp_path / "run")
    values = [bowl(x) for x in one.ask()]
    for solver in (one, other, with_disk):
        solver.tell(values)  # they were asked before the state was kept
    assert_continues(one, other)


TWO = two_looks()


def test_disk_keeps_the_newest_state_and_refuses_another_problem(tmp_path):
    folder = tmp_path / "run"
    one = AskTell(X0, CHAIN)
    assert not one.load(folder)
    for _ in range(4):
        tell(one)
        one.save(folder)
    other = AskTell(X0, CHAIN)
    assert other.load(folder)
    assert_continues(one, other)
    for wrong, named in (
        (AskTell(X0[:4], CHAIN), "shape of x0"),
        (AskTell(X0 + 1, CHAIN), "value of x0"),
        (AskTell(X0, CHAIN, key=5), "method"),
        (AskTell(X0, CHAIN, bounds=(-9.0, 9.0)), "bounds"),
        (AskTell(X0, zosah_jax.zosah(0.5, 2, 3)), "method"),
    ):
        with pytest.raises(OtherProblem, match=named):
            wrong.load(folder)
        with pytest.raises(OtherProblem, match=named):
            wrong.save(folder)
    assert AskTell(X0, CHAIN).load(folder)


def test_points_are_within_the_bounds():
    bounds = (np.array([0.3, -1, -np.inf, 0.2, -0.4]), np.array([2.0, 0.0, np.inf, 0.2, 0.0]))
    methods = ((None, 1e-6), (zosah_jax.rspg(0.02, 4), 0.3), (zosah_jax.zopqn(), 1e-6))
    for tx, within in methods:
        solver = AskTell(X0, tx, bounds=bounds)
        while solver.num_evaluations < 600:
            for x in tell(solver):
                assert (x >= bounds[0]).all()
                assert (x <= bounds[1]).all()
            assert (solver.params >= bounds[0]).all()
            assert (solver.params <= bounds[1]).all()
        optimum = np.clip(CENTRE, *bounds)
        assert solver.best_value - bowl(optimum) < within


def test_tell_out_of_turn_or_of_the_wrong_number():
    solver = AskTell(X0, CHAIN)
    with pytest.raises(ValueError, match=r"wanted a call of ask\(\)"):
        solver.tell([1.0] * solver.sizes[0])
    points = solver.ask()
    for values in ([], [1.0], [1.0] * (len(points) + 1)):
        with pytest.raises(ValueError, match=rf"got {len(values)} of them, wanted {len(points)}"):
            solver.tell(values)
    for wrong in ("1.0", [1.0], True, 1j, np.ones(1)):
        with pytest.raises((TypeError, ValueError), match="wanted a"):
            solver.tell([wrong] + [1.0] * (len(points) - 1))
    solver.tell([bowl(x) for x in points])
    with pytest.raises(ValueError, match="before them"):
        solver.tell([bowl(x) for x in points])
    assert solver.num_evaluations == len(points)


def test_what_cannot_be_asked():
    with pytest.raises(ValueError, match="asks for no function values"):
        AskTell(X0, optax.sgd(0.1))
    with pytest.raises(TypeError, match="tx: got int"):
        AskTell(X0, 3)
    with pytest.raises(TypeError, match="params: got dtype int"):
        AskTell(np.arange(3))
    inner = zosah_jax.rspg(0.1)

    def gated(updates, state, params, *, value_fn):
        return jax.lax.cond(
            jnp.array(True),
            lambda: inner.update(updates, state, params, value_fn=value_fn),
            lambda: (updates, state),
        )

    with pytest.raises(ValueError, match="control flow of its own"):
        AskTell(X0, optax.GradientTransformationExtraArgs(inner.init, gated)).ask()
    one = AskTell(X0, CHAIN)
    with pytest.raises(ValueError, match="state: got"):
        one.state = AskTell(X0[:4], CHAIN).state


@pytest.mark.parametrize(
    ("bounds", "error", "says"),
    [
        ((0.0, 1.0), ValueError, "x0: got -0.7"),
        ((2.0, -2.0), ValueError, "lower 2.0 above upper -2.0"),
        ((np.zeros(3), 9.0), ValueError, r"shape \(3,\), wanted \(5,\)"),
        ((np.nan, 9.0), ValueError, "NaN"),
        (3.0, TypeError, r"wanted \(lower, upper\)"),
        (({"a": 1.0}, 9.0), TypeError, "structure"),
    ],
)
def test_bad_bounds(bounds, error, says):
    with pytest.raises(error, match=says):
        AskTell(X0, CHAIN, bounds=bounds)
    with pytest.raises(error, match=says):
        zosah_jax.minimize(lambda x: x.sum(), X0, bounds=bounds, budget=50)


def test_bounds_in_minimize():
    lower, upper = np.array([-1.5, -1.5]), np.array([0.5, 2.0])
    seen = []

    def valley(x):
        seen.append(x)
        return float(100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2)

    x0 = np.array([-1.2, 1.0], np.float32)
    out = zosah_jax.minimize(zosah_jax.host_function(valley), x0, bounds=(lower, upper), budget=200)
    assert len(seen) == out.num_evaluations
    assert (np.array(seen) >= lower).all()
    assert (np.array(seen) <= upper).all()
    np.testing.assert_allclose(out.best_params, [0.5, 0.25], atol=1e-3)
