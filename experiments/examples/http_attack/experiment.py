"""A classifier behind HTTP, fooled through its probabilities (3 - 4 min)."""

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments import experiment
from experiments.common import style, table
from experiments.common.solvers import Counted, cma_curve
from experiments.examples.http_attack.client import Remote, served
from experiments.examples.http_attack.server import held_out
from zosah_jax import Host, minimize
from zosah_jax.methods import zosah


@dataclass(frozen=True)
class Config(experiment.Config):
    """The smallest change that flips a digit, by zosah_jax, CMA-ES and a blend of two images."""

    digits: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    """Digits, of each of which an image is attacked."""
    budget: int = 2_000
    """Questions of an attack."""
    threads: int = 4
    """Questions that are under way at a time."""
    weight: float = 1.0
    """Of the penalty for being read rightly, against the squared distance."""


# --- the measurement ------------------------------------------------------------------------------

METHODS = ("zosah_jax", "CMA-ES", "blend")
_HALVINGS = 12  # of the change found, at the end; each is a question


@dataclass(frozen=True)
class Attack:
    """Penalty of an image: its distance from the original, and how far it is from being misread.

    |x - original|^2 + weight max(0, margin + safety)^2: the attack of Carlini and Wagner with a
    squared hinge, which has a slope everywhere.
    """

    remote: Remote
    original: np.ndarray
    label: int
    weight: float
    safety: float = 0.5

    def __call__(self, image: np.ndarray) -> float:
        """One question to the server; image of shape (64,)."""
        missed = max(0.0, self.remote.margin(image, self.label) + self.safety)
        return float(np.sum((image - self.original) ** 2) + self.weight * missed**2)


def measure(config: Config) -> dict[str, Any]:
    """Attack one image of each digit, the first that is read rightly, by every method."""
    images, labels = held_out()
    attacks = []
    with served() as address, Remote(address) as remote, ThreadPoolExecutor(config.threads) as pool:
        for digit in tqdm(config.digits, unit="digit"):
            original = next(
                image
                for image in images[labels == digit]
                if remote.probabilities(image).argmax() == digit
            )
            attack = Attack(remote, original, digit, config.weight)
            found = {
                method: _changed(method, attack, images[labels != digit], config.budget, pool)
                for method in METHODS
            }
            attacks.append({"digit": digit, "original": original.tolist(), "found": found})
    return {"attacks": attacks}


def _changed(
    method: str, attack: Attack, others: np.ndarray, budget: int, pool: Executor
) -> dict[str, Any]:
    before = attack.remote.num_questions
    search = budget - _HALVINGS - 1
    if method == "zosah_jax":
        image = minimize(
            attack,
            attack.original,
            zosah(),
            budget=search,
            bounds=(0.0, 1.0),
            noise=0,
            host=Host(executor=pool),
        ).params
    elif method == "CMA-ES":
        counted = Counted(attack, search, pool.map)
        cma_curve(counted, attack.original, 0.1, 0, bounds=[0.0, 1.0], goes_on=True)
        image = counted.best[1]
    else:
        image = others[np.argmin(np.sum((others - attack.original) ** 2, axis=1))]
    image = shortened(lambda x: attack.remote.margin(x, attack.label), attack.original, image)
    if image is None:
        return {"distance": None, "image": None, "read_as": None, "questions": None}
    questions = attack.remote.num_questions - before
    return {
        "distance": float(np.linalg.norm(image - attack.original)),
        "image": image.tolist(),
        "read_as": int(attack.remote.probabilities(image).argmax()),
        "questions": questions,
    }


def shortened(
    margin: Callable[[np.ndarray], float], original: np.ndarray, image: np.ndarray
) -> np.ndarray | None:
    """The nearest image on the way back to the original that is misread; None if none is."""
    if margin(image) >= 0:
        return None
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if margin(original + middle * (image - original)) < 0:
            high = middle
        else:
            low = middle
    return original + high * (image - original)


# --- its tables -----------------------------------------------------------------------------------


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Tables by the name of their markers in the README."""
    rows, distances = [], {method: [] for method in METHODS}
    for attack in results["attacks"]:
        cells = [str(attack["digit"])]
        for method in METHODS:
            found = attack["found"][method]
            distances[method].append(np.inf if found["distance"] is None else found["distance"])
            cells.append("-" if found["distance"] is None else _cell(found))
        rows.append(cells)
    rows.append(["median", *(f"{np.median(distances[method]):.2f}" for method in METHODS)])
    return {"table": table.markdown(["digit", *METHODS], rows)}


def _cell(found: dict[str, Any]) -> str:
    return f"{found['distance']:.2f} (a {found['read_as']}, {found['questions']:,} questions)"


# --- its figure -----------------------------------------------------------------------------------


def draw(results: dict[str, Any], path: Path) -> None:
    """Each digit, what it was changed to, and the change."""
    attacks = results["attacks"]
    with style.figure(path, 1.5 * len(attacks) + 1.2, 4.9) as figure:
        axes = figure.subplots(3, len(attacks), squeeze=False)
        for column, attack in zip(axes.T, attacks, strict=True):
            found = attack["found"]["zosah_jax"]
            original = np.reshape(attack["original"], (8, 8))
            changed = original if found["image"] is None else np.reshape(found["image"], (8, 8))
            grey = {"cmap": "gray_r", "vmin": 0, "vmax": 1}
            column[0].imshow(original, **grey)
            column[1].imshow(changed, **grey)
            column[2].imshow(changed - original, cmap="RdBu_r", vmin=-0.5, vmax=0.5)
            column[0].set_title(f"{attack['digit']}", fontsize=13)
            column[1].set_title(f"read as {found['read_as']}", fontsize=13)
            column[2].set_title(
                "-" if found["distance"] is None else f"{found['distance']:.2f}", fontsize=13
            )
        for one in axes.flat:
            one.set(xticks=[], yticks=[])
            one.grid(visible=False)
        for row, name in zip(axes, ("original", "changed", "change"), strict=True):
            row[0].set_ylabel(name)


EXPERIMENT = experiment.Experiment("http_attack", Config, measure, tables, draw)
