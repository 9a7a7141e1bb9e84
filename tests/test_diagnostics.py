"""Diagnostics against dense linear algebra in x64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zosah_jax.extras import diagnostics
from zosah_jax.probes import direction
from zosah_jax.pytree import address_of

DRAW = np.random.default_rng(0)
GRADIENT = {"a": DRAW.normal(size=(3, 4)), "b": DRAW.normal(size=5)}
FLAT = np.concatenate([GRADIENT["a"].ravel(), GRADIENT["b"]])
ROOT = DRAW.normal(size=(17, 17))
MATRIX = ROOT @ ROOT.T


def share(basis):
    """Of the squared norm, over m/d, by a dense least-squares projection onto columns."""
    inside = basis @ np.linalg.lstsq(basis, FLAT, rcond=None)[0]
    return (inside @ inside) / (FLAT @ FLAT) * 17 / basis.shape[1]


def test_alignment_of_coordinates_blocks_and_directions_is_the_dense_projections(x64):
    places = np.array([[2, 16], [7, 12]])
    found = diagnostics.alignment(GRADIENT, address_of(GRADIENT, jnp.asarray(places, jnp.uint32)))
    np.testing.assert_allclose(found, share(np.eye(17)[:, places.ravel()]), rtol=1e-12)
    for leaves, columns in (((0,), slice(0, 12)), ((1,), slice(12, 17))):
        found = diagnostics.block_alignment(GRADIENT, leaves)
        np.testing.assert_allclose(found, share(np.eye(17)[:, columns]), rtol=1e-12)
    keys = jax.random.split(jax.random.key(0), 4)
    drawn = [direction(key, GRADIENT) for key in keys]
    basis = np.stack([np.concatenate([np.ravel(u["a"]), u["b"]]) for u in drawn], axis=1)
    found = diagnostics.direction_alignment(GRADIENT, keys)
    np.testing.assert_allclose(found, share(basis), rtol=1e-12)


def test_alignment_of_random_coordinates_is_one_in_the_mean(x64):
    pairs = [(i, j) for i in range(17) for j in range(i)]
    address = address_of(GRADIENT, jnp.asarray(pairs, jnp.uint32))
    each = jax.vmap(lambda a: diagnostics.alignment(GRADIENT, a))(address)
    np.testing.assert_allclose(np.mean(each), 1, rtol=1e-12)


def test_effective_dimension_is_that_of_the_dense_hessian(x64):
    def f(p):
        x = jnp.concatenate([p["a"].ravel(), p["b"]])
        return x @ jnp.asarray(MATRIX) @ x / 2 + 3 * jnp.sum(x)

    eigenvalues = np.linalg.eigvalsh(MATRIX)
    exact = diagnostics.effective_dimension(f, GRADIENT, power_steps=500)
    expected = eigenvalues.sum() / eigenvalues[-1], eigenvalues.sum(), eigenvalues[-1]
    np.testing.assert_allclose(exact, expected, rtol=1e-8)
    _, trace, _ = diagnostics.effective_dimension(f, GRADIENT, num_samples=2000)
    # z'Hz of sign vectors deviates by the root of 2 sum of squares off the diagonal; five of them
    deviation = np.sqrt(2 * (np.sum(MATRIX**2) - np.sum(np.diag(MATRIX) ** 2)) / 2000)
    assert abs(trace - expected[1]) < 5 * deviation
    with pytest.raises(ValueError, match="num_samples: got 0"):
        diagnostics.effective_dimension(f, GRADIENT, num_samples=0)
