"""Spans of random directions that are regenerated from their keys: which, and how they lie."""

import jax
import jax.numpy as jnp

from zosah_jax.linear_algebra import inverse_cholesky
from zosah_jax.low_rank import Factors, Law, LowRank, draw_factors
from zosah_jax.probes import combine_directions, direction
from zosah_jax.pytree import Params, dimension, working_dtype

# Coordinates beyond which independent directions need no Gram matrix: their cosines are below 1e-3.
_ORTHOGONAL = 2**20


def gram(key: jax.Array, params: Params, law: Law, mask: jax.Array | None) -> jax.Array:
    """Inner products of the directions of m keys, shape (m, m).

    Args:
        key: typed keys, shape (m,).
        params: only shapes and dtypes matter.
        law: how directions are distributed.
        mask: 1 for leaves that move, 0 for others, shape (number of leaves,); None: all do.

    Example:
        >>> found = gram(jax.random.split(jax.random.key(0), 2), jnp.zeros(4), "rademacher", None)
        >>> [float(x) for x in jnp.diagonal(found)]
        [4.0, 4.0]
    """
    leaves, dtype = jax.tree.leaves(params), working_dtype(params)
    if not isinstance(law, LowRank) and mask is None and dimension(params) >= _ORTHOGONAL:
        return dimension(params) * jnp.eye(len(key), dtype=dtype)
    weight = jnp.ones(len(leaves), dtype) if mask is None else mask.astype(dtype)
    if isinstance(law, LowRank):
        drawn = jax.vmap(lambda key: draw_factors(key, leaves, law))(key)
    else:
        drawn = jax.tree.leaves(jax.vmap(lambda key: direction(key, params, law))(key))
    total = jnp.zeros((len(key), len(key)), dtype)
    for number, each in enumerate(drawn):
        total += weight[number] * _inner_products(each).astype(dtype)
    return total


def _inner_products(each: Factors | jax.Array) -> jax.Array:
    if isinstance(each, Factors):
        return jax.vmap(lambda one: jax.vmap(one.overlap)(each))(each)
    flat = each.reshape(len(each), -1)
    return jnp.matmul(flat, flat.T, precision=jax.lax.Precision.HIGHEST)


def combined(
    key: jax.Array, weight: jax.Array, params: Params, law: Law, mask: jax.Array | None
) -> Params:
    """Sum over k of weight_k u_k, zero in leaves that do not move."""
    tree = combine_directions(key, weight, params, law)
    if mask is None:
        return tree
    leaves, treedef = jax.tree.flatten(tree)
    masked = [leaf * mask[n].astype(leaf.dtype) for n, leaf in enumerate(leaves)]
    return jax.tree.unflatten(treedef, masked)


def inner(one: Params, other: Params) -> jax.Array:
    """Inner product of two pytrees of one structure, in the working dtype."""
    dtype = working_dtype((one, other))
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return sum((jnp.sum(a.astype(dtype) * b.astype(dtype)) for a, b in pairs), jnp.zeros((), dtype))


def whitening(gram: jax.Array, came: jax.Array) -> jax.Array:
    """W with orthonormal rows W U of the directions U whose values came, shape (m, m).

    Args:
        gram: inner products of the directions.
        came: whose values came, bool, shape (m,); rows and columns of the others are 0.
    """
    both = came[:, None] & came[None, :]
    eye = jnp.eye(len(gram), dtype=gram.dtype)
    return jnp.where(both, inverse_cholesky(jnp.where(both, gram, eye)), 0)
