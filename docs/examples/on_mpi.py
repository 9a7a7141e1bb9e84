"""A simulator on the processes of mpiexec: the first steers, the others run the simulator."""

import numpy as np
from mpi4py.futures import MPICommExecutor

import zosah_jax


def simulator(x):
    """What a worker runs."""
    return float(((x - np.arange(4)) ** 2).sum())


if __name__ == "__main__":
    with MPICommExecutor() as pool:
        if pool is not None:  # on rank 0
            host = zosah_jax.Host(executor=pool)
            found = zosah_jax.minimize(simulator, np.zeros(4), budget=60, noise=0, host=host)
            print(found.value, found.num_evaluations)
