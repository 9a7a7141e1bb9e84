"""A run to be killed: `python -m experiments.benchmarks.robustness.killed FOLDER BUDGET`.

Every call of the objective leaves a line in a file beside the log before it is answered, so that a
call that was logged and made again would show.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import zosah_jax

LOG = "values.jsonl"


def run(folder: Path, budget: int) -> None:
    """The run, or the rest of it."""
    calls = os.open(folder / "calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def fun(x: np.ndarray) -> float | None:
        os.write(calls, (" ".join(v.hex() for v in x.tolist()) + "\n").encode())
        time.sleep(0.0005)
        jitter = np.sin(1e7 * x.sum())  # keeps the run from settling
        if jitter > 0.9:
            return None
        return float(((x - np.arange(4)) ** 2 * np.array([1, 5, 2, 9])).sum() + 1e-4 * jitter)

    out = zosah_jax.minimize(
        fun,
        np.full(4, 0.5),
        zosah_jax.zosah(0.3, 4, 3),
        budget=budget,
        noise=0,
        host=zosah_jax.Host(log=folder / LOG),
    )
    found = {"params": out.params, "value": out.value, "last": out.last_params}
    np.savez(folder / "result.npz", **found, n=out.num_evaluations)


def finish(folder: Path, budget: int) -> dict[str, np.ndarray]:
    """Run it to its end, in a process of its own; what it found."""
    process = _start(folder, budget)
    _, errors = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the run failed: {errors.decode()}")
    return dict(np.load(folder / "result.npz"))


def kill(folder: Path, budget: int, share: float) -> bool:
    """Run it, and kill it when that share of the budget is logged; whether it was still running."""
    process = _start(folder, budget)
    log = folder / LOG
    while process.poll() is None:
        if log.exists() and log.read_bytes().count(b"\n") > share * budget:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def killed_and_resumed(folder: Path, budget: int, seed: int) -> dict[str, Any]:
    """A run that is killed once at a random moment; what it found, and how often it was killed."""
    folder.mkdir()
    died = kill(folder, budget, random.Random(seed).random())
    return {**finish(folder, budget), "killed": died}


def _start(folder: Path, budget: int) -> subprocess.Popen:
    root = str(Path(__file__).parents[3])
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([root, *sys.path]),
        "JAX_PLATFORMS": "cpu",
    }
    command = [
        sys.executable,
        "-m",
        "experiments.benchmarks.robustness.killed",
        str(folder),
        str(budget),
    ]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
