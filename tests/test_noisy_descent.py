"""Noisy descent: a NumPy reference, its invariances, what noise and missing values do to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_noisy_descent import Reference

from zosah_jax import AskTell, minimize
from zosah_jax.methods import noisy_descent

CURVATURE = np.linspace(1, 30, 24)
START = np.linspace(-1, 2, 24)


def bowl(x):
    return float(np.sum(CURVATURE * (x - 0.5) ** 2) / 24 + 0.1 * np.sum(x**3) / 24)


def steps(f, count, *, noise=0.0, bounds=None, num_pairs=1, x0=START):
    """A run by ask and tell: its solver after each step, with the points and values."""
    solver = AskTell(x0, noisy_descent(num_pairs=num_pairs), bounds=bounds, noise=noise)
    for _ in range(count):
        points = np.array(solver.ask())
        values = np.array([f(x) for x in points])
        yield solver, points, values
        solver.tell(values)


@pytest.mark.parametrize(
    ("noise", "bounds", "num_pairs"),
    [(0.0, None, 1), (0.3, None, 1), (1e-3, None, 3), (0.3, (-1.0, 2.0), 1)],
)
def test_a_run_is_that_of_the_reference(x64, noise, bounds, num_pairs):
    draws = np.random.default_rng(0)
    reference = Reference(START, noise, *(bounds or ()))
    run = steps(
        lambda x: bowl(x) + noise * draws.normal(), 60, noise=noise, bounds=bounds,
        num_pairs=num_pairs,
    )  # fmt: skip
    for solver, points, values in run:
        state = solver.state.method
        np.testing.assert_allclose(state.x, reference.x, rtol=1e-9, atol=1e-12)
        for name, own in (("radius", "h"), ("trace", "trace"), ("error", "error"),
                          ("slope", "slope"), ("value", "value")):  # fmt: skip
            np.testing.assert_allclose(
                getattr(state, name), getattr(reference, own), rtol=1e-7, atol=1e-12
            )
        n, room = num_pairs, reference.room()
        signs = jnp.sign(points[: 2 * n] - points[2 * n :])
        # at a bound a pair may be one point: the sign of a coordinate that does not move
        moves = np.where(signs == 0, 1.0, signs) * room * reference.radii(n)[:, None]
        asked = np.concatenate([reference.x + moves, reference.x - moves])
        asked = np.clip(asked, reference.low, reference.high)
        np.testing.assert_allclose(points, asked, rtol=1e-9, atol=1e-12)
        reference.step(np.asarray(signs), values)
    assert bowl(reference.x) < 0.3 * bowl(START)


def test_a_step_asks_four_values_a_pair_and_never_f_itself():
    for n in (1, 2):
        solver, points, _ = next(steps(bowl, 1, num_pairs=n))
        assert len(points) == 4 * n == solver.num_points
        assert np.all(np.abs(points - START).min(axis=1) > 0)


def test_scales_of_f_and_x_change_nothing(x64):
    """By powers of two: to the last bit but for what is added to a denominator."""

    def final(by_f, by_x):
        draws = np.random.default_rng(1)
        run = steps(
            lambda x: by_f * (bowl(x / by_x) + 0.1 * draws.normal()), 80, noise=0.1 * by_f,
            x0=by_x * START,
        )  # fmt: skip
        (solver, *_) = list(run)[-1]
        return solver.state.method.x / by_x

    plain = final(1, 1)
    for by_f, by_x in ((2.0**40, 1), (2.0**-40, 1), (1, 2.0**30), (1, 2.0**-30)):
        np.testing.assert_allclose(final(by_f, by_x), plain, rtol=1e-9)


def test_the_gain_falls_as_the_slope_sinks_below_the_noise(x64):
    draws, noise = np.random.default_rng(0), 0.5
    values = [
        bowl(solver.state.method.x)
        for solver, *_ in steps(lambda x: bowl(x) + noise * draws.normal(), 600, noise=noise)
    ]
    least = float(np.median(values[-100:]))
    assert bowl(START) > 20 * noise
    assert least - min(map(bowl, [np.full(24, 0.5)])) < 0.2 * noise
    assert max(values[300:]) < least + noise


def test_a_missing_value_teaches_nothing_and_halves_the_radius(x64):
    solver = AskTell(START, noisy_descent())
    for _ in range(5):
        solver.tell([bowl(x) for x in solver.ask()])
    before = solver.state.method
    for missing in (np.nan, np.inf, -np.inf, 1e300):
        points = solver.ask()
        solver.tell([missing, *(bowl(x) for x in points[1:])])
        after = solver.state.method
        assert float(after.radius) == float(before.radius) / 2
        np.testing.assert_array_equal(after.x, before.x)
        assert int(after.seen) == int(before.seen)
        assert int(after.step) == int(before.step) + 1
        before = after
    again = [solver.ask()[0] - points[0]]
    assert np.any(np.array(again) != 0)  # other directions


def test_where_f_curves_down_the_radius_grows_and_a_step_is_no_longer_than_it(x64):
    def saddle(x):
        return float(-np.sum(x**2) + 0.01 * np.sum(x**4))

    found = list(steps(saddle, 40, x0=np.full(24, 0.1)))
    radii = [float(solver.state.method.radius) for solver, *_ in found]
    solver = found[-1][0]
    assert saddle(np.asarray(solver.state.method.x)) < 24 * -10
    assert len(radii) == 40


def test_a_flat_function_leads_nowhere_far(x64):
    draws = np.random.default_rng(0)
    (solver, *_) = list(steps(lambda x: draws.normal(), 300, noise=1.0))[-1]
    size = np.sqrt(np.mean(START**2))
    assert float(solver.state.method.radius) * 1.5 <= 100 * size
    assert np.sqrt(np.mean(np.square(solver.state.method.x))) < 1e3 * size


def test_traced_it_is_the_same(x64):
    def f(x):
        return jnp.sum(jnp.asarray(CURVATURE) * (x - 0.5) ** 2) / 24

    traced = minimize(f, START, noisy_descent(), budget=400)
    (told, *_) = list(steps(lambda x: float(f(x)), 100))[-1]
    np.testing.assert_allclose(traced.params, told.state.method.x, rtol=1e-6)
    assert float(f(traced.params)) < 0.02 * float(f(START))
    assert traced.num_evaluations <= 400


def test_bfloat16_parameters_follow_an_x_that_is_not_rounded():
    def f(p):
        return jnp.sum((p.astype(jnp.float32) - 0.3) ** 2)

    out = minimize(f, jnp.ones(60, jnp.bfloat16), noisy_descent(), budget=2_000)
    assert jax.tree.leaves(out.last_params)[0].dtype == jnp.bfloat16
    assert float(f(out.params)) < 1e-2
