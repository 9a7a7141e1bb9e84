"""Noise on many parameters: its problems, and a tiny run."""

import jax
import numpy as np

from experiments import experiment
from experiments.benchmarks.many_noisy import experiment as many
from experiments.benchmarks.many_noisy.problems import NAMES, problem
from experiments.common.cutest_problems import in_float64
from experiments.common.noisy_task import Task
from experiments.common.records import read


def test_problems_begin_above_their_optimum_and_within_their_bounds():
    with in_float64():
        for name in NAMES:
            one, start, optimum = problem(name, 12)
            task = Task(one, start, optimum, level=0.1, budget=1, seed=0)
            assert task.gap(one.x0) == 1
            assert optimum < start
            np.testing.assert_array_equal(task.inside(one.x0), one.x0)
            if one.bounds is not None:
                slope = np.asarray(jax.grad(one.fun)(one.x0))
                assert np.any(slope != 0)
                assert np.any(one.x0 == one.bounds[0])


def test_a_tiny_run_and_nothing_stays_changed(tmp_path, capsys):
    before = many.noisy_descent._LEAST, many.noisy_descent._room
    config = many.Config(
        names=("ENGVAL1", "quadratic with bounds"),
        dimensions=(12,),
        levels=(0.1,),
        budgets=(4, 8),
        seeds=(0,),
        ablation_dimension=12,
        workers=1,
        out=tmp_path,
    )
    experiment.run(many.EXPERIMENT, config)
    assert (many.noisy_descent._LEAST, many.noisy_descent._room) == before
    results = read(tmp_path)["results"]
    for one in results["gaps"]["12"].values():
        assert set(one) == set(many.SOLVERS)
        assert np.shape(one["SPSA"]) == (len(many.GAINS), 1, 1, 2)
        assert np.all(np.array(one["CMA-ES"]) > 0)
    changed = results["ablation"]["quadratic with bounds"]
    assert set(changed) == {"nothing", *many.CHANGES}
    assert changed["nothing"] != changed["coordinates at bounds move as far as others"]
    assert "the default over the better peer" in capsys.readouterr().out
