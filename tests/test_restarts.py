"""Runs that begin again where they have converged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zosah_jax import AskTell, Host, Status, minimize


def wavy(x):
    """Minima at every multiple of pi in x, higher by their distance from 2 pi."""
    return float(np.sum(np.sin(x) ** 2 + 0.01 * (x - 2 * np.pi) ** 2))


def wavy_traced(x):
    return jnp.sum(jnp.sin(x) ** 2 + 0.01 * (x - 2 * jnp.pi) ** 2)


BOX = {"bounds": (-10, 10)}
X0 = np.array([-6.0, -9.0])


@pytest.mark.parametrize("options", [BOX, {}], ids=["bounds", "free"])
def test_they_find_what_one_run_does_not(options):
    one = minimize(wavy, X0, budget=3_000, host=Host(), **options)
    assert one.status is Status.CONVERGED
    assert one.num_evaluations < 500
    several = minimize(wavy, X0, budget=3_000, restarts=15, host=Host(), **options)
    assert several.value < 0.3 * one.value
    assert several.num_evaluations > 5 * one.num_evaluations
    assert several.value == several.history.best_value[-1] == wavy(several.params)


def test_the_budget_ends_them_too():
    result = minimize(wavy, X0, budget=150, restarts=100, host=Host())
    assert result.status is Status.BUDGET_SPENT
    assert 140 < result.num_evaluations <= 150


def test_traced_they_are_the_same(x64):
    options = {"budget": 140, "restarts": 2, **BOX}
    traced = minimize(wavy_traced, jnp.asarray(X0), **options)
    host = minimize(wavy, X0, host=Host(), **options)
    assert traced.num_evaluations == host.num_evaluations
    np.testing.assert_allclose(traced.params, host.params, rtol=1e-4)
    lanes = jax.vmap(lambda x: minimize(wavy_traced, x, **options))(jnp.stack([X0, X0 + 1]))
    alone = minimize(wavy_traced, jnp.asarray(X0), budget=140, **BOX)
    assert np.all(lanes.num_evaluations > alone.num_evaluations)  # it had converged
    assert np.all(lanes.num_evaluations <= 140)
    assert lanes.value[0] <= alone.value + 1e-6


def test_the_starts_are_within_the_bounds_and_others_each_time():
    solver = AskTell(np.zeros(3), bounds=(np.array([-1, 0, -np.inf]), np.array([2, 5, 0.5])))
    starts = []
    for _ in range(20):
        solver.tell([1.0 for _ in solver.ask()])
        solver.restart()
        starts.append(solver.params)
        assert solver.num_evaluations == len(starts)
    starts = np.array(starts)
    assert len(np.unique(starts[:, 0])) == 20
    assert np.all((starts >= [-1, 0, -np.inf]) & (starts <= [2, 5, 0.5]))
    assert starts[:, 0].max() > 1
    assert starts[:, 2].min() < -2
    assert solver.best_value == 1.0


def test_a_run_killed_and_resumed_restarts_alike(tmp_path):
    options = {"budget": 200, "restarts": 4, **BOX}
    whole = minimize(wavy, X0, host=Host(), **options)
    log, calls = tmp_path / "log", []

    def dies(x):
        calls.append(x)
        if len(calls) > 120:
            raise KeyboardInterrupt
        return wavy(x)

    with pytest.raises(KeyboardInterrupt):
        minimize(dies, X0, host=Host(log=log), **options)
    resumed = minimize(wavy, X0, host=Host(log=log), **options)
    np.testing.assert_array_equal(resumed.params, whole.params)
    assert resumed.num_evaluations == whole.num_evaluations


@pytest.mark.parametrize("restarts", [-1, 1.5, True])
def test_bad_ones(restarts):
    with pytest.raises((TypeError, ValueError), match="restarts"):
        minimize(wavy, X0, budget=100, restarts=restarts, host=Host())
