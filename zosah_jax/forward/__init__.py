"""Networks trained by forward passes: noise at the outputs of operations, each example its own.

`value_and_grad(losses_fn)` stands where `jax.value_and_grad` would, for any optax optimizer.
`with_feedback(losses_fn)` does the same with a state, and needs far fewer passes.
`scale_by_node_perturbation` is either as an optax transformation.
"""

from zosah_jax.forward.gradients import (
    FeedbackState,
    WithFeedback,
    num_passes,
    value_and_grad,
    with_feedback,
)
from zosah_jax.forward.transformation import NodePerturbationState, scale_by_node_perturbation

__all__ = [
    "FeedbackState",
    "NodePerturbationState",
    "WithFeedback",
    "num_passes",
    "scale_by_node_perturbation",
    "value_and_grad",
    "with_feedback",
]
