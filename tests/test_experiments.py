"""The experiments at tiny budgets: they run in-process, and keep what their READMEs say."""

import importlib
import json
import sys
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pooch
import pytest

import zosah_jax
from experiments import command, datasets, records, sweeps
from experiments.ablations import __main__ as ablations
from experiments.alignment import __main__ as alignment
from experiments.classics import __main__ as classics
from experiments.classics.functions import CLASSICS
from experiments.classics.table import ratios as classic_ratios
from experiments.curves import Curve, best_after, from_history, median, values_to_reach
from experiments.errors import InputError
from experiments.fewer_values import __main__ as fewer_values
from experiments.logistic_regression import __main__ as logistic
from experiments.logistic_regression.problem import gap_closed, prepare, run, target
from experiments.logistic_regression.run import COMPARED
from experiments.open_questions import __main__ as open_questions
from experiments.overhead import __main__ as overhead
from experiments.overhead.objectives import convolutional, logistic_regression, mlp
from experiments.readings import __main__ as readings
from experiments.readings.run import variants
from experiments.references import scipy_curve
from experiments.rosenbrock import __main__ as rosenbrock
from experiments.rosenbrock.run import path
from experiments.speed import __main__ as speed
from zosah_jax import PAPER_READING, History, rspg, zosah

NAMES = (
    "ablations",
    "alignment",
    "classics",
    "coco",
    "comparison",
    "control",
    "fewer_values",
    "fine_tuning",
    "http_attack",
    "logistic_regression",
    "open_questions",
    "overhead",
    "reaction_kinetics",
    "readings",
    "resnet_comparison",
    "robustness",
    "rosenbrock",
    "speed",
    "train_resnet",
)
PNG = b"\x89PNG"


def kept(folder):
    assert (folder / "figure.png").read_bytes().startswith(PNG)
    record = json.loads((folder / "results.json").read_text())
    assert set(record) == {"command", "config", "versions", "results"}
    assert set(record["versions"]) >= {"python", "jax", "jaxlib", "numpy", "scipy", "optax"}
    assert "out" not in record["config"]
    return record


# --- each experiment, tiny -----------------------------------------------------------------------


@pytest.mark.slow
def test_logistic_regression(tmp_path, capsys):
    config = logistic.Config(
        dataset=("breast_cancer",),
        rows=60,
        learning_rates=(0.3, 1.0),
        seeds=(0, 1),
        budget=6,
        out=tmp_path,
    )
    (tmp_path / "README.md").write_text("before\n<!-- table -->old<!-- /table -->\nafter\n")
    logistic.main(config)
    record = kept(tmp_path)
    assert record["command"] == (
        "python -m experiments.logistic_regression --dataset breast_cancer --rows 60 "
        "--learning-rates 0.3 1.0 --seeds 0 1 --budget 6"
    )
    found = record["results"]["datasets"]["breast_cancer"]
    assert [(e["method"], e["setting"]) for e in found["entries"]] == [
        ("zosah", "default"),
        *((method, "tuned") for method in COMPARED),
        ("L-BFGS-B", "reference"),
    ]
    for entry in found["entries"]:
        assert all(0 <= closed <= 1 + 1e-9 for closed in entry["gap_closed"])
        assert np.all(np.diff(entry["curve"]["median"]) >= 0)
    assert found["entries"][-1]["gap_closed"][0] > 0.5
    out, err = capsys.readouterr()
    assert "ZO-SAH, learning rate 1 (default)" in out
    assert "zosah on breast_cancer" in err  # the progress bar
    readme = (tmp_path / "README.md").read_text()
    assert "ZO-SAH, learning rate 1 (default)" in readme
    assert "old" not in readme
    assert readme.startswith("before")
    assert readme.endswith("after\n")


@pytest.mark.slow
def test_rosenbrock(tmp_path, capsys):
    config = rosenbrock.Config(
        seeds=(0, 1), budget=300, rspg_budget=200, rspg_learning_rates=(1e-3,), out=tmp_path
    )
    rosenbrock.main(config)
    results = kept(tmp_path)["results"]
    ours = results["methods"]["zosah"]
    assert len(ours["values"]) == 2
    assert all(best > 0 for curve in ours["curves"] for best in curve["best"])
    assert ours["path"][0] == [-1.2, 1.0]
    assert results["methods"]["rspg"]["median"] is None  # not within 200 values
    assert results["rspg_over_zosah"] is None
    assert results["references"]["BFGS"]["values"] < 200
    assert "SciPy COBYQA" in capsys.readouterr().out


@pytest.mark.slow
def test_fewer_values(tmp_path, monkeypatch, capsys):
    config = fewer_values.Config(
        datasets=("breast_cancer",),
        rows=60,
        budget=8,
        rosenbrock=(2,),
        quadratics=1,
        valley_budget=20,
        seeds=(0, 1),
        methods=("rspg",),
        learning_rates=(0.1, 1.0),
        out=tmp_path,
    )
    fewer_values.main(config)
    results = kept(tmp_path)["results"]
    data, (zigzag, _, bowl) = results["data"]["breast_cancer"], results["valleys"]
    assert np.shape(data["zopqn"]) == (4, 2)
    assert max(data["zopqn"][0]) < data["lbfgsb"][0]
    assert set(zigzag["peers"]) == {"L-BFGS-B", "BFGS", "COBYQA", "Nelder-Mead", "CMA-ES"}
    assert zigzag["zopqn"] == [None, None]  # not within 40 values
    assert bowl["dimension"] == 100
    (entry,) = data["methods"]
    assert (entry["method"], entry["setting"]) == ("rspg", "tuned")
    assert entry["learning_rate"] in config.learning_rates
    assert np.shape(entry["values"]) == (4, 2)
    assert "worst" in capsys.readouterr().out

    monkeypatch.setattr(records, "kept", lambda name: results)
    fewer_values.main(replace(config, only=("methods",), out=tmp_path / "part"))
    assert kept(tmp_path / "part") == kept(tmp_path)
    with pytest.raises(InputError, match="wanted the kept results of breast_cancer"):
        fewer_values.main(replace(config, only=("methods",), budget=9, out=tmp_path / "part"))
    with pytest.raises(InputError, match="only: got 'scipy', wanted one of zopqn, peers, methods"):
        fewer_values.main(replace(config, only=("scipy",)))
    with pytest.raises(InputError, match="methods: got 'zopqn', wanted one of zosah"):
        fewer_values.main(replace(config, methods=("zopqn",)))


@pytest.mark.slow
def test_classics(tmp_path, capsys):
    config = classics.Config(
        functions=("TRIDIA",), dimension=8, budget=60, seeds=(0, 4), gaps=(0.1, 1e-3), out=tmp_path
    )
    classics.main(config)
    results = kept(tmp_path)["results"]
    usual, other = results["functions"]["TRIDIA"]
    assert usual["start"] != other["start"]
    np.testing.assert_allclose([usual["optimum"], other["optimum"]], 0, atol=1e-8)
    for one in (usual, other):
        assert all(first < second <= 480 for first, second in one["values"].values())
    np.testing.assert_allclose(
        classic_ratios(results, "BFGS")[0],
        np.divide(usual["values"]["zopqn"], usual["values"]["BFGS"]),
    )
    assert "TRIDIA" in capsys.readouterr().out
    with pytest.raises(InputError, match="functions: got 'Beale', wanted one of ARWHEAD"):
        classics.main(replace(config, functions=("Beale",)))
    with pytest.raises(InputError, match="dimension: got 10, wanted a multiple of 4"):
        classics.main(replace(config, dimension=10))


@pytest.mark.parametrize(
    ("name", "minimum"),
    [
        ("Brown, almost linear", 1.0),
        ("Rosenbrock, chained", 1.0),
        ("Rosenbrock, extended", 1.0),
        ("NONDIA", 1.0),
        ("Powell, singular", 0.0),
        ("variably dimensioned", 1.0),
        ("Wood", 1.0),
        ("Zakharov", 0.0),
    ],
)
def test_classic_functions_vanish_where_they_should(x64, name, minimum):
    fun, start = CLASSICS[name]
    assert float(fun(jnp.full(12, minimum))) == 0
    assert np.abs(jax.grad(fun)(jnp.full(12, minimum))).max() == 0
    assert start(12).shape == (12,)
    assert float(fun(jnp.asarray(start(12)))) > 0.5


@pytest.mark.slow
def test_overhead(tmp_path, monkeypatch, capsys):
    from experiments.overhead import run

    tiny = {"tiny": partial(logistic_regression, rows=20, dimension=8)}
    monkeypatch.setattr(run, "OBJECTIVES", tiny)
    monkeypatch.setattr(run, "SUBSPACE_DIM", 8)
    monkeypatch.setattr(run, "LARGE", 8)
    monkeypatch.setattr(run, "logistic_regression", tiny["tiny"])
    overhead.main(overhead.Config(chunks=(4,), repeats=1, step_repeats=1, out=tmp_path))
    results = kept(tmp_path)["results"]
    assert set(results["cost_of_a_value"]["tiny"]["ratios"]) == {
        "one by one",
        "chunks of 4",
        "all at once",
        "automatic",
    }
    first, *others = results["step"]["values_of_steps"]
    assert first > 9
    assert set(others) == {9}
    assert results["step"]["ratio"] > 0
    assert "ratio: median" in capsys.readouterr().out


@pytest.mark.slow
def test_speed_and_the_same_bits_on_a_mesh_and_by_two_processes(tmp_path, capsys):
    config = speed.Config(
        network="convnet",
        batch_size=4,
        num_probes=8,
        subspace_dim=8,
        repeats=1,
        largest=2_000_000,
        devices=4,
        out=tmp_path,
    )
    speed.main(config)
    results = kept(tmp_path)["results"]
    assert results["mesh"]["same_bits_on_devices"]
    assert results["mesh"]["same_bits_by_two_processes"]
    assert 1 <= results["mesh"]["operations_ratio"] < 1.1
    assert results["memory"]["step_bytes"] > 0
    assert results["update"]["values"] == [21, 9, 9, 9, 9]
    assert {"forward", "one by one", "grouped"} < set(results["values"])
    assert "bit by bit" in capsys.readouterr().out
    with pytest.raises(InputError, match="deepzero"):
        speed.main(replace(config, deepzero=tmp_path))


@pytest.mark.slow
def test_readings(tmp_path, monkeypatch, capsys):
    from experiments.readings import run

    monkeypatch.delenv("ZOSAH_DATA", raising=False)
    monkeypatch.setattr(run, "variants", lambda: {"default": {}, "period=2": {"period": 2}})
    readings.main(
        readings.Config(dataset=("breast_cancer",), rows=60, seeds=(0,), budget=4, out=tmp_path)
    )
    results = kept(tmp_path)["results"]
    assert set(results["prices_in_d"]) == {"default", "period=2"}
    assert results["mean_price_in_d"]["default"]["breast_cancer"] > 0
    assert "period=2" in capsys.readouterr().out


@pytest.mark.slow
def test_a_sweep_is_minimize_by_task_value_and_seed(x64):
    tasks = [sweeps.dense(condition, 4) for condition in (1.0, 100.0)]
    make = sweeps.second_differences(3)
    found = sweeps.sweep(tasks, make, (0, 5), 12, option="eigenvalue_floor", values=(0.03, 0.5))
    steps = np.diff(found[0][0][0].spent)[:-1]
    assert set(steps) == {6}  # m = 2: base, 2 forward, 3 fresh, at every step
    task, tx = tasks[1], make(eigenvalue_floor=0.5)
    out = zosah_jax.minimize(lambda x: task.fun(x, task.data), task.x0, tx, budget=48, key=5)
    curve = found[1][1][1]
    np.testing.assert_array_equal(curve.spent, out.history.num_evaluations)
    np.testing.assert_allclose(curve.best, out.history.best_value, rtol=1e-6)
    assert task.optimum <= curve.best[-1] < task.start
    assert found[0][0][0].best[-1] < 1e-9 * tasks[0].start  # of condition 1: one step


@pytest.fixture
def no_runs(monkeypatch, tmp_path):
    """Sweeps whose curves close the gap by half with each step, and a folder to write to."""

    def sweep(tasks, constructor, seeds, budget, option=None, values=(0.0,)):
        constructor(**({} if option is None else {option: values[0]}))
        spent = np.arange(4, budget * tasks[0].dimension, 4)

        def curve(task, seed):
            left = 0.5 ** (np.arange(len(spent)) / (1 + seed))
            return Curve(spent, task.optimum + left * (task.start - task.optimum))

        return [[[curve(task, seed) for seed in seeds] for _ in values] for task in tasks]

    monkeypatch.delenv("ZOSAH_DATA", raising=False)
    monkeypatch.setattr(sweeps, "sweep", sweep)
    return tmp_path


def test_ablations(no_runs, capsys):
    ablations.main(ablations.Config(dataset=("breast_cancer",), rows=60, budget=9, out=no_runs))
    problems = kept(no_runs)["results"]["problems"]
    assert list(problems) == ["Rosenbrock", "breast_cancer", "network"]
    assert list(problems["Rosenbrock"]["subspace_dim"]) == ["2", "4", "10", "16", "20"]
    assert list(problems["network"]["period"]) == ["5", "10", "20", "50", "100"]
    assert problems["network"]["values_per_step"]["fitted, T = 5"] == 4
    out, err = capsys.readouterr()
    assert "second differences, T = 20" in out
    assert "60/60" not in err


def test_open_questions(no_runs, capsys):
    config = open_questions.Config(dataset=("breast_cancer",), rows=60, budget=9, out=no_runs)
    open_questions.main(replace(config, conditions=(1.0, 10.0, 1e2)))
    results = kept(no_runs)["results"]
    assert list(results["larger"]) == [
        "condition 10",
        "condition 100",
        "blocks of 4",
        "breast_cancer",
    ]
    assert list(results["larger"]["condition 10"]) == ["2", "3", "4", "6", "8"]
    assert len(results["online"]["condition 1"]["online"]) == 3
    assert set(results["chosen"]["blocks of 2"]["ways"]) == {"random", "learnt", "known"}
    assert set(results["chosen"]["breast_cancer"]["ways"]) == {"random", "learnt"}
    assert "known" in capsys.readouterr().out


def test_the_paper_readings_cover_every_option():
    every = variants()
    alone = {name: options for name, options in every.items() if "PAPER" not in name}
    together = {}
    for options in alone.values():
        together |= options
    assert together == PAPER_READING
    assert every["eigenvalue_floor=0.1, floor='paper'"].keys() == {"eigenvalue_floor", "floor"}
    for options in every.values():
        zosah(1.0, **options)


@pytest.mark.parametrize("make", [partial(mlp, (4, 6, 10), 2), partial(convolutional, 2)])
def test_objectives_of_the_benchmark_are_scalar(make):
    objective = make()
    value = jax.eval_shape(objective.value, objective.params, objective.data)
    assert (value.shape, value.dtype) == ((), np.float32)


# --- what they share -----------------------------------------------------------------------------


def test_problem_and_run():
    problem = prepare("breast_cancer", 50, None, 1e-2)
    assert problem.dimension == 31
    assert problem.start == pytest.approx(np.log(2))
    assert problem.optimum < problem.start
    assert target(problem, 1.0) == pytest.approx(problem.optimum)
    curve = run(problem, rspg, 0.1, seed=0, budget=40)
    assert curve.spent[0] == 1
    assert curve.best[0] == pytest.approx(np.log(2))
    assert curve.spent[-1] <= 40
    assert gap_closed(problem, curve, np.array([0, 40]))[0] == 0


def test_path_is_that_of_the_counted_run(x64):
    from experiments.rosenbrock.run import rosenbrock as valley
    from zosah_jax import minimize

    stood = path(rspg, 1e-3, seed=3, values=21)
    result = minimize(valley, jnp.array([-1.2, 1.0]), rspg(1e-3), budget=21, key=3)
    assert len(stood) == len(result.history.value)
    assert valley(np.array(stood[-1])) == pytest.approx(float(result.value), rel=1e-2)


@pytest.mark.slow
def test_alignment(tmp_path, capsys):
    config = alignment.Config(
        seeds=(0,), steps=4, looks=2, draws=3, subspace_dim=2, samples=1, out=tmp_path
    )
    alignment.main(config)
    results = kept(tmp_path)["results"]
    (run,) = results["runs"]
    assert results["step"] == [0, 4]
    assert results["dimension"] == sum(results["block_sizes"])
    shares = np.array(results["block_sizes"]) / results["dimension"]
    np.testing.assert_allclose(run["each block"] @ shares, [1, 1], rtol=1e-4)
    assert all(run["pairs"]["low"][i] <= run["pairs"]["high"][i] for i in (0, 1))
    assert "dense directions" in capsys.readouterr().out


def test_curves():
    values, best = jnp.array([3.0, 1.0, jnp.nan]), jnp.array([3.0, 1.0, jnp.inf])
    history = History(values, best, jnp.array([1, 4, 0]))
    curve = from_history(history)
    assert curve.spent.tolist() == [1, 4]
    assert values_to_reach(curve, 1.0) == 4
    assert values_to_reach(curve, 0.5) is None
    assert best_after(curve, np.array([0, 1, 3, 4, 9])).tolist() == [np.inf, 3, 3, 1, 1]
    assert median([1, None, 3]) == 3
    assert median([None, None, 3]) == np.inf


@pytest.mark.parametrize("method", ["BFGS", "COBYQA", "L-BFGS-B"])
def test_every_value_of_scipy_counts(method):
    calls = []

    def fun(x):
        calls.append(x)
        return float(((x - 1) ** 2).sum())

    curve = scipy_curve(fun, np.zeros(3), method, 17)
    assert isinstance(curve, Curve)
    assert len(calls) == len(curve.spent) <= 17
    assert np.all(np.diff(curve.best) <= 0)


def test_default_config_writes_beside_the_code_and_others_do_not(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert records.folder("rosenbrock", rosenbrock.Config()).parent.name == "experiments"
    changed = records.folder("rosenbrock", rosenbrock.Config(budget=3))
    assert changed.resolve() == tmp_path / "runs" / "rosenbrock"
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="out: got"):
        records.folder("rosenbrock", rosenbrock.Config(out=tmp_path / "file"))


@pytest.mark.parametrize("name", NAMES)
def test_kept_results_are_of_the_default_config(name):
    config = importlib.import_module(f"experiments.{name}.__main__").Config()
    folder = records._EXPERIMENTS / name
    record = kept(folder)
    assert record["config"] == records._settings(config)
    assert (folder / "results.json").stat().st_size < 100_000
    assert (folder / "figure.png").stat().st_size < 200_000
    text = (folder / "results.json").read_text() + (folder / "README.md").read_text()
    assert str(records._EXPERIMENTS.parent) not in text  # a path of the machine that made it


@pytest.mark.parametrize("name", NAMES)
def test_readme_tables_are_those_of_the_kept_results(name):
    tables = importlib.import_module(f"experiments.{name}.table").tables
    readme = (records._EXPERIMENTS / name / "README.md").read_text()
    for table in tables(records.read(records._EXPERIMENTS / name)["results"]).values():
        assert table in readme


# --- bad input -----------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path, monkeypatch):
    """An empty data folder, and no network."""
    monkeypatch.delenv("ZOSAH_DATA", raising=False)

    def offline(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(pooch, "retrieve", offline)
    return tmp_path


GOOD = "+1 1:0.5 60:1\n-1 2:1 3:-1\n"


@pytest.mark.parametrize("sub", ["", "libsvm"])
@pytest.mark.parametrize("named", ["option", "variable"])
def test_libsvm_file_is_read(data, monkeypatch, sub, named):
    (data / sub).mkdir(exist_ok=True)
    (data / sub / "splice").write_text(GOOD)
    if named == "variable":
        monkeypatch.setenv("ZOSAH_DATA", str(data))
    features, labels = datasets.load("splice", 10, data if named == "option" else None)
    order = np.argsort(labels)
    assert labels[order].tolist() == [-1, 1]
    assert features.shape == (2, 61)
    assert features[order][1, [0, 59, 60]].tolist() == [0.5, 1, 1]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("+1 1:abc", "abc"),
        ("hello world", "hello"),
        ("+1 61:1", "61"),
        ("+1 0:1", "0"),
        ("+1 1:nan", "not finite"),
        ("<!DOCTYPE html>", "DOCTYPE"),
    ],
)
@pytest.mark.parametrize("number", [1, 3, 5])
def test_malformed_line_is_named(data, line, fault, number):
    lines = (GOOD * 2).splitlines()
    lines.insert(number - 1, line)
    (data / "splice").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=rf"splice, line {number}: .*{fault}"):
        datasets.load("splice", 10, data)


@pytest.mark.parametrize("content", ["", "+1 1:1\n+1 2:1\n", "1 1:1\n2 1:1\n3 1:1\n"])
def test_file_without_two_labels(data, content):
    (data / "splice").write_text(content)
    with pytest.raises(InputError, match=r"splice: got \d distinct labels, wanted two"):
        datasets.load("splice", 10, data)


def test_too_few_rows_for_two_labels(data):
    with pytest.raises(InputError, match="rows: got 1, wanted enough"):
        datasets.load("digits", 1, None)


def test_unknown_dataset_lists_the_known(data):
    with pytest.raises(InputError, match=r"dataset: got 'iris', wanted one of .*digits.*a9a"):
        datasets.load("iris", 10)


def test_missing_folder(data):
    with pytest.raises(InputError, match=r"data_dir: got .*nowhere"):
        datasets.load("a9a", 10, data / "nowhere")


def test_offline_says_what_was_tried(data):
    with pytest.raises(InputError, match=r"(?s)libsvm.*csie\.ntu.*no route.*--data-dir"):
        datasets.load("a9a", 10, data)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--budget", "0"], "error: budget: got 0, wanted a positive number."),
        (["--seeds"], "error: seeds: got nothing"),
        (["--learning-rates", "-1"], "error: learning_rates: got -1.0"),
        (["--dataset", "iris"], "error: dataset: got 'iris'"),
    ],
)
def test_command_line_shows_no_traceback(data, monkeypatch, arguments, says):
    monkeypatch.chdir(data)
    monkeypatch.setattr(sys, "argv", ["logistic_regression", *arguments])
    with pytest.raises(SystemExit) as end:
        command.run(logistic.main, logistic.Config)
    assert str(end.value.code).startswith(says)
