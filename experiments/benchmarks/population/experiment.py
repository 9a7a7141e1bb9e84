"""What a value costs where many members, moved by products of thin factors, share the weights."""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits
from tqdm import tqdm

import zosah_jax
from experiments import experiment
from experiments.common import members, style, table


@dataclass(frozen=True)
class Config(experiment.Config):
    """What a value along dense directions and along those of low rank costs, in a population."""

    width: int = 256
    """Features of the transformer."""
    layers: int = 4
    """Its decoder layers."""
    texts: int = 2
    """Texts of a value."""
    length: int = 64
    """Tokens of a text."""
    members: int = 64
    """Directions of a step; of dense ones one by one, and of copies, eight are timed."""
    repeats: int = 11
    """Rounds of timings, taken in turns, of which medians are taken."""
    budget: int = 3_000
    """Values of a run on the digits."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of these runs that are reported."""
    tuning_seed: int = 1_000
    """Seed on which learning rates are tried, none of those reported."""


# --- the measurement ------------------------------------------------------------------------------

FEW = 8  # members of the evaluators that take several forward passes a value
_PERCEPTRON = (784, 512, 512, 10)


def measure(config: Config) -> dict[str, Any]:
    """Time a value, and an update, in units of a jitted forward pass."""
    experiment.check_tuning_seed(config.tuning_seed, config.seeds)
    batch = f"{config.texts} x {config.length} tokens"
    objectives = {
        f"transformer, {config.layers} x {config.width}, {batch}": partial(
            members.transformer, config.width, config.layers, config.texts, config.length
        ),
        "perceptron, batch of 128": partial(members.perceptron, _PERCEPTRON, 128),
        "perceptron, batch of 8": partial(members.perceptron, _PERCEPTRON, 8),
    }
    found, learning = {}, {}
    with tqdm(total=len(objectives) + len(METHODS), unit="part") as bar:
        for name, make in objectives.items():
            bar.set_description(name)
            found[name] = members.costs(make(), config.members, FEW, config.repeats)
            bar.update()
        for method in METHODS:
            bar.set_description(method)
            learning[method] = {
                kind: _learnt(method, options, config) for kind, options in DIRECTIONS.items()
            }
            bar.update()
    return {
        "machine": f"{os.cpu_count()} cores, {jax.devices()[0].device_kind}",
        "members": config.members,
        "budget": config.budget,
        "objectives": found,
        "learning": learning,
    }


# --- what is learnt ------------------------------------------------------------------------------

DIRECTIONS: dict[str, dict[str, Any]] = {
    "dense": {},
    **{f"rank {rank}": {"directions": "low_rank", "rank": rank} for rank in (1, 2, 4)},
}
METHODS: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "mezo": ({}, (1e-3, 3e-3, 1e-2, 3e-2, 0.1)),
    "rspg": ({"num_directions": 15, "smoothing": 1e-3}, (1e-2, 3e-2, 0.1, 0.3, 1.0)),
    "fzoo": ({"num_directions": 15}, (3e-2, 0.1, 0.2, 0.4, 0.8)),
}
"""Methods, their options, and the learning rates that are tried."""

_DIGITS = (64, 64, 10)
_BATCH = 128


def _learnt(method: str, directions: dict[str, Any], config: Config) -> dict[str, Any]:
    """Loss on the digits after the budget, at the learning rate that was best on another seed."""
    options, rates = METHODS[method]
    images, labels = load_digits(return_X_y=True)
    images, labels = jnp.asarray(images / 16, jnp.float32), jnp.asarray(labels)
    start = members.weights(_DIGITS)

    def run(rate: jax.Array, key: jax.Array) -> jax.Array:
        tx = getattr(zosah_jax, method)(rate, key=key, **directions, **options)

        def step(carry: Any, number: jax.Array) -> tuple[Any, None]:
            params, state = carry
            at = jax.random.randint(jax.random.fold_in(key, number), (_BATCH,), 0, len(labels))
            value_fn = lambda p: members.mean_loss(p, images[at], labels[at])  # noqa: E731
            updates, state = tx.update(None, state, params, value_fn=value_fn)
            return (optax.apply_updates(params, updates), state), None

        turns = jnp.arange(config.budget // (1 + options.get("num_directions", 1)))
        (params, _), _ = jax.lax.scan(step, (start, tx.init(start)), turns)
        return members.mean_loss(params, images, labels)

    tried = jax.jit(jax.vmap(run, (0, None)))(jnp.array(rates), jax.random.key(config.tuning_seed))
    best = int(np.argmin(np.where(np.isfinite(tried), tried, np.inf)))
    keys = jnp.stack([jax.random.key(seed) for seed in config.seeds])
    losses = jax.jit(jax.vmap(run, (None, 0)))(jnp.float32(rates[best]), keys)
    return {
        "learning_rate": rates[best],
        "at_edge": best in (0, len(rates) - 1),
        "losses": [round(float(loss), 4) for loss in losses],
    }


# --- its tables -----------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    objectives = results["objectives"]
    names = list(next(iter(objectives.values()))["ratios"])
    header = ["time a member / forward pass: median (quartiles)", *objectives]
    rows = [
        ["parameters", *(f"{found['dimension']:,}" for found in objectives.values())],
        ["forward pass", *(f"{1e3 * f['forward_seconds']:.2f} ms" for f in objectives.values())],
        *(
            [name, *(table.ratio(found["ratios"][name]) for found in objectives.values())]
            for name in names
        ),
        [
            "low rank, one product / dense, one by one",
            *(table.ratio(found["of_dense"]) for found in objectives.values()),
        ],
    ]
    return {"values": table.markdown(header, rows), "learning": _learning_table(results)}


def _learning_table(results: dict[str, Any]) -> str:
    """Losses, and the learning rates that led to them."""
    header = [f"loss after {results['budget']:,} values", *DIRECTIONS, "learning rates"]
    rows = []
    for method, found in results["learning"].items():
        kinds = [found[kind] for kind in DIRECTIONS]
        rates = ", ".join(f"{kind['learning_rate']:g}{'*' * kind['at_edge']}" for kind in kinds)
        rows.append(
            [style.label(method), *(table.mean(kind["losses"], 3) for kind in kinds), rates]
        )
    return table.markdown(header, rows)


# --- its figure -----------------------------------------------------------------------------------


def draw(results: dict[str, Any], path: Path) -> None:
    """Time a value of a member, in units of a forward pass."""
    objectives = results["objectives"]
    names = list(next(iter(objectives.values()))["ratios"])
    with style.figure(path, 10.5, 5.4) as figure:
        axes = figure.subplots()
        axes.axvline(1, color=style.REFERENCE, linewidth=1)
        for number, (objective, found) in enumerate(objectives.items()):
            ratios = [found["ratios"][name]["ratio"] for name in names]
            at = np.arange(len(names)) + 0.2 * (number - 1)
            marker = style.MARKERS[number]
            axes.plot(ratios, at, marker, markersize=9, label=objective, color=style.series(number))
        axes.set(xscale="log", xlabel="time a member / jitted forward pass")
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.xaxis.set_major_formatter("{x:g}")
        axes.grid(visible=False, axis="y")
        axes.set_title(f"A population of {results['members']} members")
        axes.legend(fontsize=10, loc="lower right")


EXPERIMENT = experiment.Experiment("population", Config, measure, tables, draw, packages=("flax",))
