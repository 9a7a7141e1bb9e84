"""Least squares: the solver against its NumPy reference, the one call, faults, bad input."""

import math
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from counting import compilations
from reference_least_squares import Solver

import zosah_jax
from zosah_jax import AskTell, Host, Status, least_squares, methods

TIMES = np.linspace(0, 3, 30)
MEASURED = 2 * np.exp(-1.3 * TIMES) + 0.01 * np.random.default_rng(0).normal(size=30)
START = np.array([0.5, 1.0])


def decay(x, xp=np):
    return x[1] * xp.exp(-x[0] * TIMES) - MEASURED


def valley(x):
    return np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def helix(x):
    turn = np.arctan2(x[1], x[0]) / (2 * np.pi)
    return np.array([10 * (x[2] - 10 * turn), 10 * (np.hypot(x[0], x[1]) - 1), x[2]])


def tell_all(solver, fun, count):
    """Points of a run, in order."""
    asked = []
    while len(asked) < count:
        points = solver.ask()
        asked += points
        solver.tell([fun(x) for x in points])
    return np.array(asked[:count])


# --- against the reference ------------------------------------------------------------------------

CASES = {
    "decay": (decay, START, {}, 12),
    "valley": (valley, np.array([-1.2, 1.0]), {}, 13),
    "helix": (helix, np.array([-1.0, 0.0, 0.0]), {}, 16),
    "bounds": (decay, np.array([0.8, 1.0]), {"low": 0.7, "high": 1.4}, 12),
    "around zero": (helix, np.array([1.0, 0.3, 0.2]), {"low": -2.0, "high": 2.0}, 12),
    "known noise": (decay, START, {"noise": 0.003}, 12),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_is_that_of_the_reference(case):
    fun, x0, options, count = CASES[case]
    reference = Solver(fun, x0, **options)
    while len(reference.points) < count:
        reference.step()
    bounds = (options["low"], options["high"]) if "low" in options else None
    method = methods.least_squares(noise=options.get("noise", 0.0), tolerance=1e-30)
    asked = tell_all(AskTell(x0, method, bounds=bounds), fun, count)
    np.testing.assert_allclose(asked, reference.points[:count], rtol=1e-6, atol=1e-9)


# --- the one call ---------------------------------------------------------------------------------


def test_it_finds_what_scipy_finds_and_its_covariance():
    fit = least_squares(decay, START, budget=40, host=Host())
    best, covariance = scipy.optimize.curve_fit(
        lambda t, rate, size: size * np.exp(-rate * t), TIMES, MEASURED, START
    )
    np.testing.assert_allclose(fit.params, best, rtol=1e-6)
    np.testing.assert_allclose(fit.covariance, covariance, rtol=1e-3)
    np.testing.assert_allclose(fit.residuals, decay(best), atol=1e-6)
    np.testing.assert_allclose(fit.value, np.sum(decay(best) ** 2), rtol=1e-8)
    exact = np.stack([-TIMES * best[1], np.ones(30)], 1) * np.exp(-best[0] * TIMES)[:, None]
    np.testing.assert_allclose(fit.jacobian, exact, atol=1e-3)
    assert fit.status is Status.CONVERGED
    assert fit.success
    assert fit.num_evaluations <= 16
    assert fit.undetermined.shape == (0, 2)


def test_a_traced_function_runs_compiled_and_the_same_for_each_face():
    jitted = least_squares(lambda x: decay(x, jnp), jnp.array(START, jnp.float32), budget=40)
    host = least_squares(decay, START, budget=40, host=Host())
    np.testing.assert_allclose(jitted.params, host.params, rtol=1e-4)
    assert jitted.success
    tree = least_squares(
        lambda p: {"all": decay([p["rate"], p["size"]], jnp)},
        {"rate": jnp.float32(0.5), "size": jnp.float32(1.0)},
        budget=40,
    )
    np.testing.assert_allclose([tree.params["rate"], tree.params["size"]], host.params, rtol=1e-4)


def test_runs_advance_together_under_vmap():
    starts = jnp.array([[0.5, 1.0], [1.0, 1.0]])
    fits = jax.vmap(lambda x: least_squares(lambda x: decay(x, jnp), x, budget=20))(starts)
    np.testing.assert_allclose(fits.params, np.tile([1.30725, 2.0046], (2, 1)), rtol=1e-3)
    assert fits.covariance.shape == (2, 2, 2)


@pytest.mark.parametrize("loss", ["soft_l1", "huber", "cauchy", "arctan"])
def test_losses_are_those_of_scipy(loss):
    outliers = np.where(np.arange(30) % 7 == 0, 1.0, 0.0)

    def fun(x):
        return (decay(x) - outliers) / 0.01

    fit = least_squares(fun, START, budget=60, loss=loss, host=Host())
    found = scipy.optimize.least_squares(fun, START, loss=loss)
    np.testing.assert_allclose(fit.value, 2 * found.cost, rtol=1e-6)
    np.testing.assert_allclose(fit.params, found.x, rtol=1e-4)


def test_a_loss_may_be_a_function():
    fit = least_squares(decay, START, budget=40, loss=lambda z: jnp.log1p(z), host=Host())
    named = least_squares(decay, START, budget=40, loss="cauchy", host=Host())
    np.testing.assert_array_equal(fit.params, named.params)


def test_bounds_hold_and_bind():
    asked = []

    def fun(x):
        asked.append(np.array(x))
        return decay(x)

    fit = least_squares(fun, np.array([0.8, 1.0]), budget=40, bounds=(0.0, 1.0), host=Host())
    assert np.min(asked) >= 0
    assert np.max(asked) <= 1
    inner = scipy.optimize.least_squares(fun, [0.8, 0.9], bounds=(0.0, 1.0), xtol=1e-12)
    np.testing.assert_allclose(fit.value, 2 * inner.cost, rtol=1e-6)
    assert fit.params[1] == 1


def test_a_fixed_parameter_stays():
    fit = least_squares(
        decay, START, budget=40, bounds=(np.array([0.0, 1.0]), np.array([9.0, 1.0])), host=Host()
    )
    assert fit.params[1] == 1
    assert fit.covariance[1, 1] == 0
    assert fit.covariance[0, 0] > 0


def test_a_target_ends_it():
    fit = least_squares(decay, START, budget=40, target=0.1, host=Host())
    assert fit.status is Status.TARGET_REACHED
    assert fit.value <= 0.1


def test_several_workers_are_asked_several_points():
    with ThreadPoolExecutor(2) as pool:
        fit = least_squares(decay, START, budget=60, host=Host(executor=pool))
    np.testing.assert_allclose(fit.params, [1.30725, 2.0046], rtol=1e-4)
    steps = np.diff(fit.history.num_evaluations)
    assert list(steps[:2]) == [2, 2]  # two differences, then two points a step


# --- what is not determined -----------------------------------------------------------------------


def test_a_direction_that_nothing_determines_is_named():
    fit = least_squares(
        lambda x: np.array([1.0, 2.0, 3.0]) * (x[0] + x[1]) - 1, START, budget=30, host=Host()
    )
    assert fit.success
    np.testing.assert_allclose(fit.params.sum(), 6 / 14, rtol=1e-6)
    np.testing.assert_allclose(np.abs(fit.undetermined), [[0.5**0.5, 0.5**0.5]], atol=1e-6)
    assert np.isinf(np.diag(fit.covariance)).all()


def test_more_parameters_than_residuals():
    fit = least_squares(lambda x: x[:2] ** 2 - 4, np.arange(1.0, 6.0), budget=40, host=Host())
    assert fit.value < 1e-16
    np.testing.assert_allclose(np.abs(fit.params[:2]), 2, rtol=1e-6)
    assert fit.undetermined.shape == (3, 5)
    assert np.isinf(fit.covariance).all()


# --- faults ---------------------------------------------------------------------------------------


def test_a_sensor_that_failed_has_no_weight():
    def fun(x):
        return np.where(np.arange(30) == 3, np.nan, decay(x))

    fit = least_squares(fun, START, budget=40, host=Host())
    kept = np.arange(30) != 3
    best = scipy.optimize.least_squares(lambda x: decay(x)[kept], START, xtol=1e-12).x
    np.testing.assert_allclose(fit.params, best, rtol=1e-3)
    assert fit.status is Status.CONVERGED
    slopes = fit.jacobian[kept]
    spread = np.sum(decay(best)[kept] ** 2) / (29 - 2)
    np.testing.assert_allclose(fit.covariance, spread * np.linalg.inv(slopes.T @ slopes), rtol=1e-3)


def test_single_residuals_missing_now_and_then():
    rng = np.random.default_rng(1)
    fit = least_squares(
        lambda x: np.where(rng.random(30) < 0.1, np.nan, decay(x)), START, budget=60, host=Host()
    )
    np.testing.assert_allclose(fit.params, [1.30725, 2.0046], rtol=1e-2)


@pytest.mark.parametrize("how", ["raise", "none", "absurd"])
def test_simulations_that_fail(how):
    calls = []

    def fun(x):
        calls.append(x)
        if len(calls) > 1 and len(calls) % 3 == 0:
            if how == "raise":
                raise FloatingPointError("diverged")
            return None if how == "none" else np.full(30, 1e150)
        return decay(x)

    fit = least_squares(fun, START, budget=60, noise=0.0, host=Host(retries=0))
    np.testing.assert_allclose(fit.params, [1.30725, 2.0046], rtol=1e-4)
    assert fit.num_evaluations == len(calls)


def test_noise_is_measured_and_borne():
    rng = np.random.default_rng(2)
    clean = np.sum(decay([1.30725, 2.0046]) ** 2)

    def fun(x):
        return decay(x) + 0.01 * rng.normal(size=30)

    fit = least_squares(fun, START, budget=60, host=Host())
    assert fit.num_evaluations == 60
    assert 0.005 < float(fit.state.noise) < 0.02
    assert np.sum(decay(fit.params) ** 2) < 1.2 * clean


def test_exact_residuals_cost_one_value_for_their_noise():
    asked = least_squares(decay, START, budget=40, host=Host()).num_evaluations
    assert asked == 1 + least_squares(decay, START, budget=40, noise=0, host=Host()).num_evaluations


def test_a_simulator_that_never_answers():
    with pytest.raises(zosah_jax.host.ObjectiveError, match="raised at every point"):
        least_squares(lambda x: 1 / 0, START, budget=40, host=Host(retries=0))


def test_a_state_is_kept_and_taken_up():
    method = methods.least_squares(noise=0.0, num_residuals=30, tolerance=1e-30)
    whole = tell_all(AskTell(START, method), decay, 12)
    first = AskTell(START, method)
    tell_all(first, decay, 6)
    again = AskTell(START, method)
    again.state = first.state
    np.testing.assert_array_equal(tell_all(again, decay, 6), whole[6:])


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [None, Host()], ids=["traced", "host"])
def test_a_scalar_is_no_vector_of_residuals(host):
    with pytest.raises((ValueError, TypeError), match=r"wanted a (real )?vector"):
        least_squares(lambda x: (x**2).sum(), jnp.ones(2), budget=40, host=host)


@pytest.mark.parametrize("host", [None, Host()], ids=["traced", "host"])
def test_no_residuals_and_complex_ones(host):
    x0 = np.ones(2, np.float32)
    with pytest.raises((ValueError, TypeError), match=r"no residuals|shape \(0,\)"):
        least_squares(lambda x: x[:0], x0, budget=40, host=host)
    with pytest.raises(TypeError, match="real"):
        least_squares(lambda x: x.astype(np.complex64), x0, budget=40, host=host)


def test_another_length_the_second_time():
    calls = []

    def fun(x):
        calls.append(x)
        return decay(x)[: 30 - (len(calls) > 4)]

    with pytest.raises(ValueError, match=r"got ones of \[29\] numbers, wanted 30"):
        least_squares(fun, START, budget=40, host=Host())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"loss": "l1"}, ValueError, "loss: got 'l1', wanted"),
        ({"bounds": (2, 1)}, ValueError, "bounds: got lower 2.0 above upper 1.0"),
        ({"budget": 4}, ValueError, "budget: got 4, wanted at least 5"),
        ({"noise": -1}, ValueError, "noise"),
        ({"noise": "estimate"}, TypeError, "noise: got 'estimate'"),
        ({"host": 3}, TypeError, "host: got int"),
        ({"callback": 3}, TypeError, "callback"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        least_squares(decay, START, **({"budget": 40, "host": Host()} | options))
    with pytest.raises(TypeError, match="fun: got int"):
        least_squares(3, START, budget=40)


def test_a_method_of_scalars_refuses_vectors_still():
    with pytest.raises(ValueError, match="wanted a scalar"):
        zosah_jax.minimize(lambda x: x**2, jnp.ones(2), budget=40)
    assert math.isfinite(float(methods.least_squares().merit(jnp.ones((1, 3)))[0]))


# --- lengths --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("unit", "size"), [(1e-9, 1e12), (1e9, 1e-12)])
def test_units_of_parameters_and_of_residuals_change_nothing(unit, size):
    plain = least_squares(decay, START, budget=40, host=Host())
    fit = least_squares(lambda x: size * decay(x / unit), unit * START, budget=40, host=Host())
    assert fit.num_evaluations == plain.num_evaluations
    np.testing.assert_allclose(fit.params / unit, plain.params, rtol=1e-8)
    np.testing.assert_allclose(fit.covariance / unit**2, plain.covariance, rtol=1e-4)


def test_a_start_at_zero_and_a_single_parameter():
    fit = least_squares(decay, np.zeros(2), budget=60, host=Host())
    np.testing.assert_allclose(fit.params, [1.30725, 2.0046], rtol=1e-4)
    fit = least_squares(lambda x: decay([x[0], 2.0]), np.array([0.3]), budget=40, host=Host())
    assert fit.success
    assert abs(fit.params[0] - 1.305) < 0.01


def test_equal_runs_compile_once():
    least_squares(decay, START, budget=20, host=Host())
    with compilations() as compiled:
        least_squares(lambda x: decay(x) * 2, START + 0.1, budget=30, host=Host())
    assert compiled == []
