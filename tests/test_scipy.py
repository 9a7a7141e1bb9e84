import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, OptimizeWarning, minimize, rosen

import zosah_jax
from zosah_jax.integrations.scipy import zopqn, zosah

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
    assert result.success
    assert result.nfev == len(calls) <= 150
    assert result.fun == 2 * rosen(result.x) + 3 < 3.0001
    assert result.nit == (result.nfev - 1) / 6
    assert result.message == "budget spent"
    np.testing.assert_allclose(result.x, 1, atol=1e-3)


def test_target_and_other_options():
    result = run(options={**OPTIONS, "target": 1e-3, "key": 4, "retries": 0})
    assert result.success
    assert result.fun <= 1e-3
    assert result.message == "target reached"
    with pytest.warns(OptimizeWarning, match="Unknown solver options: maxiter"):
        run(options={**OPTIONS, "maxiter": 3})
    assert run(x0=[-1, 1], options=OPTIONS).fun < 1e-3  # whole numbers, as SciPy takes them
    assert run(lambda x: np.array([rosen(x)])).fun < 1e-3


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


def test_zopqn_is_zosah_with_its_transformation():
    bounds = Bounds([-2, -2], [0.5, np.inf])
    options = {"maxfev": 90, "noise": 0}
    result = run(method=zopqn, bounds=bounds, options=options)
    same = run(bounds=bounds, options={**options, "tx": zosah_jax.zopqn()})
    np.testing.assert_array_equal(result.x, same.x)
    np.testing.assert_allclose(result.x, [0.5, 0.25], atol=1e-4)
    assert result.nfev <= 90


def test_callbacks():
    points, results = [], []

    def by_point(xk):
        points.append(xk)
        if len(points) == 3:
            raise StopIteration

    def by_result(intermediate_result):
        results.append(intermediate_result)

    stopped = run(callback=by_point)
    assert not stopped.success
    assert stopped.nit == len(points) == 3
    whole = run(callback=by_result)
    assert len(results) == whole.nit
    assert [r.nfev for r in results[:2]] == [6, 12]
    assert results[-1].fun == rosen(results[-1].x)


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
    with pytest.warns(RuntimeWarning, match="does not use jac"):
        run(jac=lambda x: x)
    assert zosah_jax.minimize_blackbox is not None
