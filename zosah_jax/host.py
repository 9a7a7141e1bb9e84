"""Objectives that JAX cannot trace: what goes with `minimize(..., host=Host())` and `AskTell`."""

from zosah_jax.faces.host.ask_tell import AskTellState
from zosah_jax.faces.host.evaluator import ObjectiveError
from zosah_jax.faces.host.host_function import HostFunction, host_function
from zosah_jax.faces.host.log import ProblemMismatchError
from zosah_jax.faces.host.noise import noise_level
from zosah_jax.faces.progress import Progress

__all__ = [
    "AskTellState",
    "HostFunction",
    "ObjectiveError",
    "ProblemMismatchError",
    "Progress",
    "host_function",
    "noise_level",
]
