"""ZO-GraSP: how dense DeepZero's masks should be in each layer, found once, from values alone."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.checks import check_choice, check_positive, check_static_count, typed_key
from zosah_jax.evaluate.automatic import automatic
from zosah_jax.evaluate.evaluators import Evaluator
from zosah_jax.evaluate.objective import Objective, traced
from zosah_jax.methods.deepzero import DENSITY, Maskable, has_matrix_shape
from zosah_jax.methods.estimate import mean_weights
from zosah_jax.probes import DirectionProbes, combine_directions
from zosah_jax.pytree import Params, check_params, widen, working_dtype

Directions = Literal["common", "fresh"]


class LayerDensities(NamedTuple):
    """What ZO-GraSP found.

    Attributes:
        density: share of each leaf to keep, floats in a pytree like the parameters; hand it to
            `deepzero` as it is.
        num_evaluations: values of the objective spent on it, an int.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> f = lambda p: (p["w"] ** 2).sum() + (p["bias"] ** 2).sum()
        >>> params = {"w": jnp.ones((5, 4)), "bias": jnp.ones(4)}
        >>> found = zosah_jax.extras.zo_grasp_densities(f, params, 0.5)
        >>> found.density["bias"], found.density["w"] < 1, found.num_evaluations > 0
        (1.0, True, True)
    """

    density: Params
    num_evaluations: int


def zo_grasp_densities(
    value_fn: Callable[[Params], Any],
    params: Params,
    density: float = DENSITY,
    *,
    num_directions: int = 192,
    smoothing: float = 5e-3,
    directions: Directions = "common",
    maskable: Maskable | None = None,
    key: Any = 0,
    evaluator: Evaluator | None = None,
) -> LayerDensities:
    r"""Share of each layer that global pruning by ZO-GraSP scores would keep.

    .. math:: s = - x \, (g(x + \mu g(x)) - g(x)) / \mu

    with g a mean over q random directions of forward differences. Of all maskable coordinates
    those with the largest \|s\| are kept, and how many of each leaf is its density; which ones is
    then forgotten, as DeepZero draws its masks at random at these densities. It takes 2 (q + 1)
    values, once.

    Args:
        value_fn: objective of the parameters.
        params: pytree of real floating arrays.
        density: share of all maskable coordinates to keep, in (0, 1).
        num_directions: q (static; code: 192).
        smoothing: mu, absolute (code: 5e-3). Directions are scaled to length 1 over all leaves.
        directions: "common" takes the second gradient along the directions of the first, so that
            their difference is that of the gradients and not of the draws; "fresh" draws anew, as
            the code does.
        maskable: (path, leaf) -> bool; the other leaves keep all. None: leaves with two axes or
            more.
        key: an int or a typed PRNG key.
        evaluator: how probes are answered; None picks by the size of the parameters.

    Returns:
        A `LayerDensities`. A leaf keeps at least one coordinate, where the original may drop all.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name, or nothing is maskable.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> params = {"flat": jnp.ones((5, 4)), "steep": jnp.ones((5, 4)), "bias": jnp.ones(4)}
        >>> f = lambda p: (p["flat"] ** 2).sum() / 100 + (p["steep"] ** 2).sum()
        >>> found = zosah_jax.extras.zo_grasp_densities(f, params, 0.5)
        >>> found.density["bias"], found.density["steep"] > found.density["flat"]
        (1.0, True)
        >>> tx = zosah_jax.deepzero(0.1, found.density)

    References:
        Chen et al., `DeepZero <https://arxiv.org/abs/2310.02025>`_, 2023 (section 4); Wang, Zhang,
        Grosse, `GraSP <https://arxiv.org/abs/2002.07376>`_, 2020.
    """
    check_params(params)
    check_positive("density", density)
    if not density < 1:
        raise ValueError(f"density: got {density}, wanted a number below 1.")
    check_static_count("num_directions", num_directions)
    check_positive("smoothing", smoothing)
    check_choice("directions", directions, get_args(Directions))
    paths, treedef = jax.tree_util.tree_flatten_with_path(params)
    masked = [(maskable or has_matrix_shape)(path, leaf) for path, leaf in paths]
    if not any(masked):
        raise ValueError("params: got no maskable leaf, wanted at least one (see maskable).")
    first = typed_key(key)
    second = first if directions == "common" else jax.random.fold_in(first, 1)
    answer = automatic() if evaluator is None else evaluator

    @jax.jit
    def scores(params: Params) -> Params:
        wide = widen(params)
        objective = traced(value_fn, params)
        estimate = partial(_gradient, objective, answer, num_directions, smoothing)
        here = estimate(first, wide)
        moved = jax.tree.map(lambda x, g: x + smoothing * g, wide, here)
        there = estimate(second, moved)
        return jax.tree.map(lambda x, g, h: -x * (h - g) / smoothing, wide, here, there)

    found = jax.tree.leaves(scores(params))
    sizes = [np.abs(np.ravel(s)) for s, m in zip(found, masked, strict=True) if m]
    every = np.concatenate(sizes)
    least = -np.partition(-every, (kept := max(1, round(density * every.size))) - 1)[kept - 1]
    shares = iter([max(1, int(np.sum(s >= least))) / max(1, s.size) for s in sizes])
    densities = [next(shares) if m else 1.0 for m in masked]
    return LayerDensities(jax.tree.unflatten(treedef, densities), 2 * (num_directions + 1))


def _gradient(
    objective: Objective,
    answer: Evaluator,
    num_directions: int,
    smoothing: float,
    key: jax.Array,
    params: Params,
) -> Params:
    """Mean of u_i (f(x + mu u_i) - f(x)) / mu, with u_i of about length 1."""
    length = 1 / sum(jnp.size(leaf) for leaf in jax.tree.leaves(params)) ** 0.5
    keys = jax.random.split(key, num_directions)
    scale = jnp.full(num_directions, smoothing * length, working_dtype(params))
    scale = jnp.concatenate([jnp.zeros_like(scale[:1]), scale])
    probes = DirectionProbes(jnp.concatenate([keys[:1], keys])[:, None], scale[:, None])
    values = answer(objective, params, probes)
    slope = (values[1:] - values[0]) / smoothing
    return combine_directions(keys, length * mean_weights(slope), params)
