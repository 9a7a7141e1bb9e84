"""Networks of thresholds, levels and spikes, trained where a gradient says nothing (2 - 7 min)."""

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
from experiments.common import image_data, style, table
from experiments.examples.networks_without_gradients.networks import LOGITS, init, losses
from zosah_jax.forward import num_passes, with_feedback


@dataclass(frozen=True)
class Config(experiment.Config):
    """`zosah_jax.forward` and `jax.grad` on networks of one hidden layer, on digits."""

    activations: tuple[str, ...] = ("sign", "four levels", "spikes", "ReLU")
    """Networks, by their activation."""
    smoothing: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    """Sizes of the noise over that of what it is added to; the figure shows 0.3, or the first."""
    steps: int = 200
    """Steps of Adam; each is on all images."""
    points: int = 40
    """How often a run is looked at."""
    learning_rate: float = 2e-2
    """Rate of Adam, for both."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of first weights and noise."""


# --- the measurement ------------------------------------------------------------------------------


def measure(config: Config) -> dict[str, Any]:
    """Test accuracy along the run, by activation and estimate."""
    experiment.check_names("activations", config.activations, LOGITS)
    data = image_data.load("digits")
    train = (jnp.asarray(data.train.images.reshape(-1, 64)), jnp.asarray(data.train.labels))
    test = (jnp.asarray(data.test.images.reshape(-1, 64)), jnp.asarray(data.test.labels))
    runs: dict[str, dict[str, list[Any]]] = {}
    ways: list[float | None] = [*config.smoothing, None]
    with tqdm(total=len(config.activations) * len(ways), unit="run") as bar:
        for name in config.activations:
            runs[name] = {}
            for way in ways:
                run = partial(_run, config, name, way, train, test)
                runs[name][_way(way)] = jax.jit(jax.vmap(run))(jnp.array(config.seeds)).tolist()
                bar.update()
    return {
        "dimension": sum(leaf.size for leaf in jax.tree.leaves(init(jax.random.key(0)))),
        "images": [len(train[1]), len(test[1])],
        "steps": config.steps,
        "passes": num_passes(two_sided=True),
        "shown": _way(0.3 if 0.3 in config.smoothing else config.smoothing[0]),
        "runs": runs,
    }


def _way(smoothing: float | None) -> str:
    return "jax.grad" if smoothing is None else f"noise {smoothing:g}"


def _run(
    config: Config, name: str, smoothing: float | None, train: Any, test: Any, seed: jax.Array
) -> jax.Array:
    """Test accuracy at each look, the start included."""
    tx, fun = optax.adam(config.learning_rate), partial(losses, name)
    learner = with_feedback(fun, smoothing=smoothing or 1.0, two_sided=True)
    keys = jax.random.split(jax.random.key(seed))
    params = init(keys[0])

    def right(params: Any) -> jax.Array:
        return (LOGITS[name](params, test[0]).argmax(-1) == test[1]).mean()

    def step(carry: Any, key: jax.Array) -> tuple[Any, None]:
        params, moments, state = carry
        if smoothing is None:
            estimate = jax.grad(lambda p: fun(p, *train).mean())(params)
        else:
            (_, estimate), state = learner.value_and_grad(params, state, key, *train)
        updates, moments = tx.update(estimate, moments)
        return (optax.apply_updates(params, updates), moments, state), None

    def look(carry: Any, keys: jax.Array) -> tuple[Any, jax.Array]:
        carry, _ = jax.lax.scan(step, carry, keys)
        return carry, right(carry[0])

    start = (params, tx.init(params), learner.init(params, *train))
    length = max(1, config.steps // config.points)
    keys = jax.random.split(keys[1], (config.steps // length, length))
    _, found = jax.lax.scan(look, start, keys)
    return jnp.concatenate([right(params)[None], found])


# --- its tables -----------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Test accuracy at the end, by activation and estimate."""
    ways = list(next(iter(results["runs"].values())))
    rows = [
        [name, *(table.mean([100 * run[-1] for run in found[way]], 1, " %") for way in ways)]
        for name, found in results["runs"].items()
    ]
    title = (
        f"**digits**: {results['images'][0]:,} images to learn from and {results['images'][1]:,} "
        f"to be judged by; 64-64-10, d = {results['dimension']:,}; {results['steps']:,} steps"
    )
    return {"table": f"{title}\n\n{table.markdown(['activation', *ways], rows)}"}


# --- its figure -----------------------------------------------------------------------------------


def draw(results: dict[str, Any], path: Path) -> None:
    """Test accuracy against steps, median and range of the seeds, a panel an activation."""
    runs = results["runs"]
    with style.figure(path, 4.2 * len(runs), 4.6) as figure:
        panels = figure.subplots(1, len(runs), squeeze=False, sharey=True)[0]
        for axes, (name, found) in zip(panels, runs.items(), strict=True):
            ways = [(results["shown"], style.series(1), "-"), ("jax.grad", style.REFERENCE, "--")]
            for way, colour, dashes in ways:
                accuracy = 100 * np.array(found[way])
                steps = np.linspace(0, results["steps"], accuracy.shape[1])
                axes.plot(steps, np.median(accuracy, 0), dashes, color=colour, label=way)
                low, high = accuracy.min(0), accuracy.max(0)
                axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.set(xlabel="steps", ylim=(60, 100.5))
            axes.set_title(name)
        panels[0].set_ylabel("test accuracy, %")
        panels[0].legend(loc="lower right")


EXPERIMENT = experiment.Experiment(
    "networks_without_gradients", Config, measure, tables, draw, packages=("scikit-learn",)
)
