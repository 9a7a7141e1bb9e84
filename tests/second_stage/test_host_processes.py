"""The host run with processes that die, hang, are killed or interrupted; and how well it does."""

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from test_blackbox import Counted, bowl, minimize, valley

BUDGET = 600
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent.parent), *sys.path]),
    "JAX_PLATFORMS": "cpu",
}


def places(log):
    lines = log.read_bytes().split(b"\n")[1:-1]
    return [tuple(json.loads(line)["at"]) for line in lines]


# --- own processes --------------------------------------------------------------------------------


def dies_once(x):
    """An objective of an importable module: kills its process once, and hangs once."""
    folder = Path(os.environ["ZOSAH_TEST_FOLDER"])
    number = len(list(folder.iterdir()))
    (folder / f"{number}-{os.getpid()}-{time.monotonic_ns()}").touch()
    if number == 6:
        os._exit(1)
    if number == 20:
        time.sleep(600)
    return bowl(x)


def test_own_processes_are_rebuilt_when_they_die_or_hang(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOSAH_TEST_FOLDER", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*sys.path, str(Path(__file__).parent)]))
    out = minimize(dies_once, max_workers=1, timeout=20, retries=1)
    calls = len(list(tmp_path.iterdir()))
    assert out.num_evaluations == calls == 60 or calls <= out.num_evaluations <= 60
    assert out.value < 1e-2


NO_GUARD = """
    import numpy as np, zosah_jax
    def f(x):
        return float(((x - 1) ** 2).sum())
    zosah_jax.minimize(f, np.zeros(3), budget=30, host=zosah_jax.Host(max_workers=2))
"""


def test_a_script_without_the_guard_ends_soon_and_is_told(tmp_path):
    script = tmp_path / "no_guard.py"
    script.write_text(textwrap.dedent(NO_GUARD))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=100, env=ENVIRONMENT
    )
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("RuntimeError: max_workers: got worker processes that could not start")
    assert "__main__" in last
    assert "importable" in last


# --- killed from outside --------------------------------------------------------------------------

KILLED = """
    import os, sys, time
    import numpy as np, zosah_jax

    folder, budget = sys.argv[1], int(sys.argv[2])
    calls = os.open(folder + "/calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def fun(x):
        os.write(calls, b"called\\n")
        time.sleep(0.0005)
        jitter = np.sin(1e7 * x.sum())  # keeps the run from settling
        if jitter > 0.9:
            return None
        return float(((x - np.arange(4)) ** 2 * np.array([1, 5, 2, 9])).sum() + 1e-4 * jitter)

    out = zosah_jax.minimize(
        fun, np.full(4, 0.5), zosah_jax.methods.zosah(4, 3), budget=budget, noise=0,
        host=zosah_jax.Host(log=folder + "/log"),
    )
    np.savez(folder + "/result.npz", params=out.params, last=out.last_params,
             value=out.last_value, n=out.num_evaluations)
"""


def begun(folder):
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(folder), str(BUDGET)]
    return subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE)


def finished(folder):
    process = begun(folder)
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    return dict(np.load(folder / "result.npz"))


def killed(folder, share):
    """Run it, and kill it when that share of the budget is logged; whether it was still running."""
    process, log = begun(folder), folder / "log"
    while process.poll() is None:
        if log.exists() and log.read_bytes().count(b"\n") > share * BUDGET:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def test_killed_at_any_moment_and_resumed_it_ends_bitwise_equal(tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    expected = finished(whole)
    assert expected["n"] == len(places(whole / "log"))
    folder.mkdir()
    rng = random.Random(0)
    kills = sum(
        killed(folder, share)  # early, so that a busy machine is in time for one
        for share in sorted((rng.random() / 2, rng.random() / 2))
    )
    assert kills
    found = finished(folder)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    logged = places(folder / "log")
    assert len(set(logged)) == len(logged) == expected["n"]  # none lost, none asked twice
    calls = (folder / "calls").read_text().splitlines()
    assert expected["n"] <= len(calls) <= expected["n"] + kills  # one was under way at each kill


INTERRUPTED = """
    import multiprocessing, os, signal, sys, threading, time
    import numpy as np, zosah_jax
    import slow_objective

    def interrupt(log):
        while True:
            time.sleep(0.05)
            try:
                if sum(1 for _ in open(log)) > 8:
                    break
            except OSError:
                pass
        os.kill(os.getpid(), signal.SIGINT)

    if __name__ == "__main__":
        # a shell has what it starts in the background ignore interrupts
        signal.signal(signal.SIGINT, signal.default_int_handler)
        log, stop, workers = sys.argv[1], sys.argv[2] == "stop", int(sys.argv[3]) or None
        method = zosah_jax.methods.METHODS[sys.argv[4]]() if len(sys.argv) > 4 else None
        if stop:
            threading.Thread(target=interrupt, args=(log,), daemon=True).start()
        try:
            out = zosah_jax.minimize(
                slow_objective.slow, np.zeros(3), method, budget=40,
                host=zosah_jax.Host(log=log, max_workers=workers),
            )
            print("END", out.last_params.tobytes().hex(), out.num_evaluations)
        except KeyboardInterrupt:
            print("INTERRUPTED", len(multiprocessing.active_children()))
"""
SLOW = "import time\n\ndef slow(x):\n    time.sleep(0.1)\n    return float(((x - 1) ** 2).sum())\n"


@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupt_comes_through_at_once_and_loses_nothing(tmp_path, workers):
    (tmp_path / "slow_objective.py").write_text(SLOW)
    (tmp_path / "script.py").write_text(textwrap.dedent(INTERRUPTED))

    workers_of_all = workers

    def run(log, how, workers):
        # another number of workers is another run of the default
        named = [] if workers_of_all == 0 else ["zosah"]
        command = [sys.executable, "script.py", log, how, str(workers), *named]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=100, env=ENVIRONMENT
        )
        return done.stdout.split()

    plain = run("plain", "go", 0)
    assert run("log", "stop", workers) == ["INTERRUPTED", "0"]
    assert run("log", "go", 0) == plain
    assert len(places(tmp_path / "log")) == int(plain[2])


# --- noise ----------------------------------------------------------------------------------------


def test_default_settings_get_near_the_optimum_of_a_noisy_function():
    reached = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x0 = np.array([-1.2, 1.0])
        sigma = 1e-3 * valley(x0)
        fun = Counted(lambda x, rng=rng, s=sigma: valley(x) + s * rng.normal())
        out = minimize(fun, 1500, None, x0, noise=None, key=seed)
        assert out.num_evaluations == len(fun.calls) <= 1500
        reached.append(valley(out.params) / sigma)
    assert np.median(reached) < 10
