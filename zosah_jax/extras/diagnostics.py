"""How well a subspace sees the gradient, and how many dimensions curvature has.

These need a true gradient, and so a function that JAX can differentiate: they are to understand
zeroth-order methods with, not to run them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp

from zosah_jax.checks import check_static_count, typed_key
from zosah_jax.probes import direction
from zosah_jax.pytree import Address, Params, check_params, dimension, gather, widen, working_dtype


def alignment(gradient: Params, address: Address) -> jax.Array:
    r"""How much more of a gradient a set of coordinates holds than as many at random.

    .. math:: \rho = \frac{\|P g\|^2 / \|g\|^2}{m / d}

    with P the projection onto the span of m distinct coordinates. Its mean over coordinates drawn
    uniformly is 1; it is d / m where the subspace holds the whole gradient. The expected decrease
    of a step within the subspace, at the best learning rate for its dimension, grows with it.

    The paper names the quantity; its exact definition was not to be had, and this is the project's.

    Args:
        gradient: pytree of real floating arrays.
        address: m distinct coordinates, leaves of shape (m,) or more axes.

    Returns:
        Scalar, in float32 or wider; NaN of a zero gradient.

    Example:
        >>> import jax.numpy as jnp
        >>> from zosah_jax.pytree import Address
        >>> g = jnp.array([3.0, 0.0, 0.0, 4.0])
        >>> last = Address(jnp.array([0]), jnp.array([3], jnp.uint32))
        >>> print(f"{alignment(g, last):.2f}")  # 16 of 25, with one of four coordinates
        2.56

    References:
        Park et al., `Elucidating Subspace Perturbation in Zeroth-Order Optimization: Theory and
        Practice at Scale <https://arxiv.org/abs/2501.19099>`_, 2025 (subspace alignment).
    """
    held = jnp.sum(gather(gradient, address) ** 2)
    return _over_share(held, gradient, address.leaf.size)


def block_alignment(gradient: Params, leaves: tuple[int, ...]) -> jax.Array:
    """`alignment` of a block: all coordinates of some leaves.

    Args:
        gradient: pytree of real floating arrays.
        leaves: numbers of the leaves, in `jax.tree.leaves` order (`blocks.split_blocks`).

    Returns:
        Scalar, in float32 or wider; NaN of a zero gradient.

    Example:
        >>> import jax.numpy as jnp
        >>> print(block_alignment({"a": jnp.ones(2), "b": jnp.zeros(6)}, (0,)))
        4.0
    """
    parts = [jax.tree.leaves(widen(gradient))[n] for n in leaves]
    return _over_share(_square(parts), gradient, dimension(parts))


def direction_alignment(gradient: Params, key: jax.Array) -> jax.Array:
    r"""`alignment` of the span of the random directions of some keys.

    The projection is exact, by the Gram matrix of the directions, which are not orthogonal.

    Args:
        gradient: pytree of real floating arrays.
        key: typed keys of m directions, linearly independent, shape (m,); all are held at once.

    Returns:
        Scalar, in float32 or wider; NaN of a zero gradient.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> g = jnp.array([3.0, 0.0, 4.0])
        >>> rho = direction_alignment(g, jax.random.split(jax.random.key(0), 3))
        >>> print(f"{rho:.3f}")  # three of three dimensions hold all of it
        1.000
    """
    drawn = jax.vmap(partial(direction, params=gradient))(key)
    dtype = working_dtype(gradient)
    flat = jnp.concatenate(
        [leaf.reshape(len(key), -1).astype(dtype) for leaf in jax.tree.leaves(drawn)], axis=1
    )
    whole = jnp.concatenate([jnp.ravel(leaf).astype(dtype) for leaf in jax.tree.leaves(gradient)])
    basis, _ = jnp.linalg.qr(flat.T)
    return _over_share(jnp.sum((basis.T @ whole) ** 2), gradient, len(key))


def effective_dimension(
    fun: Callable[[Params], Any],
    params: Params,
    *,
    num_samples: int | None = None,
    power_steps: int = 50,
    key: Any = 0,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    r"""Local effective dimension tr(H) / \|H\| of the Hessian, from products with it.

    Between 1 and d where H has no negative eigenvalue: how many directions are as curved as the
    most curved one. The length that a random direction's step may have goes with it, not with d.

    Args:
        fun: a function that JAX can differentiate twice.
        params: where; pytree of real floating arrays.
        num_samples: random sign vectors of the estimate of the trace (Hutchinson; static). None:
            the trace is exact, from d products.
        power_steps: steps of the power iteration for the norm (static), which comes from below.
        key: an int or a typed PRNG key.

    Returns:
        tr(H) / \|H\|, tr(H), \|H\| (the largest absolute eigenvalue), scalars.

    Raises:
        ValueError, TypeError: an argument is out of its range, by name.

    Example:
        >>> import jax.numpy as jnp
        >>> f = lambda x: (jnp.array([4.0, 2.0, 2.0]) * x**2).sum() / 2
        >>> ratio, trace, norm = effective_dimension(f, jnp.zeros(3))
        >>> print(f"{ratio:.3f} {trace:.3f} {norm:.3f}")
        2.000 8.000 4.000

    References:
        Malladi et al., `MeZO <https://arxiv.org/abs/2305.17333>`_, 2023 (local effective rank);
        Park et al. <https://arxiv.org/abs/2501.19099>, 2025 (local intrinsic dimension).
    """
    check_params(params)
    check_static_count("num_samples", num_samples, optional=True)
    check_static_count("power_steps", power_steps)
    first, second = jax.random.split(typed_key(key))
    wide = widen(params)

    def product(v: Params) -> Params:
        return jax.jvp(jax.grad(fun), (wide,), (v,))[1]

    trace = (
        _exact_trace(product, wide)
        if num_samples is None
        else _hutchinson(product, wide, jax.random.split(first, num_samples))
    )

    def power(_: int, carry: tuple[Params, jax.Array]) -> tuple[Params, jax.Array]:
        moved = product(carry[0])
        norm = jnp.sqrt(_square(jax.tree.leaves(moved)))
        return _divided(moved, norm), norm

    start = direction(second, wide)
    start = _divided(start, jnp.sqrt(_square(jax.tree.leaves(start))))
    _, norm = jax.lax.fori_loop(0, power_steps, power, (start, jnp.zeros((), trace.dtype)))
    return trace / norm, trace, norm


def _over_share(held: jax.Array, gradient: Params, m: int) -> jax.Array:
    total = _square(jax.tree.leaves(widen(gradient)))
    return held.astype(total.dtype) / total * (dimension(gradient) / m)


def _square(leaves: list[jax.Array]) -> jax.Array:
    dtype = working_dtype(leaves)
    return sum((jnp.sum(x**2).astype(dtype) for x in leaves), jnp.zeros((), dtype))


def _divided(tree: Params, by: jax.Array) -> Params:
    by = jnp.where(by > 0, by, 1)
    return jax.tree.map(lambda x: x / by.astype(x.dtype), tree)


def _exact_trace(product: Callable[[Params], Params], params: Params) -> jax.Array:
    """Sum of the diagonal, entry by entry."""
    flat, unravel = jax.flatten_util.ravel_pytree(params)

    def entry(i: jax.Array) -> jax.Array:
        unit = jnp.zeros_like(flat).at[i].set(1)
        return jax.flatten_util.ravel_pytree(product(unravel(unit)))[0][i]

    return jnp.sum(jax.lax.map(entry, jnp.arange(flat.size)))


def _hutchinson(product: Callable[[Params], Params], params: Params, keys: jax.Array) -> jax.Array:
    """Mean of z'Hz over sign vectors z."""

    def sample(key: jax.Array) -> jax.Array:
        z = direction(key, params, "rademacher")
        parts = jax.tree.leaves(jax.tree.map(lambda a, b: jnp.sum(a * b), z, product(z)))
        dtype = working_dtype(params)
        return sum((part.astype(dtype) for part in parts), jnp.zeros((), dtype))

    return jnp.mean(jax.lax.map(sample, keys))
