"""Every experiment: what is kept, what its README says, and runs at tiny budgets in-process."""

import ast
import doctest
import importlib
import json
import sys
from dataclasses import fields, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pooch
import pytest

import zosah_jax
from experiments import __main__ as runner
from experiments import experiment
from experiments.benchmarks.ablations import experiment as ablations
from experiments.benchmarks.classics import experiment as classics
from experiments.benchmarks.fewer_values import experiment as fewer_values
from experiments.benchmarks.least_squares import experiment as residual_vectors
from experiments.benchmarks.logistic_regression import experiment as logistic_regression
from experiments.benchmarks.open_questions import experiment as open_questions
from experiments.benchmarks.overhead import experiment as overhead
from experiments.benchmarks.overhead.objectives import convolutional, mlp
from experiments.benchmarks.overhead.objectives import logistic_regression as random_rows
from experiments.benchmarks.readings import experiment as readings
from experiments.benchmarks.rosenbrock import experiment as rosenbrock
from experiments.common import batches, datasets, problems, records, sweeps
from experiments.common.curves import Curve, best_after, curve_of, median, values_to_reach
from experiments.common.errors import InputError
from experiments.common.functions import CLASSICS
from experiments.common.functions import rosenbrock as valley
from experiments.common.residual_solvers import Recorded, dfols, scipy_least_squares
from experiments.common.solvers import Counted, Over, cma_curve, scipy_curve
from experiments.examples.fine_tuning import model as language_model
from experiments.examples.train_resnet import experiment as train_resnet
from zosah_jax import Status, minimize, rspg
from zosah_jax.methods.zosah.reading import PAPER

NAMES = experiment.names()
PNG = b"\x89PNG"


def kept(folder):
    assert (folder / "figure.png").read_bytes().startswith(PNG)
    record = json.loads((folder / "results.json").read_text())
    assert set(record) == {"command", "config", "versions", "results"}
    assert set(record["versions"]) >= {"python", "jax", "jaxlib", "numpy", "scipy", "optax"}
    assert "out" not in record["config"]
    return record


def run(name, config, folder):
    """The results of a run, kept in a folder."""
    experiment.run(experiment.load(name), replace(config, out=folder))
    return kept(folder)["results"]


# --- all experiments -----------------------------------------------------------------------------


def test_there_are_twenty():
    assert len(NAMES) >= 19
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_shape(name):
    one = experiment.load(name)
    assert one.name == name
    assert issubclass(one.Config, experiment.Config)
    source = (records.own_folder(name) / "experiment.py").read_text()
    (own,) = (n for n in ast.parse(source).body if getattr(n, "name", None) == "Config")
    written = [n for n in own.body if isinstance(n, ast.AnnAssign)]
    told = [n for n in own.body if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)]
    assert len(told) == len(written) + 1  # a docstring of its own, and one a field
    assert {n.target.id for n in written} == {f.name for f in fields(one.Config)} - {"out"}
    experiment.check(one.Config())


@pytest.mark.parametrize("name", NAMES)
def test_no_experiment_imports_another(name):
    for path in records.own_folder(name).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            if module and module.startswith(("experiments.benchmarks", "experiments.examples")):
                assert module.split(".")[2] == name, (path, module)


@pytest.mark.parametrize("name", NAMES)
def test_kept_results_are_of_the_default_config_and_fill_the_readme(name):
    one, folder = experiment.load(name), records.own_folder(name)
    record = kept(folder)
    assert record["config"] == records.settings(one.Config())
    assert record["command"].startswith(f"python -m experiments {name}")
    assert (folder / "results.json").stat().st_size < 100_000
    assert (folder / "figure.png").stat().st_size < 200_000
    readme = (folder / "README.md").read_text()
    text = (folder / "results.json").read_text() + readme
    assert str(experiment.HERE.parent) not in text  # a path of the machine that made it
    assert records.how(record) in readme
    for marker, table in one.tables(record["results"]).items():
        assert f"<!-- {marker} -->\n\n{table}\n\n<!-- /{marker} -->" in readme
    if one.summary is not None:
        whole = (experiment.HERE / "README.md").read_text()
        assert f"<!-- {name} -->\n\n{one.summary(record['results'])}\n\n" in whole


@pytest.mark.parametrize("name", NAMES)
def test_readme_lists_it_and_its_links_lead_somewhere(name):
    assert f"`python -m experiments {name}`" in (experiment.HERE / "README.md").read_text()
    folder = records.own_folder(name)
    for part in (folder / "README.md").read_text().split("](")[1:]:
        link = part.split(")")[0].split("#")[0]
        assert link.startswith("http") or (folder / link).exists(), link


def test_listed_without_importing(capsys):
    runner.main([])
    told = capsys.readouterr().out
    assert all(f"  {name} " in told for name in NAMES)


# --- each, tiny ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_logistic_regression(tmp_path, capsys):
    (tmp_path / "README.md").write_text("before\n<!-- table -->old<!-- /table -->\nafter\n")
    options = "--dataset breast_cancer --rows 60 --learning-rates 0.3 1.0 --seeds 0 1 --budget 6"
    runner.main(["logistic_regression", *options.split(), "--out", str(tmp_path)])
    record = kept(tmp_path)
    assert record["command"] == f"python -m experiments logistic_regression {options}"
    found = record["results"]["datasets"]["breast_cancer"]
    assert [(e["method"], e["setting"]) for e in found["entries"]] == [
        ("zosah", "default"),
        *((method, "tuned") for method in logistic_regression.COMPARED),
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
        seeds=(0, 1), budget=300, rspg_budget=200, rspg_learning_rates=(1e-3,)
    )
    results = run("rosenbrock", config, tmp_path)
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
    )
    results = run("fewer_values", config, tmp_path)
    data, (zigzag, _, bowl) = results["data"]["breast_cancer"], results["valleys"]
    assert np.shape(data["zopqn"]) == (4, 2)
    assert max(data["zopqn"][0]) < data["lbfgsb"][0]
    assert set(zigzag["peers"]) == {"L-BFGS-B", "BFGS", "COBYQA", "Nelder-Mead", "CMA-ES"}
    assert zigzag["zopqn"] == zigzag["default"] == [None, None]  # not within 40 values
    assert bowl["dimension"] == 100
    (entry,) = data["methods"]
    assert (entry["method"], entry["setting"]) == ("rspg", "tuned")
    assert entry["learning_rate"] in config.learning_rates
    assert np.shape(entry["values"]) == (4, 2)
    assert "worst" in capsys.readouterr().out

    monkeypatch.setattr(records, "kept", lambda name: results)
    part = replace(config, only=("methods",))
    run("fewer_values", part, tmp_path / "part")
    assert kept(tmp_path / "part") == kept(tmp_path)
    with pytest.raises(InputError, match="wanted the kept results of breast_cancer"):
        fewer_values.measure(replace(part, budget=9))
    with pytest.raises(InputError, match="only: got 'scipy', wanted one of zopqn, peers, methods"):
        fewer_values.measure(replace(config, only=("scipy",)))
    with pytest.raises(InputError, match="methods: got 'zopqn', wanted one of zosah"):
        fewer_values.measure(replace(config, methods=("zopqn",)))


@pytest.mark.slow
def test_classics(tmp_path, capsys):
    config = classics.Config(
        functions=("TRIDIA",),
        dimension=8,
        budget=60,
        seeds=(0, 4),
        gaps=(0.1, 1e-3),
        others=("block_newton",),
        others_budget=40,
    )
    results = run("classics", config, tmp_path)
    usual, other = results["functions"]["TRIDIA"]
    assert usual["start"] != other["start"]
    np.testing.assert_allclose([usual["optimum"], other["optimum"]], 0, atol=1e-8)
    for one in (usual, other):
        assert all(first < second <= 480 for first, second in one["values"].values())
        assert max(one["values"]["block_newton"]) <= 320
    np.testing.assert_allclose(
        classics.ratios(results, "BFGS")[0],
        np.divide(usual["values"]["zopqn"], usual["values"]["BFGS"]),
    )
    assert "TRIDIA" in capsys.readouterr().out
    with pytest.raises(InputError, match="functions: got 'Beale', wanted one of ARWHEAD"):
        classics.measure(replace(config, functions=("Beale",)))
    with pytest.raises(InputError, match="dimension: got 10, wanted a multiple of 4"):
        classics.measure(replace(config, dimension=10))


@pytest.mark.slow
def test_least_squares(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("ZOSAH_DATA", raising=False)
    config = residual_vectors.Config(problems=("BoxBOD", "Rosenbrock", "Meyer"), budget=60)
    results = run("least_squares", config, tmp_path)  # without NIST's data
    rosenbrock, meyer = results["more_garbow_hillstrom"]
    assert results["nist"] == []
    assert rosenbrock["smallest"] == pytest.approx(0, abs=1e-20)
    assert meyer["smallest"] == pytest.approx(87.9458, rel=1e-4)
    assert set(rosenbrock["evaluations"]) == {"least_squares", *residual_vectors.PEERS}
    assert residual_vectors.needed(rosenbrock, "least_squares") < 60
    assert 0 < residual_vectors.ratios([rosenbrock], "SciPy lm")[0] < 1
    assert all(len(of) == 2 for name, of in meyer["evaluations"].items() if name[0] in "DS")
    out, err = capsys.readouterr()
    assert "Rosenbrock" in out
    assert "NIST's problems are left out" in err

    monkeypatch.setattr(records, "kept", lambda name: results)
    part = replace(config, only=("least_squares",))
    run("least_squares", part, tmp_path / "part")
    assert kept(tmp_path / "part") == kept(tmp_path)
    with pytest.raises(InputError, match="wanted the kept results of Rosenbrock"):
        residual_vectors.measure(replace(part, budget=61))
    with pytest.raises(InputError, match="problems: got NIST's alone"):
        residual_vectors.measure(replace(config, problems=("BoxBOD",)))
    with pytest.raises(InputError, match="problems: got 'Beal', wanted one of Bennett5"):
        residual_vectors.measure(replace(config, problems=("Beal",)))
    with pytest.raises(InputError, match=r"data_dir: .*BoxBOD.dat cannot be read"):
        residual_vectors.measure(replace(config, data_dir=tmp_path))


NIST_FORM = """NIST/ITL StRD
  Starting Values  Certified Values
  b1 =   1         100           2.1380940889E+02  1.2354515176E+01
  b2 =   1           0.75        5.4723748542E-01  1.0455993237E-01
Data:   y             x
      109             1
      149             2
      149             3
      191             5
      213             7
      224            10
"""


@pytest.mark.slow
def test_least_squares_on_nist(tmp_path, capsys):
    folder = tmp_path / "nist"
    folder.mkdir()
    (folder / "BoxBOD.dat").write_text(NIST_FORM)
    config = residual_vectors.Config(problems=("BoxBOD",), data_dir=tmp_path)
    results = run("least_squares", config, tmp_path / "out")
    first, second = results["nist"]
    assert (first["start"], second["start"], first["residuals"]) == (1, 2, 6)
    assert residual_vectors.needed(second, "least_squares") < 30
    (off,) = residual_vectors.deviations_off_by([second]).values()
    assert off < 1e-3
    assert "BoxBOD" in capsys.readouterr().out


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("name", ["trf", "DFO-LS"])
def test_every_evaluation_of_residuals_counts(name, settled, capfd):
    calls = []

    def line(x):
        calls.append(x)
        return np.array([x[0] - 1, 10 * (x[1] - x[0] ** 2), 0.1 * x[2]])

    solve = dfols() if name == "DFO-LS" else scipy_least_squares("trf")
    recorded = Recorded(line, 9, lambda point, total: settled and total < 120)
    solve(recorded, np.array([-1.0, 0.5, 1.0]), (-2.0, 2.0))
    assert len(calls) == len(recorded.sums) <= 9
    assert np.abs(calls).max() <= 2
    assert recorded.best[0] == min(recorded.sums)
    assert recorded.solved_after == (len(calls) if settled else None)
    assert recorded.first_within(recorded.best[0]) == int(np.argmin(recorded.sums)) + 1
    assert recorded.first_within(-1.0) is None
    assert capfd.readouterr() == ("", "")


def test_residuals_that_are_not_finite_are_the_worst():
    recorded = Recorded(lambda x: np.array([np.nan, x[0]]), 1)
    recorded(np.zeros(1))
    assert recorded.sums == [np.inf]
    with pytest.raises(Over):
        recorded(np.zeros(1))


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
    tiny = {"tiny": partial(random_rows, rows=20, dimension=8)}
    monkeypatch.setattr(overhead, "OBJECTIVES", tiny)
    monkeypatch.setattr(overhead, "SUBSPACE_DIM", 8)
    monkeypatch.setattr(overhead, "LARGE", 8)
    monkeypatch.setattr(overhead, "logistic_regression", tiny["tiny"])
    config = overhead.Config(chunks=(4,), repeats=1, step_repeats=1)
    results = run("overhead", config, tmp_path)
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
    for found in results["own_work"]["methods"].values():
        assert sum(found["steps"].values()) == 30
        assert found["ratio"] > 0
    assert "ratio: median" in capsys.readouterr().out


@pytest.mark.slow
def test_population(tmp_path, monkeypatch, capsys):
    population = importlib.import_module("experiments.benchmarks.population.experiment")
    monkeypatch.setattr(population, "_PERCEPTRON", (16, 8, 10))
    config = population.Config(
        width=16, layers=1, length=8, members=4, repeats=1, budget=64, seeds=(0, 1)
    )
    results = run("population", config, tmp_path)
    assert len(results["objectives"]) == 3
    for found in results["objectives"].values():
        assert {"dense, one by one", "low rank, one product"} < set(found["ratios"])
        assert found["of_dense"]["ratio"] > 0
    for method in ("mezo", "rspg", "fzoo"):
        assert all(len(found["losses"]) == 2 for found in results["learning"][method].values())
    assert "loss after 64 values" in capsys.readouterr().out


@pytest.mark.slow
def test_speed_and_the_same_bits_on_a_mesh_and_by_two_processes(tmp_path, capsys):
    speed = experiment.load("speed")
    config = speed.Config(
        network="convnet",
        batch_size=4,
        num_probes=8,
        subspace_dim=8,
        repeats=1,
        largest=2_000_000,
        devices=4,
    )
    results = run("speed", config, tmp_path)
    assert results["mesh"]["same_bits_on_devices"]
    assert results["mesh"]["same_bits_by_two_processes"]
    assert 1 <= results["mesh"]["operations_ratio"] < 1.1
    assert results["memory"]["step_bytes"] > 0
    assert results["update"]["values"] == [21, 9, 9, 9, 9]
    assert {"forward", "one by one", "grouped"} < set(results["values"])
    assert "bit by bit" in capsys.readouterr().out
    with pytest.raises(InputError, match="deepzero"):
        speed.measure(replace(config, deepzero=tmp_path))


@pytest.mark.slow
def test_readings(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("ZOSAH_DATA", raising=False)
    monkeypatch.setattr(readings, "VARIANTS", {"default": {}, "period=2": {"period": 2}})
    config = readings.Config(dataset=("breast_cancer",), rows=60, seeds=(0,), budget=4)
    results = run("readings", config, tmp_path)
    assert set(results["prices_in_d"]) == {"default", "period=2"}
    assert results["mean_price_in_d"]["default"]["breast_cancer"] > 0
    assert "period=2" in capsys.readouterr().out


@pytest.mark.slow
def test_alignment(tmp_path, capsys):
    config = experiment.load("alignment").Config(
        seeds=(0,), steps=4, looks=2, draws=3, subspace_dim=2, samples=1
    )
    results = run("alignment", config, tmp_path)
    (one,) = results["runs"]
    assert results["step"] == [0, 4]
    assert results["dimension"] == sum(results["block_sizes"])
    shares = np.array(results["block_sizes"]) / results["dimension"]
    np.testing.assert_allclose(one["each block"] @ shares, [1, 1], rtol=1e-4)
    assert all(one["pairs"]["low"][i] <= one["pairs"]["high"][i] for i in (0, 1))
    assert "dense directions" in capsys.readouterr().out


@pytest.mark.slow
def test_lanes_are_runs_of_minimize(x64):
    """One stage and several: the same values at the same prices, whoever runs beside it."""
    task = problems.logistic("breast_cancer", 50, None, 1e-2)
    # lengths so large that the rounding of a value does not show
    for name, lengths in (("rspg", {}), ("zosah", {"smoothing": 1e-4, "radius": 1e-2})):
        make = sweeps.constructor(name, **lengths)
        found = sweeps.lanes(task, make, [4, 7], 100, "learning_rate", [0.1, 0.3])
        for curve, rate, seed in zip(found, (0.1, 0.3), (4, 7), strict=True):
            alone = curve_of(minimize(task.objective(), task.x0, make(rate), budget=100, key=seed))
            np.testing.assert_array_equal(curve.spent, alone.spent)
            np.testing.assert_allclose(curve.best, alone.best, rtol=1e-6)
            assert curve.spent[-1] <= 100


@pytest.mark.slow
def test_a_sweep_is_minimize_by_task_value_and_seed(x64):
    tasks = [problems.conditioned(condition, 4) for condition in (1.0, 100.0)]
    lengths = {"smoothing": 0.01, "radius": 0.01}  # so long that the last bit is not amplified
    make = partial(ablations.second_differences, 3, **lengths)
    found = sweeps.sweep(tasks, make, (0, 5), 12, option="eigenvalue_floor", values=(0.03, 0.5))
    assert set(np.diff(found[0][0][0].spent)[:-1]) == {6}  # m = 2: base, 2 forward, 3 fresh
    task, tx = tasks[1], make(eigenvalue_floor=0.5)
    alone = curve_of(minimize(task.objective(), task.x0, tx, budget=48, key=5))
    curve = found[1][1][1]
    np.testing.assert_array_equal(curve.spent, alone.spent)
    np.testing.assert_allclose(curve.best, alone.best, rtol=1e-6)
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
    config = ablations.Config(dataset=("breast_cancer",), rows=60, budget=9)
    found = run("ablations", config, no_runs)["problems"]
    assert list(found) == ["Rosenbrock", "breast_cancer", "network"]
    assert list(found["Rosenbrock"]["subspace_dim"]) == ["2", "4", "10", "16", "20"]
    assert list(found["network"]["period"]) == ["5", "10", "20", "50", "100"]
    assert found["network"]["values_per_step"]["fitted, T = 5"] == 4
    out, err = capsys.readouterr()
    assert "second differences, T = 20" in out
    assert "39/39" in err


def test_open_questions(no_runs, capsys):
    config = open_questions.Config(dataset=("breast_cancer",), rows=60, budget=9)
    results = run("open_questions", replace(config, conditions=(1.0, 10.0, 1e2)), no_runs)
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


@pytest.fixture
def as_networks_are_written():
    """A bias is added to all rows; optax's Adam raises a float to an int's power."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("as_networks_are_written")
def test_forward_training(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("ZOSAH_DATA", raising=False)
    config = experiment.load("forward_training").Config(
        tasks=("digits",), variants=("feedback",), passes=10, seeds=(0,), repeats=1
    )
    found = run("forward_training", config, tmp_path)["tasks"]["digits"]
    (one,) = found["runs"]["feedback"]
    assert len(one["passes"]) == len(one["accuracy"]) == 2
    assert one["accuracy"][-1] > 0.2  # a tenth by chance
    assert set(found["cost"]) == {"noise", "noise_only", "feedback", "backpropagation"}
    assert "with feedback" in capsys.readouterr().out
    with pytest.raises(InputError, match="MNIST is not at hand"):
        run("forward_training", replace(config, tasks=("mnist",)), tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("as_networks_are_written")
def test_networks_without_gradients(tmp_path, capsys):
    config = experiment.load("networks_without_gradients").Config(
        activations=("sign",), smoothing=(0.3,), steps=4, points=2, seeds=(0,)
    )
    results = run("networks_without_gradients", config, tmp_path)
    assert results["shown"] == "noise 0.3"
    assert set(results["runs"]["sign"]) == {"noise 0.3", "jax.grad"}
    assert all(len(run) == 3 for runs in results["runs"]["sign"].values() for run in runs)
    assert "jax.grad" in capsys.readouterr().out


@pytest.mark.slow
def test_variants_of_the_open_questions_run(x64):
    """The option of each question once, on a quadratic."""
    task, groups = problems.hidden_blocks(2, 8)
    pairs = tuple(map(tuple, groups.tolist()))
    for options in (
        {"hessian_dim": 4},
        {"isotropy": 3.0},
        {"pairing": "learnt"},
        {"pairing": pairs},
    ):
        make = open_questions.variant(subspace_dim=8, **options)
        (curve,) = sweeps.lanes(task, make, [0], 200)
        assert curve.best[-1] < 0.1 * task.start


def test_the_paper_readings_cover_every_option():
    alone = dict(readings.VARIANTS)
    assert alone.pop("default") == {}
    assert alone.pop("reading='paper'") == {"reading": "paper"}
    read = [options["reading"] for options in alone.values() if "reading" in options]
    papers = [f.name for one in read for f in fields(one) if getattr(one, f.name) == "paper"]
    assert sorted(papers) == sorted(f.name for f in fields(PAPER))
    numbers = {}
    for options in alone.values():
        numbers |= {name: value for name, value in options.items() if name != "reading"}
    paper = zosah_jax.methods.zosah(reading="paper")
    assert numbers == {name: paper.or_default(name, None, numbers[name]) for name in numbers}
    state = paper.init(jnp.zeros(8), jax.random.key(0))
    assert int(state.period) == numbers["period"]


@pytest.mark.parametrize("make", [partial(mlp, (4, 6, 10), 2), partial(convolutional, 2)])
def test_objectives_of_the_benchmark_are_scalar(make):
    objective = make()
    value = jax.eval_shape(objective.value, objective.params, objective.data)
    assert (value.shape, value.dtype) == ((), np.float32)


# --- what they share -----------------------------------------------------------------------------


def test_a_task_and_its_prices():
    task = problems.logistic("breast_cancer", 50, None, 1e-2)
    assert task.dimension == 31
    assert task.start == pytest.approx(np.log(2))
    assert task.optimum < task.start
    assert task.target(1.0) == pytest.approx(task.optimum)
    (curve,) = sweeps.lanes(task, sweeps.constructor("rspg", 0.1), [0], 40)
    assert curve.spent[0] == 2  # a batch counts when it is complete
    assert curve.best[0] == pytest.approx(np.log(2))
    assert curve.spent[-1] <= 40
    assert task.gap_closed(curve, np.array([0, 40]))[0] == 0

    reached = Curve(np.array([1, 62]), np.array([task.start, task.target(0.95)]))
    expected = (62 * (1.6 * 310) ** 2) ** (1 / 3) / task.dimension
    assert task.mean_price(reached, 310) == pytest.approx(expected)
    assert task.prices([reached], (0.9, 0.99)) == [[62], [None]]


def test_path_is_that_of_the_counted_run(x64):
    make = sweeps.constructor("rspg")
    stood = rosenbrock.path(make, 1e-3, seed=3, values=21)
    result = minimize(valley, jnp.asarray(rosenbrock.START), rspg(1e-3), budget=21, key=3)
    assert len(stood) == len(result.history.value)
    assert valley(np.array(stood[-1])) == pytest.approx(float(result.last_value), rel=1e-2)


def test_curves():
    def told(status, last):
        history = zosah_jax.result.History(
            np.array([3.0, np.nan, 1.0, np.nan]), np.array([3.0, 0.9, 0.9, np.inf]),
            np.array([1, 3, 4, 0]),
        )  # fmt: skip
        rest = dict.fromkeys(("params", "last_params", "success", "state"))
        return zosah_jax.Result(
            value=0.9, last_value=last, status=status, num_evaluations=5, history=history, **rest
        )

    curve = curve_of(told(Status.BUDGET_SPENT, np.nan))
    assert curve.spent.tolist() == [1, 3, 4, 5]
    assert curve.best.tolist() == [3, 3, 1, 1]
    assert curve_of(told(Status.TARGET_REACHED, np.nan)).best[-1] == 0.9
    assert curve_of(told(Status.BUDGET_SPENT, 0.95)).best[-1] == 0.95
    assert values_to_reach(curve, 1.0) == 4
    assert values_to_reach(curve, 0.5) is None
    assert best_after(curve, np.array([0, 1, 3, 4, 9])).tolist() == [np.inf, 3, 3, 1, 1]
    assert median([1, None, 3]) == 3
    assert median([None, None, 3]) == np.inf


@pytest.mark.parametrize("method", ["BFGS", "COBYQA", "L-BFGS-B", "CMA-ES"])
def test_every_value_of_a_peer_counts_and_none_exceeds_its_budget(method):
    calls = []

    def bowl(x):
        calls.append(x)
        return float(((x - 1) ** 2).sum())

    if method == "CMA-ES":
        counted = Counted(bowl, 50)
        curve = cma_curve(counted, np.zeros(3), 0.5, 0, bounds=[-2.0, 2.0])
        assert np.abs(calls).max() <= 2
        assert bowl(counted.best[1]) == counted.best[0] == curve.best[-1]
        calls.pop()
    else:
        curve = scipy_curve(bowl, np.zeros(3), method, 17)
    assert len(calls) == len(curve.spent) == curve.spent[-1]
    assert len(calls) == 50 if method == "CMA-ES" else len(calls) <= 17
    assert np.all(np.diff(curve.best) <= 0)


def test_rosenbrock_is_one_function_of_either_library():
    x = np.array([[-1.2, 1.0], [1.0, 1.0], [0.5, 2.0]])
    np.testing.assert_allclose(valley(x), valley(jnp.asarray(x)), rtol=1e-6)
    assert valley(np.ones(7)) == 0
    assert valley(np.array([-1.2, 1.0])) == pytest.approx(24.2)


def test_default_config_writes_beside_the_code_and_others_do_not(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert records.folder("rosenbrock", rosenbrock.Config()) == records.own_folder("rosenbrock")
    changed = records.folder("rosenbrock", rosenbrock.Config(budget=3))
    assert changed.resolve() == tmp_path / "runs" / "rosenbrock"
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="out: got"):
        records.folder("rosenbrock", rosenbrock.Config(out=tmp_path / "file"))


@pytest.mark.parametrize("module", [batches, train_resnet, language_model])
def test_examples_of_the_documentation(module):
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


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
        (["logistic_regression", "--budget", "0"], "error: budget: got 0, wanted a positive"),
        (["logistic_regression", "--seeds"], "error: seeds: got nothing"),
        (["logistic_regression", "--learning-rates", "-1"], "error: learning_rates: got -1.0"),
        (["logistic_regression", "--dataset", "iris"], "error: dataset: got 'iris'"),
        (["logistics"], "error: name: got 'logistics', wanted one of ablations, accelerator"),
    ],
)
def test_command_line_shows_no_traceback(data, monkeypatch, arguments, says):
    monkeypatch.chdir(data)
    with pytest.raises(SystemExit) as end:
        runner.main(arguments)
    assert str(end.value.code).startswith(says)


def test_the_module_runs_by_its_name(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["experiments"])
    importlib.reload(runner).main(sys.argv[1:])
    assert "python -m experiments NAME" in capsys.readouterr().out
