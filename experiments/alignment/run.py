"""The measurement: alignment of random subspaces with the true gradient along a run of MeZO."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from experiments import datasets
from zosah_jax import mezo
from zosah_jax.blocks import split_blocks
from zosah_jax.diagnostics import (
    alignment,
    block_alignment,
    direction_alignment,
    effective_dimension,
)
from zosah_jax.params import address_of, dimension
from zosah_jax.permutation import permute

KINDS = ("coordinates", "pairs", "blocks", "dense directions")
"""Subspaces: m coordinates, two coordinates, a layer, the span of m normal directions."""

_LAYERS = (64, 24, 24, 1)
_ROWS = 300
_TRACE_SAMPLES = 100


def measure(
    *,
    seeds: tuple[int, ...],
    steps: int,
    looks: int,
    draws: int,
    subspace_dim: int,
    learning_rate: float,
    samples: int,
) -> dict[str, Any]:
    """Run, stop now and then, and look at the true gradient.

    Args:
        seeds: of start and method.
        steps: of the run.
        looks: points of the run, from its start to its end, spread evenly.
        draws: subspaces of each kind at a look.
        subspace_dim: m.
        learning_rate: of the run.
        samples: of MeZO a step.

    Returns:
        For JSON: alignments by kind, the mean, a tenth and nine tenths over draws, and effective
        dimensions, a list over looks for every seed.
    """
    objective = _objective()
    at = np.unique(np.linspace(0, steps, looks).astype(int))
    tx = mezo(learning_rate, samples)
    advance = jax.jit(partial(_advance, tx, objective))
    look = jax.jit(partial(_look, objective, draws, subspace_dim))
    found: list[dict[str, Any]] = []
    sizes: tuple[int, ...] = ()
    for seed in tqdm(seeds, desc="runs", unit="run"):
        params = _start(jax.random.key(seed))
        sizes, state = (
            split_blocks(params).sizes,
            mezo(learning_rate, samples, key=seed).init(params),
        )
        seen: list[dict[str, Any]] = []
        for before, now in zip([0, *at], at, strict=False):
            params, state = advance(params, state, now - before)
            seen.append(jax.tree.map(np.asarray, look(params, jax.random.key(1000 + seed))))
        found.append(_joined(seen))
    return {
        "seeds": list(seeds),
        "step": at.tolist(),
        "dimension": sum(sizes),
        "block_sizes": list(sizes),
        "subspace_dim": subspace_dim,
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
