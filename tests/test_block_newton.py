"""Block Newton: against its reference, at any scale, with bounds, and values that fail."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_block_newton import Reference

from zosah_jax import AskTell, Host, methods, minimize
from zosah_jax.methods.block_newton import state as knowledge

RNG = np.random.default_rng(0)
D = 40
BASIS = np.linalg.qr(RNG.normal(size=(D, D)))[0]
CURVATURE = np.logspace(0, -3, D)


def rotated(x):
    return float(CURVATURE @ (BASIS @ (x - 1.0)) ** 2)


def uneven(x):
    return float(np.logspace(2, -2, D) @ (x - 0.5) ** 2 + 0.1 * np.sum(x[1:] * x[:-1]) ** 2)


def valley(x):
    return float(np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2))


def cut_off(x):
    return float(np.sum(x**2 - np.log(x + 0.2))) if np.all(x > -0.2) else np.nan


CASES = {
    "alike": (rotated, np.zeros(D), 16),
    "uneven": (uneven, np.zeros(D), 7),
    "valley": (valley, np.full(D, -0.5), 16),
    "a domain": (cut_off, np.linspace(0.5, 2.0, D), 16),
}


def asked_by(fun, x0, budget, **options):
    """The points that a run asks, with the values that came."""
    points = []

    def recorded(x):
        points.append(np.array(x))
        return fun(x)

    with jax.enable_x64(True):
        result = minimize(recorded, x0, budget=budget, host=Host(retries=0), **options)
    return np.array(points), result


@pytest.mark.parametrize("case", CASES)
def test_a_run_is_that_of_the_reference(case):
    fun, x0, m = CASES[case]
    budget = 260
    points, result = asked_by(fun, x0, budget, method=methods.block_newton(block_dim=m))

    def order(turn):
        with jax.enable_x64(True):
            key = jax.random.fold_in(jax.random.key(0), turn)
            return np.asarray(jax.random.uniform(key, x0.shape, jnp.float64))

    reference = Reference(fun, x0, order, m, budget).run()
    same = len(points)
    assert same > budget - 2 * m  # a batch that does not fit is not asked
    # a last bit of a value is 1e-8 of a slope, and 1e-6 of a step where curvatures are small
    np.testing.assert_allclose(points, np.array(reference.points)[:same], rtol=1e-3, atol=1e-4)
    assert result.num_evaluations == same
    assert len(reference.stood) > 4
    assert fun(result.params) < fun(x0)


def test_far_fewer_values_than_a_gradient_a_step_takes():
    lowest, first = 0.0, rotated(np.zeros(D))
    points, result = asked_by(rotated, np.zeros(D), 8 * D, method=methods.block_newton())
    assert result.value - lowest < 0.01 * (first - lowest)
    assert len(points) <= 8 * D


SCALES = {
    "values by 1e-12": (lambda f: lambda x: 1e-12 * f(x), 1.0),
    "values by 1e12": (lambda f: lambda x: 1e12 * f(x), 1.0),
    "parameters by 1e-6": (lambda f: lambda x: f(1e6 * x), 1e-6),
    "parameters by 1e6": (lambda f: lambda x: f(1e-6 * x), 1e6),
}


@pytest.mark.parametrize("scale", SCALES)
def test_scales_change_nothing(scale):
    changed, unit = SCALES[scale]
    x0 = np.full(D, 0.3)
    method = methods.block_newton()
    plain, _ = asked_by(uneven, x0, 200, method=method)
    scaled, _ = asked_by(changed(uneven), unit * x0, 200, method=method)
    values = [uneven(x) for x in plain]
    again = [uneven(x / unit) for x in scaled]
    # rounding moves points by little, and what follows by more
    np.testing.assert_allclose(
        np.minimum.accumulate(again), np.minimum.accumulate(values), rtol=0.2
    )


def test_bounds_are_kept_and_found():
    points, result = asked_by(
        rotated, np.zeros(D), 20 * D, method=methods.block_newton(), bounds=(-0.2, 0.6)
    )
    assert points.min() >= -0.2
    assert points.max() <= 0.6
    x = np.zeros(D)  # the optimum, by projected gradients
    for _ in range(20_000):
        gradient = 2 * BASIS.T @ (CURVATURE * (BASIS @ (x - 1.0)))
        x = np.clip(x - 0.5 * gradient, -0.2, 0.6)
    first = rotated(np.zeros(D))
    assert result.value - rotated(x) < 0.02 * (first - rotated(x))


def test_it_stands_within_the_bounds_after_every_step():
    with jax.enable_x64(True):
        solver, spent = AskTell(np.full(D, 0.1), methods.block_newton(), bounds=(-0.2, 0.6)), 0
        while spent < 400:
            asked = solver.ask()
            spent += len(asked)
            solver.tell([uneven(x) for x in asked])
            state = solver.method_state()
            assert np.all((state.x >= -0.2) & (state.x <= 0.6))
            assert not np.isfinite(state.value) or state.value == uneven(np.asarray(state.x))


def test_missing_values_are_survived():
    rng = np.random.default_rng(1)

    def failing(x):
        return np.nan if rng.random() < 0.1 else uneven(x)

    _, result = asked_by(failing, np.zeros(D), 20 * D, method=methods.block_newton())
    assert uneven(result.params) < 0.05 * uneven(np.zeros(D))


def test_huge_finite_values_are_survived():
    def wall(x):
        return rotated(x) if np.max(np.abs(x - 1.0)) < 0.5 else 1e300

    _, result = asked_by(wall, np.full(D, 1.4), 20 * D, method=methods.block_newton())
    assert np.all(np.isfinite(result.params))
    assert wall(result.params) < 0.2 * wall(np.full(D, 1.4))


def test_values_are_lower_from_step_to_step_in_float32():
    x0 = jnp.zeros(300, jnp.float32)
    curvature = jnp.logspace(0, -2, 300, dtype=jnp.float32)
    out = minimize(
        lambda x: jnp.sum(curvature * (x - 1) ** 2) + 10, x0, methods.block_newton(), budget=1_500
    )
    assert float(out.value) < 10.2


def test_it_is_the_default_of_many_parameters_and_takes_memory_for_vectors_alone():
    method = methods.default_method(np.zeros(5_000), noisy=False)
    assert isinstance(method, methods.block_newton)
    assert isinstance(
        methods.default_method(np.zeros(5_000), noisy=False, bounded=True), type(method)
    )
    state = jax.eval_shape(method.init, jnp.zeros(5_000), jax.random.key(0))
    size = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(state))
    assert size <= 8 * 5_000


def test_parameters_of_several_leaves_are_one_vector():
    def one(x):
        return jnp.sum((x - jnp.arange(20.0)) ** 2)

    def several(tree):
        return one(jnp.concatenate([tree["a"].ravel(), tree["b"][None], tree["c"]]))

    start = {"a": jnp.zeros((3, 5)), "b": jnp.zeros(()), "c": jnp.zeros(4)}
    method = methods.block_newton()
    apart = minimize(several, start, method, budget=100)
    together = minimize(one, jnp.zeros(20), method, budget=100)
    np.testing.assert_allclose(apart.value, together.value, rtol=1e-4, atol=1e-6)
    assert float(together.value) < 1.0


@pytest.mark.parametrize(
    ("block_dim", "error"), [(0, ValueError), (2.5, TypeError), (9, ValueError)]
)
def test_bad_options_are_refused_by_name(block_dim, error):
    with pytest.raises(error, match="block_dim"):
        minimize(lambda x: jnp.sum(x**2), jnp.ones(4), methods.block_newton(block_dim), budget=20)


@pytest.mark.parametrize("count", [16, 50, 1000])
def test_the_largest_are_those_of_top_k(count):
    score = jnp.round(jax.random.uniform(jax.random.key(count), (count,)), 2)  # with ties
    found = jax.jit(knowledge.largest, static_argnums=1)(score, 16)
    np.testing.assert_array_equal(found, jax.lax.top_k(score, 16)[1])
