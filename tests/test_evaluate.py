import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zosah_jax
from zosah_jax.evaluate import bind_extra
from zosah_jax.params import Address
from zosah_jax.probes import CoordinateProbes, DirectionProbes, direction

EVALUATORS = {
    "one by one": zosah_jax.one_by_one(),
    "chunks": zosah_jax.in_chunks(4),
    "all at once": zosah_jax.all_at_once(),
    "automatic": zosah_jax.automatic(),
}
PARAMS = {"a": jnp.arange(1.0, 4.0), "b": jnp.array(0.7)}


def coordinate_probes(n):
    """Probe i moves one place of each leaf."""
    places = jnp.stack([jnp.arange(n) % 3, jnp.zeros(n, int)], axis=1)
    leaves = jnp.broadcast_to(jnp.array([0, 1], jnp.int32), (n, 2))
    offsets = jax.random.normal(jax.random.key(1), (n, 2))
    return CoordinateProbes(Address(leaves, places.astype(jnp.uint32)), offsets)


def product(p):
    """Without a sum, so that XLA has nothing to reorder; no value where a[2] was moved."""
    moved = p["a"][2] != 3
    return jnp.where(moved, jnp.nan, p["a"][0] * p["a"][1] * p["b"])


def test_evaluators_agree_to_the_last_bit_and_pass_missing_values_on():
    probes = coordinate_probes(11)
    values = {name: np.asarray(e(product, PARAMS, probes)) for name, e in EVALUATORS.items()}
    place, offset = np.arange(11) % 3, np.asarray(probes.offset)
    a = np.tile(np.arange(1, 4, dtype=np.float32), (11, 1))
    a[np.arange(11), place] += offset[:, 0]
    expected = a[:, 0] * a[:, 1] * (np.float32(0.7) + offset[:, 1])
    expected[place == 2] = np.nan
    for got in values.values():
        np.testing.assert_array_equal(got, values["one by one"])
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_directions_are_normal_and_alike_for_every_evaluator():
    keys = jax.random.split(jax.random.key(0), 2000)
    probes = DirectionProbes(keys[:, None], jnp.full((2000, 1), 0.5))
    zeros = {"a": jnp.zeros((2, 1)), "b": jnp.zeros(())}
    moved = jax.vmap(lambda probe: probe.apply(zeros))(probes)
    entries = np.concatenate([moved["a"][:, :, 0], moved["b"][:, None]], axis=1) / 0.5
    np.testing.assert_allclose(np.cov(entries.T), np.eye(3), atol=0.15)  # five deviations
    np.testing.assert_allclose(entries.mean(axis=0), 0, atol=0.12)
    np.testing.assert_array_equal(np.ravel(direction(keys[3], zeros)["a"]), entries[3, :2])
    some = DirectionProbes(keys[:7, None], jnp.arange(7.0)[:, None])
    for evaluate in (EVALUATORS["one by one"], EVALUATORS["all at once"]):
        got = evaluate(lambda p: p["a"][1, 0] * 2, zeros, some)
        np.testing.assert_allclose(got, entries[:7, 1] * np.arange(7) * 2, rtol=1e-6)


def test_objective_sees_narrow_parameters_in_float32():
    x = jnp.ones(3, jnp.bfloat16)
    address = Address(jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1), jnp.uint32))
    probes = CoordinateProbes(address, jnp.full((1, 1), 1e-3))
    for evaluate in EVALUATORS.values():
        np.testing.assert_allclose(evaluate(lambda x: x[0], x, probes), [1.001], rtol=1e-6)
    (narrow,) = zosah_jax.one_by_one()(lambda x: x[0].astype(jnp.bfloat16), x, probes)
    assert narrow.dtype == jnp.float32


def test_automatic_evaluates_large_parameters_one_by_one():
    def batched_copies(size):
        x = jax.ShapeDtypeStruct((size,), jnp.float32)
        run = functools.partial(zosah_jax.automatic(), jnp.sum)
        address = Address(jnp.zeros((5, 1), jnp.int32), jnp.zeros((5, 1), jnp.uint32))
        jaxpr = jax.make_jaxpr(run)(x, CoordinateProbes(address, jnp.ones((5, 1))))
        return f"f32[5,{size}]" in str(jaxpr)

    assert batched_copies(100)
    assert not batched_copies(2**20)


def test_an_evaluator_of_ones_own_answers_every_method():
    asked: list[int] = []

    def evaluate(value_fn, params, probes):
        asked.append(len(probes))
        return jax.vmap(lambda probe: value_fn(probe.apply(params)))(probes)

    for make in zosah_jax.METHODS.values():
        asked.clear()
        tx = make(0.1, evaluator=evaluate)
        state = tx.init(PARAMS)
        out = jax.eval_shape(
            functools.partial(tx.update, value_fn=lambda p: p["b"]), None, state, PARAMS
        )
        assert jax.tree.structure(out[0]) == jax.tree.structure(PARAMS)
        cost = int(optax.tree.get(state, "next_num_evaluations"))
        assert cost in np.cumsum(asked)  # the rounds of the first kind of step are traced first


def test_extra_arguments_that_the_objective_names_are_bound():
    class Objective:
        def __call__(self, x, scale):
            return x * scale

    def anything(x, **kwargs):
        return x + len(kwargs)

    extra = {"scale": 3.0, "unknown": 1.0}
    for value_fn in (Objective(), lambda x, scale=1.0: x * scale, lambda x, *, scale: x * scale):
        assert bind_extra(value_fn, extra)(2.0) == 6.0
        assert bind_extra(functools.partial(value_fn), extra)(2.0) == 6.0
    assert bind_extra(lambda x: x, extra)(2.0) == 2.0
    assert bind_extra(anything, extra)(2.0) == 2.0
    assert bind_extra(lambda scale: scale, extra)(2.0) == 2.0  # the first argument is the point


def test_fill_masked_takes_whole_and_hidden_parameters_and_extra_arguments():
    filled = zosah_jax.fill_masked(lambda p, scale: scale * (p["a"].sum() + p["b"]), PARAMS)
    hidden = {"a": jnp.zeros(3), "b": optax.MaskedNode()}
    bound = bind_extra(filled, {"scale": 2.0})
    np.testing.assert_allclose(bound(PARAMS), 2 * 6.7, rtol=1e-6)
    np.testing.assert_allclose(bound(hidden), 2 * 0.7, rtol=1e-6)


def test_errors_of_the_objective_itself_come_through():
    def broken(x):
        raise KeyError("mine")

    tx, x = zosah_jax.scale_by_rspg(), jnp.ones(2)
    with pytest.raises(KeyError, match="mine"):
        tx.update(x, tx.init(x), x, value_fn=broken)
