"""`minimize_blackbox`: budget, target, callback, log, noise, executors that fail."""

import json
import math
import os
import sys
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import zosah_jax
from zosah_jax import ObjectiveError, OtherProblem, Status, minimize_blackbox, noise_level
from zosah_jax.blackbox.candidates import NoisyCourse

X0 = np.zeros(4)
CENTRE = np.array([1.0, -2.0, 3.0, -1.0])
# compiled once for all tests: seven values at the first step, five at the others
TX = zosah_jax.zosah(1.0, 4, 1000, grid="minimal")
FIRST, OTHER = 11, 5
EXACT = {"noise": 0}


def bowl(x):
    return float((np.array([1, 3, 2, 4.0]) * (x - CENTRE) ** 2).sum())


class Counted:
    """An objective that counts its calls and fails in a given share of them."""

    def __init__(self, fun=bowl, failing=0.0, seed=0, how=("raise", "nan", "none")):
        self.fun, self.failing, self.how = fun, failing, how
        self.rng = np.random.default_rng(seed)
        self.calls, self.lock = [], threading.Lock()

    def __call__(self, x):
        with self.lock:
            self.calls.append(x.copy())
            failed = self.rng.random() < self.failing
            how = self.how[self.rng.integers(len(self.how))]
        if failed and how == "raise":
            raise ArithmeticError("no convergence")
        if failed:
            return math.nan if how == "nan" else None
        return self.fun(x)


def minimize(fun, budget=60, tx=TX, **options):
    return minimize_blackbox(fun, X0, tx, budget=budget, **{**EXACT, **options})


# --- the run --------------------------------------------------------------------------------------


def test_result_and_history():
    fun = Counted()
    out = minimize(fun)
    assert out.num_evaluations == len(fun.calls) == FIRST + 9 * OTHER + 1 <= 60
    assert out.status is Status.BUDGET_SPENT
    assert out.best_value == min(map(bowl, fun.calls)) == bowl(out.best_params)
    assert out.value == bowl(out.params) == out.history.value[-1]
    np.testing.assert_array_equal(fun.calls[-1], out.params)
    np.testing.assert_array_equal(
        out.history.num_evaluations, [FIRST, *range(FIRST + OTHER, 57, OTHER), 57]
    )
    np.testing.assert_array_equal(out.history.value[0], bowl(X0))
    assert out.best_value < 1e-8
    assert isinstance(out.best_params, np.ndarray)


def test_it_takes_the_steps_of_minimize(x64):
    def traced(x):
        return jnp.sum(jnp.array([1, 3, 2, 4.0]) * (x - CENTRE) ** 2)

    jitted = zosah_jax.minimize(traced, X0, TX, budget=31, key=2)
    out = minimize(bowl, budget=31, key=2)
    assert out.num_evaluations == jitted.num_evaluations
    np.testing.assert_allclose(out.history.value, jitted.history.value, rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(out.params, jitted.params, rtol=1e-6)


def test_target_ends_the_run_at_once():
    fun = Counted()
    out = minimize(fun, target=2.0)
    assert out.status is Status.TARGET_REACHED
    assert bowl(out.params) == out.value == out.best_value <= 2.0
    assert out.num_evaluations == len(fun.calls) < 57
    assert minimize(bowl, target=1e9).num_evaluations == FIRST
    assert minimize(bowl, target=-1.0).status is Status.BUDGET_SPENT


@pytest.mark.parametrize("how", ["True", "StopIteration"])
def test_callback_sees_every_step_and_may_stop(how):
    seen = []

    def callback(progress):
        seen.append(progress)
        if len(seen) == 3:
            if how == "True":
                return True
            raise StopIteration
        return None

    out = minimize(bowl, callback=callback)
    assert out.status is Status.STOPPED
    assert out.message == "stopped by the callback"
    assert [p.step for p in seen] == [1, 2, 3]
    assert [p.num_evaluations for p in seen] == [FIRST, FIRST + OTHER, FIRST + 2 * OTHER]
    assert seen[0].value == bowl(X0)
    assert seen[-1].best_value == bowl(seen[-1].best_params)
    assert out.num_evaluations == FIRST + 2 * OTHER + 1
    np.testing.assert_array_equal(out.params, seen[-1].params)


def test_progress_bar(capsys):
    minimize(bowl, progress=True)
    assert "57/60" in capsys.readouterr().err


# --- what fails -----------------------------------------------------------------------------------


def test_a_fifth_of_the_values_fails():
    def needed(failing, seed):
        fun = Counted(valley, failing=failing, seed=seed)
        out = minimize_blackbox(
            fun, np.array([-1.2, 1.0]), budget=2000, target=1e-6, key=seed, **EXACT
        )
        assert out.status is Status.TARGET_REACHED
        assert out.num_evaluations == len(fun.calls)
        return out.num_evaluations

    failing, clean = ([needed(share, seed) for seed in range(30)] for share in (0.2, 0.0))
    assert np.median(failing) <= 1.5 * np.median(clean)


def test_missing_values_are_asked_again_and_counted():
    fun = Counted(failing=0.5)
    out = minimize(fun, retries=3)
    assert out.num_evaluations == len(fun.calls) <= 60
    points = [tuple(x) for x in fun.calls]
    assert max(points.count(p) for p in set(points)) == 4
    fun = Counted(failing=0.5)
    out = minimize(fun, retries=0)
    assert out.num_evaluations == len(fun.calls)


def test_raising_always_shows_the_first_traceback(tmp_path):
    def broken(x):
        raise ZeroDivisionError(f"at {len(calls)}" if calls.append(x) else f"call {len(calls)}")

    calls = []
    with pytest.raises(ObjectiveError, match=r"(?s)Traceback.*in broken.*call 1\b"):
        minimize(broken, log=tmp_path / "log", retries=0)
    assert len(calls) == FIRST
    assert len((tmp_path / "log").read_text().splitlines()) == 1 + FIRST  # nothing is lost


def test_no_value_anywhere_is_not_an_error():
    assert minimize(lambda x: None).status is Status.NOT_FINITE
    out = minimize(lambda x: bowl(x) if not x.any() else math.nan, budget=400)
    assert out.best_value == bowl(X0)


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        (np.ones(1), TypeError, r"array of shape \(1,\)"),
        ("1.0", TypeError, "a str"),
        (1j, TypeError, "complex"),
        ({"loss": 1.0}, TypeError, "a dict"),
        (True, TypeError, "a bool"),
    ],
)
def test_wrong_type_or_shape_stops_and_loses_nothing(tmp_path, value, error, says):
    calls = []

    def fun(x):
        calls.append(x)
        return value if len(calls) == 4 else bowl(x)

    with pytest.raises(error, match=rf"fun: its value: got .*{says}"):
        minimize(fun, log=tmp_path / "log")
    lines = (tmp_path / "log").read_text().splitlines()[1:]
    assert [json.loads(line)["value"] for line in lines] == [*map(bowl, calls[:3]), None]


# --- executors ------------------------------------------------------------------------------------


def test_threads_give_the_same_run_in_any_order():
    def slow(x):
        time.sleep(0.002 * np.random.default_rng(int(1e6 * abs(x).sum())).random())
        return bowl(x)

    alone = minimize(bowl)
    with ThreadPoolExecutor(4) as pool:
        together = minimize(slow, executor=pool)
        assert pool.submit(len, "still runs").result() == 10
    np.testing.assert_array_equal(together.params, alone.params)
    assert together.num_evaluations == alone.num_evaluations


def test_a_call_that_hangs_is_given_up():
    release = threading.Event()
    calls = Counted()

    def hangs(x):
        value = calls(x)
        if len(calls.calls) in (2, 14):
            release.wait(20)
        return value

    with ThreadPoolExecutor(3) as pool:
        out = minimize(hangs, executor=pool, timeout=0.5, retries=0, log=None)
        release.set()
    assert out.num_evaluations == len(calls.calls) <= 60
    assert out.best_value < 1e-2


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


@pytest.mark.slow
def test_own_processes_are_rebuilt_when_they_die_or_hang(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOSAH_TEST_FOLDER", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*sys.path, str(Path(__file__).parent)]))
    out = minimize(dies_once, max_workers=1, timeout=20, retries=1)
    calls = len(list(tmp_path.iterdir()))
    assert out.num_evaluations == calls == 60 or calls <= out.num_evaluations <= 60
    assert out.best_value < 1e-2


def test_executors_that_cannot_be_used():
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="executor: got one that takes no calls"):
        minimize(bowl, executor=pool)
    with pytest.raises(TypeError, match="executor: got int"):
        minimize(bowl, executor=3)
    with pytest.raises(ValueError, match="wanted one of them"):
        minimize(bowl, executor=pool, max_workers=2)
    with pytest.raises(ValueError, match="timeout: got one, wanted an executor"):
        minimize(bowl, timeout=1.0)
    with pytest.raises(TypeError, match="cannot be sent to another process"):
        minimize(lambda x: 1.0, max_workers=1)


class Faulty(Executor):
    """An executor whose calls never arrive."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        future.set_exception(OSError("no route"))
        return future


def test_what_the_machinery_raises_is_a_failed_call():
    with pytest.raises(ObjectiveError, match="OSError: no route"):
        minimize(bowl, executor=Faulty(), retries=1, budget=200)


# --- the budget -----------------------------------------------------------------------------------

POOL = ThreadPoolExecutor(3)
CONFIGURATIONS = {
    "budget": st.integers(12, 90),
    "failing": st.sampled_from([0.0, 0.2, 0.9]),
    "retries": st.integers(0, 3),
    "target": st.sampled_from([None, 5.0, 1e-3]),
    "noise": st.sampled_from([0, 0.1, "estimate"]),
    "threads": st.booleans(),
    "seed": st.integers(0, 9),
}
QUICK = settings(
    max_examples=500,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.slow
@QUICK
@given(**CONFIGURATIONS)
def test_the_budget_is_never_exceeded(budget, failing, retries, target, noise, threads, seed):
    fun = Counted(failing=failing, seed=seed)
    try:
        out = minimize(
            fun,
            budget=budget,
            retries=retries,
            target=target,
            noise=noise,
            key=seed,
            executor=POOL if threads else None,
        )
    except ObjectiveError:
        pass
    else:
        assert out.num_evaluations == len(fun.calls)
    assert len(fun.calls) <= budget


HOST = Counted()
JITTED = zosah_jax.host_function(HOST)


@pytest.mark.slow
@settings(QUICK, max_examples=500)
@given(
    budget=st.sampled_from([12, 16, 17, 41]),
    failing=st.sampled_from([0.0, 0.2, 0.9]),
    target=st.sampled_from([-1.0, 5.0, 1e-3]),
    seed=st.integers(0, 9),
    start=st.floats(-3, 3, width=32),
)
def test_the_jitted_budget_is_never_exceeded(budget, failing, target, seed, start):
    HOST.calls.clear()
    HOST.failing, HOST.how = failing, ("nan",)
    x0 = np.full(4, start, np.float32)
    out = zosah_jax.minimize(JITTED, x0, TX, budget=budget, target=target, key=seed)
    assert out.num_evaluations == len(HOST.calls) <= budget


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"budget": FIRST}, ValueError, f"wanted at least {FIRST + 1}"),
        ({"budget": 1.5}, TypeError, "budget: got 1.5"),
        ({"target": "low"}, TypeError, "target: got 'low'"),
        ({"noise": "some"}, TypeError, "noise: got 'some'"),
        ({"noise": -1.0}, ValueError, "noise: got -1"),
        ({"retries": -1}, ValueError, "retries: got -1"),
        ({"timeout": 0, "max_workers": 1}, ValueError, "timeout: got 0"),
        ({"callback": 3}, TypeError, "callback: got int"),
        ({"bounds": (1.0, 2.0)}, ValueError, "x0: got 0.0"),
        ({"fun": 3}, TypeError, "fun: got int"),
    ],
)
def test_bad_arguments(options, error, says):
    with pytest.raises(error, match=says):
        minimize(**{"fun": bowl, **options})


# --- the log --------------------------------------------------------------------------------------


def test_every_value_is_logged_and_none_is_asked_again(tmp_path):
    log = tmp_path / "folder" / "log.jsonl"
    fun = Counted(failing=0.3, how=("raise",))
    out = minimize(fun, log=log)
    header, *lines = map(json.loads, log.read_text().splitlines())
    assert header["problem"]["zosah_jax"] == zosah_jax.__version__
    assert len(lines) == len(fun.calls)
    for line, x in zip(lines, fun.calls, strict=True):
        np.testing.assert_array_equal(line["point"], x)
        assert line["value"] == bowl(x) if line["value"] is not None else "no conv" in line["error"]
    again = Counted()
    resumed = minimize(again, log=log)
    assert not again.calls
    np.testing.assert_array_equal(resumed.params, out.params)
    assert resumed.num_evaluations == out.num_evaluations
    longer = minimize(again, log=log, budget=80)  # goes on
    assert 0 < len(again.calls) <= 22
    assert longer.num_evaluations > out.num_evaluations


def test_a_torn_last_line_is_asked_again(tmp_path):
    log = tmp_path / "log"
    out = minimize(bowl, log=log)
    log.write_bytes(log.read_bytes()[:-9])
    fun = Counted()
    with pytest.warns(UserWarning, match="torn by a crash"):
        again = minimize(fun, log=log)
    assert len(fun.calls) == 1
    np.testing.assert_array_equal(again.params, out.params)
    assert len(log.read_text().splitlines()) == 1 + out.num_evaluations


def test_a_log_of_another_problem_or_none_at_all_is_refused(tmp_path):
    log = tmp_path / "log"
    minimize(bowl, log=log)
    kept = log.read_bytes()
    for options, named in (
        ({"key": 4}, "method"),
        ({"tx": zosah_jax.zosah(0.5, 4, 1000)}, "method"),
        ({"bounds": (-9.0, 9.0)}, "bounds"),
        ({"noise": 0.5}, "noise"),
    ):
        with pytest.raises(OtherProblem, match=named):
            minimize(bowl, log=log, **options)
    with pytest.raises(OtherProblem, match="shape of x0"):
        minimize_blackbox(bowl, np.zeros(5), TX, budget=60, log=log, **EXACT)
    log.write_bytes(kept.replace(zosah_jax.__version__.encode(), b"9.9.9"))
    with pytest.raises(OtherProblem, match=r"zosah_jax is 9\.9\.9"):
        minimize(bowl, log=log)
    for other in (b"a diary", b"a diary\n", b'{"loss": 1}\n'):
        log.write_bytes(other)
        with pytest.raises(OtherProblem, match="wanted a log"):
            minimize(bowl, log=log)
        assert log.read_bytes() == other
    log.write_bytes(kept + b"garbage\n")
    with pytest.raises(ValueError, match=r"damaged line \d+"):
        minimize(bowl, log=log)


def test_two_runs_do_not_share_a_log(tmp_path):
    def nested(x):
        with pytest.raises(ValueError, match="written by another run"):
            minimize(bowl, log=tmp_path / "log")
        return bowl(x)

    minimize(nested, budget=12, log=tmp_path / "log")


# --- noise ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [1e-8, 1e-3, 10.0])
def test_noise_level_is_found(sigma):
    x, found = 1 + 1e-9 * np.arange(7), []
    for seed in range(200):
        level, _ = noise_level(np.exp(x) + sigma * np.random.default_rng(seed).normal(size=7))
        found.append(math.nan if level is None else level)
    assert np.isnan(found).mean() < 0.1
    assert 0.8 < np.nanmean(np.square(found)) ** 0.5 / sigma < 1.2
    assert np.nanmin(found) > sigma / 10


def test_noise_level_says_why_not():
    assert noise_level(np.ones(7)) == (None, "spacing too small")
    assert noise_level(np.exp(np.arange(7.0))) == (None, "spacing too large")
    with pytest.raises(ValueError, match="at least 5"):
        noise_level([1.0, 2.0])


def test_exact_values_have_no_noise():
    out = minimize(bowl, budget=400, noise="estimate")
    assert out.best_value < 1e-12
    assert float(zosah_jax.transform.zeroth_order_states(out.state)[0].method.noise) == 0


def valley(x):
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


@pytest.mark.slow
def test_default_settings_get_near_the_optimum_of_a_noisy_function():
    reached = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x0 = np.array([-1.2, 1.0])
        sigma = 1e-3 * valley(x0)
        fun = Counted(lambda x, rng=rng, s=sigma: valley(x) + s * rng.normal())
        out = minimize_blackbox(fun, x0, budget=1500, key=seed)
        assert out.num_evaluations == len(fun.calls) <= 1500
        reached.append(valley(out.best_params) / sigma)
    assert np.median(reached) < 10


def test_noise_sets_lengths_by_halves_damps_steps_and_averages():
    solver = zosah_jax.AskTell(np.zeros(4), TX)
    course = NoisyCourse((solver.params, solver.params))

    def take_step(spent, gain):
        before = solver.params
        for _ in solver.sizes:
            solver.tell([bowl(x) for x in solver.ask()])
        whole = solver.params - before
        course.go_on(solver, before, spent, 400, gain)
        return whole, solver.params - before

    def noise():
        return float(
            zosah_jax.transform.zeroth_order_states(solver.state.optimizer)[0].method.noise
        )

    course.begin(solver, 0.1)
    assert noise() == pytest.approx(0.4)
    points = []
    for spent, gain, share in (
        (11, 0.0, 1),
        (50, 0.0, 0.8),
        (180, 1e6, 1),
        (190, None, 1),
        (195, 0.0, 0.25),
    ):
        whole, taken = take_step(spent, gain)
        np.testing.assert_allclose(taken, share * whole, rtol=1e-12)
        points.append(solver.params)
    mean = np.zeros(4)
    for step, point in enumerate(points, 1):
        mean += 4 / (step + 3) * (point - mean)
    take_step(200, 0.0)  # half of the budget
    assert noise() == pytest.approx(0.1)
    mean += 4 / 9 * (solver.params - mean)
    np.testing.assert_allclose(course.means[0], mean, rtol=1e-12)
    take_step(300, 0.0)
    np.testing.assert_array_equal(course.means[1], solver.params)
    looks = course.num_looks(400, gain=0.0)
    assert len(course.candidates(solver)) * looks == course.reserve(400, gain=0.0) == 20
    assert course.reserve(400, gain=1e6 * course.noise) == 4


# --- host functions -------------------------------------------------------------------------------


def test_a_round_is_one_callback():
    batches = []
    host = zosah_jax.host_function(bowl)
    inner = host._answers.__call__

    class Watched:
        retries, first_traceback, num_calls = 0, None, 0

        def __call__(self, points, *rest):
            batches.append(len(points))
            return inner(points, *rest)

    host._answers = Watched()
    x = jnp.zeros(4)
    for tx, sizes in ((TX, [FIRST, OTHER, OTHER]), (zosah_jax.rspg(0.01, 6), [7, 7, 7])):
        batches.clear()
        state = tx.init(x)
        step = jax.jit(lambda x, s, tx=tx: tx.update(x, s, x, value_fn=host))
        for _ in range(3):
            _, state = step(x, state)
        assert batches == sizes
    batches.clear()
    one = zosah_jax.rspg(0.01, 6, evaluator=zosah_jax.one_by_one())
    jax.jit(lambda x, s: one.update(x, s, x, value_fn=host))(x, one.init(x))
    assert batches == [1] * 7


def test_host_functions_of_pytrees_under_any_vmap():
    host = zosah_jax.host_function(lambda p: float(p["a"].sum() + 10 * p["b"]))
    a, b = jnp.arange(6.0).reshape(3, 2), jnp.arange(4.0)
    many = jax.vmap(lambda a: jax.vmap(lambda b: host({"a": a, "b": b}))(b))(a)
    np.testing.assert_array_equal(many, a.sum(1)[:, None] + 10 * b[None, :])
    assert host.num_calls == 12
    assert host({"a": a[0], "b": b[0]}).shape == ()


def test_host_functions_that_fail():
    fun = Counted(failing=0.3)
    host = zosah_jax.host_function(fun, retries=1)
    out = zosah_jax.minimize(host, np.zeros(4, np.float32), TX, budget=200)
    assert out.best_value < 1e-2
    assert host.num_calls == len(fun.calls) >= out.num_evaluations

    def broken(x):
        raise ZeroDivisionError("first")

    with pytest.raises(Exception, match=r"(?s)ObjectiveError.*first"):
        zosah_jax.minimize(zosah_jax.host_function(broken), np.zeros(4, np.float32), TX, budget=41)
    with pytest.raises(TypeError, match="fun: got int"):
        zosah_jax.host_function(3)


def test_a_large_batch_does_not_deadlock():
    host = zosah_jax.host_function(lambda x: float(x @ x))
    values = jax.jit(jax.vmap(host))(jnp.ones((8, 300_000)))
    np.testing.assert_array_equal(values, 300_000)


def test_jumps_of_an_integrator_are_seen_in_float64():
    def rough(x):
        return bowl(x) + 1e-7 * math.sin(1e13 * x.sum() + 3e12 * x[0])

    out = minimize(rough, budget=400, noise="estimate")
    level = float(zosah_jax.transform.zeroth_order_states(out.state)[0].method.noise)
    assert 1e-8 < level < 1e-6
    assert out.best_value < 1e-4
