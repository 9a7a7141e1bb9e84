"""Pictures of runs: what is drawn is what the result holds."""

import builtins

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

import zosah_jax
from zosah_jax import plot

matplotlib.use("agg")
from matplotlib import pyplot

RSPG = zosah_jax.rspg(0.05)


@pytest.fixture(autouse=True)
def figures_are_closed():
    yield
    pyplot.close("all")


def bowl(x):
    return jnp.sum((x - 1) ** 2)


def run(x0, **options):
    return zosah_jax.minimize(bowl, x0, RSPG, budget=41, **options)


@pytest.mark.parametrize("host", [None, zosah_jax.Host()])
def test_the_line_is_the_history(host):
    fun = bowl if host is None else lambda x: float(((x - 1) ** 2).sum())
    out = zosah_jax.minimize(fun, np.zeros(3), RSPG, budget=41, noise=0, host=host)
    axes = out.plot()
    best, stood = axes.lines
    np.testing.assert_array_equal(best.get_xdata(), out.history.num_evaluations)
    np.testing.assert_array_equal(best.get_ydata(), out.history.best_value)
    np.testing.assert_array_equal(stood.get_ydata(), out.history.value)
    assert out.plot(axes) is axes
    assert len(axes.lines) == 4


def test_runs_of_a_vmap_have_a_line_each():
    out = jax.vmap(lambda key: run(jnp.zeros(3), key=key))(jax.random.split(jax.random.key(0), 5))
    lines = plot.values(out, label="runs").lines
    assert len(lines) == 5
    assert {line.get_color() for line in lines} == {lines[0].get_color()}
    assert [line.get_label() for line in lines].count("runs") == 1
    for number, line in enumerate(lines):
        assert line.get_ydata()[-1] == out.value[number]
        assert line.get_xdata()[-1] == out.num_evaluations[number]


def test_what_is_not_known_is_not_drawn():
    out = zosah_jax.minimize(lambda x: bowl(x) - 1, jnp.zeros(3), RSPG, budget=41)
    axes = out.plot()
    assert axes.get_yscale() == "linear"  # there are negative values
    nothing = zosah_jax.minimize(lambda x: jnp.nan * bowl(x), jnp.zeros(3), RSPG, budget=41)
    assert all(len(line.get_xdata()) == 0 for line in nothing.plot().lines)


def test_parameters_have_their_deviations():
    t = np.arange(8.0, dtype=np.float32)

    def residuals(x):
        return x["a"][0] * t + x["a"][1] + 0 * x["b"] - jnp.round(t / 3)

    fit = zosah_jax.least_squares(residuals, {"a": jnp.zeros(2), "b": 0.5}, budget=20)
    first, second, third = fit.plot()
    deviation = np.sqrt(np.diag(fit.covariance)[:2])
    (bar,) = second.containers
    spans = np.array([segment[:, 0] for segment in bar.lines[2][0].get_segments()])
    np.testing.assert_allclose(spans[:, 1] - spans[:, 0], 2 * deviation, rtol=1e-5)
    labels = [label.get_text() for label in second.get_yticklabels()]
    assert [label.partition(":")[0] for label in labels] == ["a[0]", "a[1]", "b"]
    assert labels[2].endswith("± ?")  # nothing determines it
    drawn = np.concatenate([line.get_ydata() for line in third.lines])
    assert len(drawn) == 3
    np.testing.assert_allclose(
        drawn.sum(), np.sum(np.square(fit.jacobian, dtype=np.float64)), rtol=1e-5
    )
    assert fit.plot(first) is first


def test_eigenvalues_of_both_signs():
    circle, cross = plot.eigenvalues(np.diag([3.0, -20.0, 1000.0])).lines
    np.testing.assert_allclose(circle.get_ydata(), [1000, 3])
    np.testing.assert_allclose(cross.get_ydata(), [20])
    assert circle.axes.get_yscale() == "log"
    for wrong, says in ((np.ones((2, 3)), "matrix: got one of shape"), (np.inf, "matrix: got one")):
        with pytest.raises(ValueError, match=says):
            plot.eigenvalues(wrong)
    with pytest.raises(ValueError, match="matrix: got entries that are not finite"):
        plot.eigenvalues(np.diag([1.0, np.nan]))


def test_a_run_that_is_traced_is_refused():
    with pytest.raises(TypeError, match="result: got a run within jit or vmap"):
        jax.jit(lambda x: run(x).plot())(jnp.zeros(3))


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    known = builtins.__import__

    def without(name, *rest):
        if name == "matplotlib":
            raise ImportError(name)
        return known(name, *rest)

    out = run(jnp.zeros(3))
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'zosah_jax\[plot\]'"):
        out.plot()
