"""A run that is killed, and called again: what was logged is not asked again."""

import json
from pathlib import Path

import numpy as np

import zosah_jax

calls = []


def simulator(x):
    """It takes the whole process down at its thirtieth call, once."""
    calls.append(x)
    if len(calls) == 30 and not Path("been_here").exists():
        Path("been_here").touch()
        raise KeyboardInterrupt  # Ctrl-C; kill -9 does no more harm
    return float(((x - np.arange(4)) ** 2 * [1, 5, 2, 9]).sum())


def run():
    """The same call before and after."""
    host = zosah_jax.Host(log="values.jsonl")
    return zosah_jax.minimize(simulator, np.zeros(4), budget=80, noise=0, host=host)


try:
    run()
except KeyboardInterrupt:
    print("killed at call", len(calls))
asked = len(calls)
result = run()  # in another process as well
print(result.num_evaluations, "values,", len(calls) - asked, "of them asked after the crash")
first, *lines = [json.loads(line) for line in Path("values.jsonl").read_text().splitlines()]
print(first["budget"], lines[0]["at"], lines[0]["value"], lines[0]["point"])
