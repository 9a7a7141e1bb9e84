"""Optimisation from function values alone: ZO-SAH and its peers as optax transformations."""

from zosah_jax.automatic import Tuned, automatic, autotune
from zosah_jax.blocks import split_blocks
from zosah_jax.evaluate import all_at_once, fill_masked, in_chunks, one_by_one
from zosah_jax.grouped.evaluator import grouped
from zosah_jax.minimize import History, Result, Status, minimize
from zosah_jax.peers.rspg import rspg, scale_by_rspg
from zosah_jax.registry import METHODS
from zosah_jax.sah.options import PAPER_READING
from zosah_jax.sah.transformation import scale_by_zosah, zosah
from zosah_jax.sharded import sharded
from zosah_jax.transform import ZerothOrderState, as_transformation, num_evaluations

__version__ = "0.1.0"

__all__ = [
    "METHODS",
    "PAPER_READING",
    "History",
    "Result",
    "Status",
    "Tuned",
    "ZerothOrderState",
    "all_at_once",
    "as_transformation",
    "automatic",
    "autotune",
    "fill_masked",
    "grouped",
    "in_chunks",
    "minimize",
    "num_evaluations",
    "one_by_one",
    "rspg",
    "scale_by_rspg",
    "scale_by_zosah",
    "sharded",
    "split_blocks",
    "zosah",
]
