"""Noisy regression: against its reference, at any scale, with bounds, and values that fail."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_noisy_regression import Run

from zosah_jax import AskTell, Host, Status, methods, minimize
from zosah_jax.methods.noisy_regression.state import num_kept, thinned

METHOD = methods.noisy_regression()


def curved(x):
    return float(np.sum(np.cosh(x - [1.0, -0.5, 2.0])) + (x[0] * x[1] - x[2]) ** 2)


def valley(x):
    return float(100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2)


def noisy(fun, noise, seed=0):
    rng = np.random.default_rng(seed)
    return lambda x: fun(np.asarray(x)) + noise * rng.normal()


def told(solver, fun, batches):
    """Points and values of so many batches."""
    points, values = [], []
    for _ in range(batches):
        asked = solver.ask()
        found = [fun(x) for x in asked]
        solver.tell(found)
        points, values = points + asked, values + found
    return points, values


CASES = {
    "free": (curved, np.array([0.5, 0.3, -1.0]), None),
    "valley": (valley, np.array([-1.2, 1.0]), None),
    "bounds": (
        curved,
        np.array([0.5, 0.3, 1.0]),
        (np.array([0.0, -0.2, -2.0]), np.array([4.0, 1.0, 1.5])),
    ),
}


@pytest.mark.parametrize("noise", [1e-3, 0.3])
@pytest.mark.parametrize("case", CASES)
def test_a_run_is_that_of_the_reference(case, noise):
    fun, x0, bounds = CASES[case]
    fun = noisy(fun, noise)
    solver = AskTell(x0, METHOD, bounds=bounds, noise=noise)
    points, values = told(solver, fun, 3)
    ends = (-np.inf, np.inf) if bounds is None else bounds
    reference = Run(points, values, noise, *ends)
    for _ in range(6):
        state = jax.tree.map(np.asarray, solver.method_state()._replace(key=0))
        place = state.centre + state.unit * (state.metric @ state.step)
        wanted = reference.centre + reference.unit * (reference.metric @ reference.step)
        np.testing.assert_allclose(place, wanted, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(state.reach, reference.reach, rtol=1e-4)
        np.testing.assert_allclose(state.spread, reference.s, rtol=1e-4)
        np.testing.assert_allclose(state.decrease, reference.decrease, rtol=1e-3, atol=1e-9)
        np.testing.assert_allclose(state.model.scatter, reference.fit.scatter, rtol=1e-4)
        asked = solver.ask()
        far = np.linalg.norm(reference.z(np.array(asked)) - reference.step, axis=1)
        assert np.all(far <= reference.reach * (1 + 1e-6))
        found = [fun(x) for x in asked]
        solver.tell(found)
        reference.tell(asked, found)


def test_points_are_kept_that_tell_most(x64):
    fun, noise = noisy(curved, 0.3), 0.3
    solver = AskTell(np.array([0.5, 0.3, -1.0]), METHOD, noise=noise)
    points, values = told(solver, fun, 12)
    state = solver.method_state()
    reference = Run(points, values, noise)
    reference.metric, reference.centre = np.asarray(state.metric), np.asarray(state.centre)
    reference.unit = np.asarray(state.unit)
    reference.s, reference.length = float(state.spread), float(state.length)
    kept = reference.kept(10)
    assert kept.sum() == 10
    thin = jax.tree.map(np.asarray, thinned(state, jnp.asarray(noise), 10)._replace(key=0))
    assert {tuple(x) for x in thin.points[thin.there]} == {tuple(x) for x in reference.points[kept]}


# --- what it finds --------------------------------------------------------------------------------


def gap(fun, lowest, x0, noise, budget, seed=0, **options):
    host = Host()
    result = minimize(
        noisy(fun, noise, seed), x0, budget=budget, noise=noise, host=host, key=seed, **options
    )
    assert result.num_evaluations <= budget
    return fun(result.params) - lowest


def test_many_noisy_values_tell_more_than_one():
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    h = (q * np.logspace(0, 2, 4)) @ q.T

    def fun(x):
        return (x - 2) @ h @ (x - 2) / 2

    gaps = [gap(fun, 0.0, np.ones(4), 1.0, 200, seed) for seed in range(3)]
    assert np.median(gaps) < 0.15  # of a noise of 1: 14 unknowns, some 190 values


def test_more_values_than_are_kept_come_nearer():
    h = np.random.default_rng(0).normal(size=(10, 10))
    h = h @ h.T / 10 + 0.1 * np.eye(10)

    def fun(x):
        return float((x - 1) @ h @ (x - 1) / 2)

    method = methods.noisy_regression(num_points=10)
    assert num_kept(10) < 250
    few, many = (
        [gap(fun, 0.0, np.zeros(10), 0.1, n, seed, method=method) for seed in range(3)]
        for n in (250, 750)
    )
    assert np.median(many) < np.median(few) / 3


def test_it_ends_when_as_many_values_as_are_kept_tell_nothing_new():
    fun = noisy(lambda x: float((x[0] - 2) ** 2 + 10 * (x[1] + x[0]) ** 2), 1.0)
    method = methods.noisy_regression(num_points=10)
    result = minimize(fun, np.ones(2), method, budget=5000, noise=1.0, host=Host())
    assert result.status is Status.CONVERGED
    assert num_kept(2) < result.num_evaluations < 2000
    np.testing.assert_allclose(result.params, [2, -2], atol=0.2)  # where f is 0.04 higher
    begun = minimize(fun, np.ones(2), method, budget=5000, noise=1.0, host=Host(), restarts=1)
    assert begun.num_evaluations > result.num_evaluations + num_kept(2)


@pytest.mark.parametrize("f", [1e-9, 1e9])
@pytest.mark.parametrize("x", [1e-6, 1e6])
def test_units_of_f_and_x_change_nothing(f, x):
    start = np.array([-1.2, 1.0])
    plain = minimize(noisy(valley, 0.1), start, budget=60, noise=0.1, host=Host())
    same = noisy(valley, 0.1)
    scaled = minimize(lambda y: f * same(y / x), x * start, budget=60, noise=0.1 * f, host=Host())
    np.testing.assert_allclose(scaled.params / x, plain.params, rtol=0.02)


def test_it_is_the_default_under_noise_and_keeps_to_the_bounds():
    bounds = (np.array([0.0, -0.2, -2.0]), np.array([np.inf, 1.0, 1.5]))
    seen = []

    def fun(x):
        seen.append(x)
        return curved(x)

    result = minimize(
        noisy(fun, 0.01),
        np.array([0.5, 0.3, 1.0]),
        budget=90,
        bounds=bounds,
        noise=0.01,
        host=Host(),
    )
    assert type(result.state).__name__ == "NoisyRegressionState"
    assert all(np.all((bounds[0] <= x) & (x <= bounds[1])) for x in seen)
    exact = minimize(curved, np.array([0.5, 0.3, 1.0]), budget=200, bounds=bounds, host=Host())
    assert curved(result.params) < exact.value + 0.02


def test_noise_is_measured_where_the_user_asks_for_it():
    fun, x0 = noisy(valley, 0.1), np.array([-1.2, 1.0])
    unasked = minimize(fun, x0, budget=100, host=Host())
    assert type(unasked.state).__name__ == "QuadraticRegressionState"  # 14 are many of 100
    asked = minimize(fun, x0, budget=100, noise="estimate", host=Host())
    assert type(asked.state).__name__ == "NoisyRegressionState"
    assert asked.num_evaluations <= 100
    assert valley(asked.params) < 0.5


def test_values_that_fail_or_are_absurd_cost_little():
    def fails(x):
        if x[2] > 2.4:
            raise FloatingPointError
        return 1e300 if x[0] > 1.9 else curved(x)

    x0 = np.array([0.5, 0.3, -1.0])
    result = minimize(noisy(fails, 0.05), x0, budget=150, noise=0.05, host=Host())
    assert curved(result.params) < minimize(curved, x0, budget=200, host=Host()).value + 0.1


def test_a_cliff_beside_the_minimum_is_not_handed_back():
    def cliff(x):
        return float((x[0] - 1) ** 2 + (x[1] - 1) ** 2 + 1e4 * (x[0] < 1))

    x0 = np.array([3.0, -2.0])
    for seed in range(3):
        assert gap(cliff, 0.0, x0, 0.1, 100, seed) < 5


# --- faces ----------------------------------------------------------------------------------------


def test_traced_it_hands_back_the_minimum_of_its_model(x64):
    def fun(x):
        noise = jax.random.normal(jax.random.key(jnp.int32(1e6 * x[0])), ())
        return jnp.sum((x - 3.0) ** 2) + 0.3 * noise

    result = minimize(fun, jnp.ones(2), budget=80, noise=0.3)
    np.testing.assert_allclose(result.params, 3, atol=0.3)
    assert result.status is Status.BUDGET_SPENT
    np.testing.assert_allclose(result.params, result.last_params)
    assert abs(result.value) < 0.3  # the least of the values is at about -0.6


def test_several_points_at_a_time():
    solver = AskTell(np.array([-1.2, 1.0]), methods.noisy_regression(num_points=5), noise=0.1)
    sizes = []
    for _ in range(5):
        points = solver.ask()
        sizes.append(len(points))
        solver.tell([valley(x) for x in points])
    assert sizes == [1, 2, 2, 5, 5]


@pytest.mark.parametrize("num_points", [0, 1.5, True])
def test_bad_options(num_points):
    with pytest.raises((TypeError, ValueError), match="num_points"):
        methods.noisy_regression(num_points=num_points)
