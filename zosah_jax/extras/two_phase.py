"""How the full RSPG method is run: a randomised stop, several runs, and a choice among them."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from zosah_jax.checks import check_positive, check_static_count, typed_key
from zosah_jax.evaluate.automatic import automatic
from zosah_jax.evaluate.evaluators import Evaluator
from zosah_jax.evaluate.objective import Objective, traced
from zosah_jax.faces.transformation import as_optax, num_evaluations
from zosah_jax.method import exact_problem
from zosah_jax.methods.rspg import RSPG
from zosah_jax.pytree import Params, check_params, working_dtype


class TwoPhaseResult(NamedTuple):
    """What `two_phase` found.

    Attributes:
        params: the chosen point, in the dtypes of `x0`.
        chosen: number of its run, int32.
        stop: number of steps after which each run stopped, int32, shape (runs,).
        gradient_norm: length of the projected gradient estimated at each, shape (runs,).
        num_evaluations: values spent in all, an int.

    Example:
        >>> import jax.numpy as jnp
        >>> f = lambda x: ((x - 1) ** 2).sum() / 2
        >>> out = two_phase(f, jnp.zeros(3), 0.2, 20, smoothness=1.0, runs=2)
        >>> out.stop.shape, bool(out.gradient_norm[out.chosen] == out.gradient_norm.min())
        ((2,), True)
    """

    params: Params
    chosen: jax.Array
    stop: jax.Array
    gradient_norm: jax.Array
    num_evaluations: Any


def random_stop(
    key: jax.Array, learning_rate: optax.ScalarOrSchedule, steps: int, smoothness: float
) -> jax.Array:
    r"""Number R of steps after which RSPG stops, drawn before it starts.

    .. math:: P(R = k) \propto \gamma_k - L \gamma_k^2, \qquad k = 1 \ldots N

    With a constant learning rate it is uniform. The guarantee of the paper is for x_R, not x_N.

    Args:
        key: typed PRNG key.
        learning_rate: gamma_k, or a schedule of it, at most 1 / L.
        steps: N (static).
        smoothness: L, a Lipschitz constant of the gradient.

    Returns:
        int32 scalar, 1 <= R <= N.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax
        >>> draw = lambda key: random_stop(key, 0.1, 4, 1.0)
        >>> sorted(set(jax.vmap(draw)(jax.random.split(jax.random.key(0), 100)).tolist()))
        [1, 2, 3, 4]

    References:
        Ghadimi, Lan, Zhang, `Mini-batch Stochastic Approximation Methods for Nonconvex Stochastic
        Composite Optimization <https://arxiv.org/abs/1308.6594>`_, 2013 (algorithm 2).
    """
    check_static_count("steps", steps)
    check_positive("smoothness", smoothness)
    number = jnp.arange(steps, dtype=jnp.int32)
    given = jax.vmap(learning_rate)(number) if callable(learning_rate) else learning_rate
    rate = jnp.broadcast_to(jnp.asarray(given, jnp.float32), (steps,))
    mass = jnp.maximum(rate - jnp.asarray(smoothness, jnp.float32) * rate**2, 0)
    mass = jnp.where(jnp.any(mass > 0), mass, 1)  # of too large rates nothing is promised
    return 1 + jax.random.categorical(key, jnp.log(mass)).astype(jnp.int32)


def two_phase(
    fun: Callable[[Params], Any],
    x0: Params,
    learning_rate: optax.ScalarOrSchedule,
    steps: int,
    *,
    smoothness: float,
    runs: int = 3,
    num_directions: int = 1,
    post_directions: int = 100,
    smoothing: float | None = None,
    prox: optax.GradientTransformation | None = None,
    key: Any = 0,
    evaluator: Evaluator | None = None,
) -> TwoPhaseResult:
    r"""The two-phase RSPG method: independent runs with randomised stops, then the best of them.

    Each of S runs of RSPG stops after a random number of steps (`random_stop`). At each of the
    points a gradient is estimated anew along T directions, and the point with the shortest
    projected gradient \|x - prox(x - gamma G)\| / gamma is the result.

    Args:
        fun: objective, params -> scalar, traceable by JAX.
        x0: pytree of real floating arrays.
        learning_rate: gamma, or a schedule of it; gamma_1 is used in the second phase.
        steps: N, most steps of a run (static).
        smoothness: L, a Lipschitz constant of the gradient; of weight only if the rate varies.
        runs: S (static; the paper: log2(2 / Lambda) for a failure probability Lambda).
        num_directions: q of the steps (static).
        post_directions: T, directions of the second phase (static).
        smoothing: mu, as in `RSPG`.
        prox: a transformation for the end of the chain (`prox_l1`, `project`), or None.
        key: an int or a typed PRNG key.
        evaluator: how probes are answered; None picks by the size of the parameters.

    Returns:
        A `TwoPhaseResult`; (q + 1) sum of R_s + (T + 1) S values are spent.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax.numpy as jnp
        >>> f = lambda x: ((x - 1) ** 2).sum() / 2
        >>> out = two_phase(f, jnp.zeros(3), 0.2, 60, smoothness=1.0)
        >>> bool(f(out.params) < 0.5), out.num_evaluations == 2 * int(out.stop.sum()) + 3 * 101
        (True, True)

    References:
        Ghadimi, Lan, Zhang, `Mini-batch Stochastic Approximation Methods for Nonconvex Stochastic
        Composite Optimization <https://arxiv.org/abs/1308.6594>`_, 2013 (2-RSPG, sections 4, 5).
    """
    check_params(x0)
    check_static_count("runs", runs)
    check_static_count("post_directions", post_directions)
    end = optax.identity() if prox is None else prox
    method = RSPG(num_directions, smoothing)
    tx: Any = as_optax(method, None, evaluator)
    descent = optax.chain(optax.scale_by_learning_rate(learning_rate), end)
    first_rate = learning_rate(0) if callable(learning_rate) else learning_rate
    answer = automatic() if evaluator is None else evaluator
    look = partial(_projected_length, RSPG(post_directions, smoothing), answer, end, first_rate)

    def run(key: jax.Array) -> tuple[Params, jax.Array, jax.Array, Any]:
        draw, walk, again = jax.random.split(key, 3)
        stop = random_stop(draw, learning_rate, steps, smoothness)
        first = tx.init(x0)
        state = (first._replace(method=method.init(x0, walk)), descent.init(x0))

        def step(_: jax.Array, carry: tuple[Params, Any]) -> tuple[Params, Any]:
            params, (state, after) = carry
            updates, state = tx.update(None, state, params, value_fn=fun)
            updates, after = descent.update(updates, after, params)
            return optax.apply_updates(params, updates), (state, after)

        params, state = jax.lax.fori_loop(0, stop, step, (x0, state))
        norm = look(traced(fun, params), again, params)
        return params, stop, norm, num_evaluations(state)

    points, stop, norm, spent = jax.jit(partial(jax.lax.map, run))(
        jax.random.split(typed_key(key), runs)
    )
    chosen = jnp.nanargmin(jnp.where(jnp.isfinite(norm), norm, jnp.inf)).astype(jnp.int32)
    total = sum(int(count) for count in spent) + runs * (post_directions + 1)
    return TwoPhaseResult(jax.tree.map(lambda x: x[chosen], points), chosen, stop, norm, total)


def _projected_length(
    method: RSPG,
    answer: Evaluator,
    end: optax.GradientTransformation,
    rate: Any,
    objective: Objective,
    key: jax.Array,
    params: Params,
) -> jax.Array:
    """|x - prox(x - gamma G)| / gamma with G estimated along fresh directions."""
    state, problem = method.init(params, key), exact_problem(params)
    batch = method.ask(state, params, problem)
    values = answer(objective, params, batch.probes)
    gradient = method.tell(state, params, problem, batch, values).step
    downhill = jax.tree.map(lambda g: -jnp.asarray(rate, g.dtype) * g, gradient)
    moved, _ = end.update(downhill, end.init(params), params)
    return optax.tree.norm(moved) / jnp.asarray(rate, working_dtype(params))
