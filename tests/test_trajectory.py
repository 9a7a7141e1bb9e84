"""The library's runs against the NumPy reference, in x64, to 1e-8."""

from dataclasses import asdict, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference
from jax.flatten_util import ravel_pytree

import zosah_jax
from zosah_jax.faces.transformation import zeroth_order_states
from zosah_jax.method import exact_problem
from zosah_jax.methods.zosah.reading import PAPER, Reading, reading_of

D, STEPS = 11, 65  # with the paper's period of 20: switches at 0, 20, 40 and 60
DEFAULTS = {"period": 5, "eigenvalue_floor": 0.03, "ridge": 0.03}
PAPER_DEFAULTS = {"period": 20, "eigenvalue_floor": 0.1, "ridge": 1e-6}
# Long enough, and the learning rate small enough, that a change of the values in their last bit
# changes the points by 1e-10 at most.
LENGTHS, LEARNING_RATE = {"smoothing": 0.2, "radius": 0.3}, 0.1
READINGS = {
    "default": {},
    "paper": {"reading": "paper"},
    "paper cache, joint fit, relative floor": {
        **PAPER_DEFAULTS,
        "reading": replace(PAPER, fit="joint", floor="relative"),
    },
    "centred cache, paper prior and floor, a period of 1 step": {
        "reading": Reading(prior="paper", floor="paper"),
        "ridge": 1e-6,
        "period": 1,
    },
}
# Where too few equations are left, the paper's prior fixes the solution to 1e-8 if it is wide.
HOLED_READINGS = {
    "default": {},
    "default with the paper's prior": {"reading": Reading(prior="paper"), "ridge": 1e-4},
    "paper": {"reading": "paper"},
}
_DRAW = np.random.default_rng(0)
ROWS, START, SHELLS = 0.3 * _DRAW.normal(size=(24, D)), _DRAW.normal(size=D), _DRAW.normal(size=D)


def smooth(x, xp=jnp):
    """Logistic loss and a quartic bowl: not quadratic."""
    return xp.mean(xp.log1p(xp.exp(-xp.asarray(ROWS) @ x))) + xp.sum(x**2 / 4 + x**4 / 40)


def holed(x, xp=jnp):
    """The same with a seventh of its values missing."""
    return xp.where(xp.cos(66 * xp.asarray(SHELLS) @ x) > 0.9, xp.nan, smooth(x, xp))


def followed(tx, f, x0, steps):
    """A run: points, flat; the method's states; base values."""

    def step(carry, _):
        x, state = carry
        updates, state = tx.update(None, state, x, value_fn=lambda y: f(ravel_pytree(y)[0]))
        x = optax.apply_updates(x, updates)
        (seen,) = zeroth_order_states(state)
        return (x, state), (ravel_pytree(x)[0], seen.method, seen.info.base_value)

    run = jax.jit(lambda x: jax.lax.scan(step, (x, tx.init(x)), length=steps)[1])
    points, states, base = run(x0)
    return np.concatenate([ravel_pytree(x0)[0][None], points]), states, base


def drawn_pairs(states, base, period, x0):
    """Coordinates of every period's pairs, which do not change within it."""
    starts = np.cumsum([0, *(jnp.size(leaf) for leaf in jax.tree.leaves(x0))])
    pairs = starts[np.asarray(states.subspaces.leaf)] + np.asarray(states.subspaces.index, int)
    periods = {}
    for k, now, value in zip(np.asarray(states.step) - 1, pairs, base, strict=True):
        if np.isfinite(value):
            assert np.unique(now).size == now.size
            np.testing.assert_array_equal(now, periods.setdefault(int(k) // period, now))
    return [periods[number] for number in range(len(periods))]


def compare(options, f, x0):
    """Points by the library and by the reference, and the library's base values."""
    tx = zosah_jax.zosah(LEARNING_RATE, subspace_dim=6, key=5, **LENGTHS, **options)
    reading = options.get("reading", "measured")
    defaults = PAPER_DEFAULTS if reading == "paper" else DEFAULTS
    options = {**defaults, **LENGTHS, **options, **asdict(reading_of(reading))}
    points, states, base = followed(tx, f, x0, STEPS)
    periods = drawn_pairs(states, base, options["period"], x0)
    expected = reference.sah_trajectory(
        partial(f, xp=np), points[0], periods, STEPS, LEARNING_RATE, options
    )
    return points, expected, base


@pytest.mark.slow
@pytest.mark.parametrize("options", READINGS.values(), ids=READINGS)
def test_equals_the_reference(x64, options):
    points, expected, base = compare(options, smooth, jnp.asarray(START))
    np.testing.assert_allclose(points, expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(base, [smooth(x, np) for x in expected[:-1]], rtol=1e-7)
    assert base[-1] < base[0] / 2


@pytest.mark.slow
def test_of_a_tree_of_odd_leaves_equals_the_reference(x64):
    flat = jnp.asarray(START)
    tree = {"a": flat[0], "b": {"w": flat[1:7].reshape(2, 1, 3), "none": flat[7:7]}, "c": flat[7:]}
    points, expected, _ = compare({}, smooth, tree)
    np.testing.assert_allclose(points, expected, rtol=0, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("options", HOLED_READINGS.values(), ids=HOLED_READINGS)
def test_where_values_are_missing_equals_the_reference(x64, options):
    points, expected, base = compare(options, holed, jnp.asarray(START))
    np.testing.assert_allclose(points, expected, rtol=0, atol=1e-8)
    assert 5 < np.isnan(base).sum() < STEPS - 15
    assert np.nanmin(base) < base[0] / 2


@pytest.mark.parametrize("f", [smooth, holed])
def test_of_rspg_equals_the_reference(x64, f):
    smoothing, directions = 0.1, 3
    tx = zosah_jax.rspg(LEARNING_RATE, directions, smoothing, key=5)
    points, _, base = followed(tx, f, jnp.asarray(START), STEPS)
    method, origin = zosah_jax.methods.rspg(directions, smoothing, key=5), jnp.zeros(D)
    (state,) = zeroth_order_states(tx.init(jnp.asarray(START)))

    def drawn(k):
        batch = method.ask(state.method._replace(step=k), origin, exact_problem(origin))
        return jax.vmap(lambda probe: probe.apply(origin))(batch.probes)[1:] / smoothing

    drawn = jax.vmap(drawn)(jnp.arange(STEPS, dtype=jnp.int32))
    assert abs(np.mean(drawn)) < 0.1
    assert abs(np.std(drawn) - 1) < 0.05
    expected = reference.rspg_trajectory(
        partial(f, xp=np), START, np.asarray(drawn), LEARNING_RATE, smoothing
    )
    np.testing.assert_allclose(points, expected, rtol=0, atol=1e-8)
    assert np.isnan(base).any() == (f is not smooth)
