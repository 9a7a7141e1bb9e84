"""The methods of the library by name: what the exam of the tests and the experiments run over."""

from collections.abc import Callable

import optax

from zosah_jax.peers.rspg import rspg
from zosah_jax.pqn.transformation import zopqn
from zosah_jax.sah.transformation import zosah

METHODS: dict[str, Callable[..., optax.GradientTransformationExtraArgs]] = {
    "zosah": zosah,
    "rspg": rspg,
    "zopqn": zopqn,
}
"""Name -> constructor(learning_rate, ..., key=..., evaluator=...)."""
