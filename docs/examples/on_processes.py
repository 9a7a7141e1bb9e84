"""A simulator in two processes of this machine; a worker that dies is replaced."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

import zosah_jax


def simulator(x):
    """A function of an importable module, or of the script that is run."""
    return float(((x - np.arange(4)) ** 2).sum())


if __name__ == "__main__":  # the processes import this file again
    x0 = np.zeros(4)
    host = zosah_jax.Host(max_workers=2, timeout=600, retries=1, log="values.jsonl")
    found = zosah_jax.minimize(simulator, x0, budget=60, noise=0, host=host)
    print(found.value, found.num_evaluations)

    with ThreadPoolExecutor(2) as pool:  # or any other executor: it stays yours
        host = zosah_jax.Host(executor=pool, timeout=600)
        print(zosah_jax.minimize(simulator, x0, budget=60, noise=0, host=host).value)
