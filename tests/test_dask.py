"""A run on a Dask cluster, one of whose workers dies on the way."""

import os
import sys
from functools import partial
from pathlib import Path

import dask
import numpy as np
import pytest
from dask_objective import objective
from distributed import Client, LocalCluster

import zosah_jax

TX = zosah_jax.zosah(1.0, 4, 1000)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Dask's own, of sockets that the dead worker left
def test_a_worker_that_is_killed_costs_only_what_it_held(tmp_path, monkeypatch):
    paths = [str(Path(__file__).parent), str(Path(__file__).parent.parent), *sys.path]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    settings = {
        "distributed.scheduler.allowed-failures": 0,  # else Dask repeats calls that nobody counts
        "distributed.nanny.pre-spawn-environ.JAX_PLATFORMS": "cpu",
    }
    with (
        dask.config.set(settings),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        fun = partial(objective, str(tmp_path), 20)
        out = zosah_jax.minimize_blackbox(
            fun, np.zeros(4), TX, budget=70, noise=0, executor=client.get_executor(pure=False)
        )
    calls = len(list(tmp_path.iterdir()))
    assert calls > 21  # it went on after the death
    # A result that dies with its worker before it is fetched is made again by Dask, unseen by us.
    assert calls - 1 <= out.num_evaluations <= 70
    assert out.best_value < 1e-6
