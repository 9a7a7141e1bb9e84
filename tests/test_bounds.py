"""Bounds: how they are read, what they do to probes and steps, and runs that stay within them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zosah_jax
from zosah_jax import AskTell, Host, Status, methods, minimize
from zosah_jax.bounds import Bounds, bounds_of, cut, projected, reflect, reflected_probes
from zosah_jax.method import Problem
from zosah_jax.probes import CoordinateProbes
from zosah_jax.pytree import Address, address_of

LOW, HIGH = np.array([0.1, 0.7]), np.array([0.3, 0.9])  # none of them is a float32 number
INNER = np.array([0.2, 0.8], np.float32)


def wide(x):
    return np.asarray(x, np.float64)


def assert_within(x, low, high):
    assert (wide(x) >= low).all()
    assert (wide(x) <= high).all()


# --- how they are read ----------------------------------------------------------------------------


def test_sides_are_numbers_or_trees_and_are_widened():
    x0 = {"a": jnp.zeros(2, jnp.bfloat16), "b": jnp.zeros((1, 2))}
    assert bounds_of(None, x0) is None
    box = bounds_of((-1.0, {"a": jnp.array([1.0, jnp.inf]), "b": 2}), x0)
    assert isinstance(box, Bounds)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype.name), box.upper) == {
        "a": ((2,), "float32"),
        "b": ((1, 2), "float32"),
    }
    np.testing.assert_array_equal(box.upper["a"], [1, np.inf])
    np.testing.assert_array_equal(box.upper["b"], [[2, 2]])
    np.testing.assert_array_equal(box.lower["b"], [[-1, -1]])
    assert len(jax.tree.leaves(box)) == 4  # a pytree: an argument of what is compiled


def test_a_bound_that_is_no_float32_number_is_rounded_inwards():
    draw = np.random.default_rng(0)
    low = draw.normal(size=1000) * 10.0 ** draw.integers(-40, 38, 1000)
    high = low + np.abs(low) * draw.uniform(1e-6, 1, 1000) + 1e-44
    middle = np.float32(low) + (np.float32(high) - np.float32(low)) / 2
    box = bounds_of((low, high), middle)
    assert (wide(box.lower) >= low).all()
    assert (wide(box.upper) <= high).all()
    for side, given in ((box.lower, low), (box.upper, high)):
        assert (np.abs(wide(side) - given) <= np.spacing(np.abs(np.float32(given)))).all()
    for huge in (-1e300, 1e300):
        assert bounds_of((-1e300, 1e300), middle) is not None
        with pytest.raises(ValueError, match="wanted a point within"):
            bounds_of((huge, np.inf) if huge > 0 else (-np.inf, huge), middle)
    exact = np.float32(low)
    np.testing.assert_array_equal(bounds_of((exact, np.inf), exact).lower, exact)


def test_a_parameter_that_is_fixed_is_fixed_at_the_nearest_number():
    box = bounds_of((HIGH, HIGH), np.float32(HIGH))
    np.testing.assert_array_equal(box.lower, np.float32(HIGH))
    np.testing.assert_array_equal(box.upper, np.float32(HIGH))


def test_a_start_at_a_bound_is_within_whatever_it_is_rounded_to():
    for x0 in (LOW, jnp.asarray(LOW), np.float64(LOW), jnp.asarray(LOW, jnp.bfloat16), 0.1):
        low = LOW if np.ndim(x0) else LOW[0]
        assert bounds_of((low, HIGH[0] if not np.ndim(x0) else HIGH), x0) is not None
    with pytest.raises(ValueError, match=r"x0: got 0\.09 at"):
        bounds_of((LOW, HIGH), np.array([0.09, 0.8]))


def test_sides_with_no_number_between_them_are_one():
    """As a set point and its limits that differ by less than float32 can tell."""
    box = bounds_of((0.3 - 1e-12, 0.3 + 1e-12), np.float32([0.3]))
    np.testing.assert_array_equal(box.lower, box.upper)
    np.testing.assert_array_equal(box.lower, np.float32([0.3]))


def test_in_float64_they_are_as_given(x64):
    box = bounds_of((LOW, HIGH), jnp.asarray([0.2, 0.8]))
    np.testing.assert_array_equal(box.lower, LOW)
    np.testing.assert_array_equal(box.upper, HIGH)


@pytest.mark.parametrize(
    ("bounds", "error", "says"),
    [
        ((1.0, 2.0), ValueError, r"x0: got 0.2.* at x0, wanted a point within the bounds 1.0 to 2"),
        ((2.0, -2.0), ValueError, "lower 2.0 above upper -2.0"),
        ((np.zeros(3), 9.0), ValueError, r"lower side of shape \(3,\), wanted \(2,\)"),
        ((0.0, np.array([9.0, np.nan])), ValueError, "NaN"),
        (3.0, TypeError, r"wanted \(lower, upper\)"),
        ((0.0, 1.0, 2.0), TypeError, r"wanted \(lower, upper\)"),
        (({"a": 0.0}, 9.0), TypeError, "structure"),
    ],
)
def test_bad_bounds_are_named(bounds, error, says):
    with pytest.raises(error, match=says):
        bounds_of(bounds, INNER)
    with pytest.raises(error, match=says):
        minimize(jnp.sum, INNER, bounds=bounds, budget=50)


def test_traced_bounds_are_refused_and_a_traced_start_is_not_looked_at():
    with pytest.raises(TypeError, match="bounds: got traced values"):
        jax.eval_shape(lambda low: bounds_of((low, 9.0), INNER), jnp.zeros(2))
    jax.eval_shape(lambda x: bounds_of((5.0, 9.0), x), INNER)


# --- what they do to probes and steps -------------------------------------------------------------


def random_moves(count=400):
    """Positions within a box, on its sides too, offsets of either sign, and their address."""
    draw = np.random.default_rng(1)
    low, high = -draw.uniform(0, 1, count), draw.uniform(0, 1, count)
    fixed = draw.random(count) < 0.1
    low[fixed] = high[fixed]
    low[draw.random(count) < 0.1], high[draw.random(count) < 0.1] = -np.inf, np.inf
    x = np.clip(draw.normal(size=count) / 2, low, high)
    offset = draw.normal(size=count)
    x, offset, low, high = (np.float32(a) for a in (x, offset, low, high))
    box = Bounds(jnp.asarray(low), jnp.asarray(high))
    address = address_of(jnp.asarray(x), jnp.arange(count, dtype=jnp.uint32))
    return box, address, x, offset, low, high


def test_probes_are_reflected():
    box, address, x, offset, low, high = random_moves()
    inside, at_bound = jax.jit(functools.partial(reflect, box, address))(x, offset)
    expected = np.where((low <= x + offset) & (x + offset <= high), offset, -offset)
    farther = np.where(high - x >= x - low, high - x, low - x)
    out = (x + expected < low) | (x + expected > high)
    expected = np.where(out, farther, expected)
    assert out.mean() > 0.1
    np.testing.assert_array_equal(inside, expected)
    np.testing.assert_array_equal(at_bound, (x >= high).astype(int) - (x <= low).astype(int))
    same, nowhere = reflect(None, address, jnp.asarray(x), jnp.asarray(offset))
    np.testing.assert_array_equal(same, offset)
    np.testing.assert_array_equal(nowhere, 0)


def test_steps_are_cut_at_the_inner_side():
    box, address, x, offset, low, high = random_moves()
    step, at_bound = jax.jit(functools.partial(cut, box, address))(x, offset)
    assert ((x + step >= low) & (x + step <= high)).all()
    np.testing.assert_allclose(x + step, np.clip(x + offset, low, high), rtol=1e-6, atol=1e-7)
    ends = (offset >= high - x).astype(int) - (offset <= low - x).astype(int)
    np.testing.assert_array_equal(at_bound, ends)
    same, nowhere = cut(None, address, jnp.asarray(x), jnp.asarray(offset))
    np.testing.assert_array_equal(same, offset)
    np.testing.assert_array_equal(nowhere, 0)


def test_reflected_probes_of_a_tree():
    params = {"a": jnp.array([0.0, 1.0]), "b": jnp.zeros((1, 1))}
    box = bounds_of(({"a": 0.0, "b": -0.1}, {"a": 1.0, "b": 0.1}), params)
    leaf, place = jnp.array([[0, 0], [1, 0]], jnp.int32), jnp.array([[0, 1], [0, 1]], jnp.uint32)
    probes = CoordinateProbes(Address(leaf, place), jnp.array([[0.5, 0.5], [0.3, -0.5]]))
    turned, at_bound = reflected_probes(box, params, probes)
    np.testing.assert_allclose(turned.offset, [[0.5, -0.5], [0.1, -0.5]], rtol=1e-6)
    np.testing.assert_array_equal(at_bound, [[-1, 1], [0, 1]])


def test_points_are_projected_and_keep_their_dtypes():
    x = {"a": jnp.array([-3.0, 0.5]), "b": jnp.asarray([2.0, 0.25], jnp.bfloat16)}
    assert projected(None, x) is x
    box = bounds_of((-1.0, 1.0), jax.tree.map(jnp.zeros_like, x))
    inside = projected(box, x)
    assert jax.tree.map(lambda leaf: leaf.dtype, inside) == jax.tree.map(lambda leaf: leaf.dtype, x)
    np.testing.assert_array_equal(inside["a"], [-1, 0.5])
    np.testing.assert_array_equal(inside["b"].astype(jnp.float32), [1, 0.25])


def test_narrow_parameters_stay_within_as_they_are_rounded():
    """0.3 as a bfloat16 is 0.30078."""
    x = jnp.asarray(INNER, jnp.bfloat16)
    box = bounds_of((LOW, HIGH), x)
    for far in (-9, 9):
        assert_within(box.project(jnp.full_like(x, far)), LOW, HIGH)
    fixed = bounds_of((HIGH, HIGH), jnp.asarray(HIGH, jnp.bfloat16))
    np.testing.assert_array_equal(fixed.project(x), jnp.asarray(HIGH, jnp.bfloat16))


# --- runs -----------------------------------------------------------------------------------------

BOUNDED = [
    pytest.param(name, marks=pytest.mark.xdist_group(name))
    for name in ("zosah", "zopqn", "zo_rsn", "deepzero", "rspg")
]
CENTRE = np.array([2.0, -1.0, 0.3, 0.6], np.float32)
BOX = (np.array([-1.0, -0.5, -np.inf, 0.25]), np.array([1.0, np.inf, 0.5, 0.25]))
START = np.array([0.0, 0.0, 0.0, 0.25], np.float32)


class Recorder:
    """An objective that keeps the points that it was asked."""

    def __init__(self, f):
        self.f, self.points = f, []

    def __call__(self, x):
        jax.debug.callback(lambda x: self.points.append(np.array(x)), x)
        return self.f(x)

    def asked(self):
        jax.effects_barrier()
        points, self.points = np.array(self.points), []
        return points


@pytest.mark.parametrize("name", BOUNDED)
def test_a_run_stays_within_and_finds_the_corner(name):
    f = Recorder(lambda x: jnp.sum((x - CENTRE) ** 2 * jnp.array([1.0, 3.0, 2.0, 1.0])))
    method = zosah_jax.rspg(0.05) if name == "rspg" else methods.METHODS[name]()
    method = zosah_jax.deepzero(0.1) if name == "deepzero" else method
    out = minimize(f, START, method, budget=201, bounds=BOX)
    points = f.asked()
    assert len(points) == out.num_evaluations
    for x in (*points, out.params, out.last_params):
        assert_within(x, *BOX)
    assert (np.asarray(points)[:, 3] == 0.25).all()  # fixed
    best = np.clip(CENTRE, *BOX)
    atol = 0.1 if name == "rspg" else 1e-2
    np.testing.assert_allclose(out.params, best, atol=atol)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ("zosah", "zopqn")]
)
def test_no_point_is_outside_as_compared_in_float64(name, sign):
    f = Recorder(lambda x: sign * jnp.sum(x))
    out = minimize(f, INNER, methods.METHODS[name](), budget=60, bounds=(LOW, HIGH))
    for x in (*f.asked(), out.params, out.last_params):
        assert_within(x, LOW, HIGH)
    np.testing.assert_allclose(out.params, LOW if sign > 0 else HIGH, rtol=1e-6)


def test_a_batch_of_starts_is_projected():
    def run(x0):
        return minimize(jnp.sum, x0, zosah_jax.rspg(0.01), budget=11, bounds=(-1.0, 1.0))

    starts = jnp.array([[0.0, 0.5], [-7.0, 7.0]])
    out = jax.vmap(run)(starts)
    assert (jnp.abs(out.last_params) <= 1).all()
    assert out.history.value[1][np.asarray(out.history.num_evaluations[1]) > 0][0] == 0  # -1 + 1


def test_an_update_asks_within_the_bounds_of_its_problem():
    f = Recorder(lambda x: jnp.sum((x - CENTRE) ** 2))
    x = jnp.asarray(START)
    problem = Problem(bounds_of(BOX, x), jnp.zeros(()))
    tx = zosah_jax.zosah(1.0)
    step = jax.jit(lambda x, s, problem: tx.update(None, s, x, value_fn=f, problem=problem))
    state = tx.init(x)
    for _ in range(12):
        updates, state = step(x, state, problem)
        x = problem.bounds.project(optax.apply_updates(x, updates))
    for point in f.asked():
        assert_within(point, *BOX)
    np.testing.assert_allclose(x, np.clip(CENTRE, *BOX), atol=1e-3)
    assert step._cache_size() == 1


# --- a wrapper of one line changes nothing but the values -----------------------------------------


def bowl(x):
    return ((x - CENTRE) ** 2).sum()


def wrapped(x):
    return bowl(x) + 0.125 * (x**2).sum()


def written_in(x):
    return ((x - CENTRE) ** 2).sum() + 0.125 * (x**2).sum()


WRAPPED = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in ("zosah", "zopqn")]
)


def assert_same_run(one, other):
    assert (one.status, one.num_evaluations) == (other.status, other.num_evaluations)
    for name in ("params", "value", "last_params", "last_value"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for a, b in zip(one.history, other.history, strict=True):
        np.testing.assert_array_equal(a, b)


@WRAPPED
def test_a_wrapped_objective_is_the_objective_in_minimize(name):
    for wrapper in (wrapped, functools.partial(wrapped), lambda x: wrapped(x)):
        runs = [
            minimize(f, START, methods.METHODS[name](), budget=60, bounds=BOX)
            for f in (wrapper, written_in)
        ]
        assert_same_run(*runs)
        assert runs[0].status is Status.BUDGET_SPENT
        assert_within(runs[0].params, *BOX)


@WRAPPED
def test_a_wrapped_objective_is_the_objective_on_the_host(name):
    for x0 in (START, np.float64(START)):
        runs = [
            minimize(f, x0, methods.METHODS[name](), budget=60, bounds=BOX, noise=0.0, host=Host())
            for f in (wrapped, written_in)
        ]
        assert_same_run(*runs)
        assert_within(runs[0].params, *BOX)


@WRAPPED
def test_a_wrapped_objective_is_the_objective_of_ask_tell(name):
    solvers = [AskTell(START, methods.METHODS[name](), bounds=BOX) for _ in range(2)]
    while solvers[0].num_evaluations < 60:
        asked = [solver.ask() for solver in solvers]
        np.testing.assert_array_equal(*asked)
        for x in asked[0]:
            assert_within(x, *BOX)
        for solver, points, f in zip(solvers, asked, (wrapped, written_in), strict=True):
            solver.tell([float(f(x)) for x in points])
    np.testing.assert_array_equal(solvers[0].params, solvers[1].params)
    assert solvers[0].best_value == solvers[1].best_value


@WRAPPED
def test_a_wrapped_objective_is_the_objective_of_an_update(name):
    problem = Problem(bounds_of(BOX, START), jnp.zeros(()))
    tx, x = getattr(zosah_jax, name)(1.0), jnp.asarray(START)
    ends = []
    for f in (wrapped, written_in):

        @jax.jit
        def run(x, f=f):
            def step(carry, _):
                x, state = carry
                updates, state = tx.update(None, state, x, value_fn=f, problem=problem)
                return (problem.bounds.project(optax.apply_updates(x, updates)), state), None

            return jax.lax.scan(step, (x, tx.init(x)), length=6)[0][0]

        ends.append(run(x))
    np.testing.assert_array_equal(*ends)
