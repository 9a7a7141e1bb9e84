"""Which subspaces see the gradient, along a run of MeZO (1 min)."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from experiments import experiment
from experiments.common import datasets, style, table
from zosah_jax import mezo
from zosah_jax.blocks import split_blocks
from zosah_jax.extras.diagnostics import (
    alignment,
    block_alignment,
    direction_alignment,
    effective_dimension,
)
from zosah_jax.permutation import permute
from zosah_jax.pytree import address_of, dimension


@dataclass(frozen=True)
class Config(experiment.Config):
    """How much of the gradient random subspaces hold, along a run of a small network."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the start and of the method."""
    steps: int = 2_000
    """Steps of the run."""
    looks: int = 9
    """How often along it the gradient is looked at, its start and its end included."""
    draws: int = 200
    """Random subspaces of each kind at each look."""
    subspace_dim: int = 16
    """Dimension m of the subspaces of coordinates, pairs and directions."""
    learning_rate: float = 0.02
    """Of the run, which MeZO makes."""
    samples: int = 8
    """Samples of MeZO a step."""


# --- the measurement ------------------------------------------------------------------------------

KINDS = ("coordinates", "pairs", "blocks", "dense directions")
"""Subspaces: m coordinates, two coordinates, a layer, the span of m normal directions."""

_LAYERS = (64, 24, 24, 1)
_ROWS = 300
_TRACE_SAMPLES = 100


def measure(config: Config) -> dict[str, Any]:
    """Run MeZO, stop now and then, and look at the true gradient.

    Alignments by kind are the mean, a tenth and nine tenths over draws, a list over looks.
    """
    objective, rate = _objective(), config.learning_rate
    at = np.unique(np.linspace(0, config.steps, config.looks).astype(int))
    advance = jax.jit(partial(_advance, mezo(rate, config.samples), objective))
    look = jax.jit(partial(_look, objective, config.draws, config.subspace_dim))
    found: list[dict[str, Any]] = []
    sizes: tuple[int, ...] = ()
    for seed in tqdm(config.seeds, desc="runs", unit="run"):
        params = _start(jax.random.key(seed))
        sizes = split_blocks(params).sizes
        state = mezo(rate, config.samples, key=seed).init(params)
        seen: list[dict[str, Any]] = []
        for before, now in zip([0, *at], at, strict=False):
            params, state = advance(params, state, now - before)
            seen.append(jax.tree.map(np.asarray, look(params, jax.random.key(1000 + seed))))
        found.append(_joined(seen))
    return {
        "seeds": list(config.seeds),
        "step": at.tolist(),
        "dimension": sum(sizes),
        "block_sizes": list(sizes),
        "subspace_dim": config.subspace_dim,
        "runs": found,
    }


def _objective() -> Any:
    """Logistic loss of a network of three layers on digits, odd against even."""
    data = datasets.load("digits", _ROWS, None)
    pixels = jnp.asarray(data.features[:, :-1], jnp.float32)
    labels = jnp.asarray(data.labels, jnp.float32)

    def loss(params: Any) -> jax.Array:
        x = pixels
        for number, layer in enumerate(params):
            x = x @ layer["kernel"] + layer["bias"][None]
            x = jnp.tanh(x) if number < len(params) - 1 else x
        return jnp.mean(jax.nn.softplus(-labels * x[:, 0]))

    return loss


def _start(key: jax.Array) -> list[dict[str, jax.Array]]:
    keys = jax.random.split(key, len(_LAYERS) - 1)
    return [
        {"kernel": jax.random.normal(k, (n, m)) / n**0.5, "bias": jnp.zeros(m)}
        for k, n, m in zip(keys, _LAYERS[:-1], _LAYERS[1:], strict=True)
    ]


def _advance(tx: Any, objective: Any, params: Any, state: Any, steps: jax.Array) -> Any:
    def step(_: Any, carry: Any) -> Any:
        params, state = carry
        updates, state = tx.update(None, state, params, value_fn=objective)
        return optax.apply_updates(params, updates), state

    return jax.lax.fori_loop(0, steps, step, (params, state))


def _look(objective: Any, draws: int, m: int, params: Any, key: jax.Array) -> dict[str, Any]:
    """Loss, alignments of many subspaces of each kind, and the effective dimension."""
    loss, gradient = jax.value_and_grad(objective)(params)
    d = dimension(params)

    def coordinates(key: jax.Array, size: int) -> jax.Array:
        return alignment(gradient, address_of(params, permute(key, _places(size), d)))

    def dense(key: jax.Array) -> jax.Array:
        return direction_alignment(gradient, jax.random.split(key, m))

    keys = jax.random.split(key, draws)
    ratio, _, norm = effective_dimension(objective, params, num_samples=_TRACE_SAMPLES)
    blocks = [block_alignment(gradient, leaves) for leaves in split_blocks(params).leaves]
    return {
        "loss": loss,
        "effective_dimension": ratio,
        "norm": norm,
        "coordinates": jax.lax.map(lambda k: coordinates(k, m), keys),
        "pairs": jax.lax.map(lambda k: coordinates(k, 2), keys),
        "blocks": jnp.stack(blocks),
        "dense directions": jax.lax.map(dense, keys),
    }


def _places(size: int) -> jax.Array:
    return jnp.arange(size, dtype=jnp.uint32)


def _joined(looks: list[dict[str, Any]]) -> dict[str, Any]:
    """Lists over the looks of a run; of a kind, its mean and its tenths over draws."""
    run: dict[str, Any] = {
        name: [float(look[name]) for look in looks]
        for name in ("loss", "effective_dimension", "norm")
    }
    for kind in KINDS:
        values = [look[kind].astype(float) for look in looks]
        run[kind] = {
            "mean": [float(np.mean(v)) for v in values],
            "low": [float(np.quantile(v, 0.1)) for v in values],
            "high": [float(np.quantile(v, 0.9)) for v in values],
        }
    run["each block"] = [look["blocks"].astype(float).tolist() for look in looks]
    return run


# --- its tables -----------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    return {"table": _alignment(results), "blocks": _blocks(results)}


def _alignment(results: dict[str, Any]) -> str:
    """Median over seeds at the start, the middle and the end of the run."""
    steps = results["step"]
    chosen = sorted({0, len(steps) // 2, len(steps) - 1})
    header = ["median over seeds", *(f"step {steps[i]}" for i in chosen)]
    rows = [
        [f"{kind}: mean (a tenth - nine tenths)", *(_spread(results, kind, i) for i in chosen)]
        for kind in KINDS
    ]
    rows.append(["loss", *(f"{over_seeds(results, 'loss')[i]:.3f}" for i in chosen)])
    dimensions = over_seeds(results, "effective_dimension")
    rows.append(["effective dimension", *(f"{dimensions[i]:.1f}" for i in chosen)])
    return table.markdown(header, rows)


def _spread(results: dict[str, Any], kind: str, look: int) -> str:
    parts = (over_seeds(results, kind, part)[look] for part in ("mean", "low", "high"))
    return "{:.2f} ({:.2f} - {:.2f})".format(*parts)


def _blocks(results: dict[str, Any]) -> str:
    """Alignment of every layer at the start and the end."""
    each = np.median([run["each block"] for run in results["runs"]], axis=0)
    header = ["layer", "parameters", f"step {results['step'][0]}", f"step {results['step'][-1]}"]
    rows = [
        [str(number + 1), str(size), f"{each[0, number]:.2f}", f"{each[-1, number]:.2f}"]
        for number, size in enumerate(results["block_sizes"])
    ]
    return table.markdown(header, rows)


def over_seeds(results: dict[str, Any], *names: str) -> np.ndarray:
    """Median over seeds of a quantity, along the run."""

    def within(run: Any) -> Any:
        for name in names:
            run = run[name]
        return run

    return np.median([within(run) for run in results["runs"]], axis=0)


# --- its figure -----------------------------------------------------------------------------------

_COLOURS = dict(zip(KINDS, ("#D55E00", "#0072B2", "#009E73", "#7F5AA8"), strict=True))


def draw(results: dict[str, Any], path: Path) -> None:
    """Alignment along the run, kind by kind, and the effective dimension."""
    steps, m = results["step"], results["subspace_dim"]
    names = {
        "coordinates": f"{m} coordinates",
        "pairs": "pairs of coordinates",
        "blocks": "blocks (layers)",
        "dense directions": f"{m} dense directions",
    }
    with style.figure(path, 16, 4.6) as figure:
        *panels, last = figure.subplots(1, 5)
        top = max(max(run[kind]["mean"]) for run in results["runs"] for kind in KINDS)
        top = max(top, *(over_seeds(results, kind, "high").max() for kind in KINDS))
        for kind, axes in zip(KINDS, panels, strict=True):
            colour = _COLOURS[kind]
            low, high = (over_seeds(results, kind, part) for part in ("low", "high"))
            axes.axhline(1, color=style.REFERENCE, linewidth=1)
            axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
            for run in results["runs"]:
                axes.plot(steps, run[kind]["mean"], color=colour, linewidth=1.6)
            axes.set_title(names[kind], fontsize=13)
            axes.set(xlabel="step", yscale="log", ylim=(0.05, 1.5 * top))
            axes.set_xticks([steps[0], steps[-1]])
            style.plain_ticks(axes.yaxis)
        panels[0].set_ylabel("alignment (1: as at random)")
        for run in results["runs"]:
            last.plot(steps, run["effective_dimension"], color=style.REFERENCE, linewidth=1.6)
        last.set_title("tr(H) / |H|", fontsize=13)
        last.set(xlabel="step", xticks=[steps[0], steps[-1]])
        last.set_ylim(bottom=0)


EXPERIMENT = experiment.Experiment("alignment", Config, measure, tables, draw)
