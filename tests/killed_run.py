"""A run for `test_resume.py` to kill: `python killed_run.py FOLDER BUDGET`.

Every call of the objective is written to a file beside the log before it is answered.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np

import zosah_jax


def main(folder: Path, budget: int) -> None:
    calls = os.open(folder / "calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def fun(x: np.ndarray) -> float | None:
        os.write(calls, (" ".join(v.hex() for v in x.tolist()) + "\n").encode())
        time.sleep(0.0005)
        jitter = np.sin(1e7 * x.sum())  # keeps the run from settling
        if jitter > 0.9:
            return None
        return float(((x - np.arange(4)) ** 2 * np.array([1, 5, 2, 9])).sum() + 1e-4 * jitter)

    tx = zosah_jax.zosah(0.3, 4, 3)
    out = zosah_jax.minimize_blackbox(
        fun,
        np.full(4, 0.5),
        tx,
        budget=budget,
        noise=0,
        checkpoint=folder / "run",
        seconds_between_checkpoints=0.02,
    )
    np.savez(folder / "result.npz", params=out.params, value=out.value, n=out.num_evaluations)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
