"""The measurement: every reading and learning rate on some seeds, the best of each on others."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from experiments.image_data import ImageData, Part
from experiments.resnet_comparison.settings import READINGS, Reading, setting
from experiments.train_resnet.training import Training, prepare, spent

_JUDGED = 1_000  # training images whose loss is followed; no method is told
_SHORTLIST = 2  # of the tuning's runs, that go on to the whole budget
_GLANCES = 4  # at a run of the first round
_LOST = 10.0  # training loss at which a run is given up


def measure(
    data: ImageData,
    *,
    dataset: str,
    network: str,
    methods: tuple[str, ...],
    learning_rates: tuple[float, ...],
    tuning_budget: int,
    tuning_seeds: tuple[int, ...],
    batch_size: int,
    budget: int,
    points: int,
    seeds: tuple[int, ...],
) -> dict[str, Any]:
    """Tune every method on some seeds, and run it on others.

    The tuning is in two rounds: a short run of every reading and learning rate, and runs as long as
    those reported, on every tuning seed, of the two whose training loss was lowest in the mean over
    the run. The lower of these two is reported. A reading that is marked as documented is tuned and
    reported by itself, too, as `<method>_documented`.

    Args:
        data: the images.
        dataset: their name.
        network: by name.
        methods: by name.
        learning_rates: the common grid.
        tuning_budget: values of a run of the tuning's first round.
        tuning_seeds: of the second round; the first of them is that of the first round.
        batch_size: images of a value.
        budget: values of a reported run.
        points: how often it is looked at.
        seeds: that are reported.

    Returns:
        For JSON: the readings tried, and the runs of the best of each method.
    """
    shared = {"dataset": dataset, "network": network, "batch_size": batch_size}
    results: dict[str, Any] = {
        "dataset": dataset,
        "source": data.source,
        "images": [len(data.train.labels), len(data.test.labels)],
        "pixels": list(data.train.images.shape[1:]),
        "network": network,
        "batch_size": batch_size,
        "tuning_budget": tuning_budget,
        "tuning_seeds": tuning_seeds,
        "budget": budget,
        "methods": {},
    }
    for method in methods:
        entries, results["dimension"] = _tuned_and_run(
            method,
            data,
            shared,
            learning_rates=learning_rates,
            tuning_budget=tuning_budget,
            tuning_seeds=tuning_seeds,
            budget=budget,
            points=points,
            seeds=seeds,
        )
        results["methods"] |= entries
    return results


def _tuned_and_run(
    method: str,
    data: ImageData,
    shared: dict[str, Any],
    *,
    learning_rates: tuple[float, ...],
    tuning_budget: int,
    tuning_seeds: tuple[int, ...],
    budget: int,
    points: int,
    seeds: tuple[int, ...],
) -> tuple[dict[str, Any], int]:
    """The runs of a method's best reading, and of the best of its documented one; and d."""
    judged, readings = _some(data.train, _JUDGED), READINGS[method]
    ready = {
        reading.name: prepare(
            setting(reading, method=method, budget=budget, points=points, seed=seeds[0], **shared),
            data,
        )
        for reading in readings
    }
    done: dict[tuple[str, float, int, int], dict[str, Any]] = {}

    def run(reading: str, rate: float, seed: int, most: int, points: int) -> dict[str, Any]:
        key = reading, rate, seed, most
        if key not in done:
            done[key] = _run(ready[reading], judged, rate, seed, _marks(most, points))
        return done[key]

    groups = {method: readings}
    documented = tuple(reading for reading in readings if reading.documented)
    if documented and documented != readings:
        groups[f"{method}_documented"] = documented
    long = _SHORTLIST * len(tuning_seeds) + len(seeds)
    total = len(readings) * len(learning_rates) + len(groups) * long
    entries = {}
    with tqdm(total=total, unit="run", desc=method) as bar:
        for name, group in groups.items():
            tried = []
            for reading in group:
                for rate in learning_rates:
                    found = run(reading.name, rate, tuning_seeds[0], tuning_budget, _GLANCES)
                    loss = _mean_loss(found, tuning_budget)
                    tried.append({**_about(reading), "learning_rate": rate, "loss": loss})
                    bar.set_postfix(loss=loss)
                    bar.update(name == method)
            shortlist = sorted(tried, key=lambda one: one["loss"])[:_SHORTLIST]
            for one in shortlist:  # what is quick over a few steps may be unstable over more
                over = []
                for seed in tuning_seeds:
                    found = run(one["reading"], one["learning_rate"], seed, budget, points)
                    over.append(_mean_loss(found, budget))
                    bar.update()
                one["whole_loss"] = float(np.mean(over))
            best = min(shortlist, key=lambda one: one["whole_loss"])
            runs = []
            for seed in seeds:
                found = run(best["reading"], best["learning_rate"], seed, budget, points)
                runs.append({"seed": seed, **found})
                bar.update()
            chosen = {key: value for key, value in best.items() if "loss" not in key}
            edge = best["learning_rate"] in (learning_rates[0], learning_rates[-1])
            entries[name] = {**chosen, "at_edge": edge, "tried": tried, "runs": runs}
    return entries, next(iter(ready.values())).dimension


def _mean_loss(run: dict[str, Any], most: int) -> float:
    """Mean of the training loss over a run; one that was given up keeps what it had then."""
    at = np.linspace(0, most, 101)
    return float(np.mean(np.interp(at, run["spent"], run["loss"])))


def _marks(budget: int, points: int) -> list[int]:
    return np.linspace(0, budget, points + 1).astype(int).tolist()


def _about(reading: Reading) -> dict[str, Any]:
    return {
        "reading": reading.name,
        "options": reading.options,
        "momentum": reading.momentum,
        "batch_steps": reading.batch_steps,
    }


def _some(part: Part, number: int) -> Part:
    """Images drawn with a fixed seed."""
    at = np.random.default_rng(0).permutation(len(part.labels))[:number]
    return Part(*(array[at] for array in part))


def _run(
    training: Training, judged: Part, learning_rate: float, seed: int, marks: list[int]
) -> dict[str, Any]:
    """Training loss at the marks, and what the network knows of the test images at the end.

    Args:
        training: the run made ready.
        judged: images whose loss is the training loss, and whose statistics BatchNorm has when
            the network is tested: those of its running means lag behind where steps are few.
        learning_rate: of the run.
        seed: of the run.
        marks: values spent at which the loss is taken.
    """
    state, on = training.start(seed, learning_rate), [jnp.asarray(array) for array in judged]
    counts, losses = [], []
    for mark in marks:
        state = training.advance(state, mark)
        if counts and spent(state) == counts[-1]:
            continue  # a step reached beyond this mark, too, or the next would exceed the budget
        counts.append(spent(state))
        loss = float(training.value(state, *on))
        losses.append(min(loss, _LOST) if np.isfinite(loss) else _LOST)
        if losses[-1] >= _LOST:
            break
    test_loss, accuracy = training.judge(training.settle(state, *on))
    return {
        "spent": counts,
        "loss": losses,
        "steps": int(state.step),
        "test_loss": test_loss,
        "test_accuracy": accuracy,
    }
