"""CUTEst's problems: those of sif2jax, flat and free; each solver, and both experiments, tiny."""

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
from experiments.benchmarks.cutest_noise import experiment as cutest_noise
from experiments.benchmarks.cutest_noise import solvers as noisy
from experiments.benchmarks.cutest_noise import tables as noise_tables
from experiments.common import noisy_task, records
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


# --- under noise ----------------------------------------------------------------------------------


def task(problem, **changed):
    start = problem.fun(problem.x0)
    return noisy_task.Task(problem, start, 0.0, 1e-2, 50 * problem.dimension, 0)._replace(**changed)


def test_noise_has_its_size_and_is_of_the_seed(x64):
    free = flat("FREE", FREE)
    one = task(free, budget=2000)
    assert one.noise == pytest.approx(0.242)
    values = one.noisy().all([free.x0] * 2000)
    assert np.std(values) == pytest.approx(0.242, rel=0.1)
    assert np.mean(values) == pytest.approx(24.2, abs=0.03)
    assert one.noisy().all([free.x0] * 2000) == values
    assert one._replace(seed=1).noisy()(free.x0) != values[0]


def test_gap_is_without_noise_and_has_limits(x64):
    free = flat("FREE", FREE)
    one = task(free)
    assert one.gap(free.x0) == 1
    assert one.gap(np.array([0.0, 0.0])) == pytest.approx(1 / 24.2)
    assert one.gap(np.array([1.0, 1.0])) == noisy_task.LEAST
    assert one.gap(np.array([np.nan, 1.0])) == noisy_task.MOST
    box = flat("BOXED", boxed())
    assert task(box).gap(np.array([5.0, 7.0])) == 1  # projected


@pytest.mark.parametrize("name", noisy.SOLVERS)
def test_noisy_solvers_stay_within_budget_and_bounds(x64, name):
    for original in (FREE, boxed()):
        asked = []
        problem = flat("ONE", original)
        noted = problem._replace(
            fun=lambda x, fun=problem.fun, asked=asked: asked.append(np.array(x)) or fun(x)
        )
        found = noisy.run(name, task(noted))
        if not noisy.SOLVERS[name].bounded and problem.bounds is not None:
            assert found is None
            continue
        assert len(asked) <= 100 + 3  # the start, and the points whose gap is measured
        assert found.error is None
        assert found.gap < 1.01
        assert np.min(asked, axis=0)[1] >= problem.lower[1]
        assert np.max(asked, axis=0)[1] <= problem.upper[1]


def test_of_a_peer_the_better_point_counts_and_what_it_found_where_it_raises(x64, monkeypatch):
    free = flat("FREE", FREE)
    good, bad = np.array([1.0, 1.0]), np.array([-1.0, 2.0])

    def solve(counted, task):
        counted.all([good, bad])
        return [bad]

    def raising(counted, task):
        counted.all([good, bad])
        raise ValueError("flat")

    for name, least in (("BOBYQA", noisy_task.LEAST), ("zosah", task(free).gap(bad))):
        monkeypatch.setitem(noisy.SOLVERS, name, noisy.Solver(solve))
        assert noisy.run(name, task(free)).gap == least
        monkeypatch.setitem(noisy.SOLVERS, name, noisy.Solver(raising))
        assert noisy.run(name, task(free)) == (noisy_task.LEAST, "ValueError: flat")
    nothing = noisy.Solver(lambda counted, task: [None])
    monkeypatch.setitem(noisy.SOLVERS, "BOBYQA", nothing)
    assert noisy.run("BOBYQA", task(free)).gap == 1


MINIMA = {
    "problems": [
        {"name": "ROSENBR", "start": "24.199999999999996", "best": "0.0"},
        {"name": "HS4", "start": repr(2.125**3 / 3 + 0.125), "best": repr(8 / 3)},
    ]
}


@pytest.mark.slow
def test_cutest_noise(tmp_path, monkeypatch, capsys):
    config = cutest_noise.Config(
        names=("ROSENBR", "HS4", "BOX2"),
        seeds=(0, 1),
        budget=25,
        solvers=("default", "BOBYQA", "NEWUOA"),
        out=tmp_path,
    )
    monkeypatch.setattr(records, "kept", lambda name: MINIMA)
    experiment.run(cutest_noise.EXPERIMENT, config)
    assert not jax.config.jax_enable_x64
    assert not (tmp_path / "done.jsonl").exists()
    results = records.read(tmp_path)["results"]
    box, free = results["problems"]  # by dimension, then name
    assert (free["name"], free["kind"]) == ("ROSENBR", "unconstrained")
    assert results["left_out"] == {"BOX2": "cutest keeps no smallest value"}
    assert np.shape(free["gaps"]) == (2, 3)
    assert all(row[2] is None for row in box["gaps"])  # NEWUOA takes no bounds
    for row, seeds in zip(free["gaps"], free["seeds"], strict=True):
        assert row[0] == pytest.approx(np.mean(seeds), rel=1e-2)
        assert 0 < row[0] < 1
    ratio = noise_tables.ratios(results, [free], 0, "default")["ROSENBR"]
    assert ratio == free["gaps"][0][0] / min(free["gaps"][0][1:])
    assert "gap over the best peer's, noise 1e-3" in capsys.readouterr().out

    monkeypatch.setattr(records, "kept", lambda name: MINIMA if name == "cutest" else results)
    with monkeypatch.context() as patch:
        patch.setattr(cutest_noise, "run", only_bobyqa)
        part = replace(config, only=("BOBYQA",))
        assert cutest_noise.measure(part)["problems"] == results["problems"]
        with pytest.raises(InputError, match="only: wanted kept results for these levels"):
            cutest_noise.measure(replace(part, budget=26))


def only_bobyqa(name, task):
    assert name == "BOBYQA"
    return noisy.run(name, task)


@pytest.mark.slow
def test_cutest_noise_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    config = cutest_noise.Config(
        names=("ROSENBR", "HS4"), seeds=(0,), budget=10, solvers=("BOBYQA", "CMA-ES"), out=tmp_path
    )
    monkeypatch.setattr(records, "kept", lambda name: MINIMA)
    whole = cutest_noise.measure(config)
    ran = []

    def interrupted(name, task):
        if task.problem.name == "ROSENBR":
            raise KeyboardInterrupt
        return noisy.run(name, task)

    def noted(name, task):
        ran.append(task.problem.name)
        return noisy.run(name, task)

    with monkeypatch.context() as patch:
        patch.setattr(cutest_noise, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cutest_noise.measure(config)
    monkeypatch.setattr(cutest_noise, "run", noted)
    assert cutest_noise.measure(replace(config, resume=True)) == whole
    assert set(ran) == {"ROSENBR"}


def test_bad_input_under_noise(monkeypatch):
    with pytest.raises(InputError, match="solvers: got 'SLSQP', wanted one of default"):
        cutest_noise.measure(cutest_noise.Config(solvers=("SLSQP",)))
    monkeypatch.setattr(records, "kept", lambda name: None)
    with pytest.raises(InputError, match="wanted the kept results of cutest"):
        cutest_noise.measure(cutest_noise.Config())
