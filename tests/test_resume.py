"""Runs that end anywhere go on where they were, and end with the same bits."""

import json
import threading
import time

import numpy as np
import pytest

import zosah_jax
from zosah_jax.faces.transformation import as_optax
from zosah_jax.methods import rspg, zopqn, zosah

METHOD = as_optax(zosah(4, 2), 0.5)
X0 = np.zeros(4)


def bowl(x):
    return float(((x - np.arange(4)) ** 2 * np.array([1, 5, 2, 9])).sum() + np.sin(3 * x).sum())


class Killed(BaseException):
    """What no code may catch."""


def run(log, stop_after=None, fun=bowl, method=METHOD, **options):
    calls = []

    def counted(x):
        if stop_after is not None and len(calls) == stop_after:
            raise Killed
        calls.append(x)
        return fun(x)

    settings = {"budget": 120, "noise": 0, "host": zosah_jax.Host(log=log)}
    try:
        out = zosah_jax.minimize(counted, X0, method, **{**settings, **options})
    except Killed:
        out = None
    return out, len(calls)


def assert_same(one, other):
    assert one.status == other.status
    for name in ("params", "value", "last_params", "last_value", "num_evaluations"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for a, b in zip(one.history, other.history, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("method", [METHOD, zopqn(), as_optax(rspg(3), 0.01)])
@pytest.mark.parametrize("after", [0, 3, 60])
def test_a_run_that_stops_anywhere_goes_on(tmp_path, method, after):
    whole, calls = run(tmp_path / "whole", method=method)
    _, before = run(tmp_path / "log", stop_after=after, method=method)
    again, rest = run(tmp_path / "log", method=method)
    assert_same(again, whole)
    assert before == after
    assert before + rest == calls
    again, rest = run(tmp_path / "log", method=method)
    assert_same(again, whole)
    assert rest == 0


def test_a_run_whose_values_fail_goes_on(tmp_path):
    def failing(x):
        if np.sin(1e5 * x.sum()) > 0.5:
            raise ArithmeticError
        return bowl(x)

    whole, calls = run(tmp_path / "whole", fun=failing)
    run(tmp_path / "log", stop_after=50, fun=failing)
    again, rest = run(tmp_path / "log", fun=failing)
    assert_same(again, whole)
    assert 50 + rest == calls == whole.num_evaluations


def rough(x):
    return bowl(x) + 0.1 * np.sin(1e7 * x.sum())


@pytest.mark.parametrize(("noise", "budget"), [(0.1, 120), (None, 300)])
def test_a_noisy_run_goes_on_as_it_began_also_with_a_larger_budget(tmp_path, noise, budget):
    def run_to(log, budget, **options):
        seen = []
        out, calls = run(
            tmp_path / log,
            fun=rough,
            method=None,
            noise=noise,
            budget=budget,
            callback=lambda p: seen.append(p.last_params),
            **options,
        )
        return out, calls, np.asarray(seen)

    whole, calls, path = run_to("whole", budget)
    assert calls == whole.num_evaluations
    late = 3 * budget // 4  # in the second half
    assert run_to("log", budget, stop_after=late)[0] is None
    again, rest, _ = run_to("log", budget)
    assert_same(again, whole)
    assert late + rest == calls
    more, rest, longer = run_to("log", budget + 40)
    np.testing.assert_array_equal(longer[: len(path)], path)
    looks = calls - whole.history.num_evaluations[-2]  # at what might have been the result
    assert looks == 2  # the last point, and the best
    assert rest == more.num_evaluations - (whole.num_evaluations - looks)


def test_a_long_log_is_soon_gone_through(tmp_path):
    log, method = tmp_path / "log", as_optax(rspg(4), 0.01)
    options = {"budget": 2000, "method": method}
    whole, calls = run(log, **options)
    start = time.perf_counter()
    again, rest = run(log, **options)
    assert rest == 0
    assert_same(again, whole)
    assert (time.perf_counter() - start) / calls < 1e-3  # a twentieth of it, on an idle machine


def test_a_log_is_read_while_threads_write(tmp_path):
    """A reader that looks at the file at any time sees whole lines, the header first."""
    seen, done = [], threading.Event()

    def read():
        while not done.is_set():
            if (tmp_path / "log").exists():
                seen.append((tmp_path / "log").read_bytes().split(b"\n")[:-1])

    reader = threading.Thread(target=read)
    reader.start()
    run(tmp_path / "log")
    done.set()
    reader.join()
    for lines in seen[-5:]:
        for line in lines:
            json.loads(line)
