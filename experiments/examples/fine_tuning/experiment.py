"""A small language model fine-tuned by forward passes; times of MeZO's steps (10 min)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.ticker import MaxNLocator
from tqdm import tqdm

from experiments import experiment
from experiments.common import style, table
from experiments.examples.fine_tuning import noise
from experiments.examples.fine_tuning.model import (
    Pretrained,
    adapted,
    adapters,
    label_logits,
    pretrain,
)
from experiments.examples.fine_tuning.runs import (
    GRIDS,
    Data,
    Task,
    Tuning,
    ceiling,
    judged,
    times_of,
    tuned,
)
from experiments.examples.fine_tuning.text import corpora, snippets
from zosah_jax.pytree import dimension


@dataclass(frozen=True)
class Config(experiment.Config):
    """A small language model, fine-tuned by forward passes to tell what kind of text it sees."""

    methods: tuple[str, ...] = ("mezo", "mezo_bcd", "hizoo", "fzoo", "zosah", "zosah_dense")
    """Methods by name; zosah_dense: ZO-SAH in random directions."""
    width: int = 32
    """Features of the transformer."""
    layers: int = 2
    """Its decoder layers."""
    length: int = 64
    """Bytes that it sees."""
    pretraining_steps: int = 1_200
    """Steps of backpropagation on the next byte, and on the letter of a title."""
    rank: int = 4
    """Of the low-rank adapters."""
    subspace_dim: int = 16
    """ZO-SAH's m."""
    examples: int = 64
    """Snippets of each of the four kinds to learn from."""
    batch_size: int = 16
    """Snippets of a value."""
    budget: int = 1_200
    """Values of a run."""
    tuning_budget: int = 500
    """Values of a run of the tuning."""
    grid_points: int = 6
    """Learning rates that are tried for each method."""
    tuning_seed: int = 1_000
    """Seed on which they are tried, none of those reported."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds that are reported."""
    timed_batches: tuple[int, ...] = (2, 16)
    """Batch sizes at which steps are timed."""
    repeats: int = 15
    """Rounds of the timing."""


# --- the measurement ------------------------------------------------------------------------------

_RANK_SCALE = 2.0


def measure(config: Config) -> dict[str, Any]:
    """Pretrain once, fine-tune by every method, and time their steps in turns."""
    experiment.check_names("methods", config.methods, GRIDS)
    experiment.check_tuning_seed(config.tuning_seed, config.seeds)
    found = corpora()
    model = pretrain(
        [corpus.train for corpus in found.values()],
        width=config.width,
        layers=config.layers,
        heads=4,
        length=config.length,
        steps=config.pretraining_steps,
        batch_size=32,
        learning_rate=3e-3,
        seed=0,
    )
    train = snippets(found, "train", config.examples, config.length - 1, seed=1)
    test = snippets(found, "test", 100, config.length - 1, seed=2)
    data = Data(train, test, config.batch_size)
    tasks = {"all weights": _whole(model), "adapters": _low_rank(model, config.rank)}
    narrow = model._replace(last=model.narrow)
    noisy = {"all weights": _whole(narrow), "adapters": _low_rank(narrow, config.rank)}
    total = len(tasks) * (len(config.methods) + 1) * (config.grid_points + len(config.seeds))
    with tqdm(total=total, unit="run") as bar:
        trained = {
            name: _trained(task, noisy[name], data, config, bar) for name, task in tasks.items()
        }
    sizes = config.timed_batches
    return {
        "kinds": {n: len(c.train.tokens) + len(c.test.tokens) for n, c in found.items()},
        "pretraining_loss": model.loss,
        "title_loss": model.title_loss,
        "examples": len(train.labels),
        "test": len(test.labels),
        "budget": config.budget,
        "tuning_budget": config.tuning_budget,
        "seeds": list(config.seeds),
        "tuning_seed": config.tuning_seed,
        "trained": trained,
        "times": {
            str(size): times_of(
                tasks["all weights"],
                config.methods,
                config.subspace_dim,
                train,
                size,
                config.repeats,
            )
            for size in sizes
        },
        "tokens_of_a_value": {str(size): size * config.length for size in sizes},
    }


def _trained(task: Task, noisy: Task, data: Data, config: Config, bar: tqdm) -> dict[str, Any]:
    """Every method on a task, noise at the layers, and what backpropagation makes of it."""
    tuning = Tuning(
        config.subspace_dim,
        config.budget,
        config.tuning_budget,
        config.grid_points,
        config.tuning_seed,
        config.seeds,
    )
    entry: dict[str, Any] = {
        "dimension": dimension(task.params),
        "accuracy_at_start": judged(task, task.params, data.test)[1],
        "ceiling": ceiling(task, data, config.tuning_seed),
        "methods": {method: tuned(task, method, data, tuning, bar) for method in config.methods},
        "noise": noise.tuned(noisy, data, tuning, bar),
    }
    return entry | {"steps_to_the_loss_of_mezo": _steps(entry)}


# --- what is trained -----------------------------------------------------------------------------


def _whole(model: Pretrained) -> Task:
    return _task(model.params, partial(label_logits, model))


def _low_rank(model: Pretrained, rank: int) -> Task:
    def logits(own: Any, tokens: jax.Array) -> jax.Array:
        return label_logits(model, adapted(model.params, own, _RANK_SCALE), tokens)

    return _task(adapters(model.params, rank, seed=0), logits)


def _task(params: Any, logits: Callable[[Any, jax.Array], jax.Array]) -> Task:
    def value(params: Any, tokens: jax.Array, labels: jax.Array) -> jax.Array:
        each = optax.softmax_cross_entropy_with_integer_labels(logits(params, tokens), labels)
        return jnp.mean(each)

    return Task(params, value, jax.jit(logits))


def _steps(entry: dict[str, Any]) -> dict[str, Any] | None:
    """Steps of MeZO and MeZO-BCD to the loss at which the worst of their runs ended, by seed."""
    pair = ("mezo", "mezo_bcd")
    if not all(name in entry["methods"] for name in pair):
        return None
    runs = {name: entry["methods"][name]["runs"] for name in pair}
    goal = max(min(run["loss"]) for name in pair for run in runs[name])
    steps = {
        name: [
            next(s for s, loss in zip(run["steps"], run["loss"], strict=True) if loss <= goal)
            for run in runs[name]
        ]
        for name in pair
    }
    return {"loss": goal, **steps}


# --- its tables -----------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    parts = [_trained_table(name, found) for name, found in results["trained"].items()]
    return {
        "table": "\n\n".join(parts),
        "noise": _noise_table(results),
        "steps": _steps_table(results),
        "times": _times_table(results),
    }


def _trained_table(name: str, found: dict[str, Any]) -> str:
    header = ["method, learning rate", "steps", "training loss", "test accuracy"]
    named = {_label(method): entry for method, entry in found["methods"].items()}
    rows = [
        [
            f"{label}, {entry['learning_rate']:g}" + ("*" if entry["at_edge"] else ""),
            f"{entry['runs'][0]['steps'][-1]:,}",
            table.mean([run["loss"][-1] for run in entry["runs"]], 3),
            table.mean([100 * run["accuracy"] for run in entry["runs"]], 1, " %"),
        ]
        for label, entry in (named | {noise.LABEL: found["noise"]}).items()
    ]
    best = found["ceiling"]
    rows.append(
        [
            f"(Adam by backpropagation, {best['learning_rate']:g})",
            f"{best['steps']:,}",
            f"{best['loss']:.3f}",
            f"{100 * best['accuracy']:.1f} %",
        ]
    )
    at_start = f"{100 * found['accuracy_at_start']:.1f} % before"
    return f"**{name}**, d = {found['dimension']:,}; {at_start}\n\n{table.markdown(header, rows)}"


def _label(method: str) -> str:
    return "ZO-SAH, dense" if method == "zosah_dense" else style.label(method)


def _noise_table(results: dict[str, Any]) -> str:
    """Passes of noise at the layers to the mean loss at which MeZO ended."""
    header = ["trained", "MeZO's training loss", "noise at the layers, passes by seed", "of MeZO's"]
    rows = []
    for name, found in results["trained"].items():
        if "mezo" in found["methods"]:
            goal = float(np.mean([run["loss"][-1] for run in found["methods"]["mezo"]["runs"]]))
            passes = [noise.reached(run, goal) for run in found["noise"]["runs"]]
            told = ", ".join("-" if spent is None else f"{spent:.0f}" for spent in passes)
            there = [spent for spent in passes if spent is not None]
            part = f"{np.mean(there) / results['budget']:.3f}" if there == passes else "-"
            rows.append([name, f"{goal:.3f}", told, part])
    return table.markdown(header, rows)


def _steps_table(results: dict[str, Any]) -> str:
    """Steps of the two to one loss."""
    header = ["trained", "training loss", "MeZO, steps", "MeZO-BCD, steps", "ratio"]
    rows = []
    for name, found in results["trained"].items():
        pair = found["steps_to_the_loss_of_mezo"]
        if pair:
            whole, block = np.mean(pair["mezo"]), np.mean(pair["mezo_bcd"])
            ratio = f"{block / whole:.2f}" if whole else "-"
            rows.append([name, f"{pair['loss']:.3f}", f"{whole:.0f}", f"{block:.0f}", ratio])
    return table.markdown(header, rows)


def _times_table(results: dict[str, Any]) -> str:
    """Times of a step over MeZO's."""
    sizes = list(results["times"])
    header = [
        "time of a step over MeZO's",
        *(f"{size} x {results['tokens_of_a_value'][size] // int(size)} tokens" for size in sizes),
    ]
    names = list(results["times"][sizes[0]])
    rows = [
        [
            "one forward pass" if name == "forward" else _label(name),
            *("{:.2f} ({:.2f} - {:.2f})".format(*results["times"][size][name]) for size in sizes),
        ]
        for name in names
    ]
    return table.markdown(header, rows)


# --- its figure -----------------------------------------------------------------------------------


def _colour(method: str) -> str:
    return style.series(7) if method == "zosah_dense" else style.colour(method)


def draw(results: dict[str, Any], path: Path) -> None:
    """Training loss against values spent, a line a seed."""
    with style.figure(path, 10.2, 4.4) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        for axes, (name, found) in zip(panels, results["trained"].items(), strict=True):
            lines = [(_label(m), _colour(m), e) for m, e in found["methods"].items()]
            for label, colour, entry in [*lines, (noise.LABEL, style.REFERENCE, found["noise"])]:
                for number, run in enumerate(entry["runs"]):
                    axes.plot(
                        run["spent"],
                        run["loss"],
                        color=colour,
                        alpha=0.75,
                        linewidth=1.6,
                        label=label if number == 0 else None,
                    )
            axes.set_title(f"{name}, d = {found['dimension']:,}")
            axes.set(xlabel="function values spent", xlim=(0, results["budget"]))
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.xaxis.set_major_formatter("{x:,.0f}")
        panels[0].set(ylabel="loss on the training snippets", ylim=(0.4, 1.8))
        panels[1].legend(loc="lower left", ncols=2)


EXPERIMENT = experiment.Experiment("fine_tuning", Config, measure, tables, draw, packages=("flax",))
