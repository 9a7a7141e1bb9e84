import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from zosah_jax.params import Address, address_of
from zosah_jax.permutation import permute
from zosah_jax.sah.subspaces import draw_subspaces

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
    draw = jax.vmap(lambda number: draw_subspaces(key, number, x, m))
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
        draw = jax.make_jaxpr(lambda key, number: draw_subspaces(key, number, x, 2))
        return str(draw(jax.random.key(0), jnp.array(3, jnp.int32)))

    small, large = program(1000), program(2**32 - 1)
    assert len(small.splitlines()) == len(large.splitlines())
    assert str(2**32 - 1) + "]" not in large


def test_addresses_follow_the_order_of_the_leaves():
    params = {"a": jnp.zeros((2, 3)), "b": jnp.zeros(()), "c": jnp.zeros(0), "d": jnp.zeros(4)}
    address = address_of(params, jnp.arange(11, dtype=jnp.uint32))
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
