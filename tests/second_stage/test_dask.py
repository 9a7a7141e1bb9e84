"""A run on a Dask cluster, one of whose workers dies on the way."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import dask
import numpy as np
import pytest
from dask_objective import objective
from distributed import Client, LocalCluster, wait

import zosah_jax
from zosah_jax.faces.host.pool import _is_dask, num_workers
from zosah_jax.host import host_function
from zosah_jax.integrations.dask import AtMostOnce
from zosah_jax.methods import zosah

METHOD = zosah(4, 1000)

# Dask's own warnings, of sockets that the dead worker left
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Of two workers, as Dask sets them up."""
    here = Path(__file__).parent
    paths = [str(here), str(here.parent.parent), *sys.path]
    with (
        pytest.MonkeyPatch.context() as patch,
        dask.config.set({"distributed.nanny.pre-spawn-environ.JAX_PLATFORMS": "cpu"}),
    ):
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        with (
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
            Client(cluster) as client,
        ):
            yield client


@pytest.mark.parametrize("deadly", [20, 33])
def test_a_worker_that_is_killed_costs_only_what_it_held(client, tmp_path, deadly):
    client.wait_for_workers(2)
    fun = partial(objective, str(tmp_path), deadly)
    host = zosah_jax.Host(executor=client.get_executor())
    out = zosah_jax.minimize(fun, np.zeros(4), METHOD, budget=70, noise=0, host=host)
    calls = len(list(tmp_path.iterdir()))
    assert calls > deadly + 1  # it went on after the death
    assert calls == out.num_evaluations <= 70
    assert out.value < 1e-6


class _Unfetched:
    """A Dask executor that leaves results where they are."""

    def __init__(self, client: Client) -> None:
        self._client, self.submit = client, client.submit


def test_a_result_that_dies_before_it_is_fetched_is_not_made_again_unasked(client, tmp_path):
    client.wait_for_workers(2)
    calls = AtMostOnce(_Unfetched(client), partial(objective, str(tmp_path), 1))
    done = calls.submit(np.zeros(4))
    wait(done)
    (holder,) = client.who_has([done])[done.key]
    deadly = calls.submit(np.zeros(4), workers=[holder], allow_other_workers=True)
    for future in (deadly, done):
        answer = future.result()
        assert np.isnan(answer.value)
        assert answer.error.startswith("LostCall")
    calls.close()
    assert len(list(tmp_path.iterdir())) == 2


def test_equal_points_are_as_many_calls(client, tmp_path):
    client.wait_for_workers(2)
    fun = partial(objective, str(tmp_path), -1)
    f = host_function(fun, client.get_executor())
    assert f._evaluator([np.zeros(4)] * 5) == [14.0] * 5
    assert len(list(tmp_path.iterdir())) == f.num_calls == 5


def test_an_executor_of_dask_is_known_by_what_it_is(client):
    assert _is_dask(client.get_executor())
    with ThreadPoolExecutor(1) as pool:
        assert not _is_dask(pool)


def test_a_step_of_least_squares_asks_as_many_points_as_there_are_threads(client):
    client.wait_for_workers(2)
    host = zosah_jax.Host(executor=client.get_executor())
    assert num_workers(host) == 2
    residuals = partial(np.subtract, np.arange(4.0))
    fit = zosah_jax.least_squares(residuals, np.ones(4), budget=20, noise=0, host=host)
    assert fit.value < 1e-12
    assert np.diff(fit.history.num_evaluations).tolist()[1:] == [2] * (len(fit.history.value) - 2)
