"""Coordinates: how they are permuted, drawn, addressed, read and moved."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from zosah_jax.methods.zosah.subspaces import draw_pairs
from zosah_jax.permutation import permute
from zosah_jax.pytree import (
    Address,
    _within,
    add_at,
    address_of,
    gather,
    place_of,
    widen,
    working_dtype,
)

ERROR_RATE = 1e-6  # of each statistical test, were the seeds drawn anew


def permuted(key, places, size):
    return np.asarray(permute(key, jnp.asarray(places, jnp.uint32), size), np.int64)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 12, 256, 1001])
def test_is_a_bijection_that_depends_on_the_key(size):
    one, other = (permuted(jax.random.key(seed), np.arange(size), size) for seed in (0, 1))
    np.testing.assert_array_equal(np.sort(one), np.arange(size))
    np.testing.assert_array_equal(np.sort(other), np.arange(size))
    if size > 50:
        assert np.mean(one == other) < 0.1
        assert np.mean(one == np.arange(size)) < 0.1


@pytest.mark.parametrize("size", [2**31 + 11, 3_000_000_019, 2**32 - 1])
def test_is_one_to_one_where_places_need_all_32_bits(size):
    places = np.unique(np.random.default_rng(0).integers(0, size, 300_000))
    places = np.unique(np.concatenate([places, [0, 1, size - 2, size - 1]]))
    images = permuted(jax.random.key(0), places, size)
    # that many independent images would collide seven times or more
    assert np.unique(images).size == places.size
    assert images.max() < size
    assert stats.kstest(images / size, "uniform").pvalue > ERROR_RATE


def test_pairs_are_as_frequent_as_each_other():
    draws, size = 3000, 6
    keys = jax.random.split(jax.random.key(0), draws)
    places = jnp.arange(4, dtype=jnp.uint32)
    images = np.asarray(jax.vmap(lambda key: permute(key, places, size))(keys), int)
    for i, j in ((0, 1), (2, 3), (0, 3)):
        low, high = np.sort(images[:, [i, j]], axis=1).T
        counts = np.bincount(low * size + high, minlength=size**2)[
            [a * size + b for a in range(size) for b in range(a + 1, size)]
        ]
        assert counts.sum() == draws
        assert stats.chisquare(counts).pvalue > ERROR_RATE
        assert stats.chisquare(np.bincount(images[:, i], minlength=size)).pvalue > ERROR_RATE


def drawn(key, d, m, periods):
    """Coordinates of each period, shape (periods, m)."""
    x = jax.ShapeDtypeStruct((d,), jnp.float32)
    draw = jax.vmap(lambda number: draw_pairs(key, number, x, m))
    address = draw(jnp.arange(periods, dtype=jnp.int32))
    assert address.index.shape == (periods, m // 2, 2)
    return np.asarray(address.index, int).reshape(periods, m)


@pytest.mark.parametrize(("d", "m"), [(2, 2), (12, 4), (11, 4)])
def test_a_sweep_visits_every_coordinate(d, m):
    sweep = -(-d // m)
    coordinates = drawn(jax.random.key(3), d, m, 4 * sweep)
    assert all(len(set(period)) == m for period in coordinates)
    sweeps = coordinates.reshape(4, -1)
    for one in sweeps:
        visits = np.bincount(one, minlength=d)
        assert visits.min() == 1
        assert visits.sum() == sweep * m
        assert visits.max() <= (1 if d % m == 0 else 2)
    if d > 10:
        assert len({tuple(one) for one in sweeps}) == 4


def test_drawing_costs_the_same_whatever_the_number_of_parameters():
    def program(d):
        x = jax.ShapeDtypeStruct((d,), jnp.float32)
        draw = jax.make_jaxpr(lambda key, number: draw_pairs(key, number, x, 2))
        return str(draw(jax.random.key(0), jnp.array(3, jnp.int32)))

    small, large = program(1000), program(2**32 - 1)
    assert len(small.splitlines()) == len(large.splitlines())
    assert str(2**32 - 1) + "]" not in large


def test_addresses_follow_the_order_of_the_leaves():
    params = {"a": jnp.zeros((2, 3)), "b": jnp.zeros(()), "c": jnp.zeros(0), "d": jnp.zeros(4)}
    address = address_of(params, jnp.arange(11, dtype=jnp.uint32))
    np.testing.assert_array_equal(place_of(params, address), np.arange(11))
    assert address.leaf.tolist() == [0] * 6 + [1] + [3] * 4
    assert address.index.tolist() == [0, 1, 2, 3, 4, 5, 0, 0, 1, 2, 3]


def test_addresses_beyond_31_bits():
    sizes = [2**31 + 5, 7, 2**31 - 20]
    params = [jax.ShapeDtypeStruct((size,), jnp.float32) for size in sizes]
    places = jnp.asarray([2**31 + 4, 2**31 + 5, 2**31 + 12, 2**32 - 9], jnp.uint32)
    address = address_of(params, places)
    assert isinstance(address, Address)
    assert address.leaf.tolist() == [0, 1, 2, 2]
    assert address.index.tolist() == [2**31 + 4, 0, 0, 2**31 - 21]
    with pytest.raises(ValueError, match=r"params: got 4294967296 .*wanted fewer"):
        address_of([jax.ShapeDtypeStruct((2**32,), jnp.float32)], places)


# --- reading and moving what is addressed ---------------------------------------------------------

TREE = {"m": np.arange(6, dtype=np.float32).reshape(2, 3), "s": np.float32(7), "v": np.ones((1, 4))}


def tree():
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), TREE)


def test_gather_and_add_at_are_those_of_the_raveled_tree():
    params = tree()
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    places = jnp.array([[9, 0], [6, 4], [7, 10]], jnp.uint32)
    address = address_of(params, places)
    np.testing.assert_array_equal(gather(params, address), flat[places])
    amounts = jnp.arange(1.0, 7.0).reshape(3, 2)
    moved = add_at(params, address, amounts)
    expected = unravel(flat.at[places].add(amounts))
    jax.tree.map(np.testing.assert_array_equal, moved, expected)
    np.testing.assert_array_equal(gather(moved, address), flat[places] + amounts)
    back = add_at(moved, address, -amounts)
    jax.tree.map(np.testing.assert_array_equal, back, params)


def test_a_coordinate_that_is_named_twice_moves_twice():
    params = tree()
    address = address_of(params, jnp.array([6, 6, 1, 1], jnp.uint32))
    moved = add_at(params, address, jnp.ones(4))
    assert moved["s"] == 9
    assert moved["m"][0, 1] == 3


def test_leaves_keep_their_dtypes_and_differences_are_wide(x64):
    params = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones((), jnp.float32), "c": jnp.ones(1)}
    assert working_dtype(params) == jnp.float64
    assert working_dtype({"a": params["a"]}) == jnp.float32
    address = address_of(params, jnp.arange(4, dtype=jnp.uint32))
    assert gather(params, address).dtype == jnp.float64
    moved = add_at(params, address, jnp.ones(4))
    assert jax.tree.map(lambda x: x.dtype, moved) == jax.tree.map(lambda x: x.dtype, params)
    wide = jax.tree.map(lambda leaf: leaf.dtype.name, widen(params))
    assert wide == {"a": "float32", "b": "float32", "c": "float64"}


def test_leaves_without_elements_are_passed_over():
    params = {"a": jnp.zeros((0, 2)), "b": jnp.arange(3.0), "c": jnp.zeros(0)}
    address = address_of(params, jnp.array([2, 0], jnp.uint32))
    np.testing.assert_array_equal(gather(params, address), [2, 0])
    np.testing.assert_array_equal(add_at(params, address, jnp.ones(2))["b"], [1, 1, 3])


def test_places_within_a_leaf_beyond_31_bits():
    shape, places = (3, 40_000, 35_000), [2**31 - 1, 2**31, 4_199_999_999]
    address = Address(jnp.zeros(3, jnp.int32), jnp.asarray(places, jnp.uint32))
    here, found = _within(address, 0, shape)
    np.testing.assert_array_equal(found, np.unravel_index(places, shape))
    assert here.all()
    assert not _within(address, 1, shape)[0].any()
