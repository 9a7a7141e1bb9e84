"""Optimisation from function values alone: ZO-SAH and its peers as optax transformations."""

from zosah_jax.evaluate import all_at_once, automatic, fill_masked, in_chunks, one_by_one
from zosah_jax.minimize import History, Result, Status, minimize
from zosah_jax.peers.rspg import rspg, scale_by_rspg
from zosah_jax.pqn.transformation import scale_by_zopqn, zopqn
from zosah_jax.registry import METHODS
from zosah_jax.sah.options import PAPER_READING
from zosah_jax.sah.transformation import scale_by_zosah, zosah
from zosah_jax.transform import ZerothOrderState, as_transformation, num_evaluations

__version__ = "0.1.0"

__all__ = [
    "METHODS",
    "PAPER_READING",
    "History",
    "Result",
    "Status",
    "ZerothOrderState",
    "all_at_once",
    "as_transformation",
    "automatic",
    "fill_masked",
    "in_chunks",
    "minimize",
    "num_evaluations",
    "one_by_one",
    "rspg",
    "scale_by_rspg",
    "scale_by_zopqn",
    "scale_by_zosah",
    "zopqn",
    "zosah",
]
