"""Forward passes as an optax transformation: its updates are estimates of the gradient."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from zosah_jax.checks import typed_key
from zosah_jax.forward.gradients import FeedbackState, num_passes, value_and_grad, with_feedback
from zosah_jax.pytree import Params, check_params, working_dtype


class NodePerturbationState(NamedTuple):
    """State of `scale_by_node_perturbation`.

    Attributes:
        key: typed PRNG key; the noise of a step follows from it and the step.
        step: number of updates so far, uint32.
        num_passes: forward passes of a batch so far, uint32.
        value: mean loss at the parameters before the last update; inf before the first.
        feedback: what noise has taught so far; None without feedback.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from zosah_jax.forward import scale_by_node_perturbation
        >>> tx = scale_by_node_perturbation(lambda w, x: jnp.square(x @ w))
        >>> w = jnp.ones(3)
        >>> _, state = jax.jit(tx.update)(None, tx.init(w), w, batch=(jnp.eye(3),))
        >>> int(state.step), int(state.num_passes), float(state.value)
        (1, 2, 1.0)
    """

    key: jax.Array
    step: jax.Array
    num_passes: jax.Array
    value: jax.Array
    feedback: FeedbackState | None


def scale_by_node_perturbation(
    losses_fn: Callable[..., jax.Array],
    like: tuple[Any, ...] | None = None,
    *,
    key: Any = 0,
    feedback_rate: optax.ScalarOrSchedule = 3e-3,
    smoothing: float = 1e-2,
    two_sided: bool = False,
    num_noises: int = 1,
    direct: float = 0.5,
    chunk: int | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Estimates of the gradient of a mean loss, from forward passes, for a chain of your own.

    .. math:: g \leftarrow \hat\nabla \frac{1}{B} \sum_i L_i(params)

    by `value_and_grad`, or by `with_feedback` where `like` says what batches look like.

    Args:
        losses_fn: (params, *batch) -> losses of the examples, shape (B,).
        like: a batch, of which only shapes and dtypes matter: `tuple(batch)` as given to `update`.
            None: no feedback.
        key: an int or a typed PRNG key; the noise follows from it.
        feedback_rate: as in `with_feedback`.
        smoothing: as in `value_and_grad`.
        two_sided: likewise.
        num_noises: likewise.
        direct: likewise.
        chunk: likewise.

    Returns:
        A `GradientTransformationExtraArgs`: `update(updates, state, params, *, batch)` ignores the
        incoming updates (zeros or None will do); `batch` is the tuple of what follows the
        parameters in `losses_fn`. Its state is a `NodePerturbationState`.

    Raises:
        ValueError, TypeError: as in `value_and_grad`; in `update`: `params` or `batch` is missing.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from zosah_jax.forward import scale_by_node_perturbation
        >>> losses_fn = lambda w, x, y: jnp.square(x @ w - y)
        >>> x = jax.random.normal(jax.random.key(0), (64, 3))
        >>> tx = optax.chain(scale_by_node_perturbation(losses_fn), optax.sgd(0.1))
        >>> w = jnp.zeros(3)
        >>> state, update = tx.init(w), jax.jit(tx.update)
        >>> for _ in range(60):
        ...     updates, state = update(None, state, w, batch=(x, x.sum(1)))
        ...     w = optax.apply_updates(w, updates)
        >>> bool(jnp.abs(w - 1).max() < 1e-2), int(state[0].num_passes)
        (True, 120)
    """
    options: dict[str, Any] = {
        "smoothing": smoothing,
        "two_sided": two_sided,
        "num_noises": num_noises,
        "direct": direct,
        "chunk": chunk,
    }
    plain = value_and_grad(losses_fn, **options)
    learner = with_feedback(losses_fn, feedback_rate=feedback_rate, **options)
    passes = num_passes(two_sided=two_sided, num_noises=num_noises)

    def init(params: Params) -> NodePerturbationState:
        check_params(params)
        zero = jnp.zeros((), jnp.uint32)
        value = jnp.full((), jnp.inf, working_dtype(params))
        feedback = None if like is None else learner.init(params, *like)
        return NodePerturbationState(typed_key(key), zero, zero, value, feedback)

    def update(
        updates: Any,
        state: NodePerturbationState,
        params: Params | None = None,
        *,
        batch: Any = None,
        **extra: Any,
    ) -> tuple[Any, NodePerturbationState]:
        del updates, extra
        check_params(params)
        if not isinstance(batch, tuple):
            raise ValueError(
                f"batch: got {type(batch).__name__}, wanted the tuple of what follows the "
                "parameters in losses_fn. Call tx.update(updates, state, params, batch=(x, y))."
            )
        own, feedback = jax.random.fold_in(state.key, state.step), state.feedback
        if feedback is None:
            value, estimate = plain(params, own, *batch)
        else:
            (value, estimate), feedback = learner.value_and_grad(params, feedback, own, *batch)
        after = NodePerturbationState(
            state.key,
            state.step + np.uint32(1),
            state.num_passes + np.uint32(passes),
            value.astype(state.value.dtype),
            feedback,
        )
        return estimate, after

    return optax.GradientTransformationExtraArgs(init, update)  # type: ignore[arg-type]
