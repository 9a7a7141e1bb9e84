"""What the boxes of ZO-SAH's diagram share, whatever spans the subspaces."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax

from zosah_jax.method import Batch, Outcome, Problem, Stage
from zosah_jax.pytree import Params


class ZOSAHInfo(NamedTuple):
    """Diagnostics of the last step; nothing depends on them.

    Attributes:
        eigenvalues: of each fitted 2x2 Hessian, larger first, before the floor, shape (m/2, 2).
        gradient: estimated gradient in each pair, shape (m/2, 2).
    """

    eigenvalues: jax.Array
    gradient: jax.Array


class Here(NamedTuple):
    """Where a step begins.

    Attributes:
        state: of the basis.
        params: x.
        problem: what is known of the objective.
        fresh: whether there are fresh samples (static).
    """

    state: Any
    params: Params
    problem: Problem
    fresh: bool


class Basis(Protocol):
    """What spans the subspaces, and the boxes in it; what they hand on is their own."""

    def init(self, params: Params, key: jax.Array) -> Any:
        """State of a run that has seen nothing."""
        ...

    def stages(self, tell_step: Callable[..., Outcome]) -> tuple[Stage, ...]:
        """Stages, of which those that move end with tell_step(fresh, ...)."""
        ...

    def next_stage(self, state: Any) -> jax.Array:
        """Number of the stage that comes next."""
        ...

    def seen(self, here: Here, batch: Batch, values: jax.Array) -> Any:
        """Values as the subspaces see them."""
        ...

    def gradient(self, here: Here, seen: Any) -> jax.Array:
        """Gradient in every pair."""
        ...

    def samples(self, here: Here, seen: Any, gradient: jax.Array) -> Any:
        """What there is for the fit."""
        ...

    def fit(self, here: Here, seen: Any, gradient: jax.Array, samples: Any) -> Any:
        """Hessian in every pair."""
        ...

    def newton(self, here: Here, seen: Any, fitted: Any) -> tuple[jax.Array, jax.Array]:
        """Directions v_j, and eigenvalues."""
        ...

    def step(self, here: Here, seen: Any, samples: Any, fitted: Any, newton: Any) -> Outcome:
        """The step in the full space, and the state after it."""
        ...
