"""Optimisation from function values alone: ZO-SAH and its peers as optax transformations."""

from zosah_jax.blackbox.answers import ObjectiveError
from zosah_jax.blackbox.ask_tell import AskTell, AskTellState
from zosah_jax.blackbox.checkpoint import OtherProblem
from zosah_jax.blackbox.host_function import HostFunction, host_function
from zosah_jax.blackbox.noise import noise_level
from zosah_jax.blackbox.run import Progress, minimize_blackbox
from zosah_jax.evaluate import all_at_once, automatic, fill_masked, in_chunks, one_by_one
from zosah_jax.minimize import History, Result, Status, minimize
from zosah_jax.peers.rspg import rspg, scale_by_rspg
from zosah_jax.registry import METHODS
from zosah_jax.sah.options import PAPER_READING
from zosah_jax.sah.transformation import scale_by_zosah, zosah
from zosah_jax.transform import ZerothOrderState, as_transformation, num_evaluations

__version__ = "0.1.0"

__all__ = [
    "METHODS",
    "PAPER_READING",
    "AskTell",
    "AskTellState",
    "History",
    "HostFunction",
    "ObjectiveError",
    "OtherProblem",
    "Progress",
    "Result",
    "Status",
    "ZerothOrderState",
    "all_at_once",
    "as_transformation",
    "automatic",
    "fill_masked",
    "host_function",
    "in_chunks",
    "minimize",
    "minimize_blackbox",
    "noise_level",
    "num_evaluations",
    "one_by_one",
    "rspg",
    "scale_by_rspg",
    "scale_by_zosah",
    "zosah",
]
