"""The ablation of ZO-PQN: its switches, its reference, and a run at a tiny budget."""

import json
from dataclasses import replace

import numpy as np
import pytest

from experiments import experiment
from experiments.benchmarks.zopqn_ablation import experiment as ablation
from experiments.benchmarks.zopqn_ablation import report
from experiments.benchmarks.zopqn_ablation.mechanisms import MECHANISMS, without
from experiments.benchmarks.zopqn_ablation.reference import Reference
from experiments.benchmarks.zopqn_ablation.settings import Settings
from experiments.common.errors import InputError


def bowl(points):
    weights = np.linspace(1, 50, points.shape[1])
    return (weights * points**2).sum(axis=1) + (points.sum(axis=1) - 3) ** 2


def ended(settings, f=bowl, d=20, budget=800):
    run = Reference(f, np.ones(d), np.arange(d), settings)
    with np.errstate(all="ignore"):
        while run.values < budget:
            run.step()
    return run


@pytest.mark.parametrize("name", MECHANISMS)
def test_every_switch_changes_the_settings_and_leaves_a_method(name):
    changed = without((name,))
    assert changed != Settings()
    assert all(getattr(changed, field) == v for field, v in MECHANISMS[name].settings.items())
    assert ended(changed).value < bowl(np.ones((1, 20)))[0]


def test_all_on_converges_and_counts_its_values():
    calls = []

    def counted(points):
        calls.append(len(points))
        return bowl(points)

    run = ended(Settings(), counted)
    assert run.values == sum(calls)
    assert run.value == bowl(run.x[None])[0]
    assert run.value - 9 / (1 + (1 / np.linspace(1, 50, 20)).sum()) < 1e-9


def test_values_that_are_not_finite_are_refused():
    def walled(points):
        return np.where(points.min(axis=1) < 0.5, np.nan, bowl(points))

    run = ended(Settings(), walled)
    assert np.isfinite(run.value)
    assert run.x.min() >= 0.5
    assert np.isfinite(run.B).all()


@pytest.mark.slow
def test_zopqn_ablation(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("ZOSAH_DATA", raising=False)
    config = ablation.Config(
        mechanisms=("two sides of a new coordinate", "recheck of a curvature", "least radius"),
        groups=("data", "classics"),
        dataset=("breast_cancer",),
        rows=60,
        functions=("TRIDIA",),
        fractions=(0.9, 0.97),
        gaps=(1e-2, 1e-4),
        data_budget=20,
        budget=40,
        seeds=(0, 1),
        checkpoints=tmp_path / "checkpoints",
        out=tmp_path,
    )
    experiment.run(ablation.EXPERIMENT, config)
    results = json.loads((tmp_path / "results.json").read_text())["results"]
    assert results["missing"] == ["a1a", "mushrooms", "phishing", "splice"]
    assert [p["name"] for p in results["problems"]] == ["breast_cancer", "TRIDIA, d = 20"]
    for problem in results["problems"]:
        assert np.shape(problem["values"]) == (2, 2)
        assert all(first < last for first, last in problem["values"])
        assert len(problem["library"]) == 1
    assert set(results["singly"]) == {report.CONTROL, *config.mechanisms}
    assert results["singly"]["least radius"]["groups"] == {"data": [1, 1], "classics": [1, 1]}
    assert report.most(results["singly"]["two sides of a new coordinate"]) > 1.05
    together = results["together"]
    assert "least radius" in together["off"]
    assert set(together["off"]) <= set(together["little"])
    assert report.most(together["final"]) <= config.limit
    out, err = capsys.readouterr()
    assert "values without it / with it" in out
    assert "splice: left out" in err

    again = ablation.measure(config)  # of the runs that are kept
    assert json.loads(json.dumps(again["singly"])) == results["singly"]
    with pytest.raises(InputError, match="mechanisms: got 'luck', wanted one of two sides"):
        ablation.measure(replace(config, mechanisms=("luck",)))
    with pytest.raises(InputError, match="groups: got 'noise', wanted one of data, valleys"):
        ablation.measure(replace(config, groups=("noise",)))
