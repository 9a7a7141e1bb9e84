"""Experiments with forward passes: networks trained, resumed, on an accelerator; the corpus."""

import importlib
import json
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special  # which writes into docstrings of NumPy's
from flax import nnx
from tiny_images import TinyNet, made

from experiments import experiment
from experiments.common import timing
from experiments.common.errors import InputError
from experiments.common.estimates import ESTIMATES, prepare
from experiments.common.networks import NETWORKS
from experiments.common.training import batch_of, loss_fn, spent
from experiments.common.transformer import Transformer
from experiments.examples.fine_tuning import model as language_model
from experiments.examples.fine_tuning import text
from experiments.examples.train_resnet import experiment as train_resnet
from zosah_jax.integrations.flax import value_fn

pytestmark = pytest.mark.usefixtures("as_networks_are_written")


@pytest.fixture
def as_networks_are_written():
    """A bias is added to all rows; optax's Adam raises a float to an int's power."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def data(monkeypatch):
    monkeypatch.setitem(NETWORKS, "tiny", TinyNet)
    return made()


def asked(method, **changes):
    config = train_resnet.Config(
        network="tiny", methods=(method,), batch_size=8, budget=24, points=4, learning_rate=0.05
    )
    return train_resnet.runs(replace(config, seeds=(0,), **{"schedule": "cosine"} | changes))


# --- networks by estimates ------------------------------------------------------------------------


@pytest.mark.parametrize("method", ESTIMATES)
def test_run_counts_its_passes_and_learns(data, method):
    [setting] = asked(method, budget=150)
    history, state = train_resnet.train(setting, prepare(setting, data), None, False)
    assert spent(state) == history["spent"][-1] == 150
    assert int(state.step) == 150 // (3 if method == "backpropagation" else 2)
    assert history["test_accuracy"][-1] > 0.7 > history["test_accuracy"][0]
    assert np.isfinite(history["loss"][1:]).all()
    assert float(jnp.abs(state.others["norm"]["mean"][...]).max()) > 0  # the pass took place


def test_a_step_of_backpropagation_is_adams_on_the_same_batch(data):
    [setting] = asked("backpropagation", weight_decay=0.1)
    training = prepare(setting, data)
    start = training.start(0)
    batch = batch_of(setting, jax.tree.map(jnp.asarray, data.train), start)
    slope = jax.grad(value_fn(TinyNet((2, 2, 1), 3, nnx.Rngs(0)), loss_fn, *batch))(start.params)
    after = training.advance(start, 3).params
    jax.tree.map(  # Adam's first step is the sign of the slope; its epsilon is 1e-8
        lambda a, b, g: np.testing.assert_allclose(
            a, b - 0.05 * (g / (jnp.abs(g) + 1e-8) + 0.1 * b), rtol=1e-4, atol=1e-5
        ),
        *(after, start.params, slope),
    )


def test_runs_of_other_rates_budgets_and_seeds_are_compiled_once(data):
    [setting] = asked("forward")
    first = prepare(setting, data)
    first.advance(first.start(0), 4)
    other = prepare(replace(setting, budget=12, seed=1, points=3), data)
    with jax.log_compiles(), pytest.MonkeyPatch.context() as context:
        context.setattr(jax.stages.Lowered, "compile", None)
        state = other.advance(other.start(1, 0.1), 100)
    assert spent(state) == 12  # its own budget, and no more


class Interrupted(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("method", ["forward", "forward_feedback"])
def test_killed_and_resumed_to_the_same_bits(data, tmp_path, monkeypatch, method):
    settings = asked(method)
    undisturbed = train_resnet.trained(settings, data)
    save, saved = train_resnet.Checkpoints.save, []

    def interrupted(self, state, history):
        save(self, state, history)
        saved.append(state)
        if len(saved) == 3:
            raise Interrupted

    with monkeypatch.context() as context:
        context.setattr(train_resnet.Checkpoints, "save", interrupted)
        with pytest.raises(Interrupted):
            train_resnet.trained(settings, data, checkpoints=tmp_path)
    resumed = train_resnet.trained(settings, data, checkpoints=tmp_path, resume=True)
    assert json.dumps(resumed) == json.dumps(undisturbed)


def test_bad_options_of_estimates(data):
    with pytest.raises(InputError, match=r"momentum: got 0\.9, wanted None for forward"):
        prepare(asked("forward", momentum=0.9)[0], data)
    with pytest.raises(InputError, match="budget: got 1, wanted at least the 2 passes"):
        prepare(asked("forward", budget=1)[0], data)
    with pytest.raises(InputError, match="batch_size: got 25, wanted at most 24"):
        prepare(asked("forward", batch_size=25)[0], data)
    with pytest.raises(InputError, match="num_directions: got an option that none of forward has"):
        asked("forward", num_directions=3)
    with pytest.raises(InputError, match="forward: num_noises"):
        prepare(asked("forward", options="num_noises=0")[0], data)
    [setting] = asked("forward", options="two_sided=True num_noises=2")
    assert dict(setting.options) == {"two_sided": True, "num_noises": 2}


# --- on an accelerator ----------------------------------------------------------------------------


def test_loops_make_every_call(monkeypatch):
    """A loop whose calls are all alike is not made one call outside of it."""
    monkeypatch.setattr(timing.jax, "default_backend", lambda: "an accelerator")
    x = jnp.ones((256, 256))
    loop = timing._loop(lambda x: jnp.tanh(x @ x).sum(0))
    lowered = {"one": jax.jit(loop).lower(jnp.int32(1), x)}
    (ready,) = timing.compiled(lowered, timing._AS_WRITTEN).values()
    body = next(part for part in ready.as_text().split("\n\n") if "dot(" in part)
    assert "ENTRY" not in body
    found = timing.of_arrays({"one": (lambda x: x.sum(), (x,))}, 2)
    assert found["one"].shape == (2,)
    assert (found["one"] > 0).all()


class AtOnce(ThreadPoolExecutor):
    """What is submitted is done in this thread, whose modes of JAX are those of the test."""

    def submit(self, fn, /, *args, **kwargs):
        found = Future()
        try:
            found.set_result(fn(*args, **kwargs))
        except InputError as error:
            found.set_exception(error)
        return found


@pytest.mark.slow
def test_accelerator(tmp_path, monkeypatch, capsys):
    accelerator = importlib.import_module("experiments.benchmarks.accelerator.experiment")
    tasks = importlib.import_module("experiments.common.forward_tasks")
    monkeypatch.setattr(accelerator, "_SIZE", (16, 1, 2, 8))
    monkeypatch.setitem(NETWORKS, "tiny", TinyNet)
    monkeypatch.setattr(accelerator, "ThreadPoolExecutor", AtOnce)
    images = SimpleNamespace(load=lambda name, folder: made(240, 10))
    monkeypatch.setattr(accelerator, "image_data", images)
    monkeypatch.setattr(accelerator, "TASKS", {"digits": tasks.TASKS["digits"]})
    monkeypatch.setattr(accelerator, "_PLAIN", (("digits", "noise"),))
    monkeypatch.setattr(accelerator, "_LONGER", np.inf)  # it would take all the time that is left
    config = accelerator.Config(
        network="tiny",
        passes=40,
        batch_size=8,
        points=2,
        members=4,
        repeats=1,
        seeds=(0, 1),
        out=tmp_path,
    )
    monkeypatch.setattr(accelerator._Measurement, "_mnist", lambda self: self._prepared() or {})
    experiment.run(accelerator.EXPERIMENT, config)
    record = json.loads((tmp_path / "results.json").read_text())
    parts, failed = record["results"]["parts"], record["results"]["failed"]
    assert set(parts) >= {"population", "forward", "forward_feedback", "rspg", "cost: digits"}
    history = parts["forward"]["history"]
    assert history["passes"] == [20, 40]
    assert parts["forward"]["learning_rate"] in map(float, parts["forward"]["tried"])
    assert record["results"]["device"] == jax.devices()[0].device_kind
    assert "forward passes, noise alone" in capsys.readouterr().out
    assert set(failed) == {"deepzero"}  # a step takes more values than these passes are
    experiment.run(accelerator.EXPERIMENT, replace(config, seconds=1e-3))
    assert "population: left out" in capsys.readouterr().out


# --- fine-tuning ----------------------------------------------------------------------------------


def test_corpus_is_the_same_whatever_is_imported():
    assert "SCIPY_ARRAY_API" in (np.sinc.__doc__ or "")  # or the test tells nothing
    assert scipy.special.sinc is np.sinc
    found = dict(text._docstrings())
    assert "Return the normalized sinc function" in found["sinc"]
    assert not any("SCIPY_ARRAY_API" in documented for documented in found.values())


def test_narrow_is_last():
    model = Transformer(8, 2, 2, 6, rngs=nnx.Rngs(0))
    tokens = jax.random.randint(jax.random.key(0), (5, 6), 0, 128)
    last, narrow = jax.jit(
        lambda tokens: (model.last(tokens), language_model._narrow(model, tokens))
    )(tokens)
    assert float(jnp.abs(last).max()) > 0.1
    np.testing.assert_allclose(narrow, last, rtol=1e-4, atol=1e-5)
