"""Flax models: what is no parameter is the same for all probes of a step, and moves on once."""

from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import zosah_jax
from zosah_jax.integrations.flax import TrainState, train_step, update_statistics, value_fn
from zosah_jax.probes import CoordinateProbes
from zosah_jax.pytree import Address

X = jnp.asarray(np.random.default_rng(0).normal(size=(16, 3)), jnp.float32)
Y = jnp.sum(X, axis=1, keepdims=True)


class Net(nnx.Module):
    """Everything at once that moves in train mode, and a parameter that nothing depends on."""

    def __init__(self, rngs):
        self.first = nnx.Linear(3, 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, momentum=0.5, rngs=rngs)
        self.dropout = nnx.Dropout(0.25, rngs=rngs)
        self.last = nnx.Linear(8, 1, rngs=rngs)
        self.idle = nnx.Param(jnp.ones(2))

    def __call__(self, x):
        hidden = self.dropout(nnx.tanh(self.norm(self.first(x))))
        return self.last(hidden)


def loss_fn(model, x, y):
    return jnp.mean((model(x) - y) ** 2)


def others(model):
    """What is no parameter, as NumPy arrays."""
    state = nnx.as_pure(nnx.state(model, nnx.All(nnx.Not(nnx.Param), nnx.Not(nnx.RngKey))))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def count(model):
    return int(model.dropout.rngs.count[...])


def test_value_is_pure_and_the_model_untouched():
    model = Net(nnx.Rngs(0))
    params, before = nnx.state(model, nnx.Param), others(model)
    f = value_fn(model, loss_fn, X, Y)
    values = [f(params), f(nnx.as_pure(params)), f(params)]
    assert len({float(value) for value in values}) == 1
    for here, there in zip(before, others(model), strict=True):
        np.testing.assert_array_equal(here, there)
    assert float(loss_fn(model, X, Y)) == float(values[0])  # what one ordinary call gives
    assert float(loss_fn(model, X, Y)) != float(values[0])  # and the next does not: a new mask


@pytest.mark.parametrize("evaluator", [zosah_jax.one_by_one(), zosah_jax.evaluate.all_at_once()])
def test_probes_of_a_step_have_common_random_numbers(evaluator):
    model = Net(nnx.Rngs(0))
    params = nnx.as_pure(nnx.state(model, nnx.Param))
    leaves = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(params)]
    idle = next(n for n, name in enumerate(leaves) if "idle" in name)
    other = next(n for n, name in enumerate(leaves) if "kernel" in name)
    leaf = jnp.array([[idle], [idle], [idle], [other], [other]], jnp.int32)
    offset = jnp.array([[0.0], [0.5], [-3.0], [0.5], [0.5]])
    probes = CoordinateProbes(Address(leaf, jnp.zeros((5, 1), jnp.uint32)), offset)
    values = np.asarray(evaluator(value_fn(model, loss_fn, X, Y), params, probes))
    # a probe along a parameter that nothing depends on differs from the base value by nothing
    np.testing.assert_array_equal(values[1:3], values[0])
    assert values[3] == values[4]
    assert values[3] != values[0]
    # the same by hand: a copy of the whole model a probe, with its counters as they were
    probe = jax.tree.map(lambda x: x[3], probes)
    for value, here in ((values[0], jnp.zeros(1)), (values[3], offset[3])):
        copy = nnx.clone(model)
        nnx.update(copy, replace(probe, offset=here).apply(params))
        np.testing.assert_allclose(value, loss_fn(copy, X, Y), rtol=1e-5)
    assert count(model) == 0


def test_statistics_and_counters_move_on_once_a_step():
    model = Net(nnx.Rngs(0))
    params = jax.tree.map(np.asarray, nnx.as_pure(nnx.state(model, nnx.Param)))
    reference = nnx.clone(model)
    expected = loss_fn(reference, X, Y)
    assert float(update_statistics(model, loss_fn, X, Y)) == float(expected)
    for ours, theirs in zip(others(model), others(reference), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    hidden = np.asarray(X) @ params["first"]["kernel"] + params["first"]["bias"]
    np.testing.assert_allclose(model.norm.mean[...], hidden.mean(0) / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.norm.var[...], (1 + hidden.var(0)) / 2, rtol=1e-5)
    assert count(model) == 1
    after = nnx.as_pure(nnx.state(model, nnx.Param))
    jax.tree.map(np.testing.assert_array_equal, params, after)


@pytest.mark.parametrize(
    ("method", "graph"),
    [
        pytest.param(method, graph, marks=pytest.mark.xdist_group(method))
        for method, graph in (("zosah", True), ("rspg", True), ("rspg", False))
    ],
)
def test_nnx_model_trains_and_compiles_once(method, graph):
    """Also where nnx sees models as trees (`graph=False`), everywhere in the step."""
    with nnx.set_graph_mode(graph):
        trains_and_compiles_once(method)


def trains_and_compiles_once(method):
    model = Net(nnx.Rngs(0))
    rate, options = {"zosah": (0.5, {}), "rspg": (0.02, {"num_directions": 8})}[method]
    tx = optax.chain(getattr(zosah_jax, method)(rate, **options))
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)
    calls = []

    def counted(model, x, y):
        calls.append(x)
        return loss_fn(model, x, y)

    step = nnx.jit(lambda model, optimizer, x, y: train_step(model, optimizer, counted, x, y))
    start = float(loss_fn(nnx.view(model, deterministic=True), X, Y))
    step(model, optimizer, X, Y)
    traced = len(calls)
    for _ in range(19):
        step(model, optimizer, X, Y)
    assert len(calls) == traced
    assert count(model) == 20
    assert float(loss_fn(nnx.view(model, deterministic=True), X, Y)) < 0.5 * start
    assert int(optimizer.step[...]) == 20
    spent = {"zosah": 4 * (17 + 24) + 16 * 17, "rspg": 20 * 9}[method]
    assert zosah_jax.num_evaluations(optimizer.opt_state) == spent


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x, train=True):
        hidden = nn.BatchNorm(use_running_average=not train, momentum=0.5)(nn.Dense(8)(x))
        hidden = nn.Dropout(0.25, deterministic=not train)(nn.tanh(hidden))
        return nn.Dense(1)(hidden)


LINEN = Linen()


def linen_loss(variables, rngs, x, y):
    out, changed = LINEN.apply(variables, x, rngs=rngs, mutable=["batch_stats"])
    return jnp.mean((out - y) ** 2), changed


def linen_state(tx):
    variables = LINEN.init(jax.random.key(0), X, train=False)
    return TrainState.create_from(variables, apply_fn=LINEN.apply, tx=tx, key=3)


@pytest.mark.parametrize(
    "method", [pytest.param(n, marks=pytest.mark.xdist_group(n)) for n in ("zosah", "rspg")]
)
def test_linen_model_trains_and_compiles_once(method):
    rate, options = {"zosah": (0.5, {}), "rspg": (0.02, {"num_directions": 8})}[method]
    state = linen_state(getattr(zosah_jax, method)(rate, **options))
    step = jax.jit(lambda state, x, y: state.train_step(linen_loss, x, y))
    first, loss = step(state, X, Y)
    after = first
    for _ in range(19):
        after, _ = step(after, X, Y)
    assert step._cache_size() == 1
    start, end = (
        jnp.mean((LINEN.apply({"params": s.params, **after.collections}, X, train=False) - Y) ** 2)
        for s in (state, after)
    )
    assert end < 0.5 * start
    assert int(after.step) == 20
    spent = {"zosah": 4 * (17 + 24) + 16 * 17, "rspg": 20 * 9}[method]
    assert zosah_jax.num_evaluations(after) == spent
    # the pass after the step: the new parameters, the step's own mask, the old statistics
    replayed = state.replace(params=first.params)
    value, changed = linen_loss(
        {"params": replayed.params, **replayed.collections}, replayed.rngs(), X, Y
    )
    np.testing.assert_allclose(loss, value, rtol=1e-5)
    expected = changed["batch_stats"]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        first.collections["batch_stats"],
        expected,
    )


def test_linen_objective_is_pure_and_changes_with_the_step():
    state = linen_state(zosah_jax.zosah(1.0))
    f = state.value_fn(linen_loss, X, Y)
    assert float(f(state.params)) == float(f(state.params))
    later = state.replace(step=state.step + 1).value_fn(linen_loss, X, Y)
    assert float(later(state.params)) != float(f(state.params))  # another mask


def test_linen_state_still_takes_gradients():
    state = linen_state(optax.sgd(0.1))
    grads = jax.tree.map(jnp.ones_like, state.params)
    moved = state.apply_gradients(grads=grads, rng=jax.random.key(9))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b - 0.1, rtol=1e-6), moved.params, state.params
    )
    assert int(moved.step) == 1
    assert moved.rng == jax.random.key(9)
    assert int(state.apply_gradients(grads=grads, value_fn=lambda p: 0.0).step) == 1  # unused


BAD = {
    "linen to nnx": (
        TypeError,
        "model: got a linen module, wanted an nnx.Module",
        lambda: value_fn(LINEN, loss_fn),
    ),
    "no loss": (
        TypeError,
        "loss_fn: got float, wanted a callable",
        lambda: update_statistics(Net(nnx.Rngs(0)), 1.0),
    ),
    "no optimizer": (
        TypeError,
        "optimizer: got MethodTransformation, wanted an nnx.Optimizer",
        lambda: train_step(Net(nnx.Rngs(0)), zosah_jax.zosah(1.0), loss_fn, X, Y),
    ),
    "no params": (
        ValueError,
        r"variables: got the collections \['w'\], wanted 'params'",
        lambda: TrainState.create_from({"w": X}, apply_fn=None, tx=zosah_jax.zosah(1.0)),
    ),
    "neither": (
        ValueError,
        r"value_fn: got nothing, wanted the objective \(or grads\)",
        lambda: linen_state(zosah_jax.zosah(1.0)).apply_gradients(),
    ),
    "no pair": (
        TypeError,
        "loss_fn: got float, wanted a pair",
        lambda: linen_state(zosah_jax.zosah(1.0)).update_collections(lambda *a: 1.0),
    ),
    "unknown collection": (
        ValueError,
        r"loss_fn: got changes to \['cache'\], wanted some of the collections",
        lambda: linen_state(zosah_jax.zosah(1.0)).update_collections(
            lambda *a: (1.0, {"cache": 1})
        ),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    error, says, call = BAD[case]
    with pytest.raises(error, match=says):
        call()
