"""The methods of the library by name: what the exam of the tests and the experiments run over."""

from collections.abc import Callable

import optax

from zosah_jax.peers.deepzero import deepzero
from zosah_jax.peers.fzoo import fzoo
from zosah_jax.peers.hizoo import hizoo
from zosah_jax.peers.mezo import mezo
from zosah_jax.peers.mezo_bcd import mezo_bcd
from zosah_jax.peers.rspg import rspg
from zosah_jax.peers.zo_rsn import zo_rsn
from zosah_jax.peers.zoha import zoha
from zosah_jax.pqn.transformation import zopqn
from zosah_jax.sah.transformation import zosah

METHODS: dict[str, Callable[..., optax.GradientTransformationExtraArgs]] = {
    "zosah": zosah,
    "rspg": rspg,
    "mezo": mezo,
    "mezo_bcd": mezo_bcd,
    "hizoo": hizoo,
    "fzoo": fzoo,
    "zoha": zoha,
    "zo_rsn": zo_rsn,
    "deepzero": deepzero,
    "zopqn": zopqn,
}
"""Name -> constructor(learning_rate, ..., key=..., evaluator=...)."""
