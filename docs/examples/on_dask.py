"""A simulator on a Dask cluster: here one of two processes, elsewhere an address."""

import sys

import numpy as np
from distributed import Client, LocalCluster

import zosah_jax


def simulator(x):
    """What a worker runs."""
    return float(((x - np.arange(4)) ** 2).sum())


def main(address=None):
    """Run on the scheduler at the address, or on a cluster of this machine's."""
    if address is None:
        cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with Client(address or cluster) as client:
        host = zosah_jax.Host(executor=client.get_executor(), retries=1)
        found = zosah_jax.minimize(simulator, np.zeros(4), budget=60, noise=0, host=host)
        print(found.value, found.num_evaluations)
    if address is None:
        cluster.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
