"""`minimize` on the host: budget, target, callback, log, noise, executors that fail."""

import dataclasses
import json
import math
import os
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_ask_tell import Residuals, residuals

import zosah_jax
from zosah_jax import Host, Status
from zosah_jax.faces.host.course import NoisyCourse
from zosah_jax.faces.host.fingerprint import described
from zosah_jax.faces.transformation import as_optax
from zosah_jax.host import ObjectiveError, ProblemMismatchError, host_function, noise_level
from zosah_jax.methods import noisy_regression, rspg, zopqn, zosah
from zosah_jax.methods.zosah.reading import Reading

X0 = np.zeros(4)
CENTRE = np.array([1.0, -2.0, 3.0, -1.0])
# compiled once for all tests: eleven values at the first step, five at the others
METHOD = zosah(4, 1000)
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


HOST = {field.name for field in dataclasses.fields(Host)}


def minimize(fun, budget=60, method=METHOD, x0=X0, **options):
    host = Host(**{name: options.pop(name) for name in HOST & set(options)})
    return zosah_jax.minimize(fun, x0, method, budget=budget, host=host, **{**EXACT, **options})


# --- the run --------------------------------------------------------------------------------------


def test_result_and_history():
    fun = Counted()
    out = minimize(fun)
    assert out.num_evaluations == len(fun.calls) == FIRST + 9 * OTHER + 1 <= 60
    assert out.status is Status.BUDGET_SPENT
    assert out.success is True
    assert out.value == min(map(bowl, fun.calls)) == bowl(out.params)
    assert out.last_value == bowl(out.last_params) == out.history.value[-1]
    np.testing.assert_array_equal(fun.calls[-1], out.last_params)
    np.testing.assert_array_equal(
        out.history.num_evaluations, [FIRST, *range(FIRST + OTHER, 57, OTHER), 57]
    )
    np.testing.assert_array_equal(out.history.value[0], bowl(X0))
    assert out.history.best_value[-1] == out.value < 1e-8
    assert isinstance(out.params, np.ndarray)


@pytest.mark.parametrize(
    ("method", "post"),
    [(METHOD, None), (as_optax(rspg(4), 0.05), optax.trace(0.5)), (zopqn(), None)],
    ids=["zosah", "rspg", "zopqn"],
)
def test_it_is_the_run_of_the_jitted_face(x64, method, post):
    def traced(x):
        return jnp.sum(jnp.array([1, 3, 2, 4.0]) * (x - CENTRE) ** 2)

    options = {"budget": 41, "key": 2, "post": post}
    jitted = zosah_jax.minimize(traced, X0, method, **options)
    out = minimize(bowl, method=method, **options)
    assert (out.num_evaluations, out.status) == (jitted.num_evaluations, jitted.status)
    for name in ("params", "value", "last_params", "last_value", "success"):
        found, wanted = getattr(out, name), getattr(jitted, name)
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-10)
    for found, wanted in zip(out.history, jitted.history, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-10)


def test_where_the_last_value_is_known_it_is_not_asked():
    fun = Counted()
    out = minimize(fun, method=zopqn(), budget=80)
    assert out.num_evaluations == len(fun.calls) <= 80
    assert out.num_evaluations == out.history.num_evaluations[-1]
    assert out.last_value == pytest.approx(bowl(out.last_params), abs=1e-12)
    assert out.value <= out.last_value


def test_target_ends_the_run_at_once():
    fun = Counted()
    out = minimize(fun, target=2.0)
    assert out.status is Status.TARGET_REACHED
    assert out.success
    assert bowl(out.params) == out.value <= 2.0
    assert out.num_evaluations == len(fun.calls) < 57
    assert minimize(bowl, target=1e9).num_evaluations == FIRST
    missed = minimize(bowl, target=-1.0)
    assert missed.status is Status.BUDGET_SPENT
    assert not missed.success


@pytest.mark.parametrize("how", [True, np.True_, jnp.array(True), StopIteration])
def test_callback_sees_every_step_and_may_stop(how):
    seen = []

    def callback(progress):
        seen.append(progress)
        if len(seen) == 3:
            if how is StopIteration:
                raise StopIteration
            return how
        return np.False_

    out = minimize(bowl, callback=callback)
    assert out.status is Status.STOPPED
    assert not out.success
    assert out.message == "stopped by the callback"
    assert [p.step for p in seen] == [1, 2, 3]
    assert [p.num_evaluations for p in seen] == [FIRST, FIRST + OTHER, FIRST + 2 * OTHER]
    assert seen[0].last_value == bowl(X0)
    assert seen[-1].value == bowl(seen[-1].params) == out.value
    assert out.num_evaluations == FIRST + 2 * OTHER
    np.testing.assert_array_equal(out.last_params, seen[-1].last_params)


def test_a_callback_may_keep_its_points_and_write_on_them():
    kept, seen = [], []

    def scribble(progress):
        seen.append(progress.last_params.copy())
        progress.params[:] = progress.last_params[:] = 1e6

    plain = minimize(bowl, callback=lambda p: kept.append(p.last_params))
    out = minimize(bowl, callback=scribble)
    np.testing.assert_array_equal(out.params, plain.params)
    np.testing.assert_array_equal(kept, seen)
    assert len({x.tobytes() for x in kept}) > 2


@pytest.mark.parametrize("threads", [False, True])
def test_an_objective_that_writes_on_its_argument_changes_nothing(tmp_path, threads):
    def run(spoil, log):
        fun = Counted(failing=0.3, how=("raise",), seed=3)

        def spoilt(x):
            try:
                return fun(x)
            finally:
                if spoil:
                    x += 100.0

        with ThreadPoolExecutor(1) as pool:
            executor = pool if threads else None
            out = minimize(spoilt, bounds=(-5.0, 5.0), executor=executor, log=log)
        lines = [json.loads(line) for line in log.read_text().splitlines()[1:]]
        lines.sort(key=lambda line: (line["at"][0], line["at"][1], line["at"][3], line["at"][2]))
        return out, fun.calls, [line["point"] for line in lines]

    plain, spoilt = run(False, tmp_path / "a"), run(True, tmp_path / "b")
    np.testing.assert_array_equal(plain[0].params, spoilt[0].params)
    np.testing.assert_array_equal(plain[1], spoilt[1])
    np.testing.assert_array_equal(plain[2], spoilt[1])
    np.testing.assert_array_equal(spoilt[2], spoilt[1])
    assert np.abs(spoilt[1]).max() <= 5


def test_progress_bar(capsys):
    minimize(bowl, progress=True)
    assert "57/60" in capsys.readouterr().err


# --- what fails -----------------------------------------------------------------------------------


def test_a_fifth_of_the_values_fails():
    def needed(failing, seed):
        fun = Counted(valley, failing=failing, seed=seed)
        x0 = np.array([-1.2, 1.0])
        out = minimize(fun, 2000, zosah(), x0, target=1e-6, key=seed)
        assert out.status is Status.TARGET_REACHED
        assert out.num_evaluations == len(fun.calls)
        return out.num_evaluations

    failing, clean = ([needed(share, seed) for seed in range(20)] for share in (0.2, 0.0))
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
    assert out.value == bowl(X0)
    assert not minimize(lambda x: None).success
    assert minimize(lambda x: None).value == math.inf


@pytest.mark.parametrize("missing", [np.ma.masked, math.inf, np.float32("nan")])
def test_what_is_masked_or_infinite_is_missing(missing):
    out = minimize(lambda x: missing if x[0] > 0.7 else 3 + bowl(x), budget=100)
    assert out.params[0] <= 0.7
    assert out.value > 3


def test_floating_point_errors_of_numpy_that_raise():
    states = []

    def fun(x):
        states.append(np.geterr())
        return 1e300 if x[0] > 0.7 else bowl(x)

    def callback(progress):
        states.append(np.geterr())

    with np.errstate(all="raise"):
        wanted = np.geterr()
        for dtype, noise in ((np.float64, None), (np.float32, 0.1)):
            out = minimize(fun, 320, None, X0.astype(dtype), noise=noise, callback=callback)
            assert np.isfinite(out.params).all()
    assert all(state == wanted for state in states)


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
    np.testing.assert_array_equal(together.last_params, alone.last_params)
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
    assert out.value < 1e-2


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
    "method": st.sampled_from([METHOD, zopqn()]),
    "seed": st.integers(0, 9),
}
QUICK = settings(
    max_examples=500 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@QUICK
@given(**CONFIGURATIONS)
def test_the_budget_is_never_exceeded(
    budget, failing, retries, target, noise, threads, method, seed
):
    fun = Counted(failing=failing, seed=seed)
    try:
        out = minimize(
            fun,
            budget=budget,
            method=method,
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


COUNTED = Counted()
JITTED = host_function(COUNTED)


@QUICK
@given(
    budget=st.sampled_from([12, 16, 17, 41]),
    failing=st.sampled_from([0.0, 0.2, 0.9]),
    target=st.sampled_from([-1.0, 5.0, 1e-3]),
    seed=st.integers(0, 9),
    start=st.floats(-3, 3, width=32),
)
def test_the_jitted_budget_is_never_exceeded(budget, failing, target, seed, start):
    COUNTED.calls.clear()
    COUNTED.failing, COUNTED.how = failing, ("nan",)
    x0 = np.full(4, start, np.float32)
    out = zosah_jax.minimize(JITTED, x0, METHOD, budget=budget, target=target, key=seed)
    assert out.num_evaluations == len(COUNTED.calls) <= budget


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"budget": FIRST}, ValueError, f"wanted at least {FIRST + 1}"),
        ({"budget": 1.5}, TypeError, "budget: got 1.5"),
        ({"target": "low"}, TypeError, "target: got 'low'"),
        ({"noise": "some"}, TypeError, "noise: got 'some'"),
        ({"log": 3}, TypeError, "log: got int"),
        ({"progress": "yes"}, TypeError, "progress: got 'yes'"),
        ({"post": 3}, TypeError, "post: got int"),
        ({"key": 1.5}, TypeError, "key: got 1.5"),
        ({"method": None, "noise": "estimate", "key": 1.5}, TypeError, "key: got 1.5"),
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
    np.testing.assert_array_equal(resumed.last_params, out.last_params)
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
    np.testing.assert_array_equal(again.last_params, out.last_params)
    assert len(log.read_text().splitlines()) == 1 + out.num_evaluations


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"key": 4}, r"key is threefry2x32\[0, 0\], wanted threefry2x32\[0, 4\]"),
        ({"method": zosah(4, 999)}, "option period of the method is 1000, wanted 999"),
        ({"method": zosah(4, 1000, key=4)}, "key is"),
        ({"method": as_optax(METHOD, 0.5)}, r"learning rate is 1\.0, wanted 0\.5"),
        ({"method": as_optax(METHOD, optax.linear_schedule(1.0, 0.1, 9))}, "learning rate is 1.0"),
        ({"method": rspg()}, "method is ZOSAH, wanted RSPG"),
        ({"method": None}, "method is ZOSAH, wanted the library's choice"),
        ({"method": zosah(4, 1000, reading="paper")}, "option reading of the method is 'measured'"),
        ({"post": optax.trace(0.9)}, "post is none, wanted .*trace.*decay=0.9"),
        ({"bounds": (-9.0, 9.0)}, "bounds"),
        ({"noise": 0.5}, r"noise is 0\.0, wanted 0\.5"),
        ({"x0": np.zeros(5)}, "shape of x0"),
        ({"x0": np.full(4, 1e-9)}, "value of x0"),
    ],
)
def test_a_log_of_another_problem_says_what_differs(tmp_path, options, named):
    log = tmp_path / "log"
    minimize(bowl, log=log)
    kept = log.read_bytes()
    with pytest.raises(ProblemMismatchError, match=f"whose {named}"):
        minimize(bowl, log=log, **options)
    assert log.read_bytes() == kept


def test_options_as_text_name_no_address_and_tell_them_apart():
    decay = optax.trace(0.9)
    texts = [
        described(value)
        for value in (
            *(None, 3, 0.5, np.float64(0.5), "leaf", np.arange(3), jax.random.key(3)),
            *(decay, optax.trace(0.8), bowl, Reading(), {"b": [1, (2.0,)], "a": bowl}),
            optax.exponential_decay(1.0, 10, 0.5),
        )
    ]
    assert "0x" not in "".join(texts)
    assert texts[2] == texts[3]
    assert len(set(texts)) == len(texts) - 1
    assert described(optax.trace(0.9)) == described(decay) != described(optax.trace(0.8))
    assert described(bowl).endswith(".bowl")


def test_no_log_and_a_damaged_one_are_refused(tmp_path):
    log = tmp_path / "log"
    minimize(bowl, log=log)
    kept = log.read_bytes()
    log.write_bytes(kept.replace(zosah_jax.__version__.encode(), b"9.9.9"))
    with pytest.raises(ProblemMismatchError, match=r"zosah_jax is 9\.9\.9"):
        minimize(bowl, log=log)
    for other in (b"a diary", b"a diary\n", b'{"loss": 1}\n'):
        log.write_bytes(other)
        with pytest.raises(ProblemMismatchError, match="wanted a log"):
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


# --- vectors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [False, True])
def test_a_run_of_vectors(tmp_path, threads):
    x0, log = np.array([-1.2, 1.0]), tmp_path / "log"
    fun = Counted(residuals, failing=0.1)

    def run(fun, **options):
        with ThreadPoolExecutor(2) as pool:
            options["executor"] = pool if threads else None
            return minimize(fun, 300, Residuals(), x0, log=log, noise=None, **options)

    out = run(fun)
    assert out.num_evaluations == len(fun.calls) <= 300
    assert out.value == pytest.approx((residuals(out.params) ** 2).sum())
    assert out.last_value == pytest.approx((residuals(out.last_params) ** 2).sum())
    assert out.value < 0.011
    again = run(lambda x: 1 / 0)
    np.testing.assert_array_equal(again.last_params, out.last_params)
    log.unlink()
    with pytest.raises(TypeError, match=r"fun: its value: got .* shape \(\), wanted a real vector"):
        run(bowl2)
    log.unlink()
    assert run(residuals, target=0.02).status is Status.TARGET_REACHED


def bowl2(x):
    return float(x @ x)


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


class Levels:
    """The noise levels that a run worked with."""

    def __init__(self, monkeypatch):
        self.seen, inner = [], zosah_jax.AskTell.noise.fset

        def setter(solver, noise):
            self.seen.append(noise)
            inner(solver, noise)

        monkeypatch.setattr(zosah_jax.AskTell, "noise", zosah_jax.AskTell.noise.setter(setter))


def test_exact_values_have_no_noise(monkeypatch):
    levels, fun = Levels(monkeypatch), Counted()
    out = minimize(fun, budget=400, noise="estimate")
    assert out.value < 1e-12
    assert set(levels.seen) == {0}
    for budget, asked in ((280, 0), (281, 7)):
        fun.calls.clear()
        minimize(fun, budget=budget, noise=None, target=1e9)
        assert len(fun.calls) == FIRST + asked


def test_jumps_of_an_integrator_are_seen_in_float64(monkeypatch):
    def rough(x):
        return bowl(x) + 1e-7 * math.sin(1e13 * x.sum() + 3e12 * x[0])

    levels = Levels(monkeypatch)
    out = minimize(rough, budget=400, noise="estimate")
    assert levels.seen[1] == pytest.approx(4 * levels.seen[-1])
    assert 1e-8 < levels.seen[-1] < 1e-6
    assert out.value < 1e-4


def test_the_points_of_the_estimate_are_within_bounds(tmp_path):
    low, high = np.array([0.1, 0.7, -1, 0]), np.array([0.3, 0.9, -1, 1e-9])
    x0 = np.array([0.3, 0.7, -1, 0], np.float32)
    fun = Counted(lambda x: float(x.sum()))
    minimize(fun, 300, x0=x0, bounds=(low, high), noise=None)
    for x in fun.calls:
        assert (low <= x.astype(np.float64)).all()
        assert (x.astype(np.float64) <= high).all()


def valley(x):
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


@pytest.mark.parametrize("noise", [0.1, None])
def test_the_default_method_is_nothing_but_a_choice(noise):
    """A run under noise is the same whether its method was named or not."""

    def rough(x):
        return bowl(x) + 0.1 * math.sin(1e7 * x.sum())

    chosen, named = (minimize(rough, 300, m, noise=noise) for m in (None, noisy_regression()))
    np.testing.assert_array_equal(chosen.last_params, named.last_params)
    np.testing.assert_array_equal(chosen.params, named.params)
    assert chosen.num_evaluations == named.num_evaluations


def test_the_result_under_noise_is_of_fresh_values():
    rng, fun = np.random.default_rng(0), Counted()

    def noisy(x):
        return fun(x) + rng.normal()

    out = minimize(noisy, 200, noise=1.0)
    looks = fun.calls[-8:]  # two at each of four candidates
    assert out.num_evaluations == len(fun.calls) <= 200
    for first, second in zip(looks[:4], looks[4:], strict=True):
        np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(looks[0], out.last_params)
    assert any((x == out.params).all() for x in looks[:4])
    assert out.value <= out.last_value
    assert out.value == out.history.best_value[-1]
    assert minimize(noisy, 200, noise=1.0, callback=lambda p: p.step == 5).status is Status.STOPPED


def test_noise_sets_lengths_by_halves_damps_steps_and_averages():
    solver = zosah_jax.AskTell(np.zeros(4), METHOD)
    course = NoisyCourse(solver, 0.1, 400)
    assert solver.noise == pytest.approx(0.4)

    def take_step(spent, value):
        """A step whose first value is given, taken whole by another solver."""
        before = solver.params
        other = zosah_jax.AskTell(np.zeros(4), METHOD, noise=solver.noise)
        other.state = solver.state
        values = [value + bowl(x) - bowl(before) for x in solver.ask()]
        other.ask()
        other.tell(values)
        solver.tell(values, course.damping(spent))
        course.go_on(solver, spent)
        return other.params - before, solver.params - before

    points = []
    for spent, value, share in (
        (11, 9.0, 1),
        (50, 9.0, 0.8),
        (180, -20.0, 1),  # a gain of far more than a hundred times the noise
        (190, -20.0, 0.25),
        (195, -29.0, 0.25),
    ):
        whole, taken = take_step(spent, value)
        assert np.abs(whole).max() > 0
        np.testing.assert_allclose(taken, share * whole, rtol=1e-12)
        points.append(solver.params)
    mean = np.zeros(4)
    for step, point in enumerate(points, 1):
        mean += 4 / (step + 3) * (point - mean)
    take_step(200, -29.0)  # half of the budget
    assert solver.noise == pytest.approx(0.1)
    mean += 4 / 9 * (solver.params - mean)
    np.testing.assert_allclose(course.means[0], mean, rtol=1e-12)
    take_step(300, -29.0)
    np.testing.assert_array_equal(course.means[1], solver.params)
    assert len(course.candidates(solver)) * course.num_looks() == 20
    take_step(305, -1e6)
    assert course.num_looks() == 1


# --- host functions -------------------------------------------------------------------------------


def test_a_batch_is_one_callback():
    batches = []
    host = host_function(bowl)
    inner = host._evaluator

    class Watched:
        first_error, num_calls = None, 0

        def __call__(self, points, *rest):
            batches.append(len(points))
            return inner(points, *rest)

    host._evaluator = Watched()
    x = jnp.zeros(4)
    of_zosah, of_rspg = as_optax(METHOD, 1.0), as_optax(rspg(6), 0.01)
    for tx, sizes in ((of_zosah, [FIRST, OTHER, OTHER]), (of_rspg, [7, 7, 7])):
        batches.clear()
        state = tx.init(x)
        step = jax.jit(lambda x, s, tx=tx: tx.update(x, s, x, value_fn=host))
        for _ in range(3):
            _, state = step(x, state)
        assert batches == sizes
    batches.clear()
    one = as_optax(rspg(6), 0.01, zosah_jax.one_by_one())
    jax.jit(lambda x, s: one.update(x, s, x, value_fn=host))(x, one.init(x))
    assert batches == [1] * 7


def test_host_functions_of_pytrees_under_any_vmap():
    host = host_function(lambda p: float(p["a"].sum() + 10 * p["b"]))
    a, b = jnp.arange(6.0).reshape(3, 2), jnp.arange(4.0)
    many = jax.vmap(lambda a: jax.vmap(lambda b: host({"a": a, "b": b}))(b))(a)
    np.testing.assert_array_equal(many, a.sum(1)[:, None] + 10 * b[None, :])
    assert host.num_calls == 12
    assert host({"a": a[0], "b": b[0]}).shape == ()


def test_host_functions_that_fail():
    fun = Counted(failing=0.3)
    host = host_function(fun, retries=1)
    out = zosah_jax.minimize(host, np.zeros(4, np.float32), METHOD, budget=200)
    assert out.value < 1e-2
    assert host.num_calls == len(fun.calls) >= out.num_evaluations

    def broken(x):
        raise ZeroDivisionError("first")

    with pytest.raises(Exception, match=r"(?s)ObjectiveError.*first"):
        zosah_jax.minimize(host_function(broken), np.zeros(4, np.float32), METHOD, budget=41)
    with pytest.raises(TypeError, match="fun: got int"):
        host_function(3)
    with pytest.raises(ValueError, match="timeout: got one"):
        host_function(bowl, timeout=1.0)


def test_bounds_of_a_host_function_in_the_jitted_face():
    lower, upper = np.array([-1.5, -1.5]), np.array([0.5, 2.0])
    fun = Counted(lambda x: float(valley(x)))
    x0 = np.array([-1.2, 1.0], np.float32)
    out = zosah_jax.minimize(host_function(fun), x0, bounds=(lower, upper), budget=200)
    assert len(fun.calls) == out.num_evaluations
    assert (np.array(fun.calls) >= lower).all()
    assert (np.array(fun.calls) <= upper).all()
    np.testing.assert_allclose(out.params, [0.5, 0.25], atol=1e-3)


def test_a_large_batch_does_not_deadlock():
    host = host_function(lambda x: float(x @ x))
    values = jax.jit(jax.vmap(host))(jnp.ones((8, 300_000)))
    np.testing.assert_array_equal(values, 300_000)
