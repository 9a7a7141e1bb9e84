"""Value and gradient of a mean loss from forward passes: what users call."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from zosah_jax.checks import check_number, check_positive, check_static_count, typed_key
from zosah_jax.forward.estimate import (
    Options,
    batch_size,
    default_chunks,
    explore,
    gradient,
    outline,
    prepared,
)
from zosah_jax.forward.feedback import Expectation, initial
from zosah_jax.pytree import Params

LossesFn = Callable[..., jax.Array]


class FeedbackState(NamedTuple):
    """What noise has taught so far.

    Attributes:
        matrices: for each site that something is expected of, shape (entries of the later site,
            entries of the site).
        means: of their gradients, as Adam's.
        squares: likewise, of the squares.
        count: number of updates so far, int32.

    Example:
        >>> import jax.numpy as jnp
        >>> from zosah_jax.forward import with_feedback
        >>> losses_fn = lambda p, x: jnp.square(jnp.tanh(x @ p["w"]) @ p["v"])
        >>> state = with_feedback(losses_fn).init({"w": jnp.eye(3), "v": jnp.ones(3)}, jnp.eye(3))
        >>> int(state.count), len(state.matrices) == len(state.means)
        (0, True)
    """

    matrices: list[jax.Array]
    means: list[jax.Array]
    squares: list[jax.Array]
    count: jax.Array


class WithFeedback(NamedTuple):
    """A pair of pure functions, as of optax.

    Attributes:
        init: (params, *batch) -> state; of the batch only shapes and dtypes matter.
        value_and_grad: (params, state, key, *batch) -> ((mean loss, estimate), state).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from zosah_jax.forward import with_feedback
        >>> losses_fn = lambda p, x: jnp.square(jnp.tanh(x @ p["w"]) @ p["v"])
        >>> params, x = {"w": jnp.eye(3), "v": jnp.ones(3)}, jnp.eye(3)
        >>> init, estimate = with_feedback(losses_fn)
        >>> (loss, gradient), state = jax.jit(estimate)(params, init(params, x), 0, x)
        >>> gradient["w"].shape, int(state.count)
        ((3, 3), 1)
    """

    init: Callable[..., FeedbackState]
    value_and_grad: Callable[..., tuple[tuple[jax.Array, Params], FeedbackState]]


def value_and_grad(
    losses_fn: LossesFn,
    *,
    smoothing: float = 1e-2,
    two_sided: bool = False,
    num_noises: int = 1,
    direct: float = 0.5,
    chunk: int | None = None,
) -> Callable[..., tuple[jax.Array, Params]]:
    r"""Mean loss and an estimate of its gradient, from forward passes alone.

    Noise is added to the output of every operation that is linear in a parameter, z = x W + b, and
    each example has its own. How its loss changes, times the noise, is the slope in z but for
    noise of mean zero, and the operation's own transpose makes a gradient of it:

    .. math::
        c_i = L_i(z + \sigma e_i) - L_i(z), \quad
        \hat\nabla_W = \frac{1}{B} \sum_i x_i^T \, \frac{c_i e_i}{\sigma}, \quad e_i \in \{-1, 1\}^n

    No derivative of the network is taken, which may have none: hard thresholds, rounding, spikes.
    The error falls with the number of examples over the number n of entries of all z.

    - An entry of z that reaches the loss only through operations on that entry alone, and changes
      none of their results (a rectifier that is off, a threshold far away), has no slope: it is
      left out, which halves the error of rectified networks and leaves the mean as it is.
    - Of a site as near the end as the logits, the slope is found entry by entry, without noise,
      by doing again what comes after it, if that costs less than `direct` forward passes.
    - A parameter that is much smaller than its outputs (shared over positions), or that enters in
      another way than linearly, gets noise itself, a copy for each example. Its signs are an outer
      product, one vector for each axis: no more error, and a convolution needs no copy of its
      kernel.
    - Reductions over the examples (statistics of a batch) are constants, of the clean pass. Other
      operations that mix examples are refused.

    Args:
        losses_fn: (params, *batch) -> losses of the examples, shape (B,), real floating; any traced
            function of batches of any size. What is random in it takes a key that it closes over
            or that comes as a scalar argument.
        smoothing: sigma over the root mean square of what the noise is added to. With thresholds
            it decides how far from one a value may be to feel it: 0.3 to 1.
        two_sided: whether the losses at opposite noises are compared, in place of the noisy one
            with that of the clean pass. Better with thresholds.
        num_noises: how many noises a batch (static); the estimate is their mean. The clean pass is
            shared: q noises take q + 1 passes, two-sided 2 q, and one more where anything takes it.
        direct: see above, in forward passes; 0 for none.
        chunk: how many examples at a time, which bounds memory (static; it divides B). None: B in
            eight parts, or fewer, where these are equal and of 32 or more, and where values
            of the network are many (2^17) and outweigh its parameters; else, and with statistics
            of the batch, all at once, as `chunk=B` does.

    Returns:
        A function (params, key, *batch) -> (mean loss, estimate). `params`: a pytree of real
        floating arrays; `key`: an int or a typed PRNG key; `batch`: pytrees of arrays that have the
        examples along their first axis, and scalars. The estimate is like `params`: what any optax
        optimizer takes for a gradient. Compile it.

    Raises:
        ValueError, TypeError: an option is out of range. In the function: losses that are not one
            real number an example; a parameter that is not real floating, or that no loss depends
            on; an operation that mixes examples; more copies of parameters than can be held.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from zosah_jax.forward import value_and_grad
        >>> losses_fn = lambda p, x, y: (jnp.sign(x @ p["w"]) @ p["v"] - y) ** 2
        >>> params = {"w": jnp.eye(3), "v": jnp.ones(3)}
        >>> x, y = jax.random.normal(jax.random.key(0), (400, 3)), jnp.zeros(400)
        >>> f = jax.jit(value_and_grad(losses_fn, smoothing=0.5))
        >>> loss, estimate = f(params, 1, x, y)
        >>> bool(estimate["w"][0, 0] != 0), bool(jnp.abs(estimate["v"] - 2).max() < 0.6)
        (True, True)

    References:
        Widrow, Lehr, 30 Years of Adaptive Neural Networks, Proc. IEEE 78, 1990 (MADALINE rule III);
        Werfel, Xie, Seung, `Learning Curves for Stochastic Gradient Descent in Linear Feedforward
        Networks <https://doi.org/10.1162/089976605774320539>`_, 2005 (node perturbation and its
        error). Noise for each example at any operation of a traced program, the entries left out
        and the choice of where noise goes are this library's.
    """
    options = _options(smoothing, two_sided, num_noises, direct)
    check_static_count("chunk", chunk, optional=True)
    _check_callable(losses_fn)

    def value_and_grad_of(params: Params, key: Any, *batch: Any) -> tuple[jax.Array, Params]:
        loss, estimate, _ = _in_chunks(losses_fn, options, chunk, None, params, key, batch)
        return loss, estimate

    return value_and_grad_of


def with_feedback(
    losses_fn: LossesFn,
    *,
    feedback_rate: optax.ScalarOrSchedule = 3e-3,
    smoothing: float = 1e-2,
    two_sided: bool = False,
    num_noises: int = 1,
    direct: float = 0.5,
    chunk: int | None = None,
) -> WithFeedback:
    r"""As `value_and_grad`, with slopes expected from what noise has taught before: far less error.

    The slope :math:`\delta` in a site follows from that in a later one, by the weights in between
    and by whether each entry acts (g). A matrix A is learnt that says how: not from the weights,
    but by regression of what noise tells. What is expected is subtracted before noise is asked, and
    added after:

    .. math::
        h_i = g_i \odot (A \delta_i^{later}), \quad
        \hat\delta_i = h_i + (c_i - \sigma \langle h_i, e_i \rangle) \frac{e_i}{\sigma}

    The mean of the estimate is the same whatever A is; its error is that of what A does not say.
    Matrices are for sites from which a later one is reached whose slope is known, directly or as
    expected, and where they cost no more than a forward pass; other sites have noise alone.

    Args:
        losses_fn: as in `value_and_grad`.
        feedback_rate: rate of Adam for the matrices, or a schedule of it.
        smoothing: as in `value_and_grad`.
        two_sided: likewise; with a clean pass beside the two.
        num_noises: likewise.
        direct: likewise; with 0 no slope is known to start from, and nothing is expected.
        chunk: likewise.

    Returns:
        A `WithFeedback`: `init(params, *batch)`, and `value_and_grad(params, state, key, *batch)`,
        which returns ((mean loss, estimate), state).

    Raises:
        ValueError, TypeError: as in `value_and_grad`.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from zosah_jax.forward import with_feedback
        >>> losses_fn = lambda p, x: jnp.square(jnp.tanh(x @ p["w"]) @ p["v"] - x[:, 0])
        >>> params = {"w": jnp.eye(4), "v": jnp.ones(4)}
        >>> x = jax.random.normal(jax.random.key(0), (64, 4))
        >>> learner, optimizer = with_feedback(losses_fn), optax.sgd(0.05)
        >>> state, moments = learner.init(params, x), optimizer.init(params)
        >>> @jax.jit
        ... def step(params, state, moments, key):
        ...     (loss, estimate), state = learner.value_and_grad(params, state, key, x)
        ...     updates, moments = optimizer.update(estimate, moments)
        ...     return optax.apply_updates(params, updates), state, moments, loss
        >>> for k in range(300):
        ...     params, state, moments, loss = step(params, state, moments, jax.random.key(k))
        >>> bool(loss < 0.1)
        True

    References:
        Lansdell, Prakash, Kording, `Learning to solve the credit assignment problem
        <https://arxiv.org/abs/1906.00889>`_, 2020 (feedback learnt by node perturbation). That it
        is subtracted, so that the mean stays, and the chain from site to site are this library's.
    """
    options = _options(smoothing, two_sided, num_noises, direct)
    check_static_count("chunk", chunk, optional=True)
    if not callable(feedback_rate):
        check_positive("feedback_rate", feedback_rate)
    _check_callable(losses_fn)

    def init(params: Params, *batch: Any) -> FeedbackState:
        wide, data = prepared(params, batch)
        matrices = initial(outline(losses_fn, wide, data, options))
        zeros = [jnp.zeros_like(matrix) for matrix in matrices]
        return FeedbackState(matrices, zeros, zeros, jnp.zeros((), jnp.int32))

    def value_and_grad_of(
        params: Params, state: FeedbackState, key: Any, *batch: Any
    ) -> tuple[tuple[jax.Array, Params], FeedbackState]:
        loss, estimate, slopes = _in_chunks(
            losses_fn, options, chunk, state.matrices, params, key, batch
        )
        rate = feedback_rate(state.count) if callable(feedback_rate) else feedback_rate
        return (loss, estimate), _learnt(state, slopes, rate)

    return WithFeedback(init, value_and_grad_of)


def num_passes(*, two_sided: bool = False, num_noises: int = 1) -> int:
    """Forward passes of the batch that an estimate takes, at most.

    Args:
        two_sided: as in `value_and_grad`.
        num_noises: likewise.

    Returns:
        Losses asked, over the number of examples. What is found directly comes on top: at most
        `direct` of a pass for each such site. A two-sided estimate of `value_and_grad` without
        one, and without statistics of the batch, takes one pass less.

    Example:
        >>> from zosah_jax.forward import num_passes
        >>> num_passes(), num_passes(num_noises=4), num_passes(two_sided=True)
        (2, 5, 3)
    """
    return 1 + num_noises * (2 if two_sided else 1)


def _learnt(state: FeedbackState, slopes: list[jax.Array], rate: Any) -> FeedbackState:
    """A step of Adam, in the dtype of each matrix (optax's own needs promotion)."""
    count = state.count + 1
    matrices, means, squares = [], [], []
    for matrix, mean, square, slope in zip(
        state.matrices, state.means, state.squares, slopes, strict=True
    ):
        number = count.astype(matrix.dtype)
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        size = jnp.sqrt(square / (1 - 0.999**number)) + 1e-8
        step = mean / (1 - 0.9**number) / size
        matrices.append(matrix - jnp.asarray(rate, matrix.dtype) * step)
        means.append(mean)
        squares.append(square)
    return FeedbackState(matrices, means, squares, count)


# --- the parts ------------------------------------------------------------------------------------


def _options(smoothing: Any, two_sided: Any, num_noises: Any, direct: Any) -> Options:
    check_positive("smoothing", smoothing)
    check_static_count("num_noises", num_noises)
    check_number("direct", direct)
    if not isinstance(two_sided, bool):
        raise TypeError(f"two_sided: got {two_sided!r}, wanted True or False.")
    if direct < 0:
        raise ValueError(f"direct: got {direct}, wanted a number of at least 0.")
    return Options(smoothing, two_sided, num_noises, direct)


def _check_callable(losses_fn: Any) -> None:
    if not callable(losses_fn):
        raise TypeError(
            f"losses_fn: got {type(losses_fn).__name__}, wanted a callable f(params, *batch) that "
            "returns one loss an example."
        )


def _in_chunks(
    losses_fn: LossesFn,
    options: Options,
    chunk: int | None,
    matrices: list[jax.Array] | None,
    params: Params,
    key: Any,
    batch: Any,
) -> tuple[jax.Array, Params, list[jax.Array]]:
    """Mean loss, estimate, and gradients of the matrices; means over chunks of the batch."""
    wide, batch = prepared(params, batch)
    key, size = typed_key(key), batch_size(batch)
    if chunk is None:
        chunk = size // default_chunks(outline(losses_fn, wide, batch, options))
    chunk = min(chunk, size)
    number = size // chunk
    if chunk * number != size or chunk == 1:
        raise ValueError(f"chunk: got {chunk}, wanted a divisor of {size} examples, above 1.")

    def one(key: jax.Array, part: Any) -> Any:
        known = outline(losses_fn, wide, part, options)
        if number > 1 and known.plan.shared:
            raise ValueError(
                f"chunk: got {chunk}, wanted None: the losses depend on statistics of the batch."
            )
        expectation = None if matrices is None else Expectation(known, options, matrices)
        found = explore(known, options, wide, part, key, expectation)
        slopes = [] if expectation is None else expectation.gradients(found)
        return found.losses.mean(), gradient(known, found, wide), slopes

    if number == 1:
        loss, estimate, slopes = one(key, batch)
    else:
        loss, estimate, slopes = _mean_over(one, key, batch, number)
    cast = jax.tree.map(lambda x, leaf: x.astype(jnp.result_type(leaf)), estimate, params)
    return loss, cast, slopes


def _mean_over(one: Callable[..., Any], key: jax.Array, batch: Any, number: int) -> Any:
    leaves, tree = jax.tree.flatten(batch)
    cut = [jnp.reshape(x, (number, -1, *x.shape[1:])) for x in leaves if jnp.ndim(x) > 0]

    def part(pieces: list[jax.Array]) -> Any:
        rest = iter(pieces)
        return tree.unflatten([next(rest) if jnp.ndim(x) > 0 else x for x in leaves])

    shapes = jax.eval_shape(lambda: one(key, part([x[0] for x in cut])))
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def add(total: Any, given: Any) -> tuple[Any, None]:
        place, pieces = given
        found = one(jax.random.fold_in(key, place), part(pieces))
        return jax.tree.map(lambda a, b: a + b / jnp.asarray(number, b.dtype), total, found), None

    return jax.lax.scan(add, zero, (jnp.arange(number, dtype=jnp.uint32), cut))[0]
