"""Quadratic regression: against its reference, at any scale, with bounds and values that fail."""

from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counting import compilations
from precision import allowed
from reference_quadratic_regression import Solver

from zosah_jax import AskTell, Host, Status, methods, minimize
from zosah_jax.host import ProblemMismatchError

METHOD = methods.quadratic_regression()


def curved(x):
    return float(np.sum(np.cosh(x - [1.0, -0.5, 2.0])) + (x[0] * x[1] - x[2]) ** 2)


def valley(x):
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


def tell(solver, fun, count):
    """The points asked by a run, at least `count` of them."""
    asked = []
    while len(asked) < count:
        points = solver.ask()
        asked += points
        solver.tell([fun(np.asarray(x)) for x in points])
    return np.array(asked)


CASES = {
    "free": (curved, np.array([0.5, 0.3, -1.0]), {}, 26),
    "valley": (valley, np.array([-1.2, 1.0]), {}, 20),
    "bounds": (
        curved,
        np.array([0.5, 0.3, 1.0]),
        {"low": np.array([0.0, -0.2, -2.0]), "high": np.array([np.inf, 1.0, 1.5])},
        22,
    ),
    "from 0": (curved, np.zeros(3), {}, 20),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_is_that_of_the_reference(case):
    fun, x0, options, count = CASES[case]
    reference = Solver(fun, x0, **options)
    while len(reference.points) < count:
        assert reference.step()
    bounds = (options["low"], options["high"]) if options else None
    asked = tell(AskTell(x0, METHOD, bounds=bounds), fun, count)
    rtol = allowed(1e-5, 1e-4)
    np.testing.assert_allclose(asked[:count], reference.points[:count], rtol=rtol, atol=1e-7)


# --- one solver, at any scale ---------------------------------------------------------------------


def count_to(fun, x0, level, most=400, **options):
    """Values to a level of the objective, by the host's default."""
    solver = AskTell(x0, **options)
    while solver.num_evaluations < most:
        points = solver.ask()
        solver.tell([float(fun(np.asarray(x))) for x in points])
        if solver.best_value <= level:
            return solver.num_evaluations
    return most


@pytest.mark.parametrize("f", [1e-12, 1e12])
@pytest.mark.parametrize("x", [1e-9, 1e9])
def test_units_of_f_and_x_change_nothing(f, x):
    start = np.array([-1.2, 1.0])
    plain = count_to(valley, start, 1e-6)
    scaled = count_to(lambda y: f * valley(y / x), x * start, f * 1e-6)
    assert abs(scaled - plain) <= 0.2 * plain


def test_units_of_each_coordinate_change_nothing():
    x0, units = np.array([0.5, 0.3, -1.0]), np.array([1e-4, 1.0, 500.0])
    plain = count_to(curved, x0, 4.2052)
    assert plain < 40
    scaled = count_to(lambda y: curved(y / units), x0 * units, 4.2052)
    assert abs(scaled - plain) <= 0.2 * plain


def test_a_constant_costs_no_more_than_the_digits_that_it_takes():
    start = np.array([-1.2, 1.0])
    plain = count_to(valley, start, 1e-2)
    assert count_to(lambda x: 1e12 + valley(x), start, 1e12 + 1e-2) <= 1.2 * plain


def test_one_variable():
    result = minimize(lambda x: float(np.cosh(x[0] - 3)), np.array([10.0]), budget=60, host=Host())
    assert abs(result.params[0] - 3) < 1e-6


def test_a_quadratic_is_known_once_its_unknowns_are_paid():
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    h = (q * np.logspace(0, 6, 6)) @ q.T  # condition 1e6

    def fun(x):
        return (x - 2) @ h @ (x - 2) / 2

    assert count_to(fun, np.ones(6), 1e-9 * fun(np.ones(6))) <= 28 + 6


# --- when it ends ---------------------------------------------------------------------------------


def test_it_ends_when_it_has_converged():
    result = minimize(valley, np.array([-1.2, 1.0]), budget=1_000, host=Host())
    assert result.status is Status.CONVERGED
    assert result.num_evaluations < 200
    np.testing.assert_allclose(result.params, 1, atol=1e-6)


@pytest.mark.parametrize(("name", "gap"), [("xtol", 1e-3), ("ftol", 1e-6)])
def test_a_tolerance_ends_it_sooner(name, gap):
    x0 = np.array([0.5, 0.3, -1.0])
    whole = minimize(curved, x0, budget=1_000, host=Host())
    method = methods.quadratic_regression(**{name: 1e-6})
    sooner = minimize(curved, x0, method, budget=1_000, host=Host())
    assert sooner.status is whole.status is Status.CONVERGED
    assert sooner.num_evaluations < whole.num_evaluations
    assert sooner.value < whole.value + gap * whole.value


def test_a_plateau_ends_too():
    result = minimize(lambda x: 1.0, np.zeros(2), budget=1_000, host=Host())
    assert result.status is Status.CONVERGED


# --- values that fail -----------------------------------------------------------------------------


def test_values_that_fail_or_are_absurd_cost_little():
    x0 = np.array([0.5, 0.3, -1.0])
    lowest = minimize(curved, x0, budget=200, host=Host()).value

    def fails(x):
        if x[2] > 1.3:
            return np.nan
        return 1e300 if x[0] > 1.6 else curved(x)

    result = minimize(fails, x0, budget=200, host=Host())
    assert result.value < lowest + 1e-6 * abs(lowest)


def test_far_values_that_are_huge_end_no_run():
    def steep(x):  # the units of these bounds are 100: values of 1e8 there, of 30 at the start
        return float(np.sum((x**2 - [1, 2, 3, 4, 5]) ** 2))

    result = minimize(steep, np.ones(5), budget=300, bounds=(-500, 500), host=Host())
    assert result.value < 1e-6


def test_a_coordinate_held_by_its_bounds_stays():
    low, high = np.array([-5.0, 0.3, -5.0]), np.array([5.0, 0.3, 5.0])
    result = minimize(curved, np.full(3, 0.3), budget=80, bounds=(low, high), host=Host())
    assert result.params[1] == 0.3
    free = minimize(
        lambda x: curved(np.array([x[0], 0.3, x[1]])), np.full(2, 0.3), budget=80, host=Host()
    )
    np.testing.assert_allclose(result.value, free.value, rtol=1e-9)


# --- faces ----------------------------------------------------------------------------------------


def test_several_points_a_step():
    rounds = {}
    for number in (1, 3):
        solver = AskTell(np.array([-1.2, 1.0]), methods.quadratic_regression(num_points=number))
        sizes = []
        while solver.best_value > 1e-3:
            sizes.append(len(tell(solver, valley, 1)))
        assert sizes[:3] == [1, 2, 2]
        assert set(sizes[3:]) == {number}
        rounds[number] = len(sizes)
    assert rounds[3] < 0.7 * rounds[1]


def test_workers_are_asked_as_many_points(tmp_path):
    x0 = np.array([-1.2, 1.0])
    with ThreadPoolExecutor(4) as pool:
        host = Host(executor=pool, log=tmp_path / "log")
        result = minimize(valley, x0, budget=80, host=host)
    told = np.diff(result.history.num_evaluations)
    assert np.all(told[2:-1] == 4)
    with pytest.raises(ProblemMismatchError, match="workers"):  # another run than that of one
        minimize(valley, x0, budget=80, host=Host(log=tmp_path / "log"))
    minimize(valley, x0, methods.zosah(), budget=80, host=Host(log=tmp_path / "other"))
    with ThreadPoolExecutor(2) as pool:
        again = Host(executor=pool, log=tmp_path / "other")
        minimize(valley, x0, methods.zosah(), budget=80, host=again)


def test_whoever_can_have_several_values_at_a_time_is_asked_for_them():
    x0 = np.array([-1.2, 1.0])
    solver = AskTell(x0, batch=3)
    sizes = [len(tell(solver, valley, 1)) for _ in range(6)]
    assert sizes == [1, 2, 2, 3, 3, 3]
    assert solver.method == AskTell(x0, methods.quadratic_regression(num_points=3)).method
    for batch, error in ((0, ValueError), (2.5, TypeError)):
        with pytest.raises(error, match="batch: got"):
            AskTell(x0, batch=batch)
    with pytest.raises(ValueError, match="batch: got 3 with a method"):
        AskTell(x0, methods.zosah(), batch=3)


def test_traced_it_is_the_same_and_compiles_once(x64):
    def fun(x):
        return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2

    x0 = jnp.array([-1.2, 1.0])
    traced = minimize(fun, x0, METHOD, budget=20)
    host = minimize(valley, np.array([-1.2, 1.0]), METHOD, budget=20, host=Host())
    np.testing.assert_allclose(traced.params, host.params, rtol=1e-4)
    other = x0 + 0.1
    with compilations() as compiled:
        minimize(fun, other, methods.quadratic_regression(), budget=20).value.block_until_ready()
    assert len(compiled) == 0


@pytest.mark.parametrize("name", ["xtol", "ftol"])
@pytest.mark.parametrize("value", [-1.0, "1", np.inf, None])
def test_bad_tolerances(name, value):
    with pytest.raises((TypeError, ValueError), match=name):
        methods.quadratic_regression(**{name: value})


@pytest.mark.parametrize("num_points", [0, 1.5, True])
def test_bad_options(num_points):
    with pytest.raises((TypeError, ValueError), match="num_points"):
        methods.quadratic_regression(num_points=num_points)
    with pytest.raises(TypeError, match="traced"):
        jax.jit(lambda n: methods.quadratic_regression(num_points=n))(2)
