"""Experiments with forward passes: networks trained, resumed, on an accelerator; the corpus."""

import importlib
import json
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special  # which writes into docstrings of NumPy's
from flax import nnx
from tiny_images import TinyNet, made
from tqdm import tqdm

from experiments import experiment
from experiments.common import timing
from experiments.common.errors import InputError
from experiments.common.estimates import ESTIMATES, prepare
from experiments.common.networks import NETWORKS
from experiments.common.training import batch_of, loss_fn, spent
from experiments.common.transformer import Transformer
from experiments.examples.fine_tuning import experiment as fine_tuning
from experiments.examples.fine_tuning import model as language_model
from experiments.examples.fine_tuning import noise, text
from experiments.examples.fine_tuning.runs import Data, Tuning
from experiments.examples.train_resnet import experiment as train_resnet
from zosah_jax.forward import value_and_grad
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
    report = importlib.import_module("experiments.benchmarks.accelerator.report")
    for module in (accelerator, report):
        monkeypatch.setattr(module, "PLAIN", (("digits", "noise"),))
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


@pytest.fixture(scope="module")
def letters():
    """Four kinds of text, each of letters of its own, and a model that has hardly seen them."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        draw = np.random.default_rng(0)
        parts = [
            text.Text(draw.integers(begin, begin + 6, 300).astype(np.int32), np.full(300, begin))
            for begin in (97, 103, 109, 115)
        ]
        model = language_model.pretrain(
            parts,
            **{"width": 16, "layers": 1, "heads": 4, "length": 8},
            **{"steps": 2, "batch_size": 4, "learning_rate": 1e-3, "seed": 0},
        )
        found = {str(number): text.Corpus(part, part) for number, part in enumerate(parts)}
        train, test = (text.snippets(found, part, 16, 7, 1) for part in ("train", "test"))
        return model._replace(last=model.narrow), Data(train, test, batch_size=8)


def tuned_by_noise(task, data, **changes):
    tuning = Tuning(
        *(4, 160, 80),  # ZO-SAH's m, which plays no part; passes of a run and of one of the tuning
        **{"grid_points": 2, "tuning_seed": 9, "seeds": (0, 1)} | changes,
    )
    with tqdm(total=4, disable=True) as bar:
        return noise.tuned(task, data, tuning, bar)


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["all weights", "adapters"])
def test_noise_at_the_layers_is_tuned_counted_and_learns(letters, trained):
    model, data = letters
    whole = trained == "all weights"
    task = fine_tuning._whole(model) if whole else fine_tuning._low_rank(model, 2)
    found = tuned_by_noise(task, data)
    price = found["passes_a_step"]
    assert 2 <= price < 3  # noisy and clean, and what is done again for slopes
    assert list(found["tuning"]) == ["0.003", "0.01"]  # from the middle of the rates
    assert found["learning_rate"] == float(min(found["tuning"], key=found["tuning"].get))
    assert found["at_edge"]
    for run in found["runs"]:
        assert run["steps"] == list(range(0, int(160 / price) + 1, 4))
        np.testing.assert_allclose(run["spent"], np.multiply(run["steps"], price), atol=0.06)
        assert 160 - 5 * price < run["spent"][-1] <= 160
        assert run["loss"][0] == found["runs"][0]["loss"][0]  # of the weights before
        assert min(run["loss"][1:]) < (0.7 if whole else 0.98) * run["loss"][0]
        assert run["accuracy"] > (0.6 if whole else 0.3)
        assert noise.reached(run, run["loss"][0]) == 0
        assert noise.reached(run, min(run["loss"])) in run["spent"][1:]
        assert noise.reached(run, -1.0) is None
    first, second = (run["loss"][1:] for run in found["runs"])
    assert first != second  # batches and noise of their own
    assert tuned_by_noise(task, data, grid_points=1, seeds=(1,))["at_edge"] is False


@pytest.mark.slow
def test_noise_at_the_layers_sees_the_batches_of_the_other_methods(letters):
    """Four steps at once are Adam's, one by one, on estimates of the batches that they draw."""
    model, data = letters
    task, key, rate = fine_tuning._whole(model), jax.random.key(3), 1e-2
    tokens, labels = jnp.asarray(data.train.tokens), jnp.asarray(data.train.labels)
    tx = optax.adam(rate)
    params, moments = task.params, tx.init(task.params)
    estimate_of = jax.jit(value_and_grad(partial(noise._losses, task), smoothing=1e-2))
    for number in range(8, 12):
        own = jax.random.fold_in(key, number)  # as runs._advance draws them
        at = jax.random.randint(own, (data.batch_size,), 0, len(labels))
        _, estimate = estimate_of(params, jax.random.fold_in(own, 1), tokens[at], labels[at])
        updates, moments = tx.update(estimate, moments)
        params = optax.apply_updates(params, updates)
    given = (task.params, tx.init(task.params), key, 8, tokens, labels)
    advanced = partial(noise._advance, task, data.batch_size, rate=jnp.float32(rate))
    found, _ = jax.jit(advanced)(*given)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), found, task.params)
    assert max(jax.tree.leaves(moved)) > 1e-2
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(params), strict=True):
        # Adam makes much of an estimate near zero, whose rounding differs within a loop
        assert np.quantile(np.abs(a - b), 0.95) < 1e-4
