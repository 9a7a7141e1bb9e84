"""Runs that are killed go on where they were, and end with the same bits."""

import json
import random
import shutil

import numpy as np
import pytest

import zosah_jax
from experiments.robustness import killed
from zosah_jax import OtherProblem, minimize_blackbox

BUDGET = 600


def logged(folder):
    lines = (folder / killed.LOG).read_bytes().split(b"\n")[1:-1]
    return [tuple(json.loads(line)["at"]) for line in lines]


@pytest.mark.slow
def test_killed_at_any_moment_and_resumed_it_ends_bitwise_equal(tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    expected = killed.finish(whole, BUDGET)
    assert expected["n"] == len(logged(whole))
    folder.mkdir()
    rng = random.Random(0)
    kills = sum(
        killed.kill(folder, BUDGET, share)  # early, so that a busy machine is in time for one
        for share in sorted((rng.random() / 2, rng.random() / 2))
    )
    assert kills
    found = killed.finish(folder, BUDGET)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    places = logged(folder)
    assert len(set(places)) == len(places) == expected["n"]  # none lost, none asked twice
    calls = (folder / "calls").read_text().splitlines()
    assert expected["n"] <= len(calls) <= expected["n"] + kills  # one was under way at each kill


# --- in one process, which is cheaper -------------------------------------------------------------

TX = zosah_jax.zosah(0.5, 4, 2)
X0 = np.zeros(4)


def bowl(x):
    return float(((x - np.arange(4)) ** 2 * np.array([1, 5, 2, 9])).sum() + np.sin(3 * x).sum())


class Killed(BaseException):
    """What no code may catch."""


def run(folder, stop_after=None, fun=bowl, tx=TX, **options):
    calls = []

    def counted(x):
        if stop_after is not None and len(calls) == stop_after:
            raise Killed
        calls.append(x)
        return fun(x)

    settings = {"budget": 120, "noise": 0, "checkpoint": folder, "seconds_between_checkpoints": 0}
    try:
        out = minimize_blackbox(counted, X0, tx, **{**settings, **options})
    except Killed:
        out = None
    return out, len(calls)


def assert_same(one, other):
    assert one.status == other.status
    for name in ("params", "value", "best_params", "best_value", "num_evaluations"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for a, b in zip(one.history, other.history, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    return *run(folder), folder


@pytest.mark.parametrize("after", [3, 60])
@pytest.mark.parametrize("lost", ["nothing", "the checkpoints", "the log"])
def test_a_run_that_stops_anywhere_goes_on(tmp_path, whole, after, lost):
    out, calls, _ = whole
    folder = tmp_path / "run"
    _, before = run(folder, stop_after=after)
    if lost == "the checkpoints":
        shutil.rmtree(folder / "steps")
    if lost == "the log":
        (folder / "values.jsonl").unlink()
    again, rest = run(folder)
    assert_same(again, out)
    assert before == after
    if lost != "the log":
        assert before + rest == calls
    else:
        assert rest < calls or after == 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of orbax's threads
@pytest.mark.parametrize("damage", ["cut", "flipped", "removed"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, whole, damage):
    out, calls, _ = whole
    folder = tmp_path / "run"
    _, before = run(folder, stop_after=60)
    steps = sorted(int(p.name) for p in (folder / "steps").iterdir() if p.name.isdigit())
    assert len(steps) >= 2
    files = [p for p in (folder / "steps" / str(steps[-1])).rglob("*") if p.is_file()]
    for path in files:
        data = path.read_bytes()
        if damage == "cut":
            path.write_bytes(data[: len(data) // 2])
        elif damage == "flipped":
            path.write_bytes(bytes(b ^ 1 for b in data))
        elif "ocdbt" in path.name or path.parent.name == "d":
            path.unlink()
    with pytest.warns(UserWarning, match=rf"{steps[-1]} is damaged .* going back"):
        again, rest = run(folder)
    assert_same(again, out)
    assert before + rest == calls


def test_a_checkpoint_of_another_problem_is_refused(whole):
    _, _, folder = whole
    (log := folder / "values.jsonl").rename(folder / "kept")
    try:
        with pytest.raises(OtherProblem, match=r"checkpoint .*method"):
            run(folder, key=9)
        log.unlink(missing_ok=True)
        with pytest.raises(OtherProblem, match="shape of x0"):
            minimize_blackbox(bowl, np.zeros(5), TX, budget=50, noise=0, checkpoint=folder)
    finally:
        (folder / "kept").rename(log)


def test_a_finished_run_asks_nothing_again(whole):
    out, _, folder = whole
    again, calls = run(folder)
    assert calls == 0
    assert_same(again, out)


def rough(x):
    return bowl(x) + 0.1 * np.sin(1e7 * x.sum())


def test_a_noisy_run_goes_on_as_it_began_also_with_a_larger_budget(tmp_path):
    def run_to(folder, budget, **options):
        seen = []
        out, calls = run(
            folder,
            fun=rough,
            tx=None,
            noise=0.1,
            budget=budget,
            callback=lambda p: seen.append(p.params),
            **options,
        )
        return out, calls, np.asarray(seen)

    whole, calls, path = run_to(tmp_path / "whole", 120)
    assert calls == whole.num_evaluations
    assert run_to(tmp_path / "run", 120, stop_after=90)[0] is None  # in the second half
    again, rest, _ = run_to(tmp_path / "run", 120)
    assert_same(again, whole)
    assert 90 + rest == calls
    shutil.rmtree(tmp_path / "run" / "steps")  # so that the log alone is gone through
    more, rest, longer = run_to(tmp_path / "run", 160)
    np.testing.assert_array_equal(longer[: len(path)], path)
    looks = 4  # at the points that might have been the result
    assert rest == more.num_evaluations - (whole.num_evaluations - looks)
