"""ZO-SAH: the boxes of its diagram one by one, its options, and values that are missing."""

import inspect
from dataclasses import asdict, fields, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference
from test_trajectory import (
    DEFAULTS,
    LEARNING_RATE,
    LENGTHS,
    PAPER_DEFAULTS,
    START,
    drawn_pairs,
    followed,
)

import zosah_jax
from zosah_jax import methods
from zosah_jax.faces.transformation import zeroth_order_states
from zosah_jax.method import exact_problem, values_per_stage
from zosah_jax.methods.lengths import step_length
from zosah_jax.methods.zosah.hessian import Equations, fit_hessian
from zosah_jax.methods.zosah.lengths import forward_differences, noisy_length, sample_radius
from zosah_jax.methods.zosah.reading import MEASURED, PAPER, Reading, reading_of
from zosah_jax.methods.zosah.samples import (
    Samples,
    begin_period,
    empty_cache,
    fill_unidentified,
    identifiable,
    push,
    sample_grid,
)
from zosah_jax.methods.zosah.spectrum import newton_direction, reduce_to_free
from zosah_jax.methods.zosah.subspaces import draw_groups

pytestmark = pytest.mark.xdist_group("zosah")

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


def test_length_under_noise_balances_noise_and_truncation():
    def length(noise, base, hessian):
        return float(noisy_length(jnp.array(noise), jnp.array(base), jnp.full((1, 3), hessian)))

    np.testing.assert_allclose(length(2e-3, 5.0, 2.0), 0.1, rtol=1e-5)
    np.testing.assert_allclose(length(2e-3, 2.0, 0.0), 0.1, rtol=1e-5)  # |f| for |A|
    np.testing.assert_allclose(length(2e-3, np.nan, 0.0), 0.1, rtol=1e-5)  # nothing is known
    assert length(1e3, 1.0, 1.0) == 0.25


# --- cache ----------------------------------------------------------------------------------------


def samples_at(base, samples=2):
    return Samples(
        jnp.full((1, 2), base),
        jnp.array(base),
        jnp.ones((1, samples, 2)),
        jnp.full((1, samples), base),
    )


def test_cache_holds_two_steps_and_the_fresh_samples_for_one():
    empty = empty_cache(1, 3, jnp.float32)
    assert np.isinf(np.concatenate([np.ravel(part.value) for part in empty])).all()
    cache = begin_period(samples_at(1.0), samples_at(1.0, 3))
    assert np.isinf(cache.before.base)
    bases = [[float(part.base) for part in cache]]
    for base in (2.0, 3.0, 4.0):
        cache = push(cache, samples_at(base))
        bases.append([float(part.base) for part in cache])
    np.testing.assert_array_equal(
        bases,
        [
            [1, np.inf, 1],
            [2, 1, np.inf],
            [3, 2, np.inf],
            [4, 3, np.inf],
        ],
    )
    assert np.isinf(cache.fresh.value).all()


# --- hessian --------------------------------------------------------------------------------------

RAW = {
    "reading": replace(PAPER, fit="joint"),
    "ridge": 1e-10,
    "period": 20,
    "eigenvalue_floor": 0.1,
}
CENTRED = {**RAW, "reading": replace(PAPER, fit="joint", cached="centred")}


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
    [({"period": 20}, 5), ({"reading": "paper"}, 1), (RAW, 5)],
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


jitted_fit = jax.jit(fit_hessian, static_argnames=("reading", "ridge"))


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
        reading=Reading(fit=fit, prior=prior),
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
        reading=Reading(fit="paper"),
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
            reading=Reading(prior=prior),
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
    direction, eigenvalues = newton_direction(
        jnp.asarray(g), jnp.asarray(hessian), 0.1, Reading(floor=kind)
    )
    matrices = hessian[:, [[0, 1], [1, 2]]]
    values, vectors = np.linalg.eigh(matrices)
    np.testing.assert_allclose(eigenvalues, values[:, ::-1], rtol=1e-9, atol=1e-12)
    floor = 0.1 if kind == "paper" else 0.1 * (1 - 1 / 40) * np.abs(values).max()
    size = np.maximum(np.abs(values), floor)
    expected = np.einsum("jab,jb,jcb,jc->ja", vectors, 1 / size, vectors, g)
    np.testing.assert_allclose(direction, expected, rtol=1e-9)


def test_a_lone_pair_keeps_a_floor_and_a_flat_one_stays():
    def direction(hessian):
        return newton_direction(jnp.ones((1, 2)), jnp.asarray([hessian]), 0.03, MEASURED)[0]

    np.testing.assert_allclose(direction([2.0, 0.0, -1e-9]), [[0.5, 5e3]], rtol=1e-5)
    np.testing.assert_array_equal(direction([0.0, 0.0, 0.0]), [[0, 0]])


def test_a_fixed_coordinate_leaves_the_other_its_own_newton_step():
    g, a = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[2.0, 1.0, 4.0]] * 2)
    fixed = jnp.array([[True, False], [False, False]])
    gradient, hessian = reduce_to_free(g, a, fixed)
    np.testing.assert_array_equal(gradient, [[0, 2], [3, 4]])
    np.testing.assert_array_equal(hessian, [[2, 0, 4], [2, 1, 4]])
    direction, _ = newton_direction(gradient, hessian, 1e-9, PAPER)
    np.testing.assert_allclose(direction[0], [0, 0.5], rtol=1e-6)


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


# --- values that are missing ----------------------------------------------------------------------

STEPS, LEAST = 40, 1e-8


def run(options, f, x0, m, steps):
    """The library's run and the reference's, and what the latter knew."""
    tx = zosah_jax.zosah(LEARNING_RATE, subspace_dim=m, key=5, **LENGTHS, **options)
    options = {**DEFAULTS, **LENGTHS, **options, **asdict(MEASURED)}
    points, states, base = followed(tx, f, jnp.asarray(x0), steps)
    periods, memories = drawn_pairs(states, base, options["period"], jnp.asarray(x0)), []
    expected = reference.sah_trajectory(
        partial(f, xp=np), points[0], periods, steps, LEARNING_RATE, options, memories
    )
    return points, expected, memories


@pytest.mark.slow
def test_the_only_pair_there_is_keeps_its_cache_where_values_are_missing(x64):
    def two(x, xp=jnp):
        hole = xp.cos(9 * (x[0] - 2 * x[1])) > 0.7
        bowl = xp.log1p(xp.exp(x[0] + 2 * x[1])) + xp.sum(x**2) / 4 - 0.7 * x[0] * x[1]
        return xp.where(hole, xp.nan, bowl)

    points, expected, memories = run({"period": 1}, two, [1.0, -1.5], 2, STEPS)
    np.testing.assert_allclose(points, expected, rtol=0, atol=LEAST)
    lost = [sum(np.isnan(v) for _, v in m.fresh.samples[0]) for m in memories if m.fresh]
    assert {1, 2} <= set(lost)


@pytest.mark.parametrize("along_both", [True, False])
def test_a_period_in_which_no_curvature_is_determined(x64, along_both):
    """Every sample along an axis is missing at the start; so are all others, or they are not."""
    x0 = START[:4]

    def bowl(x, xp=jnp):
        moved = xp.abs(xp.asarray(x) - x0) > 1e-9
        back = xp.any(moved & (xp.asarray(x) < x0)) & (xp.sum(moved) == 1)
        lost = back if along_both else back | (xp.sum(moved) == 2)
        value = xp.sum(xp.array([1.0, 5, 2, 9]) * (x - 1) ** 2) + 0.3 * x[0] * x[3]
        return xp.where(lost, xp.nan, value)

    points, expected, _ = run({"period": 3}, bowl, x0, 4, 30)
    # too few equations are solved with a pull that is not far above rounding
    np.testing.assert_allclose(points, expected, rtol=0, atol=1e-3)
    np.testing.assert_array_equal(points[1], x0)
    if along_both:
        assert bowl(points[-1], np) < bowl(x0, np) / 2
    else:  # nothing ever tells how far to go
        np.testing.assert_array_equal(points, np.tile(x0, (31, 1)))


@pytest.mark.parametrize("kind", ["minimal", "paper"])
def test_what_samples_determine_is_a_matter_of_rank(x64, kind):
    draw, grid = np.random.default_rng(0), sample_grid(kind)
    np.testing.assert_array_equal(grid, reference.grid(kind, 2))
    count = 60
    offset = np.broadcast_to(0.1 * grid, (count, *grid.shape))
    value = np.where(draw.random(offset.shape[:2]) < 0.4, np.nan, 1.0)
    slope = np.where(draw.random((count, 2)) < 0.1, np.nan, 1.0)
    seen = Samples(np.zeros((count, 2)), np.float64(0), offset, value)
    hessian = draw.normal(size=(count, 3))

    @jax.jit
    def both(seen, slope, hessian):
        known = identifiable(seen, slope)
        return known, fill_unidentified(hessian, known)

    known, guess = both(*jax.tree.map(jnp.asarray, (seen, slope, hessian)))
    for j in range(count):
        samples = reference.Visit(np.zeros(2), 0.0, [list(zip(offset[j], value[j], strict=True))])
        reading = {"cached": "centred", "fit": "paper"}
        rows = reference.equations(
            [samples], 0, [0, 1], np.zeros(2), 0.0, slope[j], np.ones(2), reading
        )
        np.testing.assert_array_equal(known.entry[j], reference.determined(rows, 2))
    entry = np.asarray(known.entry)
    on_diagonal = np.array([i == j for i, j in reference.unknowns(2)])
    np.testing.assert_array_equal(entry[:, on_diagonal], known.diagonal)
    largest = np.abs(hessian[entry & on_diagonal]).max()
    expected = np.where(entry, hessian, np.where(on_diagonal, largest, 0))
    np.testing.assert_array_equal(guess, expected)


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize("constructor", [zosah_jax.zosah, zosah_jax.scale_by_zosah])
def test_the_options_have_one_set_of_defaults(constructor):
    signature = inspect.signature(constructor).parameters
    expected = {f.name: f.default for f in fields(methods.zosah)}
    assert {name: signature[name].default for name in expected} == expected
    rest = {"evaluator"} | ({"learning_rate"} if constructor is zosah_jax.zosah else set())
    assert set(signature) == set(expected) | rest


@pytest.mark.parametrize("reading", ["measured", "paper"])
def test_a_reading_by_name_is_what_it_stands_for(reading):
    defaults = PAPER_DEFAULTS if reading == "paper" else DEFAULTS
    whole = {"measured": MEASURED, "paper": PAPER}[reading]
    assert reading_of(reading) == whole
    named = methods.zosah(reading=reading)
    spelt = methods.zosah(reading=whole, **defaults)
    assert named.rules == spelt.rules == whole
    for name, value in defaults.items():
        if name != "period":  # which depends on d
            assert named.or_default(name, DEFAULTS[name], PAPER_DEFAULTS[name]) == value
    x = jnp.ones(6)
    states = [method.init(x, jax.random.key(0)) for method in (named, spelt)]
    assert int(states[0].period) == int(states[1].period) == defaults["period"]
    samples = {"measured": 3, "paper": 8}[reading]
    assert values_per_stage(named, x, exact_problem(x)) == (1 + 4 + 2 * samples, 5)


def test_the_period_of_the_only_pair_is_a_step():
    for d, reading, expected in ((2, "measured", 1), (3, "measured", 5), (2, "paper", 20)):
        state = methods.zosah(reading=reading).init(jnp.ones(d), jax.random.key(0))
        assert int(state.period) == expected


SIX = np.arange(6).reshape(3, 2)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"groups": "learnt"}, TypeError, ("groups", "ints")),
        ({"groups": SIX.astype(float)}, TypeError, ("groups", "float64", "ints")),
        ({"groups": SIX.T}, ValueError, ("groups", "(2, 3)", "(d/2, 2)")),
        ({"groups": SIX[:2]}, ValueError, ("groups", "4 places", "0 to 5")),
        ({"groups": SIX // 2}, ValueError, ("groups", "exactly one pair")),
        ({"groups": SIX, "blocks": "leaf"}, ValueError, ("groups", "blocks")),
        ({"reading": "mine"}, ValueError, ("reading", "'mine'", "'measured'", "'paper'")),
    ],
)
def test_bad_options_are_named(options, error, words):
    with pytest.raises(error) as caught:
        zosah_jax.scale_by_zosah(**options).init(jnp.ones(6))
    assert all(word in str(caught.value) for word in (*words, "got", "wanted")), str(caught.value)


def test_a_reading_is_checked_choice_by_choice():
    for f in fields(Reading):
        with pytest.raises(ValueError, match=f"reading.{f.name}: got 'x', wanted one of.*'paper'"):
            Reading(**{f.name: "x"})


def test_known_groups_come_whole_and_each_once_a_sweep():
    groups = np.random.default_rng(0).permutation(12).reshape(6, 2)
    params = {"a": jnp.ones((2, 5)), "b": jnp.ones(2)}
    draw = jax.jit(lambda n: draw_groups(jax.random.key(0), n, params, m=4, groups=groups))
    for sweep in range(2):
        seen = []
        for number in range(3 * sweep, 3 * sweep + 3):
            leaf, index = map(np.asarray, draw(np.int32(number)))
            seen += (index + 10 * leaf).tolist()
        assert sorted(seen) == sorted(groups.tolist())
