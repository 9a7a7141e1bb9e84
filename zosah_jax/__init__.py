"""Optimisation from function values alone: ZO-SAH and its peers as optax transformations."""

from zosah_jax.automatic import Tuned, automatic, autotune
from zosah_jax.blackbox.answers import ObjectiveError
from zosah_jax.blackbox.ask_tell import AskTell, AskTellState
from zosah_jax.blackbox.checkpoint import OtherProblem
from zosah_jax.blackbox.host_function import HostFunction, host_function
from zosah_jax.blackbox.noise import noise_level
from zosah_jax.blackbox.run import Progress, minimize_blackbox
from zosah_jax.blocks import split_blocks
from zosah_jax.evaluate import all_at_once, fill_masked, in_chunks, one_by_one
from zosah_jax.grouped.evaluator import grouped
from zosah_jax.minimize import History, Result, Status, minimize
from zosah_jax.peers.deepzero import deepzero, scale_by_deepzero
from zosah_jax.peers.fzoo import fzoo, scale_by_fzoo
from zosah_jax.peers.hizoo import hizoo, scale_by_hizoo
from zosah_jax.peers.mezo import mezo, scale_by_mezo
from zosah_jax.peers.mezo_bcd import mezo_bcd, scale_by_mezo_bcd
from zosah_jax.peers.rspg import rspg, scale_by_rspg
from zosah_jax.peers.rspg_two_phase import TwoPhaseResult, random_stop, two_phase
from zosah_jax.peers.zo_grasp import LayerDensities, zo_grasp_densities
from zosah_jax.peers.zo_rsn import scale_by_zo_rsn, zo_rsn
from zosah_jax.peers.zoha import scale_by_zoha, zoha
from zosah_jax.pqn.transformation import scale_by_zopqn, zopqn
from zosah_jax.proximal import project, prox_l1
from zosah_jax.registry import METHODS
from zosah_jax.sah.options import PAPER_READING
from zosah_jax.sah.transformation import scale_by_zosah, zosah
from zosah_jax.sharded import sharded
from zosah_jax.transform import ZerothOrderState, as_transformation, num_evaluations

__version__ = "0.1.0"

__all__ = [
    "METHODS",
    "PAPER_READING",
    "AskTell",
    "AskTellState",
    "History",
    "HostFunction",
    "LayerDensities",
    "ObjectiveError",
    "OtherProblem",
    "Progress",
    "Result",
    "Status",
    "Tuned",
    "TwoPhaseResult",
    "ZerothOrderState",
    "all_at_once",
    "as_transformation",
    "automatic",
    "autotune",
    "deepzero",
    "fill_masked",
    "fzoo",
    "grouped",
    "hizoo",
    "host_function",
    "in_chunks",
    "mezo",
    "mezo_bcd",
    "minimize",
    "minimize_blackbox",
    "noise_level",
    "num_evaluations",
    "one_by_one",
    "project",
    "prox_l1",
    "random_stop",
    "rspg",
    "scale_by_deepzero",
    "scale_by_fzoo",
    "scale_by_hizoo",
    "scale_by_mezo",
    "scale_by_mezo_bcd",
    "scale_by_rspg",
    "scale_by_zo_rsn",
    "scale_by_zoha",
    "scale_by_zopqn",
    "scale_by_zosah",
    "sharded",
    "split_blocks",
    "two_phase",
    "zo_grasp_densities",
    "zo_rsn",
    "zoha",
    "zopqn",
    "zosah",
]
