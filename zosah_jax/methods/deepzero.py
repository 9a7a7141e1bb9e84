"""DeepZero: coordinate-wise gradients over sparse masks that are drawn anew now and then."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp

from zosah_jax.bounds import reflected_probes
from zosah_jax.checks import check_count, check_positive
from zosah_jax.method import Batch, Method, Outcome, Problem
from zosah_jax.methods.lengths import step_length
from zosah_jax.permutation import permute
from zosah_jax.probes import CoordinateProbes, CoordinateUpdate
from zosah_jax.pytree import Address, Params, gather, precision

Maskable = Callable[[tuple[Any, ...], jax.Array], bool]
DENSITY = 0.1  # the paper's 90 % of sparsity


class DeepZeroState(NamedTuple):
    """State of DeepZero.

    Attributes:
        key: typed PRNG key, never advanced: the masks follow from it and the step.
        step: number k of the coming step, int32.
        mask_period: K, steps between masks, int32; 0 keeps the first.
    """

    key: jax.Array
    step: jax.Array
    mask_period: jax.Array


def has_matrix_shape(path: tuple[Any, ...], leaf: jax.Array) -> bool:
    """Whether a leaf has two axes or more: kernels have, norms and biases have not."""
    del path
    return jnp.ndim(leaf) >= 2


def coordinates_per_leaf(
    density: float | Params | None, maskable: Maskable | None, params: Params
) -> tuple[int, ...]:
    """How many coordinates of every leaf a mask leaves, in `jax.tree.leaves` order.

    Args:
        density: as in `DeepZero`.
        maskable: as in `DeepZero`.
        params: pytree; only paths and shapes matter.

    Raises:
        ValueError, TypeError: a density is out of (0, 1], or they are not one a leaf.

    Example:
        >>> import jax.numpy as jnp
        >>> params = {"bias": jnp.zeros(7), "kernel": jnp.zeros((20, 7))}
        >>> coordinates_per_leaf(0.25, None, params)
        (7, 35)
        >>> coordinates_per_leaf({"bias": 1.0, "kernel": 0.5}, None, params)
        (7, 70)
    """
    density = DENSITY if density is None else density
    paths, treedef = jax.tree_util.tree_flatten_with_path(params)
    single = jax.tree_util.all_leaves([density])
    try:
        wanted = [density] * len(paths) if single else treedef.flatten_up_to(density)
    except ValueError as error:
        raise ValueError("density: got one pytree, wanted one like the parameters.") from error
    sizes = []
    for (path, leaf), part in zip(paths, wanted, strict=True):
        _check_density(part)
        kept = not single or (maskable or has_matrix_shape)(path, leaf)
        share = float(part) if kept else 1.0  # type: ignore[arg-type]
        sizes.append(min(jnp.size(leaf), max(1, round(share * jnp.size(leaf)))))
    return tuple(sizes)


def _check_density(density: Any) -> None:
    if isinstance(density, jax.core.Tracer):
        raise TypeError(
            "density: got a traced value, wanted a float (it makes a shape: under "
            "optax.inject_hyperparams name it in static_args)."
        )
    check_positive("density", density)
    if density > 1:
        raise ValueError(f"density: got {density}, wanted a number of at most 1.")


def masked_coordinates(key: jax.Array, counts: tuple[int, ...], params: Params) -> Address:
    """The coordinates that the mask of a key leaves: distinct, uniform within each leaf.

    None is stored: they are places under a permutation that is evaluated where it is needed.

    Args:
        key: typed PRNG key of the mask.
        counts: how many of each leaf; of a whole leaf, all in their order.
        params: pytree; only shapes matter.

    Returns:
        Address of shape (sum of counts,), sorted by leaf.
    """
    leaves, indices = [], []
    for number, (count, leaf) in enumerate(zip(counts, jax.tree.leaves(params), strict=True)):
        place = jnp.arange(count, dtype=jnp.uint32)
        if 0 < count < jnp.size(leaf):
            place = permute(jax.random.fold_in(key, number), place, jnp.size(leaf))
        indices.append(place)
        leaves.append(jnp.full(count, number, jnp.int32))
    return Address(jnp.concatenate(leaves), jnp.concatenate(indices))


@dataclass(frozen=True, eq=False)
class DeepZero(Method):
    r"""Coordinate-wise gradient estimate (CGE) over the coordinates that a random mask leaves.

    .. math:: g_i = (f(x + \mu e_i) - f(x)) / \mu \text{ for } i \text{ in the mask}, \quad
        0 \text{ elsewhere}

    The model stays dense, its gradient is sparse. A mask leaves a fixed number of coordinates of
    every leaf, which ones is drawn anew every K steps. A step takes a value a coordinate, and one.
    Coordinates whose value is not finite do not move.

    Args:
        density: share of each maskable leaf that a mask leaves, in (0, 1] (static): one number,
            or one a leaf, a pytree like the parameters (`zo_grasp_densities` finds it). None: 0.1,
            the paper's 90 % of sparsity. At least one coordinate of a leaf is left.
        mask_period: K, steps between masks (paper: five epochs). None: the first mask stays.
        smoothing: mu, absolute (paper: 5e-3). None: the square root of the machine epsilon of the
            parameters (as perturbed: float32 or wider), times max(1, |x_i|).
        maskable: (path, leaf) -> bool, which leaves one number applies to; all coordinates of the
            others are always there. None: leaves with two axes or more, so that norms and biases
            are never masked.
        key: an int or a typed PRNG key; the masks follow from it.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        The paper's recipe, with its momentum, decay and schedule from optax:

        >>> import jax.numpy as jnp, optax, zosah_jax
        >>> params = {"kernel": jnp.ones((10, 4)), "bias": jnp.ones(4)}
        >>> schedule = optax.warmup_cosine_decay_schedule(0.0, 0.1, 3, 50)
        >>> gradient = zosah_jax.scale_by_deepzero(0.1, mask_period=5)
        >>> tx = optax.chain(
        ...     gradient,
        ...     optax.add_decayed_weights(5e-4),
        ...     optax.trace(0.9),
        ...     optax.scale_by_learning_rate(schedule),
        ... )
        >>> f = lambda p: (p["kernel"] ** 2).sum() + (p["bias"] ** 2).sum()
        >>> _, state = gradient.update(None, gradient.init(params), params, value_fn=f)
        >>> zosah_jax.num_evaluations(state)  # 4 of 40, 4 of 4, and one
        9

    References:
        Chen et al., `DeepZero: Scaling up Zeroth-Order Optimization for Deep Model Training
        <https://arxiv.org/abs/2310.02025>`_, 2023.
    """

    density: float | Params | None = None
    mask_period: int | None = None
    smoothing: float | None = None
    maskable: Maskable | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        """Refuse options that are out of range; one density a leaf waits for the parameters."""
        super().__post_init__()
        check_count("mask_period", self.mask_period, optional=True)
        check_positive("smoothing", self.smoothing, optional=True)
        if self.density is not None and jax.tree_util.all_leaves([self.density]):
            _check_density(self.density)
        if self.maskable is not None and not callable(self.maskable):
            raise TypeError(
                f"maskable: got {self.maskable!r}, wanted a callable (path, leaf) or None."
            )

    def init(self, params: Params, key: jax.Array) -> DeepZeroState:
        """The state before the first step."""
        coordinates_per_leaf(self.density, self.maskable, params)
        period = 0 if self.mask_period is None else self.mask_period
        return DeepZeroState(key, jnp.zeros((), jnp.int32), jnp.asarray(period, jnp.int32))

    def ask(self, state: DeepZeroState, params: Params, problem: Problem) -> Batch:
        """The parameters, and a step along each coordinate of the present mask."""
        number = jnp.where(
            state.mask_period > 0, state.step // jnp.maximum(state.mask_period, 1), 0
        )
        counts = coordinates_per_leaf(self.density, self.maskable, params)
        address = masked_coordinates(jax.random.fold_in(state.key, number), counts, params)
        length = step_length(gather(params, address), self.smoothing, precision(params) ** 0.5)
        offset = jnp.concatenate([jnp.zeros_like(length[:1]), length])
        address = Address(*(jnp.concatenate([x[:1], x])[:, None] for x in address))
        probes = CoordinateProbes(address, offset[:, None])
        return Batch(reflected_probes(problem.bounds, params, probes)[0])

    def tell(
        self,
        state: DeepZeroState,
        params: Params,
        problem: Problem,
        batch: Batch,
        values: jax.Array,
    ) -> Outcome:
        """Forward difference along each coordinate; 0 where a value is missing, off the mask."""
        del params, problem
        slope = (values[1:] - values[0]) / batch.probes.offset[1:, 0]
        slope = jnp.where(jnp.isfinite(slope), slope, 0)
        update = CoordinateUpdate(Address(*(x[1:, 0] for x in batch.probes.address)), slope)
        return Outcome(state._replace(step=state.step + 1), update, values[0])
