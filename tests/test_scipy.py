import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from scipy.integrate import solve_ivp
from scipy.optimize import Bounds, LinearConstraint, OptimizeWarning, minimize, rosen

from zosah_jax import methods
from zosah_jax.integrations import scipy as scipy_face
from zosah_jax.integrations.scipy import default, zopqn, zosah

X0 = np.array([-1.2, 1.0])
OPTIONS = {"maxfev": 150, "noise": 0}


def run(fun=rosen, x0=X0, **changed):
    return minimize(fun, x0, **{"method": zosah, "options": OPTIONS, **changed})


def test_result():
    calls = []

    def fun(x, a, b):
        calls.append(x)
        return a * rosen(x) + b

    result = run(fun, args=(2.0, 3.0))
    assert result.success is True
    assert result.nfev == len(calls) <= 150
    assert result.fun == 2 * rosen(result.x) + 3 < 3.0001
    assert result.nit == (result.nfev - 1) / 6
    assert result.message == "budget spent"
    np.testing.assert_allclose(result.x, 1, atol=1e-3)


def test_target_and_other_options(tmp_path):
    log = tmp_path / "log"
    result = run(options={**OPTIONS, "target": 1e-3, "key": 4, "retries": 0, "log": log})
    assert result.success
    assert result.fun <= 1e-3
    assert result.message == "target reached"
    assert len(log.read_text().splitlines()) == 1 + result.nfev
    missed = run(options={**OPTIONS, "target": -1.0})
    assert not missed.success
    assert missed.message == "budget spent"
    with pytest.warns(OptimizeWarning, match="Unknown solver options: maxiter"):
        run(options={**OPTIONS, "maxiter": 3})
    assert run(x0=[-1, 1], options=OPTIONS).fun < 1e-3  # whole numbers, as SciPy takes them


@pytest.mark.parametrize("dtype", [">f8", "longdouble", ">i4", "float32"])
def test_starts_of_any_dtype(dtype):
    assert run(lambda x: float(((x - 1) ** 2).sum()), x0=np.zeros(3, dtype)).fun < 1e-9


ONES = {
    "(1,)": lambda v: np.array([v]),
    "(1, 1)": lambda v: np.array([[v]]),
    "matrix": lambda v: np.matrix([[v]]),
    "jax": lambda v: jnp.array([v]),
    "masked": lambda v: np.ma.array([v], mask=[False]),
}


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("kind", ONES)
@pytest.mark.parametrize("method", [zosah, zopqn, default])
def test_an_array_of_one_is_a_value(method, kind):
    x0 = np.zeros(2, np.float32)  # so that JAX's values, too, are as exact as the method takes them
    result = run(lambda x: ONES[kind](float(((x - 1) ** 2).sum())), x0, method=method)
    assert result.fun < 1e-3


def test_an_array_of_two_is_none():
    with pytest.raises(TypeError, match=r"shape \(2,\)"):
        run(lambda x: np.array([1.0, 2.0]))


def test_what_is_masked_is_missing():
    def fun(x):
        """Least value 3 at (0.4, 1); no overlap with the data, so masked, where x0 > 0.5."""
        residual = np.ma.array([x[0] - 0.4, x[1] - 1.0, 3**0.5], mask=[bool(x[0] > 0.5)] * 3)
        total = (residual**2).sum()
        return np.ma.array([total], mask=[total is np.ma.masked]) if x[1] > 0 else total

    result = run(fun, np.array([0.4999999, 0.0]), options={"maxfev": 100})
    assert result.fun > 2.999
    assert result.x[0] <= 0.5


@pytest.mark.parametrize("bounds", [Bounds([-2, -2], [0.5, np.inf]), [(-2, 0.5), (-2, None)]])
def test_bounds(bounds):
    calls = []

    def fun(x):
        calls.append(x)
        return rosen(x)

    result = run(fun, bounds=bounds)
    np.testing.assert_allclose(result.x, [0.5, 0.25], atol=1e-4)
    assert np.min(calls) >= -2
    assert np.max(np.array(calls)[:, 0]) <= 0.5


def test_bounds_that_are_no_float32():
    low, high, calls = np.array([0.1, 0.7]), np.array([0.3, 0.9]), []

    def fun(x):
        calls.append(x.astype(np.float64))
        return float(-x.sum())

    x0 = np.array([0.2, 0.8], np.float32)
    result = run(fun, x0, bounds=list(zip(low, high, strict=True)), options={"maxfev": 60})
    for x in (*calls, result.x.astype(np.float64)):
        assert (low <= x).all()
        assert (x <= high).all()


def test_both_are_one_mechanism():
    bounds = Bounds([-2, -2], [0.5, np.inf])
    options = {"maxfev": 90, "noise": 0}
    result = run(method=zopqn, bounds=bounds, options=options)
    same = run(bounds=bounds, options={**options, "method": methods.zopqn()})
    np.testing.assert_array_equal(result.x, same.x)
    np.testing.assert_allclose(result.x, [0.5, 0.25], atol=1e-4)
    assert result.nfev <= 90


@pytest.mark.parametrize("stop", [StopIteration, True, np.True_])
def test_callbacks(stop):
    points, results = [], []

    def by_point(xk):
        points.append(xk)
        if len(points) == 3:
            if stop is StopIteration:
                raise StopIteration
            return stop
        return np.False_

    def by_result(intermediate_result):
        assert rosen(intermediate_result.x) == intermediate_result.fun
        results.append(intermediate_result.nfev)
        intermediate_result.x[:] = 1e6

    def scribble(xk):
        xk[:] = 1e6

    stopped = run(callback=by_point)
    assert not stopped.success
    assert stopped.nit == len(points) == 3
    whole = run(callback=by_result)
    assert len(results) == whole.nit
    assert results[:2] == [6, 12]
    for other in (run(), run(callback=scribble)):
        np.testing.assert_array_equal(other.x, whole.x)
    with pytest.raises(TypeError, match="callback: got int"):
        run(callback=3)


@pytest.mark.parametrize("method", [zosah, zopqn, default])
def test_floating_point_errors_of_numpy_that_raise(method):
    with np.errstate(all="raise"):
        for dtype in (np.float64, np.float32):
            for value in (np.inf, -np.inf, np.nan, 1e300, 1e-320):

                def fun(x, value=value):
                    return value if x[0] > 0.4 else float((x[0] - 0.7) ** 2 + (x[1] - 1) ** 2)

                found = run(fun, np.zeros(2, dtype), method=method)
                assert np.isfinite(found.x).all()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", [zosah, zopqn])
def test_an_integrator_that_gives_up(method):
    times, rates = np.linspace(0, 3, 12), np.array([1.5, 0.4])

    def course(rates):
        solution = solve_ivp(
            lambda t, y: rates[0] * y - rates[1] * y**2,
            *((0, 3), [0.2]),
            t_eval=times,
            rtol=1e-8,
            atol=1e-10,
        )
        return solution.y[0]

    data, failures = course(rates), []

    def misfit(rates):
        try:
            return float(((course(rates) - data) ** 2).sum())
        except ValueError:  # it returned fewer points than it was asked for
            failures.append(rates)
            raise

    found = run(misfit, [0.82, 0.05], method=method, options={"maxfev": 300})
    np.testing.assert_allclose(found.x, rates, atol=1e-3)
    assert failures
    assert found.nfev <= 300


def test_refused():
    with pytest.raises(ValueError, match="constraints"):
        run(constraints=LinearConstraint(np.eye(2), 0, 1))
    with pytest.raises(ValueError, match=r"x0: got -1\.2"):
        run(bounds=[(0, 1), (0, 1)])
    with pytest.raises(ValueError, match="above upper"):
        run(bounds=[(1, 0), (0, 1)])
    with pytest.raises(ValueError, match="for each of 2 coordinates"):
        run(bounds=[(0, 1)])
    with pytest.raises(TypeError, match="maxfev"):
        run(options={"maxfev": 1.5})
    with pytest.raises(ValueError, match="retries: got -1"):
        run(options={"retries": -1})
    with pytest.warns(RuntimeWarning, match="zosah does not use jac"):
        run(jac=lambda x: x)


# --- least squares --------------------------------------------------------------------------------


def bent(x, scale=1.0):
    t = np.linspace(0, 3, 20)
    return (x[1] * np.exp(-x[0] * t) - 2 * np.exp(-1.3 * t) + 0.1 * np.sin(9 * t)) / scale


@pytest.mark.parametrize("loss", ["linear", "soft_l1"])
def test_least_squares_is_called_as_scipys_is(loss):
    arguments = {"loss": loss, "f_scale": 0.05, "bounds": ([0, 0], [5, 1.9]), "args": (0.5,)}
    own = scipy_face.least_squares(bent, [0.5, 1.0], **arguments)
    theirs = scipy.optimize.least_squares(bent, [0.5, 1.0], **arguments)
    np.testing.assert_allclose(own.x, theirs.x, rtol=1e-4)
    np.testing.assert_allclose(own.cost, theirs.cost, rtol=1e-6)
    np.testing.assert_allclose(own.fun, theirs.fun, atol=1e-5)
    np.testing.assert_array_equal(own.active_mask, theirs.active_mask)
    assert own.success
    assert own.optimality < 1e-4
    assert own.jac.shape == (20, 2)


def test_least_squares_says_what_it_does_not_use():
    with pytest.warns(RuntimeWarning, match="does not use jac, xtol"):
        scipy_face.least_squares(bent, np.array([0.5, 1.0]), jac="2-point", xtol=1e-8, max_nfev=20)


# --- what users reported of other solvers ---------------------------------------------------------


@pytest.mark.parametrize("maxfev", [200, 600])
def test_values_in_float32_of_a_start_in_float64(maxfev):
    centre = np.array([1.0, 2.0])

    def fun(x):
        return ((np.float32(x) - np.float32(centre)) ** 2).sum()

    found = minimize(fun, np.zeros(2), method=default, options={"maxfev": maxfev})
    np.testing.assert_allclose(found.x, centre, atol=1e-3)


@pytest.mark.parametrize("bounds", [None, [(-1, 1)] * 2])
def test_a_cone_that_is_infinite_outside_a_box(bounds):
    def fun(x):
        return np.inf if (np.abs(x) > 1).any() else float(np.linalg.norm(x))

    found = minimize(fun, [0.1, 0.1], method=default, bounds=bounds, options={"maxfev": 400})
    assert found.fun < 1e-6


def test_an_integrator_that_gives_up_is_a_wall():
    rates = np.array([1.5, 0.4])
    times = np.linspace(0, 3, 12)

    def course(r):
        if r[0] > 2.2 or r[1] < 0:
            raise FloatingPointError("the step size is too small")
        capacity = r[0] / r[1]  # of logistic growth
        return capacity / (1 + (capacity / 0.2 - 1) * np.exp(-r[0] * times))

    failures = []

    def misfit(r):
        try:
            return float(((course(r) - course(rates)) ** 2).sum())
        except FloatingPointError:
            failures.append(r)
            raise

    found = minimize(misfit, [2.12, 0.44], method=default, options={"maxfev": 300})
    np.testing.assert_allclose(found.x, rates, atol=1e-3)
    assert failures
