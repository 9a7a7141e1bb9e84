"""CUTEst problems of sif2jax as plain functions, without the parameters that their bounds fix."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from experiments.common.errors import InputError

GROUPS = {
    "unconstrained_small": ("unconstrained", 1, 5, "unconstrained, d ≤ 5"),
    "unconstrained_large": ("unconstrained", 6, 50, "unconstrained, d = 6 - 50"),
    "bounded_small": ("bounded", 1, 5, "bounded, d ≤ 5"),
    "bounded_large": ("bounded", 6, 50, "bounded, d = 6 - 50"),
}
"""Groups of problems: kind, fewest and most free parameters, title."""
MOST_PARAMETERS = 50
"""Problems with more at their default size are not taken."""
SCALED = 20
"""Number of parameters of those whose default size is larger."""
SCALABLE = (
    *("ARWHEAD", "BDQRTIC", "BROYDN3DLS", "BROYDN7D", "CHAINWOO", "COSINE", "CRAGGLVY"),
    *("CURLY10", "DIXMAANB", "DIXMAANE1", "DIXMAANI1", "DIXON3DQ", "DQDRTIC", "DQRTIC"),
    *("EDENSCH", "ENGVAL1", "FLETCHCR", "FREUROTH", "GENHUMPS", "GENROSE", "INTEQNELS"),
    *("LIARWHD", "NONCVXUN", "NONDQUAR", "PENALTY3", "POWER", "QING", "QUARTC", "SCURLY10"),
    *("TRIDIA", "VARDIM", "WOODS", "SROSENBR", "PENALTY1", "NONDIA"),
)
"""Unconstrained problems that are taken at `SCALED` parameters, as far as they can be."""

_NO_BOUND = 1e20  # CUTEst's infinity
_FAILURES = (TypeError, ValueError, AttributeError, IndexError, NotImplementedError, OSError)


class Problem(NamedTuple):
    """A problem in its free parameters.

    Attributes:
        name: CUTEst's.
        fun: x, shape (d,) -> value, in float64; jitted.
        x0: its start, clipped to the bounds, shape (d,).
        lower: bounds, shape (d,); -inf: none.
        upper: the same; inf: none.
    """

    name: str
    fun: Callable[[np.ndarray], float]
    x0: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    @property
    def dimension(self) -> int:
        """Number of free parameters."""
        return len(self.x0)

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray] | None:
        """(lower, upper), or None where none is finite."""
        finite = np.isfinite(self.lower).any() or np.isfinite(self.upper).any()
        return (self.lower, self.upper) if finite else None

    @property
    def kind(self) -> str:
        """Whether a free parameter has a bound: "unconstrained" or "bounded"."""
        return "unconstrained" if self.bounds is None else "bounded"


def group(results: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The problems of a group, among those of results."""
    kind, least, most, _ = GROUPS[key]
    return [
        one
        for one in results["problems"]
        if one["kind"] == kind and least <= one["dimension"] <= most
    ]


@contextmanager
def in_float64() -> Iterator[None]:
    """float64 within; some of sif2jax's modules set it for the whole process, which is put back."""
    before = jax.config.values["jax_enable_x64"]
    try:
        with jax.enable_x64(True):
            yield
    finally:
        jax.config.update("jax_enable_x64", before)


def originals() -> dict[str, Any]:
    """sif2jax's problems by name; to be called `in_float64`.

    Raises:
        InputError: sif2jax is not installed.
    """
    try:
        import sif2jax  # takes ten seconds and more, so only where it is used
    except ImportError as error:
        raise InputError(
            "cutest: wanted sif2jax, which is not installed: pip install 'zosah_jax[experiments]'."
        ) from error
    free = sif2jax.unconstrained_minimisation_problems
    bounded = [*sif2jax.bounded_minimisation_problems, *sif2jax.bounded_quadratic_problems]
    found: dict[str, Any] = {}
    for problem in [*free, *bounded]:
        name = type(problem).__name__
        if name in SCALABLE:
            problem = _scaled(problem) or problem
        if _size(problem) <= MOST_PARAMETERS:
            found.setdefault(name, problem)
    return found


def flat(name: str, original: Any) -> Problem | None:
    """One of them in its free parameters; None where its bounds leave none."""
    start, unravel = ravel_pytree(original.y0)
    start = np.array(start, float)
    lower, upper = np.full(len(start), -np.inf), np.full(len(start), np.inf)
    bounds = getattr(original, "bounds", None)
    if bounds is not None:
        lower, upper = (
            np.broadcast_to(np.array(ravel_pytree(bound)[0], float), start.shape)
            for bound in bounds
        )
        lower = np.where(lower <= -_NO_BOUND, -np.inf, lower)
        upper = np.where(upper >= _NO_BOUND, np.inf, upper)
    start = np.clip(start, lower, upper)
    free = np.flatnonzero(lower < upper)
    if free.size == 0:
        return None
    whole, args = jnp.asarray(start), original.args

    @jax.jit
    def value(x: jax.Array) -> jax.Array:
        point = whole.at[free].set(x) if free.size < len(start) else x
        return original.objective(unravel(point), args)

    def fun(x: np.ndarray) -> float:
        return float(value(np.asarray(x, float)))

    return Problem(name, fun, start[free], lower[free], upper[free])


@contextmanager
def _quiet() -> Iterator[None]:
    """Without sif2jax's warnings."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def _size(problem: Any) -> int:
    try:
        return sum(np.size(leaf) for leaf in jax.tree.leaves(problem.y0))
    except _FAILURES:
        return MOST_PARAMETERS + 1  # one that sif2jax cannot start


def _scaled(problem: Any) -> Any:
    """The same with `SCALED` parameters; None where it cannot have so few."""
    try:
        smaller = type(problem)(n=SCALED)
    except _FAILURES:
        return None
    return smaller if _size(smaller) <= MOST_PARAMETERS else None


def problems(names: tuple[str, ...] | None, left_out: dict[str, str]) -> Iterator[Problem]:
    """Problems by name, or all, and in `left_out` why some are not taken.

    Raises:
        InputError: a name is not known.
    """
    with _quiet():
        found = originals()
    for name in names or ():
        if name not in found:
            raise InputError(f"names: got {name!r}, wanted one of {', '.join(found)}.")
    for name in names or found:
        try:
            with _quiet():
                problem = flat(name, found[name])
                start = np.nan if problem is None else problem.fun(problem.x0)
        except _FAILURES:
            left_out[name] = "sif2jax raises"
            continue
        if problem is None:
            left_out[name] = "no free parameter"
        elif not np.isfinite(start):
            left_out[name] = "no finite value at the start"
        else:
            yield problem
