"""Runs that begin with values that are there already."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from counting import compilations

from zosah_jax import AskTell, Host, methods, minimize


def bowl(x):
    return jnp.sum(jnp.asarray([1.0, 4.0], x.dtype) * (x - 3) ** 2) + x[0] * x[1]


HESSIAN = np.array([[2.0, 1.0], [1.0, 8.0]])
LOWEST = float(bowl(jnp.asarray(np.linalg.solve(HESSIAN, [6.0, 24.0]))))


def pairs(count, spread=0.5):
    rng = np.random.default_rng(0)
    points = 2 + spread * rng.normal(size=(count, 2))
    return [(x, float(bowl(x))) for x in points]


@pytest.mark.parametrize("count", [3, 8])
def test_they_take_the_place_of_values(count, x64):
    x0, known = np.zeros(2), pairs(count)
    plain = AskTell(x0)
    told = AskTell(x0, evaluations=known)
    best = min(known, key=lambda pair: pair[1])
    np.testing.assert_array_equal(told.params, best[0])
    assert told.best_value == best[1]
    assert told.num_evaluations == 0
    for solver in (plain, told):
        while solver.best_value > LOWEST + 1e-4:
            solver.tell([float(bowl(x)) for x in solver.ask()])
    assert told.num_evaluations < plain.num_evaluations
    assert told.num_evaluations <= (3 if count == 8 else 8)  # a quadratic has 6 unknowns


def test_every_face_begins_alike(x64):
    known, x0 = pairs(8), np.zeros(2)
    traced = minimize(bowl, jnp.asarray(x0), budget=6, evaluations=known)
    host = minimize(lambda x: float(bowl(x)), x0, budget=6, evaluations=known, host=Host())
    assert traced.num_evaluations <= 6
    np.testing.assert_allclose(traced.params, host.params, rtol=1e-6)
    assert traced.value < LOWEST + 1e-6


def test_the_best_that_is_known_is_handed_back_if_nothing_is_better(x64):
    x = np.linalg.solve(HESSIAN, [6.0, 24.0])
    known = [(x, LOWEST - 1)]  # wrong, so that no value is lower
    for options in ({}, {"host": Host()}):
        result = minimize(bowl, x + 1, budget=20, evaluations=known, **options)
        np.testing.assert_array_equal(result.params, x)
        assert result.value == LOWEST - 1


@pytest.mark.parametrize("name", ["zosah", "zopqn", "noisy_regression"])
def test_any_method_begins_at_the_best(name, x64):
    method = getattr(methods, name)()
    solver = AskTell(np.zeros(2), method, evaluations=pairs(5))
    np.testing.assert_array_equal(solver.params, min(pairs(5), key=lambda pair: pair[1])[0])
    solver.tell([float(bowl(x)) for x in solver.ask()])


def test_more_than_are_kept(x64):
    known = pairs(200, spread=5.0)
    for noise in (0.0, 0.1):
        solver = AskTell(np.zeros(2), evaluations=known, noise=noise)
        for _ in range(4):
            solver.tell([float(bowl(x)) for x in solver.ask()])
        assert solver.best_value <= min(f for _, f in known)


def test_missing_ones_and_none_at_all():
    plain = AskTell(np.zeros(2))
    for known in ([], [(np.ones(2), None)], [(np.ones(2), np.nan)]):
        solver = AskTell(np.zeros(2), evaluations=known)
        np.testing.assert_array_equal(solver.ask()[0], plain.ask()[0])


def test_a_tree_of_parameters():
    def fun(p):
        return (p["a"] - 1) ** 2 + jnp.sum((p["b"] + 2) ** 2)

    x0 = {"a": jnp.float32(0), "b": jnp.zeros(2)}
    one = {"a": jnp.float32(0.5), "b": jnp.array([-1.5, -1.0])}
    result = minimize(fun, x0, budget=40, evaluations=[(one, float(fun(one)))])
    assert result.value < 1e-6


BAD = {
    "no pairs": (3, TypeError, "evaluations"),
    "no pair": ([1.0], TypeError, r"evaluations\[0\]"),
    "shape": ([(np.zeros(2), 1.0), (np.zeros(3), 1.0)], ValueError, r"evaluations\[1\].*shape"),
    "structure": ([({"a": np.zeros(2)}, 1.0)], ValueError, "structure"),
    "outside": ([(np.full(2, 9.0), 1.0)], ValueError, r"evaluations\[0\]"),
    "value": ([(np.zeros(2), "1")], TypeError, r"evaluations\[0\]"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_ones_are_named(case):
    known, error, match = BAD[case]
    call = functools.partial(minimize, bowl, budget=30, bounds=(-5, 5), evaluations=known)
    with pytest.raises(error, match=match):
        call(jnp.zeros(2))
    with pytest.raises(error, match=match):
        call(np.zeros(2), host=Host())


def test_beside_a_log(tmp_path, x64):
    host = Host(log=tmp_path / "log")
    with pytest.raises(ValueError, match="evaluations"):
        minimize(bowl, np.zeros(2), budget=30, evaluations=pairs(3), host=host)


def test_nothing_is_compiled_anew_for_other_values(x64):
    run = functools.partial(minimize, bowl, jnp.zeros(2), budget=12)
    run(evaluations=pairs(4))
    with compilations() as compiled:
        run(evaluations=pairs(4, spread=0.4)).value.block_until_ready()
    assert len(compiled) == 0
