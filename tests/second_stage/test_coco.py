"""The BBOB suite: its problems, counted; each solver, and the experiment at a tiny budget."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from cocoex import Suite

from experiments import experiment
from experiments.benchmarks.coco import experiment as coco
from experiments.benchmarks.coco import solvers
from experiments.benchmarks.coco.solvers import OURS, SOLVERS, Stall, runs
from experiments.benchmarks.coco.suite import SIDE, TARGETS, Problem, area, bare_problem
from experiments.common import records
from experiments.common.errors import InputError
from experiments.common.solvers import Over
from zosah_jax.methods import METHODS, zopqn


def test_problem_is_the_suites_and_counts_and_ends():
    suite = Suite("bbob", "instances: 2", "dimensions: 3 function_indices: 13")
    original = suite.get_problem(0)
    problem = Problem(13, 3, 2, 5)
    points = [np.zeros(3), np.ones(3), np.array([-1.0, 4.5, 6.0])]
    assert [problem(x) for x in points] == [original(x) for x in points]
    assert problem.spent == 3
    problem(points[0])
    problem(points[0])
    with pytest.raises(Over):
        problem(points[0])
    assert problem.spent == 5 == problem.budget


def test_targets_are_hit_in_order_and_the_last_ends_the_run():
    optimum = np.array(bare_problem()("bbob", 1, 2, 3).best_parameter())
    problem = Problem(1, 2, 3, 50)
    for away in (1.0, 0.1):  # f is optimum + |x - x*|^2
        problem(optimum + np.array([away, 0.0]))
    assert np.all(problem.hits[TARGETS >= 1.001] == 1)
    between = (TARGETS < 0.999) & (TARGETS > 0.01001)
    assert np.all(problem.hits[between] == 2)
    assert np.all(np.isinf(problem.hits[TARGETS < 0.00999]))
    problem(optimum)
    assert np.isfinite(problem.hits).all()
    with pytest.raises(Over):
        problem(optimum)


def test_starts_are_the_same_for_every_solver():
    first, second = Problem(8, 5, 1, 10), Problem(8, 5, 1, 10)
    draws = [x for x, _ in zip(first.starts(), range(200), strict=False)]
    np.testing.assert_array_equal(draws[0], np.zeros(5))
    for mine, other in zip(draws, second.starts(), strict=False):
        np.testing.assert_array_equal(mine, other)
    assert first.started >= 200
    assert SIDE / 2 < np.abs(draws).max() <= SIDE


def test_area_under_the_ecdf():
    hits = np.array([[1.0, 1.0], [10.0, 100.0], [np.inf, np.inf]])
    np.testing.assert_allclose(area(hits, 100), [1, 0.25, 0])
    np.testing.assert_allclose(area(hits, 100, begin=10), [1, 0.5, 0])
    sampled = np.mean([(hits[1] <= 10**x).mean() for x in np.linspace(0, 2, 20001)])
    np.testing.assert_allclose(area(hits[1], 100), sampled, atol=1e-3)


def test_a_stall_is_seen_when_only_rounding_is_gained():
    stall, patience = Stall(2), 35
    assert not any(stall.after([10.0 - k]) for k in range(patience))
    found = [stall.after([-24.0 - 4e-16 * k]) for k in range(patience)]
    assert found == [False] * (patience - 1) + [True]
    assert not Stall(2).after([np.inf] * (patience - 1))


@pytest.mark.parametrize("name", [name for name in SOLVERS if name not in OURS])
def test_peers_reach_the_bottom_of_a_sphere(name):
    for hits in runs(name, 1, 2, 1, 400).values():
        assert np.isfinite(hits).all()
        assert np.all(np.diff(hits) >= 0)


def test_tolerances_are_tried_only_where_they_stopped_a_run(monkeypatch):
    met, ran = np.zeros(2), []

    def first(problem):
        ran.append("first")
        next(iter(problem.starts()))
        problem(met)
        raise Over

    def converges(problem):
        ran.append("converges")
        for _ in zip(problem.starts(), range(2), strict=False):
            problem(met)
        raise Over

    def second(problem):
        ran.append("second")
        raise Over

    for begins in (first, converges):
        settings = {"a": solvers.Setting(begins), "b": solvers.Setting(second, tolerances=True)}
        monkeypatch.setitem(SOLVERS, "probe", settings)
        runs("probe", 1, 2, 1, 10)
    assert ran == ["first", "converges", "second"]


@pytest.fixture
def traced(monkeypatch):
    """A note each time that a stage of ZO-PQN is traced."""
    found = []

    class Counted(zopqn):
        def stages(self, params):
            def noted(ask):
                return lambda *given: found.append(len(found)) or ask(*given)

            return tuple(one._replace(ask=noted(one.ask)) for one in super().stages(params))

    monkeypatch.setitem(METHODS, "zopqn", Counted)
    return found


@pytest.mark.slow
def test_coco(tmp_path, monkeypatch, traced, capsys):
    config = coco.Config(
        functions=(1,),
        dimensions=(2,),
        instances=(1, 2),
        budget=40,
        solvers=("default", "zopqn", "L-BFGS-B"),
        workers=1,
        out=tmp_path / "whole",
    )
    experiment.run(coco.EXPERIMENT, config)
    results = records.read(tmp_path / "whole")["results"]
    for settings in results["solvers"].values():
        for found in settings.values():
            assert np.shape(found["2"]["areas"]["1"]) == (2,)
            assert found["2"]["all_targets_met"] == 2
            assert np.all(np.diff(found["2"]["ecdf"]) >= 0)
            assert found["2"]["ecdf"][-1] == 1
    out = capsys.readouterr().out
    assert "the default over the best peer" in out
    assert "ZO-PQN over the best peer" in out
    assert "f1 sphere" in out

    hits = runs("zopqn", 8, 2, 1, 80)["defaults"]
    assert np.isfinite(hits).sum() > 10
    assert hits[np.isfinite(hits)].max() <= 80
    before = len(traced)  # all kinds of step that a bowl takes: another compiles nothing
    assert before > 0
    assert np.isfinite(runs("zopqn", 1, 2, 3, 80)["defaults"]).all()
    assert len(traced) == before

    monkeypatch.setattr(records, "kept", lambda name: results)
    part = replace(config, instances=(2,), only=("default", "zopqn"), out=tmp_path / "part")
    experiment.run(coco.EXPERIMENT, part)
    assert len(traced) == before
    again = records.read(tmp_path / "part")["results"]["solvers"]
    for name, setting in (("zopqn", "defaults"), ("L-BFGS-B", "tight")):
        whole = results["solvers"][name][setting]["2"]["areas"]["1"]
        assert again[name][setting]["2"]["areas"]["1"] == whole[1:]
    with pytest.raises(InputError, match="only: wanted the kept results of L-BFGS-B"):
        coco.measure(replace(part, instances=(3,)))


def test_bad_input(monkeypatch, tmp_path):
    config = coco.Config(out=tmp_path)
    with pytest.raises(InputError, match="solvers: got 'BFGS', wanted one of default, zopqn"):
        coco.measure(replace(config, solvers=("BFGS",)))
    with pytest.raises(InputError, match="only: got 'COBYQA', wanted one of zopqn, CMA-ES"):
        coco.measure(replace(config, solvers=("zopqn", "CMA-ES"), only=("COBYQA",)))
    with pytest.raises(InputError, match="wanted default or zopqn, and a peer"):
        coco.measure(replace(config, solvers=("CMA-ES",)))
    with pytest.raises(InputError, match="functions: got 25, wanted one of 1, 2"):
        coco.measure(replace(config, functions=(1, 25)))
    with pytest.raises(InputError, match="dimensions: got 4, wanted one of 2, 3, 5, 10, 20, 40"):
        coco.measure(replace(config, dimensions=(4,)))
    monkeypatch.setitem(sys.modules, "cocoex", None)
    with pytest.raises(InputError, match=r"wanted coco-experiment.*zosah_jax\[experiments\]"):
        coco.measure(config)
