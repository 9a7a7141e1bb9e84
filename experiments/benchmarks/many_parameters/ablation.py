"""`block_newton` without each of its mechanisms, and with other numbers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from tqdm import tqdm

from experiments.benchmarks.many_parameters import problems, runs
from experiments.common import table
from experiments.common.curves import values_to_reach
from experiments.common.patches import Patch, patched
from experiments.common.problems import Task
from zosah_jax.methods.block_newton import look, plane, solver
from zosah_jax.methods.block_newton import state as knowledge

CONTROL = "nothing (other seeds)"
"""What chance alone makes of the ratio."""
_OTHER_SEEDS = 100

_MODULES = (knowledge, look, plane, solver)  # where constants are, some under the same name


class Change(NamedTuple):
    """What is changed.

    Attributes:
        what: kind, for the table.
        patches: (module, name, value) of constants and functions.
        block_dim: m; None: the default.
    """

    what: str
    patches: tuple[Patch, ...] = ()
    block_dim: int | None = None


def random_block(state: knowledge.BlockNewtonState) -> knowledge.BlockNewtonState:
    """The next block by chance: first what was never met, then anything."""
    after = _with_next_block(state)
    met = state.seen > 0
    draw = jax.random.uniform(jax.random.fold_in(state.key, after.turn), met.shape)
    block = jax.lax.top_k(jnp.where(met, draw, 1 + draw), len(state.block))[1]
    meets = jnp.any(~met[block]) & ~knowledge.are_alike(state)
    stage = jnp.where(meets, knowledge.MEET, knowledge.LOOK).astype(jnp.int32)
    return after._replace(block=block.astype(np.uint32), stage=stage)


_with_next_block = knowledge.with_next_block


def _everywhere(name: str, value: Any) -> tuple[Patch, ...]:
    return tuple((module, name, value) for module in _MODULES if hasattr(module, name))


def _changes() -> dict[str, Change]:
    part, flat = knowledge._LEAST_CURVATURE, plane._LEAST_CURVATURE
    kept, order, size = "kept directions", "which block", "size of a block"
    floors, far = "least curvature", "length of a step"
    one = Change
    return {
        "no kept direction": one(kept, _everywhere("HORIZONS", ())),
        "the short horizon only": one(kept, _everywhere("HORIZONS", knowledge.HORIZONS[:1])),
        "the long horizon only": one(kept, _everywhere("HORIZONS", knowledge.HORIZONS[1:])),
        "three horizons (0.1, 1, 10)": one(kept, _everywhere("HORIZONS", (0.1, 1.0, 10.0))),
        "the plane never measured anew": one(kept, ((plane, "_DOUBT", inf),)),
        "the plane measured anew each step": one(kept, ((plane, "_DOUBT", 0.0),)),
        "curvatures never taken to be alike": one(order, ((knowledge, "_ALIKE", 0.0),)),
        "blocks by age alone": one(order, ((knowledge, "_GAIN_POWER", 0.0),)),
        "blocks at random": one(order, _everywhere("with_next_block", random_block)),
        "m = 4": one(size, block_dim=4),
        "m = 8": one(size, block_dim=8),
        "m = 32": one(size, block_dim=32),
        "m = 64": one(size, block_dim=64),
        "of a coordinate x 10": one(floors, ((knowledge, "_LEAST_CURVATURE", 10 * part),)),
        "of a coordinate / 10": one(floors, ((knowledge, "_LEAST_CURVATURE", part / 10),)),
        "in the plane x 10": one(floors, ((plane, "_LEAST_CURVATURE", 10 * flat),)),
        "in the plane / 10": one(floors, ((plane, "_LEAST_CURVATURE", flat / 10),)),
        "any length": one(far, ((plane, "_FAR", inf),)),
        "a quarter of the longest": one(far, ((plane, "_FAR", plane._FAR / 4),)),
        "any length along p": one(far, ((plane, "_CLIP", inf),)),
        "along p to alpha at most": one(far, ((plane, "_CLIP", plane._CLIP / 4),)),
    }


CHANGES = _changes()
"""By name."""


@contextmanager
def changed(change: Change) -> Iterator[Any]:
    """The method with a change."""
    with patched(change.patches, solver.BlockNewton) as own:
        yield own(block_dim=change.block_dim)


# --- the measurement ------------------------------------------------------------------------------

_DATA_LEFT = 1e-2  # part of the gap that is left in the end, on quadratics and data
_FUNCTIONS_LEFT = {"TRIDIA": 1e-3, "DIXMAAN": 1e-3, "Rosenbrock": 1e-2}  # in its valley at most


def ablation(
    names: Sequence[str], d: int, rows: int, budget: int, seeds: Sequence[int]
) -> dict[str, Any]:
    """Values with a change over those without, by problem."""
    of = _problems(d, rows)
    first = _needed(Change(""), of, budget, seeds)
    others = [seed + _OTHER_SEEDS for seed in seeds]
    compared = {CONTROL: _ratios(_needed(Change(""), of, budget, others), first)}
    for name in tqdm(names):
        compared[name] = _ratios(_needed(CHANGES[name], of, budget, seeds), first)
    return {
        "dimension": d,
        "problems": [task.name for task, _, _ in of],
        "values_over_d": [table.geometric_mean(values) / d for values in first],
        "ratios": compared,
    }


Problem = tuple[Task, Callable[[Any], Any], float]


def _problems(d: int, rows: int) -> list[Problem]:
    """Tasks, their objectives, and where runs end; all of one d, to compile once a change."""
    turned = [problems.quadratic(spectrum, True, d) for spectrum in problems.SPECTRA]
    sparse = problems.sparse_logistic(d, rows)
    others = [problems.classic(name, d) for name in _FUNCTIONS_LEFT]
    return [
        *((task, task.objective(), _DATA_LEFT) for task in turned),
        (sparse, _in_numpy(sparse), _DATA_LEFT),
        *((task, task.objective(), _FUNCTIONS_LEFT[task.name]) for task in others),
    ]


def _in_numpy(task: Task) -> Callable[[Any], float]:
    """A sparse logistic regression that multiplies what is not zero only."""
    margins, regularisation = scipy.sparse.csr_matrix(task.data[0]), float(task.data[1])

    def value(w: Any) -> float:
        w = np.asarray(w)
        return float(np.mean(np.logaddexp(0, -(margins @ w))) + regularisation / 2 * (w @ w))

    return value


def _needed(
    change: Change, of: Sequence[Problem], budget: int, seeds: Sequence[int]
) -> list[list[int]]:
    """Values by problem and seed; all that were given where it did not get there."""
    found = []
    with changed(change) as altered:
        for task, objective, left in of:
            most, goal = budget * task.dimension, task.target(1 - left)
            curves = [
                runs.by_host(task, altered, most, goal, seed, objective=objective) for seed in seeds
            ]
            found.append([values_to_reach(curve, goal) or most for curve in curves])
    return found


def _ratios(values: list[list[int]], first: list[list[int]]) -> list[float]:
    """Geometric means over seeds."""
    return [
        table.geometric_mean(np.divide(one, other))
        for one, other in zip(values, first, strict=True)
    ]
