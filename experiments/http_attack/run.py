"""The attack: the smallest change of a digit that makes the classifier read another."""

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments.http_attack.client import Remote, served
from experiments.http_attack.server import held_out
from experiments.references import cma_curve
from zosah_jax import minimize_blackbox

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


def measure(*, digits: tuple[int, ...], budget: int, threads: int, weight: float) -> dict[str, Any]:
    """Attack one image of each digit by every method.

    Args:
        digits: whose first correctly read image is attacked.
        budget: questions of each attack.
        threads: questions that are under way at a time.
        weight: of the penalty for being read rightly.

    Returns:
        For JSON: by digit, the original and, by method, the image found, what it is read as, its
        distance, and the questions spent.
    """
    images, labels = held_out()
    attacks = []
    with served() as address, Remote(address) as remote, ThreadPoolExecutor(threads) as pool:
        for digit in tqdm(digits, unit="digit"):
            original = next(
                image
                for image in images[labels == digit]
                if remote.probabilities(image).argmax() == digit
            )
            attack = Attack(remote, original, digit, weight)
            found = {
                method: _changed(method, attack, images[labels != digit], budget, pool)
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
        found = minimize_blackbox(
            attack, attack.original, budget=search, bounds=(0.0, 1.0), executor=pool, noise=0
        )
        image = found.best_params
    elif method == "CMA-ES":
        image = _cma(attack, search, pool)
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


def _cma(attack: Attack, budget: int, pool: Executor) -> np.ndarray:
    """The best image of a run of CMA-ES."""
    seen: list[tuple[float, np.ndarray]] = []

    def ask_all(fun: Callable[..., Any], points: list[np.ndarray]) -> list[float]:
        values = list(pool.map(fun, points))
        seen.append(min(zip(values, points, strict=True), key=lambda pair: pair[0]))
        return values

    cma_curve(attack, attack.original, 0.1, budget, 0, (0.0, 1.0), ask_all)
    return min(seen, key=lambda pair: pair[0])[1]


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
