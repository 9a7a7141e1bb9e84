"""Grouped evaluation: the same values as one by one, from less work."""

from collections import Counter

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import zosah_jax
from zosah_jax.evaluate import autotune
from zosah_jax.evaluate.grouped.evaluator import make_objective_plan, program_of
from zosah_jax.probes import CoordinateProbes, DirectionProbes
from zosah_jax.pytree import Address, add_at


@pytest.fixture(autouse=True)
def objectives_may_broadcast():
    with jax.numpy_rank_promotion("allow"):
        yield


def normal(number, *shape):
    return jax.random.normal(jax.random.key(number), shape)


IMAGES, TOKENS = normal(0, 3, 9, 8, 2), normal(1, 2, 5, 4)


def perceptron(p):
    x = jnp.tanh(TOKENS @ p["w1"] + p["b1"]) * p["scale"]
    x = (x - x.mean(-1, keepdims=True)) * lax.rsqrt(x.var(-1, keepdims=True) + 1e-3) * p["g"]
    return jnp.mean(jax.nn.logsumexp(x @ p["w2"], axis=-1)) + 0.1 * jnp.sum(p["w2"] ** 2)


def convolved(x, kernel, **options):
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, dimension_numbers=numbers, **options)


def normalised(x, scale):
    mean, square = x.mean((0, 1, 2)), (x**2).mean((0, 1, 2))
    return (x - mean) * lax.rsqrt(square - mean**2 + 1e-3) * scale


def residual(p):
    """Strides, padding, a shortcut, groups, dilation, and statistics over the batch."""
    x = jax.nn.relu(
        normalised(convolved(IMAGES, p["k1"], window_strides=(2, 1), padding="SAME"), p["s1"])
    )
    y = jax.nn.relu(
        normalised(convolved(x, p["k2"], window_strides=(1, 1), padding="SAME"), p["s2"])
    )
    y = convolved(y, p["k3"], window_strides=(1, 1), padding=((2, 2), (2, 2)), rhs_dilation=(2, 2))
    x = jnp.pad(x[:, ::2], ((0, 0), (0, 0), (0, 0), (1, 1))) + y[:, ::2]
    x = convolved(x, p["k4"], window_strides=(1, 2), padding="VALID", feature_group_count=2)
    return jnp.sum(jnp.max(x, axis=(1, 2)) @ p["w"]) + p["b"]


class Attention(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        x = nn.Embed(7, 4)(tokens)
        x = x + nn.MultiHeadDotProductAttention(num_heads=2, deterministic=True)(nn.LayerNorm()(x))
        return nn.Dense(3)(nn.gelu(x)).sum()


IDS = jnp.array([[0, 3, 3, 6], [1, 2, 5, 0]])


def attention(p):
    return Attention().apply(p, IDS)


def awkward(p):
    """Loops, branches, casts, tied weights, transposes, products of parameters, unused leaves."""
    x = lax.fori_loop(0, 3, lambda _, x: jnp.sin(x @ p["tied"]), TOKENS[0])
    x = lax.cond(p["s"] > 0, lambda x: x, lambda x: -x, x) @ p["tied"].T.reshape(4, 4)
    x = x @ (p["a"] @ p["b"]) + lax.cumsum(p["v"])[::-1]
    wide = p["c"].astype(jnp.float32).T[None]
    return jnp.sum(jnp.einsum("ij,kjl->il", x, wide.astype(x.dtype))) * p["s"] + p["v"][1]


OBJECTIVES = {
    "perceptron": (
        perceptron,
        {
            "w1": normal(2, 4, 6),
            "b1": normal(3, 6),
            "scale": jnp.array(1.5),
            "g": normal(4, 6),
            "w2": normal(5, 6, 3),
        },
    ),
    "residual": (
        residual,
        {
            "k1": normal(2, 3, 3, 2, 4),
            "s1": normal(3, 4),
            "k2": normal(4, 3, 3, 4, 4),
            "s2": normal(5, 4),
            "k3": normal(6, 3, 3, 4, 6),
            "k4": normal(7, 2, 2, 3, 4),
            "w": normal(8, 4, 2),
            "b": jnp.array(0.3),
        },
    ),
    "attention": (attention, Attention().init(jax.random.key(0), IDS)),
    "awkward": (
        awkward,
        {
            "tied": normal(2, 4, 4),
            "s": jnp.array(0.5),
            "a": normal(3, 4, 1),
            "b": normal(4, 1, 3),
            "v": normal(5, 3),
            "c": normal(6, 2, 3).astype(jnp.bfloat16),
            "unused": normal(7, 3),
            "empty": jnp.zeros((0, 2)),
        },
    ),
    "one leaf": (lambda w: jnp.mean(jnp.logaddexp(0.0, TOKENS[0] @ w)) + w @ w, normal(2, 4)),
}


def probes_of(params, seed=0):
    """The parameters; every leaf moved alone; pairs within leaves and across; offsets (n, 2)."""
    sizes = [jnp.size(leaf) for leaf in jax.tree.leaves(params)]
    rng, leaf, place, offset = np.random.default_rng(seed), [], [], []

    def add(leaves, moves):
        leaf.append(leaves)
        place.append([rng.integers(sizes[n]) for n in leaves])
        offset.append(np.where(moves, rng.uniform(0.1, 0.5, 2), 0))

    here = [n for n, size in enumerate(sizes) if size]
    add([here[0], here[-1]], (False, False))
    for n in here:
        for moves in ((True, False), (False, True), (True, False)):
            add([n, n], moves)
        add([n, n], (True, True))
        add([n, here[rng.integers(len(here))]], (True, True))
    order = rng.permutation(len(leaf))
    dtype = jnp.float64 if jax.config.jax_enable_x64 else jnp.float32
    return CoordinateProbes(
        Address(jnp.array(leaf, jnp.int32)[order], jnp.array(place, jnp.uint32)[order]),
        jnp.array(offset, dtype)[order],
    )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_same_values_as_one_by_one(name):
    f, params = OBJECTIVES[name]
    evaluators = [zosah_jax.grouped(3, max_groups=5), zosah_jax.one_by_one()]

    @jax.jit
    def both(params, probes):
        return [evaluate(f, params, probes) for evaluate in evaluators]

    for seed in range(2):
        got, expected = both(params, probes_of(params, seed))
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-5)
    assert both._cache_size() == 1
    assert np.ptp(expected) > 1e-2


@pytest.mark.slow
def test_every_leaf_may_have_a_group_of_its_own_or_none():
    f, params = OBJECTIVES["perceptron"]
    probes = probes_of(params)
    expected = jax.jit(lambda p: zosah_jax.one_by_one()(f, p, probes))(params)
    for max_groups in (1, 2, 100):
        evaluate = zosah_jax.grouped(max_groups=max_groups)
        got = jax.jit(lambda p, evaluate=evaluate: evaluate(f, p, probes))(params)
        np.testing.assert_allclose(got, expected, rtol=2e-5)


def operations(closed):
    """How often each operation occurs, those in loops once."""
    count = Counter()
    for eqn in closed.eqns:
        count[eqn.primitive.name] += 1
        for param in jax.tree.leaves(list(eqn.params.values())):
            inner = getattr(param, "jaxpr", param)
            if hasattr(inner, "eqns"):
                count += operations(inner)
    return count


def test_what_comes_before_a_leaf_is_not_done_again():
    def f(p):
        x = TOKENS[0]
        for n in range(4):
            x = jnp.tanh(x @ p[n])
        return x.sum()

    params = [normal(n, 4, 4) for n in range(4)]
    plan = make_objective_plan(program_of(f, params), params)
    assert len(plan.groups) == 8  # a stage and a group of its own for each
    program = jax.make_jaxpr(lambda p: zosah_jax.grouped()(f, p, probes_of(params)))(params)
    done = operations(program.jaxpr)
    # once at the parameters; from its stage on for each stage; after its product for each leaf
    assert done["tanh"] == 4 + (4 + 3 + 2 + 1) + (4 + 3 + 2 + 1)
    assert done["dot_general"] <= 4 + (4 + 3 + 2 + 1) + (3 + 2 + 1 + 0)


def test_only_the_feature_that_changes_is_normalised():
    """A change of one feature stays one until features mix."""
    f, params = OBJECTIVES["residual"]
    program = program_of(f, params)
    evaluate = zosah_jax.grouped(max_groups=100)
    shapes = []

    def spy(address, offset):
        probes = CoordinateProbes(address, offset)
        return evaluate(f, params, probes)

    probe = CoordinateProbes(
        Address(jnp.zeros((1, 1), jnp.int32), jnp.zeros((1, 1), jnp.uint32)), jnp.ones((1, 1))
    )
    closed = jax.make_jaxpr(spy)(probe.address, probe.offset)

    def visit(jaxpr):
        for eqn in jaxpr.eqns:
            if eqn.primitive.name == "rsqrt":
                shapes.append(eqn.outvars[0].aval.shape)
            for param in jax.tree.leaves(list(eqn.params.values())):
                inner = getattr(param, "jaxpr", param)
                if hasattr(inner, "eqns"):
                    visit(inner)

    visit(closed.jaxpr)
    assert len(program.ops) > 20
    assert (1,) in shapes  # of k1 and k2: one feature
    assert (4,) in shapes  # at the parameters


def test_probes_that_move_nothing_are_the_pass_at_the_parameters():
    f, params = OBJECTIVES["perceptron"]
    probes = probes_of(params)
    still = np.flatnonzero(np.all(np.asarray(probes.offset) == 0, axis=1))
    values = zosah_jax.grouped()(f, params, probes)
    np.testing.assert_allclose(values[still], f(params), rtol=1e-6)


def test_a_function_on_the_host_is_called_once_a_probe():
    calls = []

    def on_the_host(x):
        calls.append(x)
        return np.float32(x.sum())

    def f(p):
        return jax.pure_callback(
            on_the_host, jax.ShapeDtypeStruct((), jnp.float32), p["a"] * p["b"]
        )

    params = {"a": jnp.ones(3), "b": jnp.ones(3)}
    probes = probes_of(params)
    values = zosah_jax.grouped()(f, params, probes)
    assert len(calls) == len(probes)
    np.testing.assert_allclose(values, zosah_jax.one_by_one()(f, params, probes))


def test_under_vmap_each_lane_has_its_own_probes():
    f, params = OBJECTIVES["perceptron"]
    batch = [probes_of(params, seed) for seed in range(3)]
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *batch)
    lanes = jax.tree.map(lambda x: jnp.stack([x, x + 1, x - 1]), params)
    evaluate = jax.jit(lambda p, probes: zosah_jax.grouped()(f, p, probes))
    got = jax.vmap(evaluate)(lanes, stacked)
    for lane in range(3):
        expected = evaluate(jax.tree.map(lambda x: x[lane], lanes), batch[lane])  # noqa: B023
        np.testing.assert_allclose(got[lane], expected, rtol=1e-5)


def test_other_probes_are_answered_one_by_one():
    f, params = OBJECTIVES["perceptron"]
    probes = DirectionProbes(jax.random.split(jax.random.key(0), (3, 1)), jnp.full((3, 1), 0.1))
    got = zosah_jax.grouped()(f, params, probes)
    np.testing.assert_array_equal(got, zosah_jax.one_by_one()(f, params, probes))


def test_missing_values_stay_with_their_probes():
    def f(p):
        return jnp.where(p["a"][1] > 1.05, jnp.nan, jnp.sum(p["a"]) * p["b"])

    params = {"a": jnp.ones(3), "b": jnp.ones(())}
    address = Address(jnp.array([[0], [0], [1]], jnp.int32), jnp.array([[0], [1], [0]], jnp.uint32))
    values = zosah_jax.grouped()(f, params, CoordinateProbes(address, jnp.full((3, 1), 0.1)))
    np.testing.assert_array_equal(np.isnan(values), [False, True, False])


@pytest.mark.slow
def test_zosah_takes_the_same_steps(x64):
    params = jax.tree.map(lambda x: x.astype(jnp.float64), OBJECTIVES["perceptron"][1])
    tokens = TOKENS.astype(jnp.float64)

    def f(p):
        x = jnp.tanh(tokens @ p["w1"] + p["b1"]) * p["scale"] * p["g"]
        return jnp.mean((x @ p["w2"] - 1) ** 2)

    def run(evaluator):
        tx = zosah_jax.zosah(0.1, 6, evaluator=evaluator)
        return zosah_jax.minimize(f, params, tx, budget=100)

    one, other = run(zosah_jax.one_by_one()), run(zosah_jax.grouped())
    assert one.num_evaluations == other.num_evaluations
    np.testing.assert_allclose(
        other.history.value, one.history.value, rtol=2e-3
    )  # rounding, over the square of a radius


def big(p):
    return jnp.sum(jnp.tanh(jnp.ones((100, 200)) @ p["w"]) @ p["v"])


BIG = {"w": jnp.ones((200, 200)), "v": jnp.ones(200)}


def chosen(f, params, probes, **options):
    """Whether the automatic choice groups: only a grouped evaluation loops over its groups."""
    program = jax.make_jaxpr(lambda p: zosah_jax.automatic(**options)(f, p, probes))(params)
    return operations(program.jaxpr)["while"] > 1


def test_automatic_groups_what_is_worth_it_and_fits():
    coordinates = CoordinateProbes(
        Address(jnp.zeros((2, 1), jnp.int32), jnp.zeros((2, 1), jnp.uint32)), jnp.ones((2, 1))
    )
    directions = DirectionProbes(jax.random.split(jax.random.key(0), (2, 1)), jnp.ones((2, 1)))
    assert chosen(big, BIG, coordinates)
    assert not chosen(big, BIG, directions)
    assert not chosen(*OBJECTIVES["perceptron"], coordinates)
    one = 4 * (200 * 201 + 100 * 201 + 100 * 200 * 2)  # about what one probe takes
    assert not chosen(big, BIG, coordinates, memory_limit=one + 10_000)
    with pytest.raises(
        ValueError, match=r"memory_limit: got 1000 bytes, wanted at least \d+: what one"
    ):
        zosah_jax.automatic(memory_limit=1000)(big, BIG, coordinates)


def test_autotune_measures_every_candidate_and_says_which_is_best():
    tuned = autotune(*OBJECTIVES["perceptron"], num_probes=3, repeats=1)
    assert tuned.seconds[tuned.name] == min(tuned.seconds.values())
    assert np.isfinite(list(tuned.seconds.values())).all()
    with pytest.raises(ValueError, match="candidates: got none"):
        autotune(*OBJECTIVES["perceptron"], candidates={})


def test_addressed_entries_are_those_that_move():
    """The probes of this file do what they say."""
    params = OBJECTIVES["perceptron"][1]
    probes = probes_of(params)
    for n in range(len(probes)):
        moved = add_at(params, jax.tree.map(lambda x: x[n], probes.address), probes.offset[n])  # noqa: B023
        changed = sum(
            int((a != b).sum())
            for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(params), strict=True)
        )
        assert changed <= int((probes.offset[n] != 0).sum())
