"""The comparison of all methods and the fine-tuning of a language model, at tiny budgets."""

import json
from string import ascii_lowercase

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import experiment
from experiments.benchmarks.comparison import experiment as comparison
from experiments.benchmarks.comparison.experiment import names, summary, tables
from experiments.common.errors import InputError
from experiments.common.tuning import SIMPLE_LEARNING_RATES, SIMPLE_SUBSPACE_DIMS, entrants
from experiments.examples.fine_tuning import experiment as fine_tuning
from experiments.examples.fine_tuning.model import ASK, LABELS, adapted, adapters, layer_of
from experiments.examples.fine_tuning.runs import GRIDS
from experiments.examples.fine_tuning.text import corpora, snippets
from zosah_jax.blocks import split_blocks
from zosah_jax.methods import METHODS


def test_tuning_takes_as_many_runs_for_every_method():
    grid = comparison.Config().learning_rates
    tried = [
        sum(len(c.learning_rates) for c in entrant.candidates)
        for entrant in entrants(tuple(METHODS), grid, 31)
    ]
    assert set(tried) == {len(grid)}
    (_, simple) = entrants(("zosah",), grid, 31)
    assert [c.options["subspace_dim"] for c in simple.candidates] == [8, 30]
    assert len(SIMPLE_SUBSPACE_DIMS) * len(SIMPLE_LEARNING_RATES) == len(grid)
    assert comparison.Config().tuning_seed not in comparison.Config().seeds


@pytest.mark.slow
def test_comparison(tmp_path, capsys):
    config = comparison.Config(
        dataset=("breast_cancer",),
        rows=50,
        methods=("zosah", "mezo", "rspg"),
        learning_rates=(0.1, 1.0, 3.0),
        seeds=(0, 1),
        budget=4,
        out=tmp_path / "own",
    )
    experiment.run(comparison.EXPERIMENT, config)
    results = json.loads((tmp_path / "own" / "results.json").read_text())["results"]
    entries = results["datasets"]["breast_cancer"]["entries"]
    assert [(e["method"], e["setting"]) for e in entries] == [
        ("zosah", "documented"),
        ("zosah", "tuned"),
        ("zosah", "simple"),
        ("mezo", "documented"),
        ("mezo", "tuned"),
        ("rspg", "tuned"),
        ("L-BFGS-B", "reference"),
    ]
    for entry in entries[:-1]:
        assert all(0 <= closed < 1 for closed in entry["gap_closed"])
        assert all(len(reached) == 2 for reached in entry["values_to_reach"])
    tuned = entries[1]
    prices = tuned["tuning"][0]["price"]
    assert prices[f"{tuned['learning_rate']:g}"] == min(prices.values())
    assert entries[3]["gap_closed"][0] < 0.01  # MeZO's own learning rate is for other problems
    assert "best other / ZO-SAH" in capsys.readouterr().out
    assert (tmp_path / "own" / "figure.png").exists()


def test_claims_say_who_wins():
    def entry(method, setting, prices):
        reached = [[p, p] for p in prices]
        return {
            "method": method,
            "setting": setting,
            "learning_rate": 1.0,
            "values_to_reach": reached,
            "gap_closed": [0.5, 0.5],
        }

    entries = [
        entry("zosah", "tuned", [10, 20, None, 5]),
        entry("rspg", "tuned", [5, None, None, 10]),
        entry("mezo", "documented", [1, 1, 1, 1]),
        entry("deepzero", "tuned", [30, None, 70, 20]),
    ]
    found = {"rows": 5, "dimension": 10, "optimum": 0.1, "entries": entries}
    results = {"fractions": [0.9, 0.97, 0.99], "value": 0.5, "datasets": {"own": found}}
    (line,) = tables(results)["claim"].splitlines()[2:]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["own", "0.50 (RSPG)", "**ZO-SAH alone**", "DeepZero alone", "**2.00 (RSPG)**"]
    assert "RSPG" in summary(results)


def test_names_fall_back_to_what_is_built_in(tmp_path, monkeypatch):
    monkeypatch.delenv("ZOSAH_DATA", raising=False)
    assert names(None, None) == ["breast_cancer", "digits"]
    (tmp_path / "splice").write_text("+1 1:1\n-1 2:1\n")
    assert names(None, tmp_path) == ["splice"]
    assert names(("a9a",), None) == ["a9a"]


@pytest.mark.parametrize("one", [comparison, fine_tuning])
def test_bad_input(one):
    with pytest.raises(InputError, match="methods: got 'adam'"):
        one.measure(one.Config(methods=("adam",)))
    with pytest.raises(InputError, match="tuning_seed: got 0"):
        one.measure(one.Config(tuning_seed=0))


# --- fine-tuning ---------------------------------------------------------------------------------


def test_snippets_come_from_their_sources():
    found = corpora()
    assert len(found) == len(LABELS)
    drawn = snippets(found, "test", 3, 20, seed=0)
    assert drawn.tokens.shape == (12, 20)
    assert drawn.labels.tolist() == sorted([0, 1, 2, 3] * 3)
    assert ASK not in drawn.tokens
    for corpus in found.values():
        for text in corpus:
            assert text.tokens.min() >= ord(" ")
            assert text.tokens.max() < 128
            assert len(text.titles) == len(text.tokens) > 10_000
            assert set(text.titles.tolist()) <= {ord(letter) for letter in ascii_lowercase}
    text = bytes(found["Python's reference"].test.tokens.astype(np.uint8))
    assert bytes(drawn.tokens[0].astype(np.uint8)) in text


def test_adapters_start_as_nothing_and_are_low_rank():
    kernel = jnp.arange(12.0).reshape(3, 4)
    params = {"layers": {0: {"query": {"kernel": kernel}, "up": {"kernel": kernel}}}}
    own = adapters(params, rank=2, seed=0)
    assert list(own) == ["layers.0.query.kernel"]
    jax.tree.map(np.testing.assert_array_equal, adapted(params, own, 2.0), params)
    own["layers.0.query.kernel"]["up"] += 1.0
    moved = adapted(params, own, 2.0)["layers"][0]
    difference = moved["query"]["kernel"] - kernel
    np.testing.assert_allclose(difference, np.outer(difference[:, 0], np.ones(4)), rtol=1e-5)
    assert float(jnp.abs(difference).max()) > 0
    assert split_blocks(params, layer_of).names == ("['layers'][0]",)


def test_every_method_is_tuned_alike():
    assert len({len(grid) for grid in GRIDS.values()}) == 1


@pytest.mark.slow
def test_fine_tuning(tmp_path, capsys):
    config = fine_tuning.Config(
        methods=("mezo", "mezo_bcd"),
        width=8,
        layers=1,
        length=8,
        pretraining_steps=2,
        examples=4,
        batch_size=2,
        budget=20,
        tuning_budget=10,
        grid_points=1,
        seeds=(0,),
        timed_batches=(2,),
        repeats=1,
        out=tmp_path,
    )
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an int's power
        experiment.run(fine_tuning.EXPERIMENT, config)
    results = json.loads((tmp_path / "results.json").read_text())["results"]
    assert set(results["trained"]) == {"all weights", "adapters"}
    for found in results["trained"].values():
        assert found["ceiling"]["loss"] < 2
        for entry in found["methods"].values():
            (one,) = entry["runs"]
            assert one["spent"] == list(range(0, 21, 2))
            assert one["steps"][-1] == 10
            assert 0 <= one["accuracy"] <= 1
    assert results["trained"]["adapters"]["dimension"] == 2 * 2 * 4 * 8
    assert set(results["times"]["2"]) == {"mezo", "mezo_bcd", "forward"}
    assert results["times"]["2"]["mezo"] == [1, 1, 1]
    assert "MeZO-BCD, steps" in capsys.readouterr().out
