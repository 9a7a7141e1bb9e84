"""CUTEst's problems: those of sif2jax, flat and free; each solver, and the experiment, tiny."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import experiment
from experiments.benchmarks.cutest import experiment as cutest
from experiments.benchmarks.cutest.solvers import OURS, SHORT, SOLVERS, chosen, run
from experiments.common import records
from experiments.common.cutest_problems import flat
from experiments.common.errors import InputError

FREE = SimpleNamespace(
    y0=np.array([-1.2, 1.0]),
    args=10.0,
    objective=lambda y, args: (args * (y[1] - y[0] ** 2)) ** 2 + (1 - y[0]) ** 2,
)


def boxed(start=(5.0, 1.0, 1.0), lower=(-1e20, 2.0, 0.0), upper=(1e20, 2.0, 0.5)):
    return SimpleNamespace(
        y0={"a": jnp.array(start[:1]), "b": jnp.array(start[1:])},
        args=None,
        bounds=tuple({"a": jnp.array(s[:1]), "b": jnp.array(s[1:])} for s in (lower, upper)),
        objective=lambda y, args: jnp.sum(y["a"] ** 2) + jnp.sum((y["b"] - 3) ** 2),
    )


def test_fixed_parameters_are_left_out_and_starts_clipped(x64):
    problem = flat("BOXED", boxed())
    np.testing.assert_array_equal(problem.x0, [5.0, 0.5])
    np.testing.assert_array_equal(problem.bounds, [[-np.inf, 0.0], [np.inf, 0.5]])
    assert problem.dimension == 2
    assert problem.fun(np.array([1.0, 0.25])) == 1 + 1 + 2.75**2
    nothing = flat("NOTHING", boxed(lower=(0.0, 0.0, 0.0), upper=(0.0, 0.0, 0.0)))
    assert nothing is None
    free = flat("FREE", FREE)
    assert free.bounds is None
    assert free.fun(free.x0) == pytest.approx(24.2, rel=1e-14)


@pytest.mark.parametrize("name", SOLVERS)
def test_solvers_count_every_value_and_stay_within_bounds(x64, name):
    asked = []

    def noted(problem):
        return problem._replace(fun=lambda x: asked.append(np.array(x)) or problem.fun(x))

    found = run(name, noted(flat("FREE", FREE)), 30)
    assert len(found.best) == len(asked) <= 90
    assert found.best[-1] < 10
    assert found.error is None
    assert np.all(np.diff(found.best) <= 0)

    asked.clear()
    found = run(name, noted(flat("BOXED", boxed())), 30)
    if not SOLVERS[name].bounded:
        assert found is None
        return
    assert len(found.best) == len(asked) <= 90
    assert found.best[-1] < 10
    assert np.min(np.array(asked)[:, 1]) >= 0
    assert np.max(np.array(asked)[:, 1]) <= 0.5


def test_what_a_solver_is_given(x64):
    free = flat("FREE", FREE)
    assert chosen(free) == "quadratic_regression"
    wide = free._replace(x0=np.ones(40), fun=lambda x: float(np.sum(x**2)))
    assert chosen(wide._replace(lower=np.full(40, -np.inf))) == "zopqn"
    assert run("Py-BOBYQA", wide, 1) is None
    assert SOLVERS["COBYQA"].short_from == 40
    assert SHORT < 100


def test_values_that_are_not_finite_are_the_worst(x64):
    free = flat("FREE", FREE)
    for value in (np.nan, -np.inf):
        found = run("BFGS", free._replace(fun=lambda x, value=value: value), 3)
        assert np.all(np.isinf(found.best))


def test_score():
    assert cutest.score(None, 2, 100) == 0
    assert cutest.score(300, 2, 100) == 0
    assert cutest.score(30, 2, 100) == pytest.approx(1 - np.log(11) / np.log(101))
    assert cutest.score(3, 2, 100) == pytest.approx(1 - np.log(2) / np.log(101))


def test_counts_to_levels():
    best = np.array([np.inf, 10.0, 2.0, 1.0 + 2e-4, 1.0])
    found = cutest._counts(cutest.Run(best), 11.0, 1.0)
    assert found == [3, 4, 5, 5]
    assert cutest._counts(cutest.Run(best[:3]), 11.0, 1.0) == [3, None, None, None]
    assert cutest._counts(cutest.Run(best[:0]), 11.0, 1.0) == [None] * 4


@pytest.mark.slow
def test_cutest(tmp_path, monkeypatch, capsys):
    config = cutest.Config(
        names=("ROSENBR", "HS4", "BOX2"), budget=40, solvers=(*OURS, "L-BFGS-B", "BFGS")
    )
    experiment.run(cutest.EXPERIMENT, replace(config, out=tmp_path))
    assert not jax.config.jax_enable_x64  # which sif2jax sets
    results = records.read(tmp_path)["results"]
    one, other, box = results["problems"]
    assert (one["kind"], one["dimension"], one["default"]) == (
        "unconstrained",
        2,
        "quadratic_regression",
    )
    assert float(one["start"]) == pytest.approx(24.2)
    assert 0 <= float(one["best"]) < 1e-6
    assert float(other["best"]) == pytest.approx(8 / 3)
    assert box["dimension"] == 2  # the third is fixed
    assert one["values"][0] == one["values"][1]  # the default is this
    assert other["values"][-1] is None  # BFGS takes no bounds
    assert all(np.all(np.diff(row) >= 0) for row in one["values"] if None not in row)
    out = capsys.readouterr().out
    assert "| unconstrained, d ≤ 5: 2 problems" in out
    assert "| bounded, d ≤ 5: 1 problems" in out

    monkeypatch.setattr(records, "kept", lambda name: results)
    part = replace(config, only=("default",))
    with monkeypatch.context() as patch:
        patch.setattr(cutest, "run", only_ours)
        assert cutest.measure(part)["problems"] == results["problems"]
    worse = [row | {"best": repr(float(row["best"]) + 1e-3)} for row in results["problems"]]
    monkeypatch.setattr(records, "kept", lambda name: results | {"problems": worse})
    assert cutest.measure(part)["problems"] == results["problems"]  # all are run anew
    with pytest.raises(InputError, match="only: wanted the kept results of ROSENBR"):
        cutest.measure(replace(part, budget=41))
    with pytest.raises(InputError, match="names: got 'ROSE', wanted one of"):
        cutest.measure(replace(config, names=("ROSE",)))


def only_ours(name, problem, budget):
    assert name in OURS
    return run(name, problem, budget)


def test_bad_input(monkeypatch):
    with pytest.raises(InputError, match="solvers: got 'SLSQP', wanted one of default"):
        cutest.measure(cutest.Config(solvers=("SLSQP",)))
    with pytest.raises(InputError, match="only: got 'BFGS', wanted one of default, COBYQA"):
        cutest.measure(cutest.Config(solvers=("default", "COBYQA"), only=("BFGS",)))
    monkeypatch.setitem(sys.modules, "sif2jax", None)
    with pytest.raises(InputError, match=r"wanted sif2jax.*zosah_jax\[experiments\]"):
        cutest.measure(cutest.Config())


def test_float64_without_the_flag():
    with jax.enable_x64(True):
        problem = flat("FREE", FREE)
        assert problem.fun(np.array([1.0, 1.0 + 1e-9])) == pytest.approx(1e-16, rel=1e-6)
