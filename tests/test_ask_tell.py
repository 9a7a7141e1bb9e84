"""Ask and tell: the same run as `tx.update`, driven from outside."""

import pickle
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zosah_jax
from zosah_jax import AskTell
from zosah_jax.faces.host import program
from zosah_jax.faces.transformation import as_optax
from zosah_jax.method import Batch, Method, Outcome, Stage
from zosah_jax.methods import METHODS, rspg, zopqn, zosah
from zosah_jax.probes import CoordinateProbes
from zosah_jax.pytree import Address, widen, working_dtype

X0 = np.array([0.3, -0.7, 1.1, 0.2, -0.4])
CENTRE = np.array([1.0, -2.0, 0.5, 0.0, 1.5])
POST = optax.chain(optax.clip(0.5), optax.trace(0.3))
HALF = as_optax(zosah(2, 3), 0.5)


def bowl(x):
    return float((np.array([1, 2, 3, 4, 5.0]) * (x - CENTRE) ** 2).sum())


def tell(solver, fun=bowl):
    points = solver.ask()
    solver.tell([fun(x) for x in points])
    return points


class TwoLooksState(NamedTuple):
    key: jax.Array
    slope: jax.Array
    second: jax.Array


def along(offsets, params, coordinate=0):
    n = len(offsets)
    place = jnp.full((n, 1), coordinate, jnp.uint32)
    address = Address(jnp.zeros((n, 1), jnp.int32), place)
    return CoordinateProbes(address, jnp.asarray(offsets)[:, None].astype(working_dtype(params)))


@dataclass(frozen=True, eq=False)
class TwoLooks(Method):
    """Two stages: a slope, which does not move; then two step lengths, of which the better."""

    def init(self, params, key):
        return TwoLooksState(key, jnp.zeros((), working_dtype(params)), jnp.zeros((), bool))

    def stages(self, params):
        return (Stage(self.look, self.seen, moves=False), Stage(self.ask, self.tell))

    def next_stage(self, state):
        return state.second.astype(jnp.int32)

    def look(self, state, params, problem):
        return Batch(along([0.0, 1e-4], params))

    def seen(self, state, params, problem, batch, values):
        slope = (values[1] - values[0]) / 1e-4
        return Outcome(state._replace(slope=slope, second=jnp.array(True)), None, values[0])

    def ask(self, state, params, problem):
        return Batch(along(-state.slope * jnp.array([0.1, 0.6, 0.0], state.slope.dtype), params))

    def tell(self, state, params, problem, batch, values):
        step = -batch.probes.offset[jnp.argmin(values), 0]
        update = jnp.zeros_like(widen(params)).at[0].set(step)
        return Outcome(state._replace(second=jnp.array(False)), update, values[2])


class OwnerState(NamedTuple):
    x: jax.Array
    value: jax.Array


@dataclass(frozen=True, eq=False)
class Owner(Method):
    """A method that knows where it stands, and the value there: a pattern of a shrinking size."""

    def init(self, params, key):
        return OwnerState(widen(params), jnp.full((), jnp.inf, working_dtype(params)))

    def position(self, state):
        return state.x, state.value

    def ask(self, state, params, problem):
        offsets = jnp.linspace(-1.0, 1.0, 9, dtype=working_dtype(params))
        return Batch(along(offsets, params), origin=state.x)

    def tell(self, state, params, problem, batch, values):
        best = jnp.argmin(jnp.where(jnp.isfinite(values), values, jnp.inf))
        x = jax.tree.map(lambda p: p[best], jax.vmap(lambda p: p.apply(state.x))(batch.probes))
        return Outcome(OwnerState(x, values[best]), None, values[4])


@dataclass(frozen=True, eq=False)
class Residuals(Method):
    """Gauss and Newton's step from forward differences of residuals, shape (n, k)."""

    value_ndims: ClassVar[tuple[int, ...]] = (1,)

    def init(self, params, key):
        return OwnerState(jnp.zeros(()), jnp.zeros(()))

    def merit(self, values):
        return jnp.sum(values**2, axis=-1)

    def ask(self, state, params, problem):
        d = params.shape[0]
        offsets = jnp.concatenate([jnp.zeros(1), jnp.full(d, 1e-6)]).astype(params.dtype)
        probes = along(offsets, params)
        place = jnp.concatenate([jnp.zeros(1, jnp.uint32), jnp.arange(d, dtype=jnp.uint32)])
        return Batch(CoordinateProbes(Address(probes.address.leaf, place[:, None]), probes.offset))

    def tell(self, state, params, problem, batch, values):
        jacobian = ((values[1:] - values[:1]) / 1e-6).T
        lost = ~jnp.isfinite(values).all()
        jacobian = jnp.where(lost, 0.0, jacobian)
        step = jnp.linalg.lstsq(jacobian, jnp.where(lost, 0.0, values[0]))[0]
        return Outcome(state, step, self.merit(values)[0])


METHODS_HERE = {**METHODS, "two looks": TwoLooks, "owner": Owner}


@pytest.fixture
def x64_in_every_thread():
    jax.config.update("jax_enable_x64", True)  # callbacks may run in a thread of XLA's
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.mark.parametrize("name", METHODS_HERE)
def test_it_is_the_run_of_update(name, x64_in_every_thread):
    make = METHODS_HERE[name]
    option = make.learning_rate_option
    options = {} if option is None else {option: 0.05}
    if "smoothing" in make.__dataclass_fields__:  # so long that the last bit is not amplified
        options["smoothing"] = 0.05
    method = make(**options)
    solver = AskTell(X0, as_optax(method, 0.05), post=POST)
    tx = optax.chain(as_optax(method, 0.05), POST)
    host = zosah_jax.host.host_function(bowl)
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
    assert bowl(solver.best_params) == solver.best_value


def test_a_stage_that_does_not_move_is_a_batch_of_its_own():
    solver = AskTell(X0, TwoLooks())
    assert (solver.num_points, solver.moves) == (2, False)
    tell(solver)
    assert (solver.step, solver.num_points, solver.moves) == (0, 3, True)
    np.testing.assert_array_equal(solver.params, X0)
    assert len(tell(solver)) == 3
    assert (solver.step, solver.num_points) == (1, 2)
    assert bowl(solver.params) < bowl(X0)


def test_where_a_method_owns_x_the_value_is_known():
    solver = AskTell(X0, Owner())
    tell(solver)
    assert solver.known_value() == bowl(solver.params) < bowl(X0)
    assert AskTell(X0, Owner(), noise=0.1).known_value() is None
    assert AskTell(X0, Owner(), post=optax.identity()).known_value() is None
    assert AskTell(X0, as_optax(Owner(), 0.5)).known_value() is None
    assert AskTell(X0, rspg()).known_value() is None


def test_asked_again_it_answers_the_same_and_everything_is_the_users_own():
    start = X0.copy()
    solver = AskTell(start, HALF)
    start += 100
    first = solver.ask()
    for point in (*first, solver.params, solver.best_params, *jax.tree.leaves(solver.state)):
        point[...] = 3
    again = solver.ask()
    np.testing.assert_array_equal(again[0], X0)
    assert len(again) == solver.num_points
    values = np.array([bowl(x) for x in again])
    solver.tell(values)
    values[:] = -1
    assert solver.best_value <= bowl(X0)
    np.testing.assert_array_equal(solver.x0, X0)


def test_pytrees_and_dtypes():
    x0 = {"a": 0.5, "b": np.ones((2, 1), np.float32)}
    solver = AskTell(x0, HALF)
    for point in solver.ask():
        assert jax.tree.map(lambda x: (type(x), x.shape), point) == {
            "a": (np.ndarray, ()),
            "b": (np.ndarray, (2, 1)),
        }
    for _ in range(30):
        tell(solver, lambda p: (p["a"] - 2) ** 2 + ((p["b"] + 1) ** 2).sum())
    assert solver.params["a"].dtype == np.float64
    assert solver.params["b"].dtype == np.float32
    assert solver.best_value < 1e-2
    assert AskTell(np.ones(3, np.float32), HALF).ask()[0].dtype == np.float32
    half = AskTell(jnp.ones(3, jnp.bfloat16), HALF)
    assert half.ask()[0].dtype == np.float32
    assert half.params.dtype == jnp.bfloat16


@pytest.mark.parametrize("dtype", [">f8", ">f4", "longdouble"])
def test_foreign_floats_are_converted(dtype):
    solver = AskTell(X0.astype(dtype), HALF, bounds=(np.full(5, -9.0, dtype), 9.0))
    np.testing.assert_allclose(tell(solver)[0], X0, rtol=1e-6)
    assert solver.params.dtype == (np.float32 if dtype == ">f4" else np.float64)


@pytest.mark.parametrize("lost", [0, 1, -1, slice(None)])
def test_missing_values(lost):
    solver = AskTell(X0, HALF)
    for number in range(60):
        values = [bowl(x) for x in solver.ask()]
        if number % 3 == 1:
            for i in range(*lost.indices(len(values))) if isinstance(lost, slice) else [lost]:
                values[i] = (None, np.nan, np.inf, np.ma.masked)[number % 4]
        solver.tell(values)
        came = [isinstance(value, float) and np.isfinite(value) for value in values]
        assert solver.num_missing == came.count(False)
    assert solver.best_value < 1e-4 * bowl(X0)
    assert np.isfinite(solver.params).all()


def test_what_is_masked_is_no_zero():
    solver = AskTell(X0, HALF)
    values = np.ma.array([5.0 + bowl(x) for x in solver.ask()], mask=False)
    values[1] = np.ma.masked
    solver.tell(values)
    assert solver.num_missing == 1
    assert solver.best_value > 5
    values = [5 + bowl(x) for x in solver.ask()]
    values[0] = np.ma.array(0.0, mask=True)
    solver.tell(values)
    assert solver.num_missing == 1
    assert solver.best_value > 5


@pytest.mark.parametrize(
    "huge",
    [10**6, 10**18, 10**20, 10**400, np.uint64(2**63), np.float16(7), Fraction(1, 3), Decimal(9)],
    ids=lambda value: str(value)[:25],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_any_real_number_is_a_value(huge, dtype):
    solver = AskTell(np.array([0.6, 0.0], dtype), zosah())
    for number in range(20):
        values = [(x[0] - 0.5) ** 2 + (x[1] - 1.0) ** 2 for x in solver.ask()]
        if number == 3:
            values[-1] = huge
        solver.tell(values)
    assert np.isfinite(solver.params).all()
    assert solver.best_value < 1e-4


def test_floating_point_errors_of_numpy_that_raise():
    values = (np.inf, -np.inf, np.nan, 1e300, 1e-320, np.float32(1e-42), np.longdouble("1e4000"))
    with np.errstate(all="raise"):
        for dtype in (np.float64, np.float32):
            solver = AskTell(X0.astype(dtype), HALF, bounds=(-9, 9))
            for value in values:
                solver.tell([value, *[bowl(x) for x in solver.ask()[1:]]])
            assert np.isfinite(solver.params).all()


# --- vectors --------------------------------------------------------------------------------------


def residuals(x):
    return np.array([10 * (x[1] - x[0] ** 2), 1 - x[0], 0.1 * x[0] * x[1]])


def test_values_may_be_vectors():
    solver = AskTell(np.array([-1.2, 1.0]), Residuals())
    assert solver.tell([None] * len(solver.ask())) is None  # nothing is known of their length yet
    for number in range(12):
        values = [residuals(x) for x in solver.ask()]
        if number == 2:
            values[1] = None
        if number == 3:
            values[0] = [np.nan, 0.0, 0.0]
        solver.tell(values)
        assert solver.num_missing == (number in (2, 3))
    found = solver.best_params
    assert solver.best_value == pytest.approx((residuals(found) ** 2).sum())
    assert solver.best_value < 0.011
    again = AskTell(np.array([-1.2, 1.0]), Residuals())
    again.state = solver.state
    points = again.ask()
    with pytest.raises(ValueError, match=r"ones of \[2\] numbers, wanted 3 as before"):
        again.tell([np.ones(2)] * len(points))
    with pytest.raises(ValueError, match=r"wanted a real vector, shape \(k,\)"):
        again.tell([1.0] * len(points))
    rigid = AskTell(X0, HALF)
    points = rigid.ask()
    with pytest.raises(ValueError, match=r"wanted a real scalar, shape \(\)"):
        rigid.tell([np.ones(2)] * len(points))


# --- its state ------------------------------------------------------------------------------------


def assert_continues(one, other):
    for _ in range(3):
        points = tell(one)
        np.testing.assert_array_equal(points, other.ask())
        other.tell([bowl(x) for x in other.ask()])
    jax.tree.map(np.testing.assert_array_equal, one.state, other.state)


def jitter():
    """A transformation whose state is a typed key."""

    def update(updates, key, params=None):
        noise = jax.tree.map(lambda u: u + jax.random.normal(key, u.shape, u.dtype), updates)
        return noise, jax.random.fold_in(key, 1)

    return optax.GradientTransformation(lambda params: jax.random.key(1), update)


JITTERED = optax.chain(optax.trace(0.3), jitter())


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("batches", [0, 1, 2, 3])
@pytest.mark.parametrize("method", [TwoLooks(), HALF, zopqn()], ids=["two looks", "half", "zopqn"])
def test_the_state_goes_to_another_solver_bit_by_bit(method, batches, asked):
    post = JITTERED
    one = AskTell(X0, method, key=3, post=post)
    for _ in range(batches):
        tell(one)
    values = [bowl(x) for x in one.ask()] if asked else None
    state = pickle.loads(pickle.dumps(one.state))
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(state))
    other = AskTell(X0, method, key=4, post=post)
    other.state = state
    if asked:  # they were asked before the state was kept
        one.tell(values)
        other.tell(values)
    assert_continues(one, other)
    assert one.params.dtype == other.params.dtype == np.float64


def test_the_state_of_another_problem_is_refused():
    one = AskTell(X0, HALF)
    kept = one.state
    for other in (AskTell(X0[:4], HALF), AskTell(X0, rspg()), AskTell(X0, HALF, post=POST)):
        with pytest.raises(ValueError, match="state: got"):
            one.state = other.state
    with pytest.raises(ValueError, match="state: got"):
        one.state = AskTell(X0.astype(np.float32), HALF).state
    with pytest.raises(ValueError, match="state: got stage 7"):
        one.state = kept._replace(stage=np.asarray(7, np.int32))
    jax.tree.map(np.testing.assert_array_equal, one.state, kept)


# --- compiled once --------------------------------------------------------------------------------


def test_equal_options_compile_once_whoever_made_them():
    def run(**options):
        solver = AskTell(X0, as_optax(zosah(2, 3), options.pop("rate")), **options)
        for _ in range(5):
            tell(solver)
        return solver

    run(rate=0.5, bounds=(-9.0, 9.0))
    before = program._program.cache_info().misses
    compiled = run(rate=0.25, bounds=(-8.0, 7.0), key=5, noise=0.1)._program
    sizes = [fun._cache_size() for fun in (*compiled.asks, *compiled.tells)]
    last = run(rate=0.1, bounds=(-8.0, 7.0), key=jax.random.key(6))._program
    assert program._program.cache_info().misses == before
    assert sizes == [fun._cache_size() for fun in (*last.asks, *last.tells)] == [1] * len(sizes)


# --- bounds and errors ----------------------------------------------------------------------------


def test_points_are_within_the_bounds():
    bounds = (np.array([0.3, -1, -np.inf, 0.2, -0.4]), np.array([2.0, 0.0, np.inf, 0.2, 0.0]))
    methods = ((zosah(), 1e-6), (as_optax(rspg(4), 0.02), 0.3), (zopqn(), 1e-6), (None, 1e-6))
    for method, within in methods:
        solver = AskTell(X0, method, bounds=bounds)
        while solver.num_evaluations < 600:
            for x in (*tell(solver), solver.params):
                assert (x >= bounds[0]).all()
                assert (x <= bounds[1]).all()
        optimum = np.clip(CENTRE, *bounds)
        assert solver.best_value - bowl(optimum) < within


def test_points_of_float32_are_within_bounds_of_float64():
    low, high = np.array([0.1, 0.7]), np.array([0.3, 0.9])
    for sign in (-1.0, 1.0):
        solver = AskTell(np.array([0.2, 0.8], np.float32), bounds=(low, high))
        while solver.num_evaluations < 60:
            for x in (*tell(solver, lambda x, s=sign: s * x.sum()), solver.params):
                assert (x.astype(np.float64) >= low).all()
                assert (x.astype(np.float64) <= high).all()


def test_tell_out_of_turn_or_of_the_wrong_number():
    solver = AskTell(X0, HALF)
    with pytest.raises(ValueError, match=r"wanted a call of ask\(\)"):
        solver.tell([1.0] * solver.num_points)
    points = solver.ask()
    for values in ([], [1.0], [1.0] * (len(points) + 1)):
        with pytest.raises(ValueError, match=rf"got {len(values)} of them, wanted {len(points)}"):
            solver.tell(values)
    for wrong in (
        "1.0",
        [1.0],
        True,
        1j,
        np.ones(1),
        np.bool_(True),
        np.timedelta64(3, "s"),
        object(),
    ):
        with pytest.raises((TypeError, ValueError), match="wanted a"):
            solver.tell([wrong] + [1.0] * (len(points) - 1))
    solver.tell([bowl(x) for x in points])
    with pytest.raises(ValueError, match="before them"):
        solver.tell([bowl(x) for x in points])
    assert solver.num_evaluations == len(points)


def test_what_cannot_be_asked():
    with pytest.raises(TypeError, match="method: got an optax chain"):
        AskTell(X0, optax.sgd(0.1))
    with pytest.raises(TypeError, match="method: got int"):
        AskTell(X0, 3)
    with pytest.raises(TypeError, match="post: got int"):
        AskTell(X0, HALF, post=3)
    with pytest.raises(TypeError, match="params: got dtype int"):
        AskTell(np.arange(3))
    with pytest.raises(ValueError, match="noise: got -1"):
        AskTell(X0, HALF, noise=-1.0)
    with pytest.raises(TypeError, match="noise: got 'estimate'"):
        AskTell(X0, HALF, noise="estimate")


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
        AskTell(X0, HALF, bounds=bounds)
    with pytest.raises(error, match=says):
        zosah_jax.minimize(lambda x: x.sum(), X0, bounds=bounds, budget=50)
