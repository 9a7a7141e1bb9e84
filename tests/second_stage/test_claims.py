"""What the README claims of the defaults, against RSPG at the best of its step sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from experiments.common.functions import rosenbrock
from zosah_jax import Status, minimize, rspg, zosah

SEEDS = range(5)
KEYS = jnp.stack([jax.random.key(seed) for seed in SEEDS])


def rspg_best_values(f, x0, rates, budget):
    """Best value of every run, shape (rates, seeds)."""

    def best(rate, key):
        return minimize(f, x0, rspg(rate), budget=budget, key=key).value

    over_seeds = jax.vmap(best, in_axes=(None, 0))
    return np.asarray(jax.vmap(over_seeds, in_axes=(0, None))(jnp.asarray(rates), KEYS))


@pytest.mark.slow
def test_rosenbrock_takes_200_values_and_rspg_40_times_as_many():
    f = rosenbrock
    x0, tx = jnp.array([-1.2, 1.0]), zosah(1.0)
    runs = [minimize(f, x0, tx, budget=400, target=1e-6, key=key) for key in SEEDS]
    spent = np.median([run.num_evaluations for run in runs])
    assert [run.status for run in runs].count(Status.TARGET_REACHED) >= 3
    assert spent <= 200
    rates = [1e-4, 2e-4, 3e-4, 5e-4, 1e-3, 2e-3]
    best = rspg_best_values(f, x0, rates, 40 * int(spent))
    assert 1 < np.argmin(np.median(best, axis=1)) + 1 < len(rates)  # the best is not at an end
    assert (np.median(best, axis=1) > 1e-6).all()


@pytest.mark.slow
def test_breast_cancer_is_closer_to_its_optimum_than_rspg_on_every_seed():
    features, labels = load_breast_cancer(return_X_y=True)
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    rows = (
        np.concatenate([features, np.ones((len(features), 1))], axis=1) * (2 * labels - 1)[:, None]
    )
    rows, d = jnp.asarray(rows, jnp.float32), rows.shape[1]

    def f(w):
        return jnp.mean(jnp.logaddexp(0.0, -(rows @ w))) + 0.5e-4 * (w @ w)

    tx = zosah(1.0)
    ours = [minimize(f, jnp.zeros(d), tx, budget=50 * d, key=key).value for key in SEEDS]
    rates = [0.03, 0.1, 0.3, 0.5, 1.0, 2.0]
    best = rspg_best_values(f, jnp.zeros(d), rates, 50 * d)
    assert 0 < np.argmin(np.median(best, axis=1)) < len(rates) - 1
    assert (np.asarray(ours) < best.min(axis=0)).all()
