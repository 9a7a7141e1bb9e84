"""Networks trained by the experiment: counted, resumed bit by bit, refused where need be."""

import functools
import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny_images import TinyNet, made

import zosah_jax
from experiments import experiment
from experiments.common.errors import InputError
from experiments.common.networks import NETWORKS, num_parameters
from experiments.common.training import loss_fn, prepare, spent
from experiments.examples.train_resnet import experiment as train_resnet
from experiments.examples.train_resnet.experiment import parse_options, trained
from zosah_jax.integrations.flax import train_step, value_fn


@functools.cache
def prepared(setting):
    """A run made ready, compiled once for all tests that ask for it."""
    return prepare(setting, made())


@pytest.fixture
def data(monkeypatch):
    monkeypatch.setitem(NETWORKS, "tiny", TinyNet)
    monkeypatch.setattr(train_resnet, "prepare", lambda setting, data: prepared(setting))
    return made()


def asked(**changes):
    config = train_resnet.Config(
        network="tiny", methods=("zosah",), subspace_dim=4, batch_size=8, budget=60, points=4
    )
    return train_resnet.runs(replace(config, seeds=(0,), **changes))


@pytest.mark.parametrize("name", ["resnet8", "resnet8_half", "resnet20", "convnet"])
def test_networks_have_their_parameters(name):
    shape = (8, 8, 1) if name == "convnet" else (32, 32, 3)
    model = nnx.eval_shape(lambda: NETWORKS[name](shape, 10, nnx.Rngs(0)))
    expected = {
        "resnet8": 78_042,
        "resnet8_half": 19_954,
        "resnet20": 272_474,
        "convnet": 1_370,
    }[name]
    assert num_parameters(model) == expected
    logits = nnx.eval_shape(lambda m, x: m(x), model, jax.ShapeDtypeStruct((2, *shape), "float32"))
    assert logits.shape == (2, 10)


def test_step_of_a_resnet_is_strict_in_shapes_and_dtypes():
    model = nnx.eval_shape(lambda: NETWORKS["resnet8"]((32, 32, 3), 10, nnx.Rngs(0)))
    optimizer = nnx.eval_shape(
        lambda m: nnx.Optimizer(m, zosah_jax.rspg(0.1), wrt=nnx.Param), model
    )
    images = jax.ShapeDtypeStruct((4, 32, 32, 3), "float32")
    labels = jax.ShapeDtypeStruct((4,), "int32")

    def step(model, optimizer, images, labels):
        return train_step(model, optimizer, loss_fn, images, labels)

    loss = nnx.eval_shape(step, model, optimizer, images, labels)
    assert (loss.shape, loss.dtype) == ((), "float32")


# --- a run ---------------------------------------------------------------------------------------


RUNS = {
    "zosah": {"learning_rate": 0.5, "momentum": 0.5, "schedule": "cosine"},
    "rspg": {
        "methods": ("rspg",),
        "subspace_dim": None,
        "num_directions": 3,
        "batch_size": 24,
        "learning_rate": 0.5,
        "momentum": 0.9,
        "weight_decay": 0.1,
        "schedule": "cosine",
    },
}


@pytest.mark.parametrize("method", RUNS)
def test_history_and_count(data, method, capsys):
    [setting] = asked(**RUNS[method])
    history, state = train_resnet.train(setting, prepared(setting), None, False)
    # 11 values, then 5 a step; or 4 a step; each mark is passed by less than a step
    expected = {"zosah": [0, 16, 31, 47, 57], "rspg": [0, 16, 32, 48, 60]}[method]
    assert history["spent"] == expected
    assert spent(state) == expected[-1]
    assert np.isnan(history["loss"][0])
    assert np.isfinite(history["loss"][1:]).all()
    assert history["test_accuracy"][-1] > history["test_accuracy"][0]
    assert float(jnp.abs(state.others["norm"]["mean"][...]).max()) > 0  # the pass took place
    bar = capsys.readouterr().err
    assert f"{method}, seed 0" in bar
    assert "queries/s" in bar
    assert "accuracy=" in bar


def test_step_is_the_one_of_optax_on_the_same_batch(data):
    [setting] = asked(**RUNS["rspg"])
    training = prepared(setting)
    start = training.start(0)
    ours = training.advance(start, 8)  # two steps
    model = TinyNet((2, 2, 1), 3, nnx.Rngs(0))
    f = value_fn(model, loss_fn, jnp.asarray(data.train.images), jnp.asarray(data.train.labels))
    tx = zosah_jax.scale_by_rspg(3, key=0)
    params, state, trace = start.params, tx.init(start.params), None
    update = jax.jit(lambda params, state: tx.update(None, state, params, value_fn=f))
    for count in (0, 4):
        direction, state = update(params, state)
        direction = jax.tree.map(lambda u, p: u + 0.1 * p, direction, params)
        trace = jax.tree.map(lambda u, t: u + 0.9 * t, direction, trace) if trace else direction
        rate = 0.5 * 0.5 * (1 + np.cos(np.pi * count / 60))
        params = jax.tree.map(lambda p, t, r=rate: np.float32(p - r * t), params, trace)
    # the batch is a permutation of the data: the means differ by rounding, over the smoothing
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-2, atol=2e-2), ours.params, params
    )
    moved = jax.tree.map(lambda a, b: float(abs(a - b).max()), ours.params, start.params)
    assert max(jax.tree.leaves(moved)) > 0.2


# --- checkpoints ---------------------------------------------------------------------------------


class Interrupted(Exception):
    pass


def interrupt_after(monkeypatch, saves):
    """Let the run die right after so many checkpoints."""
    save, left = train_resnet.Checkpoints.save, [saves]

    def counted(self, state, history):
        save(self, state, history)
        left[0] -= 1
        if not left[0]:
            raise Interrupted

    monkeypatch.setattr(train_resnet.Checkpoints, "save", counted)


@pytest.mark.slow
def test_resumed_run_ends_bitwise_equal(data, tmp_path, monkeypatch):
    settings = asked(**RUNS["zosah"])
    undisturbed = trained(settings, data)
    with monkeypatch.context() as context:
        interrupt_after(context, 3)
        with pytest.raises(Interrupted):
            trained(settings, data, checkpoints=tmp_path)
    assert [path.name for path in (tmp_path / "zosah-0").iterdir()] == ["31"]  # the last alone
    resumed = trained(settings, data, checkpoints=tmp_path, resume=True)
    assert json.dumps(resumed) == json.dumps(undisturbed)
    # and once more, with nothing left to do
    assert json.dumps(trained(settings, data, checkpoints=tmp_path, resume=True)) == json.dumps(
        undisturbed
    )


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def zosah(**changes):
    return asked(**(RUNS["zosah"] | changes))


@pytest.mark.slow
def test_checkpoint_of_another_run_is_refused_and_kept(data, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"resume: got the folder .* wanted one that holds a run"):
        trained(zosah(), data, checkpoints=tmp_path, resume=True)
    with monkeypatch.context() as context:
        interrupt_after(context, 1)
        with pytest.raises(Interrupted):
            trained(zosah(), data, checkpoints=tmp_path)
    before = contents(tmp_path)
    with pytest.raises(InputError, match="which holds a run; pass --resume"):
        trained(zosah(), data, checkpoints=tmp_path)
    for changes, match in (
        ({"network": "convnet"}, "network = 'tiny', wanted 'convnet'"),
        ({"subspace_dim": 2}, r"options = \[\['subspace_dim', 4\]\], wanted \[\['subspace_dim', 2"),
        ({"budget": 80}, "budget = 60, wanted 80"),
        ({"batch_size": 12}, "batch_size = 8, wanted 12"),
    ):
        with pytest.raises(InputError, match=match):
            trained(zosah(**changes), data, checkpoints=tmp_path, resume=True)
    other = data._replace(test=made(6).test)
    with pytest.raises(InputError, match=r"with data = 'made, [0-9a-f]*', wanted 'made, "):
        trained(zosah(), other, checkpoints=tmp_path, resume=True)
    with monkeypatch.context() as context:
        context.setattr(zosah_jax, "__version__", "9.9")
        with pytest.raises(InputError, match=r"zosah_jax = '[0-9.]*', wanted '9\.9'\. Nothing was"):
            trained(zosah(), data, checkpoints=tmp_path, resume=True)
    assert contents(tmp_path) == before
    # a method's folder has its name: another one meets it only where it was renamed
    (tmp_path / "zosah-0").rename(tmp_path / "rspg-0")
    with pytest.raises(InputError, match="method = 'zosah', wanted 'rspg'"):
        trained(
            zosah(methods=("rspg",), subspace_dim=None), data, checkpoints=tmp_path, resume=True
        )
    (tmp_path / "rspg-0").rename(tmp_path / "zosah-0")
    assert contents(tmp_path) == before
    for file in (tmp_path / "zosah-0").rglob("metadata"):  # half a checkpoint
        file.write_bytes(file.read_bytes()[:5])
    with pytest.raises(InputError, match="cannot be read"):
        trained(zosah(), data, checkpoints=tmp_path, resume=True)


# --- the command ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_experiment(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_resnet.image_data, "load", lambda name, folder: data)
    config = train_resnet.Config(
        network="tiny", budget=60, points=4, seeds=(0, 1), out=tmp_path / "out", **RUNS["rspg"]
    )
    experiment.run(train_resnet.EXPERIMENT, config)
    record = json.loads((tmp_path / "out" / "results.json").read_text())
    assert record["command"] == (
        "python -m experiments train_resnet --network tiny --methods rspg --learning-rate 0.5 "
        "--momentum 0.9 --weight-decay 0.1 --schedule cosine --num-directions 3 --batch-size 24 "
        "--budget 60 --points 4 --seeds 0 1"
    )
    assert "flax" in record["versions"]
    results = record["results"]
    assert [(run["method"], run["seed"]) for run in results["runs"]] == [
        ("rspg", 0),
        ("rspg", 1),
    ]
    first, second = (run["history"] for run in results["runs"])
    assert first["loss"][1] != second["loss"][1]
    out = capsys.readouterr().out
    assert "RSPG, learning rate 0.5, num directions 3" in out
    assert (tmp_path / "out" / "figure.png").read_bytes().startswith(b"\x89PNG")


def refused(match, **changes):
    with pytest.raises(InputError, match=match):
        asked(**changes)


def test_bad_options_are_named(data, monkeypatch):
    refused("dataset: got 'mnist', wanted one of digits", dataset="mnist")
    refused("network: got 'vgg', wanted one of convnet, resnet8", network="vgg")
    refused("methods: got 'adam', wanted one of zosah, rspg", methods=("adam",))
    refused("num_directions: got an option that none of zosah has", num_directions=3)
    refused("foo: got an option", options="foo=1")
    refused("options: got 'radius', wanted name=value", options="radius")
    monkeypatch.setattr(train_resnet, "RECIPES", {})
    refused("learning_rate: got None, and there is no recipe for zosah on digits")
    for changes, match in (
        ({"learning_rate": 1.0, "subspace_dim": 3}, "zosah: subspace_dim: got 3, wanted an even"),
        ({"learning_rate": 1.0, "options": "reading=vast"}, "zosah: reading: got 'vast'"),
        ({"learning_rate": 1.0, "budget": 10}, "budget: got 10, wanted at least the 11 values"),
        ({"learning_rate": 1.0, "batch_size": 25}, "batch_size: got 25, wanted at most 24"),
    ):
        with pytest.raises(InputError, match=match):
            prepare(asked(**changes)[0], data)


def test_options_reach_the_constructor(data):
    [setting] = asked(options="radius=0.5 reading=paper", period=3, chunk=2, evaluator="chunks")
    assert dict(setting.options) == {
        "subspace_dim": 4,
        "period": 3,
        "radius": 0.5,
        "reading": "paper",
    }
    assert parse_options(None) == {}
    both = asked(methods=("zosah", "rspg"), num_directions=2)
    assert [dict(setting.options) for setting in both] == [
        {"subspace_dim": 4},
        {"num_directions": 2},
    ]
    [cifar] = train_resnet.runs(
        train_resnet.Config(
            dataset="cifar10", methods=("zosah",), learning_rate=1.0, seeds=(0,), points=3
        )
    )
    assert (cifar.network, cifar.batch_size, cifar.augment) == ("resnet8", 128, True)
