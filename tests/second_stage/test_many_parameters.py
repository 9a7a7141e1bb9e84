"""The benchmark of many parameters: its problems, its peer, its changes, and a tiny run."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import experiment
from experiments.benchmarks.many_parameters import ablation, problems, report, runs
from experiments.benchmarks.many_parameters import experiment as many
from experiments.common import records
from experiments.common.errors import InputError
from zosah_jax.methods.block_newton import plane, solver
from zosah_jax.methods.block_newton import state as knowledge


def test_the_basis_of_a_turned_quadratic_is_orthonormal(x64):
    basis = jax.jacobian(problems._fourier)(jnp.zeros(12))
    np.testing.assert_allclose(basis @ basis.T, np.eye(12), atol=1e-12)


@pytest.mark.parametrize("turned", [True, False])
def test_a_quadratic_has_its_spectrum_and_start(x64, turned):
    task = problems.quadratic("power", turned, 12)
    hessian = jax.hessian(task.objective())(jnp.zeros(12))
    found = np.linalg.eigvalsh(hessian)
    np.testing.assert_allclose([found[0], found[-1]], [1 / problems.CONDITION, 1], rtol=1e-9)
    assert float(task.objective()(jnp.zeros(12))) == pytest.approx(task.start)


@pytest.mark.usefixtures("x64")
def test_differences_of_the_peer_are_the_values_of_its_points():
    for task in (problems.quadratic("log", True, 8), problems.sparse_logistic(8, 30)):
        fun, ask = task.objective(), runs._asker(task)
        points = [np.full(8, 0.1) + 1e-3 * row for row in np.eye(8)]
        np.testing.assert_allclose(
            ask(fun, points), [float(fun(point)) for point in points], rtol=1e-14
        )


def test_every_value_of_the_peer_counts(x64):
    task = problems.quadratic("log", True, 8)
    (curve, _) = runs.peers(task, 50, task.optimum - 1)
    assert curve.spent.tolist() == list(range(1, 51))
    (reached, _) = runs.peers(task, 1_000, task.target(0.9))
    assert reached.spent[-1] < 1_000


def test_a_change_is_undone():
    constants = [(m, n) for c in ablation.CHANGES.values() for m, n, _ in c.patches]
    before = [getattr(module, name) for module, name in constants]
    for change in ablation.CHANGES.values():
        with ablation.changed(change) as method:
            assert change.patches or method.block_dim == change.block_dim
            assert all(getattr(module, name) == value for module, name, value in change.patches)
    assert [getattr(module, name) for module, name in constants] == before
    none = ablation.CHANGES["no kept direction"].patches
    assert {module for module, _, _ in none} == {knowledge, plane, solver}


@pytest.mark.slow
def test_many_parameters(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("ZOSAH_DATA", raising=False)
    config = many.Config(
        dimensions=(20,),
        sparse=(20,),
        sparse_rows=(60,),
        dense=(20,),
        rows=60,
        fractions=(0.9, 0.97),
        functions=("TRIDIA",),
        function_dimensions=(20,),
        gaps=(0.1, 1e-2),
        bounded=20,
        bounded_rows=60,
        budget=30,
        other_budget=5,
        seeds=(0, 1),
        costs=(20,),
        timed_values=100,
        repeats=1,
        changes=("no kept direction", "blocks at random"),
        ablation_dimension=20,
        ablation_budget=10,
        ablation_seeds=(0,),
        out=tmp_path,
    )
    experiment.run(many.EXPERIMENT, config)
    results = json.loads((tmp_path / "results.json").read_text())["results"]
    assert results["logistic"]["missing"] == ["a1a", "mushrooms"]
    for one in results["quadratics"]:
        ours, peer = one["values"][runs.OURS], one["values"][runs.PEER]
        assert np.shape(ours) == (2, 2)
        assert max(ours[0]) <= 30 * 20
        assert ours[0][0] <= ours[1][0]
        expected = np.median(ours[0]) / peer[0][0]
        assert report.ratios(one, results["budgets"])[0] == pytest.approx(expected)
    assert all(one["active"] > 0 for one in results["bounds"])
    assert results["costs"][0]["values"] <= 100
    assert set(results["ablation"]["ratios"]) == {ablation.CONTROL, *config.changes}
    out, err = capsys.readouterr()
    assert "values with the change / without" in out
    assert "mushrooms: left out" in err

    monkeypatch.setattr(records, "kept", lambda name: results)
    part = replace(config, only=("costs",))
    again = many.measure(part)
    assert again["quadratics"] == results["quadratics"]
    with pytest.raises(InputError, match="wanted the kept results of quadratics"):
        many.measure(replace(part, budget=31))
    with pytest.raises(InputError, match="only: got 'speed', wanted one of quadratics"):
        many.measure(replace(config, only=("speed",)))
    with pytest.raises(InputError, match="changes: got 'luck', wanted one of no kept"):
        many.measure(replace(config, changes=("luck",)))
    with pytest.raises(InputError, match="sparse_rows: got"):
        many.measure(replace(config, sparse_rows=(60, 70)))
    with pytest.raises(InputError, match="got 21, wanted an even number"):
        many.measure(replace(config, bounded=21))


def test_what_was_not_reached_counts_against_us():
    one = {
        "dimension": 10,
        "values": {runs.OURS: [[20], [None], [None]], runs.PEER: [[40], [80], [None]]},
    }
    found = report.ratios(one, (10, 30))
    assert found[:2] == [0.5, 2.0]
    assert np.isnan(found[2])
    one["values"][runs.PEER][0] = [None]
    assert report.ratios(one, (10, 30))[0] == pytest.approx(20 / 300)
