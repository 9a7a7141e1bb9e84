"""The comparison on a ResNet at tiny budgets: equal tuning, exact counts, prices at a loss."""

import json
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from tiny_images import TinyNet, made

from experiments import experiment
from experiments.common import image_data
from experiments.common.errors import InputError
from experiments.common.image_data import ImageData, Part
from experiments.common.networks import NETWORKS
from experiments.common.training import prepare, spent
from experiments.examples.resnet_comparison import experiment as resnet_comparison
from experiments.examples.resnet_comparison.experiment import READINGS, Config, Reading, setting
from experiments.examples.resnet_comparison.report import price, ratio, tables


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(NETWORKS, "tiny", TinyNet)
    readings = {
        "zosah": (Reading("m = 4", {"subspace_dim": 4, "period": 2}, batch_steps=2),),
        "deepzero": (
            Reading("half", {"density": 0.5, "mask_period": 1}, momentum=0.9),
            Reading("most", {"density": 0.8, "mask_period": 1}, documented=True),
        ),
    }
    for method, own in readings.items():
        monkeypatch.setitem(READINGS, method, own)
    monkeypatch.setattr(image_data, "load", lambda name, folder: made())


def test_every_pixel_is_the_mean_of_its_tile():
    images = np.arange(2 * 4 * 4, dtype=np.float32).reshape(2, 4, 4, 1)
    part = Part(images, np.zeros(2, np.int32))
    data = ImageData(part, part, 1, "made")
    small = image_data.shrunk(data, 2)
    assert small.train.images.shape == (2, 2, 2, 1)
    assert small.train.images.dtype == np.float32
    np.testing.assert_array_equal(small.test.images[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]])
    assert image_data.shrunk(data, 1) is data


def test_both_methods_are_tuned_alike():
    assert len(READINGS["zosah"]) == len(READINGS["deepzero"])
    for readings in READINGS.values():
        assert len({reading.name for reading in readings}) == len(readings)
        for reading in readings:
            period = reading.options.get("period", 5 if "subspace_dim" in reading.options else 1)
            assert reading.batch_steps == period  # a batch lasts as long as a subspace


def test_training_is_judged_on_images_that_are_no_values(tiny):
    data = made()
    config = Config(dataset="digits", network="tiny", batch_size=8, budget=60, points=1, seeds=(0,))
    asked = setting(READINGS["deepzero"][0], "deepzero", config)
    training = prepare(asked, data)
    state = training.start(0, 0.25)
    assert float(state.rate) == 0.25
    images, labels = (jnp.asarray(array) for array in data.train)
    before = float(training.value(state, images, labels))
    settled = training.settle(state, images, labels)
    mean = np.asarray(settled.others["norm"]["mean"][...])
    np.testing.assert_allclose(mean, data.train.images.reshape(24, -1).mean(0), atol=1e-6)
    # in evaluation mode, with the statistics of the same images, the loss is that of training mode
    assert training.judge(settled)[0] == pytest.approx(before, rel=1e-5)
    assert spent(settled) == 0
    run = resnet_comparison._run(training, data.train, 0.25, 0, [0, 30, 60])
    assert run["loss"][0] == pytest.approx(before, rel=1e-6)
    assert run["loss"][-1] < before
    assert run["spent"][-1] == run["steps"] * (run["spent"][-1] // run["steps"]) <= 60


def test_prices_are_told_where_every_seed_got_there():
    def entry(*runs):
        return {"runs": [{"spent": [0, 10, 20], "loss": list(losses)} for losses in runs]}

    results = {
        "methods": {
            "zosah": entry((3.0, 2.0, 1.0), (3.0, 1.9, 1.8)),
            "deepzero": entry((3.0, 2.5, 2.0), (3.0, 2.2, 1.9)),
        }
    }
    first = results["methods"]["zosah"]["runs"][0]
    assert [price(first, level) for level in (3.0, 1.5, 0.5)] == [0, 20, None]
    assert ratio(results, 2.0) == 0.5
    assert ratio(results, 1.85) is None


def test_experiment(tiny, tmp_path, capsys):
    config = Config(
        network="tiny",
        shrink=1,
        learning_rates=(0.1, 0.3),
        tuning_budget=30,
        batch_size=8,
        budget=60,
        points=3,
        tuning_seeds=(7, 8),
        seeds=(0, 1),
        out=tmp_path,
    )
    experiment.run(resnet_comparison.EXPERIMENT, config)
    results = json.loads((tmp_path / "results.json").read_text())["results"]
    assert results["dimension"] == 23
    assert {name: len(entry["tried"]) for name, entry in results["methods"].items()} == {
        "zosah": 2,
        "deepzero": 4,
        "deepzero_documented": 2,
    }
    assert results["methods"]["deepzero_documented"]["reading"] == "most"
    for entry in results["methods"].values():
        assert {one["learning_rate"] for one in entry["tried"]} == {0.1, 0.3}
        # the two best go on to the whole budget
        least = sorted(entry["tried"], key=lambda one: one["loss"])[:2]
        assert all(("whole_loss" in one) == (one in least) for one in entry["tried"])
        best = min(least, key=lambda one: one["whole_loss"])
        assert entry["learning_rate"] == best["learning_rate"]
        for run in entry["runs"]:
            assert run["spent"][0] == 0
            assert run["spent"][-1] <= 60
            assert len(run["loss"]) == len(run["spent"])
    assert set(tables(results)) == {"table", "end", "tuning"}
    printed = capsys.readouterr().out
    assert "ZO-SAH / DeepZero " in printed
    assert "ZO-SAH / DeepZero as documented" in printed
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_bad_input(tiny):
    cases: list[tuple[dict[str, Any], str]] = [
        ({"methods": ("adam",)}, "methods: got 'adam', wanted one of zosah"),
        ({"network": "vgg"}, "network: got 'vgg', wanted one of convnet"),
        ({"tuning_seeds": (5, 0)}, r"tuning_seeds: got \(5, 0\)"),
        ({"network": "tiny", "shrink": 3}, "shrink: got 3, wanted a divisor of 2 pixels"),
    ]
    for changes, match in cases:
        with pytest.raises(InputError, match=match):
            resnet_comparison.measure(Config(**changes))
