"""The ablation of noisy regression: what is kept, what is undone, and a tiny run."""

import jax.numpy as jnp
import numpy as np

from experiments import experiment
from experiments.benchmarks.noise_ablation import experiment as ablation
from experiments.common.records import read
from zosah_jax.methods import noisy_regression
from zosah_jax.methods.noisy_regression import steps


def test_other_ways_to_keep_points():
    state = noisy_regression().init(jnp.zeros(2), 0)
    points = jnp.zeros_like(state.points).at[:4, 0].set(jnp.array([0.1, 1.0, 3.0, 90.0]))
    there = jnp.arange(len(points)) < 4
    state = state._replace(points=points, there=there, spread=jnp.ones(()), length=jnp.ones(()))
    near = ablation.nearest(state, jnp.ones(()), 2).there
    assert np.flatnonzero(near).tolist() == [0, 1]
    # r^2 / (1 + r^6 / 6 + r^8 / 24): 0.01, 0.83, 0.02, 0
    tell = ablation.of_the_slope(state, jnp.ones(()), 2).there
    assert np.flatnonzero(tell).tolist() == [1, 2]


def test_a_tiny_run_and_nothing_stays_changed(tmp_path, capsys):
    before = steps.thinned, steps._SPREADS
    changes = ("the nearest values are kept", "s and L stay as they began")
    config = ablation.Config(
        names=("BEALE",),
        levels=(0.1,),
        budget=12,
        changes=changes,
        seeds=(0,),
        dimension=3,
        long_budgets=(20,),
        out=tmp_path,
    )
    experiment.run(ablation.EXPERIMENT, config)
    assert (steps.thinned, steps._SPREADS) == before
    results = read(tmp_path)["results"]
    assert set(results["ratios"]) == {ablation.CONTROL, *changes}
    assert results["ratios"][changes[0]] == [[1.0]]  # fewer values than are kept
    assert results["ratios"][changes[1]] != [[1.0]]
    assert all(len(gaps) == 1 and gaps[0] > 0 for gaps in results["long"].values())
    assert "other seeds" in capsys.readouterr().out
