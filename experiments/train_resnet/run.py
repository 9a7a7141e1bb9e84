"""The measurement: every method and seed, looked at in equal distances of values."""

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments.errors import InputError
from experiments.image_data import ImageData
from experiments.train_resnet.checkpoints import Checkpoints, History, identity
from experiments.train_resnet.settings import Setting
from experiments.train_resnet.training import State, Training, prepare, spent

ACCURACIES = (0.9, 0.95)
"""Test accuracies whose price is reported."""


def measure(
    settings: list[Setting],
    data: ImageData,
    *,
    checkpoints: Path | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Train as every setting says.

    Args:
        settings: the runs, of one data set and network.
        data: the data set.
        checkpoints: folder with a folder a run. None: none are kept.
        resume: whether to go on from what is there.

    Returns:
        For JSON: the history of every run, and what the methods reached.

    Raises:
        InputError: checkpoints are there and not to be resumed, or to be resumed and not there, or
            of another run. Then nothing was trained nor written.
    """
    kept = [_checkpoints(setting, data, checkpoints) for setting in settings]
    begun = [own is not None and own.check() for own in kept]
    if any(begun) and not resume:
        raise InputError(
            f"checkpoints: got {checkpoints}, which holds a run; pass --resume to go on with it, "
            "or name another folder."
        )
    if resume and not any(begun):
        raise InputError(
            f"resume: got the folder {checkpoints} of checkpoints, wanted one that holds a run."
        )
    ready = {setting.method: prepare(setting, data) for setting in settings}
    runs = []
    for setting, own, goes_on in zip(settings, kept, begun, strict=True):
        history, _ = train(setting, ready[setting.method], own, goes_on)
        runs.append({"method": setting.method, "seed": setting.seed, "history": history})
    first = settings[0]
    return {
        "dataset": first.dataset,
        "source": data.source,
        "images": [len(data.train.labels), len(data.test.labels)],
        "network": first.network,
        "dimension": ready[first.method].dimension,
        "budget": first.budget,
        "accuracies": ACCURACIES,
        "runs": runs,
        "methods": {
            setting.method: {
                "learning_rate": setting.learning_rate,
                "options": dict(setting.options),
                **_summary([run["history"] for run in runs if run["method"] == setting.method]),
            }
            for setting in settings
        },
    }


def train(
    setting: Setting, training: Training, checkpoints: Checkpoints | None, goes_on: bool
) -> tuple[History, State]:
    """One run, with a progress bar.

    Args:
        setting: the run.
        training: the run made ready.
        checkpoints: where to keep it, if anywhere.
        goes_on: whether to start from the checkpoint there.

    Returns:
        The history, a list for each of `spent`, `loss` (on the batches, mean since the entry
        before), `test_loss` and `test_accuracy`; and the last state.
    """
    state = training.start(setting.seed)
    history: History = {"spent": [], "loss": [], "test_loss": [], "test_accuracy": []}
    if goes_on and checkpoints is not None:
        state, history = checkpoints.restore(state)
    marks = np.linspace(0, setting.budget, setting.points + 1).astype(int)
    bar = tqdm(
        desc=f"{setting.method}, seed {setting.seed}",
        total=setting.budget,
        initial=spent(state),
        unit=" queries",
    )
    with bar:
        for mark in marks:
            if history["spent"] and mark <= history["spent"][-1]:
                continue
            state = training.advance(state, int(mark))
            if history["spent"] and spent(state) == history["spent"][-1]:
                break  # the next step would exceed the budget
            test_loss, accuracy = training.judge(state)
            entry = (spent(state), float(state.loss), test_loss, accuracy)
            for name, value in zip(history, entry, strict=True):
                history[name].append(value)
            if checkpoints is not None:
                checkpoints.save(state, history)
            bar.update(spent(state) - bar.n)
            bar.set_postfix(loss=f"{entry[1]:.3f}", accuracy=f"{accuracy:.1%}")
    return history, state


def _checkpoints(setting: Setting, data: ImageData, folder: Path | None) -> Checkpoints | None:
    if folder is None:
        return None
    return Checkpoints(folder / f"{setting.method}-{setting.seed}", identity(setting, data))


def _summary(histories: list[History]) -> dict[str, Any]:
    """What the runs of a method reached, a number a seed."""
    reached = {}
    for accuracy in ACCURACIES:
        prices = []
        for history in histories:
            there = np.flatnonzero(np.array(history["test_accuracy"]) >= accuracy)
            prices.append(int(history["spent"][there[0]]) if there.size else None)
        reached[f"{accuracy:g}"] = prices
    return {
        "values_to_accuracy": reached,
        "test_accuracy": [history["test_accuracy"][-1] for history in histories],
        "loss": [history["loss"][-1] for history in histories],
    }
