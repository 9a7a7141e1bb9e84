"""The boxes of ZO-SAH's diagram one by one, and addressed parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference

import zosah_jax
from zosah_jax.params import Address, _within, add_at, address_of, gather, widen, working_dtype
from zosah_jax.sah.cache import Visit, begin, empty_cache, push
from zosah_jax.sah.gradient import forward_differences, sample_radius, step_length
from zosah_jax.sah.hessian import Equations, fit_hessian
from zosah_jax.sah.spectrum import newton_direction
from zosah_jax.transform import zeroth_order_states

TREE = {"m": np.arange(6, dtype=np.float32).reshape(2, 3), "s": np.float32(7), "v": np.ones((1, 4))}

# --- params ---------------------------------------------------------------------------------------


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


# --- gradient -------------------------------------------------------------------------------------


def test_step_lengths_are_as_the_numbers_realise_them():
    x = np.array([0.0, 1e-3, -8.0, 1e4, 3e7], np.float32)
    for given, wanted in ((0.1, np.full(5, 0.1)), (None, 1e-3 * np.maximum(1, np.abs(x)))):
        length = np.asarray(step_length(jnp.asarray(x), given, 1e-3))
        np.testing.assert_array_equal(length, (x + wanted.astype(np.float32)) - x)
    assert step_length(jnp.asarray(x), 0.1, 1e-3)[-1] == 0
    assert (step_length(jnp.asarray(x), None, 2.0**-11) > 0).all()


def test_forward_differences_of_missing_values_are_missing():
    values = jnp.array([[3.0, jnp.nan], [jnp.inf, -jnp.inf]])
    g = forward_differences(jnp.array(1.0), values, jnp.full((2, 2), 0.5))
    np.testing.assert_array_equal(g, [[4, np.nan], [np.nan, np.nan]])
    assert np.isnan(forward_differences(jnp.array(jnp.nan), values, jnp.ones((2, 2)))).all()


def test_radius_balances_rounding_and_truncation():
    eps, hessian = 1e-7, jnp.array([[2.0, 2.0, 2.0]])

    def radius(base, hessian=hessian, symmetric=False):
        return float(sample_radius(eps, jnp.array(base), hessian, symmetric=symmetric))

    np.testing.assert_allclose(radius(4.0), (2 * eps) ** (1 / 3), rtol=1e-5)
    np.testing.assert_allclose(radius(-1.0, symmetric=True), (eps / 2) ** (1 / 4), rtol=1e-5)
    np.testing.assert_allclose(radius(1e-9), eps**0.4, rtol=1e-5)
    np.testing.assert_allclose(radius(1e9), eps**0.25, rtol=1e-5)
    for unknown in (radius(np.nan), radius(4.0, jnp.zeros((1, 3)))):
        np.testing.assert_allclose(unknown, eps ** (1 / 3), rtol=1e-5)


# --- cache ----------------------------------------------------------------------------------------


def visit(base, samples=2):
    return Visit(
        jnp.full((1, 2), base),
        jnp.array(base),
        jnp.ones((1, samples, 2)),
        jnp.full((1, samples), base),
    )


def test_cache_holds_two_steps_and_the_fresh_samples_for_one():
    empty = empty_cache(1, 3, jnp.float32)
    assert np.isnan(np.concatenate([np.ravel(part.value) for part in empty])).all()
    cache = begin(empty, visit(1.0), visit(1.0, 3))
    assert np.isnan(cache.before.base)
    bases = [[float(part.base) for part in cache]]
    for base in (2.0, 3.0, 4.0):
        cache = push(cache, visit(base))
        bases.append([float(part.base) for part in cache])
    np.testing.assert_array_equal(
        bases,
        [
            [1, np.nan, 1],
            [2, 1, np.nan],
            [3, 2, np.nan],
            [4, 3, np.nan],
        ],
    )
    assert np.isnan(cache.fresh.value).all()


# --- hessian --------------------------------------------------------------------------------------

PAPER = zosah_jax.PAPER_READING
RAW = {**PAPER, "fit": "joint", "ridge": 1e-10}
CENTRED = {**RAW, "cached": "centred"}


def fitted(options, matrix, m, steps=5):
    """The Hessian of each pair after some steps on a quadratic, and the true one."""
    d = len(matrix)
    tx = zosah_jax.scale_by_zosah(m, smoothing=0.1, radius=0.1, **options)
    x = jnp.linspace(1.0, 2.0, d)

    def step(carry, _):
        x, state = carry
        updates, state = tx.update(
            None, state, x, value_fn=lambda x: x @ jnp.asarray(matrix) @ x / 2 + jnp.sum(x)
        )
        return (x - 0.3 * updates, state), None

    (_, state), _ = jax.lax.scan(step, (x, tx.init(x)), length=steps)
    (seen,) = zeroth_order_states(state)
    pairs = np.asarray(seen.method.subspaces.index, int)
    true = [[matrix[i, i], matrix[i, j], matrix[j, j]] for i, j in pairs]
    return np.asarray(seen.method.hessian), np.array(true)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "steps"),
    [({"period": 20}, 5), (PAPER, 1), (RAW, 5)],
    ids=["default, cached", "paper, fresh", "paper with a joint fit, cached"],
)
def test_hessian_of_a_quadratic_is_exact_in_a_single_pair(x64, options, steps):
    hessian, true = fitted(options, np.array([[3.0, -1.0], [-1.0, 1.0]]), 2, steps)
    np.testing.assert_allclose(hessian, true, rtol=1e-3)


@pytest.mark.slow
def test_other_pairs_swamp_the_raw_cache_and_not_the_centred_one(x64):
    matrix = np.diag([1.0, 2.0, 3.0, 4.0])
    centred, true = fitted(CENTRED, matrix, 4)
    np.testing.assert_allclose(centred, true, rtol=1e-3, atol=1e-3)
    raw, true = fitted(RAW, matrix, 4)
    assert np.abs(raw - true).max() > 1


jitted_fit = jax.jit(fit_hessian, static_argnames=("fit", "prior", "ridge"))


@pytest.mark.parametrize("fit", ["joint", "paper"])
@pytest.mark.parametrize("prior", ["previous", "paper"])
def test_fit_under_noise_is_the_weighted_least_squares_of_the_formula(x64, fit, prior):
    draw = np.random.default_rng(0)
    previous = draw.normal(size=(2, 3)) * [[1], [30]]  # of unlike sizes
    linear, g = draw.normal(size=(2, 6, 2)), draw.normal(size=(2, 2))
    phi = draw.normal(size=(2, 6, 3)) * np.logspace(-4, 0, 6)[None, :, None]
    epsilon, noise = np.full((2, 2), 0.1), 1e-2
    target = draw.normal(size=(2, 6))
    target[0, 1], g[1, 0] = np.nan, np.nan
    linear[1, :3, 0] = 0  # so that three equations do without the missing slope
    slope, hessian = jitted_fit(
        [Equations(*(jnp.asarray(x[:, s]) for x in (linear, phi, target))) for s in np.s_[:2, 2:]],
        jnp.asarray(g),
        jnp.asarray(epsilon),
        jnp.asarray(previous),
        fit=fit,
        prior=prior,
        ridge=0.03,
        noise=jnp.asarray(noise),
    )
    for j in range(2):
        rows = []
        for b, a, q in zip(linear[j], phi[j], target[j], strict=True):
            if np.isfinite(q) and not (np.isnan(g[j]) & (b != 0)).any():
                row = a - [b[0] * 0.05, 0, b[1] * 0.05] if fit == "joint" else a
                rows.append((row, q - b @ np.nan_to_num(g[j]), a))
        assert len(rows) == (5, 3)[j]
        options = {"prior": prior, "ridge": 0.03}
        expected = reference.fit(rows, previous, j, noise, options)
        np.testing.assert_allclose(hessian[j], expected, rtol=1e-7)
        bias = 0.05 * expected[[0, 2]] if fit == "joint" else 0
        np.testing.assert_allclose(slope[j], np.where(np.isnan(g[j]), 0, g[j] - bias), rtol=1e-7)


def test_one_of_three_fresh_samples_missing_is_no_poison():
    """The rest is satisfied with the least A, and rounding is not blown up."""
    theta = 5e-3 * np.array([(-1, 0), (0, -1), (1, 1)], np.float32)
    phi = np.stack([theta[:, 0] ** 2 / 2, theta[:, 0] * theta[:, 1], theta[:, 1] ** 2 / 2], axis=1)
    true = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    lost = np.arange(30) % 3
    target = true @ phi.T
    target[np.arange(30), lost] = np.nan
    _, hessian = jitted_fit(
        [Equations(np.tile(theta, (30, 1, 1)), np.tile(phi, (30, 1, 1)), target)],
        jnp.zeros((30, 2)),
        jnp.full((30, 2), 1e-4),
        None,
        fit="paper",
        prior="previous",
        ridge=0.03,
        noise=jnp.array(1e-7),
    )
    for j in range(30):
        rest = np.arange(3) != lost[j]
        expected = np.linalg.lstsq(phi[rest].astype(float), target[j, rest], rcond=None)[0]
        np.testing.assert_allclose(hessian[j], expected, atol=0.01 * np.linalg.norm(true[j]))


def test_nothing_known_is_a_hessian_of_zero():
    unknown = Equations(jnp.ones((2, 4, 2)), jnp.ones((2, 4, 3)), jnp.full((2, 4), jnp.nan))
    for previous, prior in ((None, "paper"), (None, "previous"), (jnp.zeros((2, 3)), "previous")):
        slope, hessian = jitted_fit(
            [unknown],
            jnp.full((2, 2), jnp.nan),
            jnp.ones((2, 2)),
            previous,
            fit="joint",
            prior=prior,
            ridge=0.03,
            noise=jnp.array(0.0),
        )
        np.testing.assert_array_equal(slope, 0)
        np.testing.assert_array_equal(hessian, 0)


# --- spectrum -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["relative", "paper"])
def test_direction_is_that_of_the_floored_spectrum(x64, kind):
    draw = np.random.default_rng(0)
    hessian = draw.normal(size=(40, 3)) * np.logspace(-3, 1, 40)[:, None]
    hessian[:4] = [[2, 0, 2], [-3, 0, -3], [0, 0, 0], [1, 1, 1]]  # round, zero and singular
    g = draw.normal(size=(40, 2))
    direction, eigenvalues = newton_direction(jnp.asarray(g), jnp.asarray(hessian), 0.1, kind)
    matrices = hessian[:, [[0, 1], [1, 2]]]
    values, vectors = np.linalg.eigh(matrices)
    np.testing.assert_allclose(eigenvalues, values[:, ::-1], rtol=1e-9, atol=1e-12)
    floor = 0.1 if kind == "paper" else 0.1 * (1 - 1 / 40) * np.abs(values).max()
    size = np.maximum(np.abs(values), floor)
    expected = np.einsum("jab,jb,jcb,jc->ja", vectors, 1 / size, vectors, g)
    np.testing.assert_allclose(direction, expected, rtol=1e-9)


def test_a_lone_pair_keeps_a_floor_and_a_flat_one_stays():
    def direction(hessian):
        return newton_direction(jnp.ones((1, 2)), jnp.asarray([hessian]), 0.03, "relative")[0]

    np.testing.assert_allclose(direction([2.0, 0.0, -1e-9]), [[0.5, 5e3]], rtol=1e-5)
    np.testing.assert_array_equal(direction([0.0, 0.0, 0.0]), [[0, 0]])


def test_moves_made_downstream_are_measured_not_assumed(x64):
    """The cache goes by the params that come next, not by the direction that was told."""
    tx = zosah_jax.scale_by_zosah(2, 20, smoothing=1e-4, radius=0.1)
    matrix = jnp.array([[3.0, -1.0], [-1.0, 1.0]])
    update = jax.jit(lambda s, x: tx.update(None, s, x, value_fn=lambda x: x @ matrix @ x / 2))
    x, state = jnp.array([1.0, 2.0]), tx.init(jnp.zeros(2))
    for move in ([0.3, -0.2], [-0.1, 0.4], [0.2, 0.2]):
        _, state = update(state, x)
        x = optax.apply_updates(x, jnp.array(move))
    _, state = update(state, x)
    i, j = np.ravel(state.method.subspaces.index)
    expected = [[matrix[i, i], matrix[i, j], matrix[j, j]]]
    np.testing.assert_allclose(state.method.hessian, expected, rtol=1e-3)
