"""Estimates from forward passes: their mean, for every way in which a parameter may enter."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from forward_models import KEYS, MODELS, SAMPLES, B, check_mean, dense, estimates, normal, recurrent

from zosah_jax.forward import scale_by_node_perturbation, value_and_grad, with_feedback
from zosah_jax.forward.estimate import Options, outline, prepared
from zosah_jax.forward.sites import leaf_names

pytestmark = pytest.mark.usefixtures("as_models_are_written")


@pytest.fixture
def as_models_are_written():
    """A bias is added to all rows."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_mean_is_the_gradient(make, x64):
    losses, params, batch, copied = make()
    wide, data = prepared(params, (batch,))
    plan = outline(losses, wide, data, Options(1e-5, False, 1, 0.0)).plan
    names = leaf_names(params)
    assert tuple(names[leaf] for leaf in plan.lifted) == tuple(f"['{name}']" for name in copied)
    values, found = estimates(losses, params, (batch,), smoothing=1e-5, direct=0.0)
    np.testing.assert_allclose(values, losses(params, batch).mean(), rtol=1e-6)
    check_mean(found, jax.grad(lambda p: losses(p, batch).mean())(params))


@pytest.mark.parametrize("options", [{"two_sided": True}, {"num_noises": 3}, {"chunk": 2}])
def test_mean_by_option(options, x64):
    losses, params, batch, _ = dense()
    wanted = jax.grad(lambda p: losses(p, batch).mean())(params)
    for direct in (0.0, 0.5):
        _, found = estimates(losses, params, (batch,), smoothing=1e-5, direct=direct, **options)
        check_mean(found, wanted)


def test_noise_of_a_sum_serves_all_that_is_added():
    losses, params, batch, _ = recurrent()
    wide, data = prepared(params, (batch,))
    known = outline(losses, wide, data, Options(1e-2, False, 1, 0.0))
    assert [site.leaves for site in known.plan.sites] == [(0, 1, 2)] * 3  # one for each time


def test_several_noises_have_less_error(x64):
    losses, params, batch, _ = dense()
    spread = []
    for number in (1, 4):
        _, found = estimates(losses, params, (batch,), direct=0.0, num_noises=number)
        spread.append(sum(float(leaf.var(0).sum()) for leaf in jax.tree.leaves(found)))
    assert 3 < spread[0] / spread[1] < 5.3


# --- where there is no derivative -----------------------------------------------------------------


def thresholds(p, x):
    return jnp.square(jnp.where(x @ p["w"] + p["b"] > 0, 1.0, -1.0) @ p["v"] - x[:, 0])


def test_entries_that_do_not_act_are_left_out_and_the_mean_stays(x64):
    """Against all noises there are: 2^3 of them, for the smoothed loss of each example."""
    w, v, x = normal(0, 2, 3), normal(1, 3), normal(4, B, 2)
    losses = lambda p, x: thresholds({"w": p, "b": jnp.zeros(3), "v": v}, x)  # noqa: E731
    z = x @ w
    size = 0.5 * jnp.sqrt(jnp.square(z).mean())
    signs = jnp.stack(jnp.meshgrid(*[jnp.array([-1.0, 1.0])] * 3), -1).reshape(-1, 3)
    moved = jax.vmap(
        lambda e: jnp.square(jnp.where(z + size * e > 0, 1.0, -1.0) @ v - x[:, 0]), out_axes=1
    )(signs)
    wanted = x.T @ (moved @ signs / (8 * size)) / B
    spread = {}
    for two_sided in (False, True):
        options = {"smoothing": 0.5, "direct": 0.0, "two_sided": two_sided}
        _, found = estimates(losses, w, (x,), **options)
        check_mean(found, wanted)
        spread[two_sided] = float(found.var(0).sum())
    assert jax.grad(lambda w: losses(w, x).mean())(w).any() == False  # noqa: E712
    # without leaving any out: the variance of the same estimate, summed over all noises
    c = moved - losses(w, x)[:, None]
    plain = (jnp.square(c).mean(1) / size**2)[:, None] * jnp.square(x)
    assert spread[False] < 0.8 * float(plain.sum()) * 3 / B**2


def test_hard_thresholds_learn_what_their_gradient_cannot():
    """The sign of a product of two numbers: the first layer has to move."""
    x = jax.random.normal(jax.random.key(0), (256, 2))
    y = (x[:, 0] * x[:, 1] > 0).astype(jnp.int32)

    def logits(p, x):
        return jnp.sign(x @ p["w"] + p["b"]) @ p["v"] + p["c"]

    def losses(p, x, y):
        return optax.softmax_cross_entropy_with_integer_labels(logits(p, x), y)

    keys = jax.random.split(jax.random.key(1))
    params = {
        "w": jax.random.normal(keys[0], (2, 8)),
        "b": jnp.zeros(8),
        "v": jax.random.normal(keys[1], (8, 2)) / 4,
        "c": jnp.zeros(2),
    }
    assert not jax.grad(lambda p: losses(p, x, y).mean())(params)["w"].any()
    learner, tx = with_feedback(losses, smoothing=0.5), optax.adam(0.1)

    def right(estimate):
        def step(carry, key):
            params, state, moments = carry
            found, state = estimate(params, state, key)
            updates, moments = tx.update(found, moments)
            return (optax.apply_updates(params, updates), state, moments), None

        start = params, learner.init(params, x, y), tx.init(params)
        keys = jax.random.split(jax.random.key(2), 300)
        with jax.numpy_dtype_promotion("standard"):  # for optax
            (found, _, _), _ = jax.jit(lambda start: jax.lax.scan(step, start, keys))(start)
        return float((logits(found, x).argmax(-1) == y).mean())

    def forward(params, state, key):
        (_, found), state = learner.value_and_grad(params, state, key, x, y)
        return found, state

    def derivative(params, state, key):
        del key
        return jax.grad(lambda p: losses(p, x, y).mean())(params), state

    assert right(forward) > right(derivative) + 0.1


# --- feedback -------------------------------------------------------------------------------------


def two_hidden(p, x, y):
    h = jax.nn.relu(jax.nn.relu(x @ p["u"]) @ p["v"])
    return optax.softmax_cross_entropy_with_integer_labels(h @ p["w"], y)


def two_hidden_parts():
    params = {"u": normal(0, 4, 8), "v": normal(1, 8, 8) / 2, "w": normal(2, 8, 3) / 2}
    return params, (normal(4, B, 4), jax.random.randint(KEYS[5], (B,), 0, 3))


def test_what_is_expected_changes_no_mean(x64):
    params, batch = two_hidden_parts()
    learner = with_feedback(two_hidden, smoothing=1e-5)
    state = learner.init(params, *batch)
    shapes = [matrix.shape for matrix in state.matrices]
    assert shapes == [(3, 8), (8, 8)]
    wrong = [normal(6 + n, *shape) for n, shape in enumerate(shapes)]
    state = state._replace(matrices=wrong)

    def one(key):
        return learner.value_and_grad(params, state, key, *batch)[0][1]

    found = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), SAMPLES))
    check_mean(found, jax.grad(lambda p: two_hidden(p, *batch).mean())(params), most=0.5)


def test_the_right_expectation_leaves_no_error(x64):
    """The weights themselves are what the matrices would be at best."""
    params, batch = two_hidden_parts()
    learner = with_feedback(two_hidden, smoothing=1e-5)
    state = learner.init(params, *batch)._replace(matrices=[params["w"].T, params["v"].T])
    (_, found), _ = learner.value_and_grad(params, state, 0, *batch)
    wanted = jax.grad(lambda p: two_hidden(p, *batch).mean())(params)
    for name in params:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-3, atol=1e-4)


def test_matrices_learn():
    params, batch = two_hidden_parts()
    learner = with_feedback(two_hidden, smoothing=1e-2, feedback_rate=1e-2)

    def step(state, key):
        return learner.value_and_grad(params, state, key, *batch)[1], None

    start = learner.init(params, *batch)
    keys = jax.random.split(jax.random.key(0), 1500)
    state = jax.jit(lambda s: jax.lax.scan(step, s, keys)[0])(start)

    def error(state):
        one = lambda key: learner.value_and_grad(params, state, key, *batch)[0][1]  # noqa: E731
        found = jax.jit(jax.vmap(one))(keys[:200])
        return float(found["u"].var(0).sum())

    assert error(state) < 0.2 * error(start)


# --- exactly --------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [None, 3])
def test_exact_for_a_generalised_linear_model(chunk, x64):
    def losses(p, x, y):
        return optax.softmax_cross_entropy_with_integer_labels(x @ p["w"] + p["b"], y)

    params = {"w": normal(0, 200, 3), "b": normal(1, 3)}
    batch = normal(4, B, 200), jax.random.randint(KEYS[5], (B,), 0, 3)
    value, found = value_and_grad(losses, smoothing=1e-5, chunk=chunk)(params, 0, *batch)
    wanted_value, wanted = jax.value_and_grad(lambda p: losses(p, *batch).mean())(params)
    np.testing.assert_allclose(value, wanted_value)
    for name in params:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-6, atol=1e-9)


def test_statistics_of_the_batch_are_constants(x64):
    def losses(p, x, stop=lambda x: x):
        h = x @ p["w"]
        mean = stop(h.mean(0, keepdims=True))
        var = stop(jnp.square(h - mean).mean(0, keepdims=True))
        return jnp.tanh((h - mean) * jax.lax.rsqrt(var + 1e-5) * p["scale"]).sum(-1)

    params, x = {"w": normal(0, 3, 4), "scale": normal(1, 1, 4)}, normal(4, B, 3)
    stopped = lambda p: losses(p, x, jax.lax.stop_gradient).mean()  # noqa: E731
    for two_sided in (False, True):
        value, found = estimates(losses, params, (x,), smoothing=1e-5, two_sided=two_sided)
        np.testing.assert_allclose(value, losses(params, x).mean())
        check_mean(found, jax.grad(stopped)(params))


def test_stopped_parts_are_constants(x64):
    """Rounded weights, straight through: the loss is that of the rounded, the slope passes."""

    def losses(p, x):
        w = p["w"] + jax.lax.stop_gradient(jnp.round(p["w"]) - p["w"])
        return jnp.tanh(x @ w).sum(-1)

    params, x = {"w": normal(0, 3, 4)}, normal(4, B, 3)
    _, found = estimates(losses, params, (x,), smoothing=1e-5)
    check_mean(found, jax.grad(lambda p: losses(p, x).mean())(params))


def test_a_key_may_come_with_the_batch(x64):
    """Dropout: the same in all passes of an estimate."""

    def losses(p, x, key):
        h = jnp.tanh(x @ p["w"])
        return jnp.square(jnp.where(jax.random.bernoulli(key, 0.5, h.shape), h, 0)).sum(-1)

    params, batch = {"w": normal(0, 3, 4)}, (normal(4, B, 3), jax.random.key(7))
    _, found = estimates(losses, params, batch, smoothing=1e-5, direct=0.0)
    check_mean(found, jax.grad(lambda p: losses(p, *batch).mean())(params))


def test_dtypes_and_one_example():
    def losses(p, x):
        return jnp.square(x @ p["w"])

    params, x = {"w": jnp.ones(3, jnp.bfloat16)}, jnp.ones((1, 3))
    value, found = value_and_grad(losses)(params, 0, x)
    assert found["w"].dtype == jnp.bfloat16
    np.testing.assert_allclose(value, 9)
    np.testing.assert_allclose(found["w"].astype(jnp.float32), 6 * np.ones(3), rtol=1e-2)


def test_losses_that_did_not_come_say_nothing():
    def losses(p, x):
        h = x @ p["w"]
        return jnp.where(h > 1, jnp.nan, jnp.square(h)).sum(-1)

    params, x = {"w": jnp.eye(3)}, jnp.array([[2.0, 0.0, 0.0], [0.5, 0.2, -0.1]])
    _, found = value_and_grad(losses, direct=0.0)(params, 0, x)
    assert np.isfinite(found["w"]).all()


def test_no_copy_of_weights_for_each_example():
    losses = lambda p, x: jnp.square(jnp.tanh(x @ p["w"]) @ p["v"]).sum(-1)  # noqa: E731
    params, x = {"w": jnp.ones((50, 60)), "v": jnp.ones((60, 40))}, jnp.ones((32, 50))
    traced = jax.make_jaxpr(value_and_grad(losses, direct=0.0))(params, 0, x)
    sizes = [getattr(v.aval, "size", 0) for eqn in traced.jaxpr.eqns for v in eqn.outvars]
    assert max(sizes) == 50 * 60  # a weight; 32 of them would be 96,000


# --- what is refused ------------------------------------------------------------------------------

W, X = {"w": jnp.ones((3, 3))}, jnp.ones((4, 3))


def refused(losses, params, *batch, **options):
    with pytest.raises((ValueError, TypeError)) as caught:
        value_and_grad(losses, **options)(params, 0, *batch)
    return str(caught.value)


def test_refused_losses():
    assert "shape ()" in refused(lambda p, x: (x @ p["w"]).sum(), W, X)
    assert "shape (4, 3)" in refused(lambda p, x: x @ p["w"], W, X)
    assert "int32" in refused(lambda p, x: jnp.argmax(x @ p["w"], 1).astype(jnp.int32), W, X)
    assert "tuple alone" not in refused(lambda p, x: (x.sum(1), 0), W, X)
    fixed = jnp.ones(4)
    assert "failed for 5" in refused(lambda p, x: (x @ p["w"]).sum(1) * fixed, W, X)


def test_refused_parameters():
    params = {**W, "idle": jnp.ones(2)}
    assert "['idle']" in refused(lambda p, x: (x @ p["w"]).sum(1), params, X)
    assert "do not depend" in refused(lambda p, x: x.sum(1), W, X)
    assert "int32" in refused(lambda p, x: x.sum(1), {"n": jnp.ones(3, jnp.int32)}, X)
    large = {"w": jnp.ones((6000, 6000))}
    text = refused(lambda p, x: (x @ jnp.exp(p["w"])).sum(1), large, jnp.ones((4, 6000)))
    assert "['w']" in text
    assert "a copy for each example" in text


def test_refused_operations():
    cumulative = lambda p, x: jnp.cumsum(x @ p["w"], 0).sum(1)  # noqa: E731
    assert "cumsum" in refused(cumulative, W, X)
    assert "sort" in refused(lambda p, x: jnp.sort(x @ p["w"], 0).sum(1), W, X)
    pairs = lambda p, x: ((x @ p["w"]) @ (x @ p["w"]).T).sum(1)  # noqa: E731
    assert "dot_general" in refused(pairs, W, X)
    first = lambda p, x: (x @ p["w"]).sum(1) * (x @ p["w"])[0, 0]  # noqa: E731
    assert "takes some of the examples" in refused(first, W, X)
    branch = lambda p, x: jax.lax.cond(x[0, 0] > 0, lambda h: h, jnp.tanh, x @ p["w"]).sum(1)  # noqa: E731
    assert "cond" in refused(branch, W, X)
    long = lambda p, x: jax.lax.scan(lambda h, _: (h @ p["w"], None), x, None, 5000)[0].sum(1)  # noqa: E731
    assert "5000 steps" in refused(long, W, X)


def test_refused_options():
    losses = lambda p, x: (x @ p["w"]).sum(1)  # noqa: E731
    for options in ({"smoothing": 0.0}, {"num_noises": 0}, {"direct": -1.0}, {"chunk": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            value_and_grad(losses, **options)
    with pytest.raises(TypeError, match="two_sided"):
        value_and_grad(losses, two_sided=1)
    with pytest.raises(TypeError, match="losses_fn"):
        value_and_grad(3)
    assert "chunk" in refused(losses, W, X, chunk=3)
    normed = lambda p, x: (x @ p["w"] - (x @ p["w"]).mean(0, keepdims=True)).sum(1)  # noqa: E731
    assert "statistics" in refused(normed, W, X, chunk=2)
    assert "examples" in refused(losses, W, X, jnp.ones(5))


# --- as a transformation --------------------------------------------------------------------------


@pytest.mark.parametrize("feedback", [False, True])
def test_transformation(feedback):
    params, batch = two_hidden_parts()
    tx = scale_by_node_perturbation(two_hidden, batch if feedback else None, key=4)
    state = tx.init(params)
    first, state = jax.jit(tx.update)(None, state, params, batch=batch)
    second, state = tx.update(first, state, params, batch=batch)
    assert (int(state.step), int(state.num_passes)) == (2, 4)
    assert float(jnp.abs(first["u"] - second["u"]).max()) > 0
    key = jax.random.fold_in(jax.random.key(4), jnp.uint32(0))
    value, wanted = value_and_grad(two_hidden)(params, key, *batch)
    np.testing.assert_allclose(first["u"], wanted["u"], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(state.value, value, rtol=1e-6)
    with pytest.raises(ValueError, match="batch"):
        tx.update(None, state, params)
    with pytest.raises(ValueError, match="params"):
        tx.update(None, state, batch=batch)
