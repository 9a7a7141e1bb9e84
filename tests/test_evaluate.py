import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zosah_jax
from zosah_jax.evaluate import all_at_once
from zosah_jax.evaluate.objective import bind_extra, trace, traced
from zosah_jax.method import exact_problem, values_per_stage
from zosah_jax.methods import METHODS
from zosah_jax.probes import CoordinateProbes, DirectionProbes, direction
from zosah_jax.pytree import Address
from zosah_jax.transforms import fill_masked

EVALUATORS = {
    "one by one": zosah_jax.one_by_one(),
    "chunks": zosah_jax.in_chunks(4),
    "all at once": all_at_once(),
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
    objective = traced(lambda x: x[0].astype(jnp.bfloat16), x)
    (narrow,) = zosah_jax.one_by_one()(objective, x, probes)
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


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in METHODS]
)
def test_an_evaluator_of_ones_own_answers_every_method(name):
    asked: list[int] = []

    def evaluate(value_fn, params, probes):
        asked.append(len(probes))
        return jax.vmap(lambda probe: value_fn(probe.apply(params)))(probes)

    tx = getattr(zosah_jax, name)(0.1, evaluator=evaluate)
    state = jax.eval_shape(tx.init, PARAMS)
    out = jax.eval_shape(
        functools.partial(tx.update, value_fn=lambda p: p["b"]), None, state, PARAMS
    )
    assert jax.tree.structure(out[0]) == jax.tree.structure(PARAMS)
    costs = values_per_stage(tx.method, PARAMS, exact_problem(PARAMS))
    assert set(asked) == set(costs)  # every stage is asked through it


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
    filled = fill_masked(lambda p, scale: scale * (p["a"].sum() + p["b"]), PARAMS)
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


# --- the objective, traced once -------------------------------------------------------------------


def program(f, x=None):
    """Its program, without its constants."""
    return trace(f, jnp.ones(3) if x is None else x)[0]


def test_equal_programs_are_equal_whoever_made_them():
    def make(power, data):
        return lambda x: jnp.sum(jax.nn.relu(x - data) ** power)

    one, same = program(make(2, np.ones(3))), program(make(2, np.zeros(3)))
    assert one == same
    assert hash(one) == hash(same)
    for other in (
        program(make(3, np.ones(3))),  # another operation
        program(make(2, np.ones(1))),  # constants of another shape
        program(make(2, np.ones(4)), jnp.ones(4)),
        program(lambda x: 2.0 * make(2, np.ones(3))(x)),
        program(lambda x: jnp.sum(jax.nn.relu(x - 1.5) ** 2)),
        program(lambda x: jnp.sum(jax.nn.relu(x - 2.5) ** 2)),
    ):
        assert one != other
    assert one != "a program"


def test_branches_and_loops_are_compared_by_what_they_do():
    def make(scale, turns):
        def f(x):
            x = jax.lax.fori_loop(0, turns, lambda _, y: y * scale, x)
            return jax.lax.cond(x[0] > 0, jnp.sum, lambda x: scale * jnp.prod(x), x)

        return f

    assert program(make(2.0, 3)) == program(make(2.0, 3))
    assert program(make(2.0, 3)) != program(make(3.0, 3))
    assert program(make(2.0, 3)) != program(make(2.0, 4))


def test_constants_are_arguments_also_those_of_jitted_functions():
    data = np.array([1.0, 2.0, 3.0], np.float32)

    @jax.jit
    def inner(x):
        return jnp.sum(x * data)

    for f in (inner, lambda x: jax.jit(lambda x: inner(x) + 0)(x), lambda x: jnp.sum(x * data)):
        found, constants = trace(f, jnp.ones(3))
        (constant,) = constants
        np.testing.assert_array_equal(constant, data)
        assert found.with_constants([data])(jnp.ones(3)) == 6
        assert found.with_constants([2 * data])(jnp.ones(3)) == 12
    calls_within = trace(lambda x: jnp.sum(jax.nn.relu(x)), jnp.ones(3))[1]
    assert calls_within == []


def test_a_traced_objective_is_called_once_and_has_the_shape_that_is_wanted():
    calls = []

    def residuals(x):
        calls.append(x)
        return x[:2]

    objective = traced(residuals, jnp.ones(3), value_shape=(2,))
    for x in (jnp.ones(3), jnp.zeros(3)):
        np.testing.assert_array_equal(objective(x), x[:2])
    assert len(calls) == 1
    with pytest.raises(
        ValueError, match=r"value_fn: got a value of shape \(2,\), wanted shape \(3"
    ):
        traced(residuals, jnp.ones(3), value_shape=(3,))
    with pytest.raises(ValueError, match=r"shape \(2,\), wanted a scalar, shape \(\)"):
        traced(residuals, jnp.ones(3))


def test_evaluators_carry_values_of_any_shape():
    probes, params = coordinate_probes(11), PARAMS
    for name, evaluate in {**EVALUATORS, "grouped": zosah_jax.grouped()}.items():
        values = evaluate(lambda p: p["a"] * p["b"], params, probes)
        assert values.shape == (11, 3), name
        np.testing.assert_allclose(
            values[:, 0], evaluate(lambda p: p["a"][0] * p["b"], params, probes)
        )


def test_evaluators_made_alike_are_equal():
    makes = (
        zosah_jax.one_by_one,
        all_at_once,
        zosah_jax.automatic,
        zosah_jax.grouped,
        lambda: zosah_jax.in_chunks(4),
        lambda: zosah_jax.grouped(2),
        lambda: zosah_jax.automatic(2**20),
    )
    assert len({make() for make in makes}) == len(makes)
    assert all(make() == make() for make in makes)
