"""Beside the methods: ways to run them, to choose their options, to see what they see."""

from zosah_jax.extras import diagnostics
from zosah_jax.extras.two_phase import TwoPhaseResult, random_stop, two_phase
from zosah_jax.extras.zo_grasp import LayerDensities, zo_grasp_densities

__all__ = [
    "LayerDensities",
    "TwoPhaseResult",
    "diagnostics",
    "random_stop",
    "two_phase",
    "zo_grasp_densities",
]
