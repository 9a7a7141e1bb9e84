"""The peers against NumPy references, their estimators against true gradients, and their parts."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference_peers as reference
from jax.flatten_util import ravel_pytree
from test_trajectory import START, D, followed, holed, smooth

import zosah_jax
from zosah_jax import extras, methods, transforms
from zosah_jax.checks import typed_key
from zosah_jax.low_rank import LowRank, draw_factors
from zosah_jax.method import exact_problem, values_per_stage
from zosah_jax.methods.deepzero import coordinates_per_leaf, masked_coordinates
from zosah_jax.methods.zo_muon import matrix_sign
from zosah_jax.probes import CoordinateUpdate, direction

STEPS, RATE, EPSILON = 25, 0.05, 0.1
ORIGIN = np.zeros(D)


def asked(method, steps=STEPS, like=ORIGIN):
    """Probes of every step of a method with one stage, leaves with a leading axis of steps."""
    x = jax.tree.map(jnp.asarray, like)
    state, problem = method.init(x, typed_key(method.key)), exact_problem(x)
    return jax.jit(jax.vmap(lambda k: method.ask(state._replace(step=k), x, problem).probes))(
        jnp.arange(steps, dtype=jnp.int32)
    )


def directions(keys, distribution="normal"):
    """Directions of keys of any shape, flat, along a last axis."""
    draw = jax.jit(jax.vmap(lambda key: direction(key, jnp.zeros(D), distribution)))
    return np.asarray(draw(keys.reshape(-1))).reshape(*keys.shape, D)


def assert_follows(tx, expected, f=smooth, x0=START):
    points, _, base = followed(tx, f, jax.tree.map(jnp.asarray, x0), len(expected) - 1)
    np.testing.assert_allclose(points, expected, rtol=0, atol=1e-8)
    return base


# --- trajectories ---------------------------------------------------------------------------------


@pytest.mark.parametrize("f", [smooth, holed])
def test_mezo_equals_the_reference(x64, f):
    keys = asked(methods.mezo(3, EPSILON, key=5)).key[:, :3, 0]
    expected = reference.mezo(partial(f, xp=np), START, directions(keys), RATE, EPSILON)
    base = assert_follows(zosah_jax.mezo(RATE, 3, EPSILON, key=5), expected, f)
    assert base[-1] < base[0]


@pytest.mark.parametrize("order", ["cyclic", "reshuffled", "random"])
def test_mezo_bcd_equals_the_reference(x64, order):
    tree = {"a": START[:3], "b": START[3:8].reshape(5, 1), "c": START[8:]}
    spans = [slice(0, 3), slice(3, 8), slice(8, D)]
    probes = asked(methods.mezo_bcd("leaf", order, 2, EPSILON, key=5), like=tree)
    blocks = np.asarray(probes.block)[:, 0]
    drawn = np.zeros((STEPS, 2, D))
    for k, block in enumerate(blocks):
        part = jax.tree.leaves(tree)[block]
        for i in range(2):  # the block's leaves are drawn by themselves
            drawn[k, i, spans[block]] = np.ravel(direction(probes.key[k, i], part))
    expected = reference.mezo(partial(smooth, xp=np), START, drawn, RATE, EPSILON)
    tx = zosah_jax.mezo_bcd(RATE, "leaf", order, 2, EPSILON, key=5)
    assert_follows(tx, expected, x0=tree)
    sweeps = np.sort(blocks[: STEPS // 3 * 3].reshape(-1, 3))
    assert (sweeps == [0, 1, 2]).all() == (order != "random")
    assert len({tuple(row) for row in blocks[:24].reshape(-1, 3).tolist()}) > 1 or order == "cyclic"


@pytest.mark.parametrize(
    ("normalisation", "distribution", "f"),
    [("deviation", "rademacher", smooth), ("paper", "normal", holed)],
)
def test_fzoo_equals_the_reference(x64, normalisation, distribution, f):
    keys = asked(methods.fzoo(4, EPSILON, key=5)).key[:, 1:, 0]
    drawn = directions(keys, distribution)
    paper = normalisation == "paper"
    rate = RATE * EPSILON if paper else RATE
    expected = reference.fzoo(partial(f, xp=np), START, drawn, rate, EPSILON, paper)
    options = {"normalisation": normalisation, "distribution": distribution}
    assert_follows(zosah_jax.fzoo(rate, 4, EPSILON, **options, key=5), expected, f)


@pytest.mark.parametrize(
    ("scaling", "updated_by", "f"),
    [("inverse_root", "new", smooth), ("inverse_root", "old", holed), ("hessian", "new", smooth)],
)
def test_hizoo_equals_the_reference(x64, scaling, updated_by, f):
    drawn = directions(asked(methods.hizoo(EPSILON, key=5)).key[:, 0, 0])
    rate, a = (RATE, 0.05) if scaling == "inverse_root" else (RATE / 10, 1e-3)  # H lengthens steps
    expected = reference.hizoo(
        partial(f, xp=np), START, drawn, rate, EPSILON, a, scaling, updated_by
    )
    options = {"scaling": scaling, "updated_by": updated_by}
    assert_follows(zosah_jax.hizoo(rate, EPSILON, a, **options, key=5), expected, f)


@pytest.mark.parametrize(("differences", "m"), [("central", 3), ("forward", 4)])
def test_zo_rsn_equals_the_reference(x64, differences, m):
    method = methods.zo_rsn(m, EPSILON, differences=differences, key=5)
    drawn = np.asarray(asked(method).address.index)[:, 0].astype(int)
    assert all(len(set(row)) == m for row in drawn.tolist())
    bounds = 0.05, 0.6  # both of which some eigenvalues pass
    central = differences == "central"
    expected = reference.zo_rsn(
        partial(smooth, xp=np), START, drawn, 0.5, EPSILON, *bounds, central
    )
    tx = zosah_jax.zo_rsn(0.5, m, EPSILON, *bounds, differences=differences, key=5)
    assert_follows(tx, expected)


@pytest.mark.parametrize("f", [smooth, holed])
def test_deepzero_equals_the_reference(x64, f):
    tree = {"bias": START[:3], "kernel": START[3:].reshape(4, 2)}
    probes = asked(methods.deepzero(0.4, 4, EPSILON, key=5), like=tree)
    starts = np.array([0, 3])
    drawn = starts[np.asarray(probes.address.leaf)] + np.asarray(probes.address.index, int)
    drawn = drawn[:, 1:, 0]
    assert drawn.shape[1] == 3 + 3
    expected = reference.deepzero(partial(f, xp=np), START, drawn, RATE, EPSILON)
    assert_follows(zosah_jax.deepzero(RATE, 0.4, 4, EPSILON, key=5), expected, f, tree)
    masks = [tuple(sorted(row)) for row in drawn.tolist()]
    assert all(len(set(mask)) == 6 and mask[:3] == (0, 1, 2) for mask in masks)
    assert [masks[k] == masks[k + 1] for k in range(8)] == [True, True, True, False] * 2


# A matrix of 4 x 2 and a vector of 3: the leaves that the reference of low rank knows.
MATRIX = {"a": START[:8].reshape(4, 2), "b": START[8:]}


def low_rank_directions(keys, law):
    """Directions of keys of any shape, flat, along a last axis."""
    like = jax.tree.map(jnp.asarray, MATRIX)
    draw = jax.jit(jax.vmap(lambda key: ravel_pytree(direction(key, like, law))[0]))
    return np.asarray(draw(keys.reshape(-1))).reshape(*keys.shape, D)


@pytest.mark.parametrize(("shaping", "f"), [("z_score", holed), ("difference", smooth)])
def test_eggroll_equals_the_reference(x64, shaping, f):
    keys = asked(methods.eggroll(3, EPSILON, key=5), like=MATRIX).key[:, :3, 0]
    drawn = low_rank_directions(keys, LowRank())
    assert all(np.linalg.matrix_rank(e[:8].reshape(4, 2)) == 1 for e in drawn[0])
    scored = shaping == "z_score"
    expected = reference.eggroll(partial(f, xp=np), START, drawn, RATE, EPSILON, scored)
    tx = zosah_jax.eggroll(RATE, 3, EPSILON, shaping=shaping, key=5)
    assert_follows(tx, expected, f, x0=MATRIX)


def test_lozo_equals_the_reference_and_keeps_a_factor(x64):
    method = methods.lozo(1, EPSILON, period=4, key=5)
    keys = asked(method, like=MATRIX).key[:, 0, 0]
    drawn = low_rank_directions(keys, LowRank(1, held=True))
    expected = reference.lozo(partial(smooth, xp=np), START, drawn, RATE, EPSILON, 1)
    assert_follows(zosah_jax.lozo(RATE, 1, EPSILON, period=4, key=5), expected, x0=MATRIX)
    columns = drawn[:, :8].reshape(-1, 4, 2)[:, :, 0].copy()
    columns /= np.linalg.norm(columns, axis=1, keepdims=True)
    same = np.abs(np.sum(columns[1:] * columns[:-1], axis=1)) > 1 - 1e-9
    assert [bool(each) for each in same[:8]] == [True, True, True, False] * 2


def test_zo_muon_equals_the_reference_and_keeps_its_projection(x64):
    method = methods.zo_muon(3, 1, EPSILON, period=4, vector_rate=0.5, key=5)
    keys = asked(method, like=MATRIX).key[:, 1:, 0]
    law = LowRank(1, held=True, orthonormal=True)
    like = jax.tree.leaves(jax.tree.map(jnp.asarray, MATRIX))
    drawn = jax.jit(jax.vmap(jax.vmap(lambda key: draw_factors(key, like, law))))(keys)
    p = np.asarray(drawn[0].left)
    np.testing.assert_array_equal(p, np.broadcast_to(p[:, :1], p.shape))  # of all samples
    assert (p[0] == p[3]).all()
    assert (p[3] != p[4]).any()
    np.testing.assert_allclose(np.sum(p[:, 0, :, 0] ** 2, axis=1), 1, rtol=1e-12)
    expected = reference.zo_muon(
        partial(smooth, xp=np),
        START,
        p[:, 0],
        np.asarray(drawn[0].right),
        np.asarray(drawn[1]),
        (4, 2),
        RATE,
        EPSILON,
        0.5,
    )
    tx = zosah_jax.zo_muon(RATE, 3, 1, EPSILON, period=4, vector_rate=0.5, key=5)
    assert_follows(tx, expected, x0=MATRIX)


def test_matrix_signs_have_singular_values_of_about_one():
    for shape in ((3, 5, 2), (40, 6), (6, 40)):
        found = np.linalg.svd(matrix_sign(jax.random.normal(jax.random.key(1), shape)))[1]
        assert np.all((found > 0.3) & (found < 1.3)), shape
    np.testing.assert_array_equal(matrix_sign(jnp.zeros((2, 3))), 0)


@pytest.mark.parametrize("reading", ["measured", "paper"])
def test_zovh_equals_the_reference(x64, reading):
    options = {"num_histories": 2, "reading": reading, "key": 5}
    drawn = directions(asked(methods.zovh(2, EPSILON, 0.5, **options)).key[:, :, 0])
    paper, rate = reading == "paper", RATE / 10
    expected = reference.zovh(partial(smooth, xp=np), START, drawn, rate, EPSILON, 0.5, 2, paper)
    assert_follows(zosah_jax.zovh(rate, 2, EPSILON, 0.5, **options), expected)


MODELS = {
    "gauss": (reference.gauss_model, {}),
    "diag": (reference.diag_model, {}),
    "power": (reference.power_model(2, 2), {"rank": 2, "power_rounds": 2}),
}


@pytest.mark.slow
@pytest.mark.parametrize("hessian", MODELS)
def test_zoha_equals_the_reference(x64, hessian):
    model, options = MODELS[hessian]
    b, q, period, steps, check = 5, 3, 4, 10, {"gauss": 2, "diag": 1, "power": 1}[hessian]
    damping = {"gauss": None, "diag": 0.3, "power": 4.0}[hessian]
    rate = {"gauss": 0.3, "diag": 1.0, "power": 0.5}[hessian]
    curved, followed_by = jax.random.split(jax.random.key(5))
    split = jax.vmap(jax.random.split, in_axes=(0, None))
    number = jnp.arange(steps)
    refreshes = split(jax.vmap(partial(jax.random.fold_in, curved))(number[:3]), b)
    gradients = split(jax.vmap(partial(jax.random.fold_in, followed_by))(number), q)
    expected = reference.zoha(
        partial(smooth, xp=np),
        START,
        directions(refreshes),
        directions(gradients),
        period,
        EPSILON,
        damping,
        model,
        check,
        rate,
    )
    options = {**options, "hessian": hessian, "descent_check": check}
    tx = zosah_jax.zoha(rate, q, b, period, damping, EPSILON, **options, key=5)
    base = assert_follows(tx, expected)
    assert np.all(np.diff(base) <= 1e-12)
    assert base[-1] < base[0]


# --- means ----------------------------------------------------------------------------------------

_MATRIX = np.random.default_rng(1).normal(size=(5, 5))
HESSIAN = _MATRIX @ _MATRIX.T / 5 + np.eye(5)
POINT = np.array([1.0, -2.0, 0.5, 1.5, -1.0])
GRADIENT = HESSIAN @ POINT
METRIC = np.array([1.0, 1.5, 0.7, 1.2, 2.0])


def quadratic(x):
    return x @ jnp.asarray(HESSIAN) @ x / 2


def estimates(method, draws, state_of=lambda state: state):
    """Updates of one step from as many keys, and the values that each saw."""
    x = jnp.asarray(POINT)
    problem = exact_problem(x)

    def one(key):
        state = state_of(method.init(x, key))
        batch = method.ask(state, x, problem)
        values = jax.vmap(lambda probe: quadratic(probe.apply(x)))(batch.probes)
        updates = method.tell(state, x, problem, batch, values).step
        return updates.dense(x) if isinstance(updates, CoordinateUpdate) else updates, values

    updates, values = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(3), draws))
    return np.asarray(updates), np.asarray(values)


def assert_mean(samples, expected):
    """Refuse a mean that is off; of a true one wrongly once in about 5 million runs.

    Five coordinates, each beyond 5.7 standard errors with a chance of 1.2e-8 twice. The keys are
    fixed, so that what passes once passes always. Errors of 15 % of the gradient would be seen.
    """
    error = np.std(samples, axis=0, ddof=1) / len(samples) ** 0.5
    assert np.all(np.abs(np.mean(samples, axis=0) - expected) < 5.7 * error + 1e-6)
    assert np.all(5.7 * error < 0.15 * np.linalg.norm(expected))


def test_means_of_mezo_mezo_bcd_and_rspg_are_the_gradient(x64):
    for method in (methods.mezo(2, 0.01), methods.rspg(2), methods.mezo_bcd(num_samples=2)):
        assert_mean(estimates(method, 20_000)[0], GRADIENT)


MATRIX_GRADIENT = np.random.default_rng(2).normal(size=(5, 4))


def matrix_estimates(method, draws):
    """Steps along a linear function of a matrix, flat, from as many keys."""
    x, problem = jnp.zeros((5, 4)), exact_problem(jnp.zeros((5, 4)))

    def one(key):
        state = method.init(x, key)
        batch = method.ask(state, x, problem)
        points = jax.vmap(lambda probe: probe.apply(x))(batch.probes)
        values = jnp.sum(points * MATRIX_GRADIENT[None], axis=(1, 2))
        return method.tell(state, x, problem, batch, values).step.ravel()

    return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(3), draws)))


def test_means_of_eggroll_lozo_and_zovh_are_the_gradient(x64):
    for method in (methods.eggroll(2, 0.01, shaping="difference"), methods.lozo(2, 0.01)):
        assert_mean(matrix_estimates(method, 40_000), MATRIX_GRADIENT.ravel())
    flat = methods.zovh(3, 0.01, 1e9)  # so damped that there is no curvature
    assert_mean(1e9 * estimates(flat, 20_000)[0], GRADIENT)


@pytest.mark.parametrize("distribution", ["rademacher", "normal"])
def test_mean_of_fzoo_in_units_of_its_deviation_is_the_gradient(x64, distribution):
    updates, values = estimates(methods.fzoo(4, 1e-4, distribution=distribution), 20_000)
    deviation = np.std(values[:, 1:], axis=1, ddof=1)
    assert_mean(updates * deviation[:, None] / 1e-4, GRADIENT)


@pytest.mark.parametrize(("scaling", "power"), [("inverse_root", -1), ("hessian", 2)])
def test_mean_of_hizoo_is_the_gradient_in_its_metric(x64, scaling, power):
    method = methods.hizoo(scaling=scaling, updated_by="old")
    learnt = lambda state: state._replace(hessian=jnp.asarray(METRIC))  # noqa: E731
    updates, _ = estimates(method, 60_000, learnt)
    assert_mean(updates / METRIC**power, GRADIENT)


def test_means_over_masks_and_subspaces_are_the_gradient(x64):
    kernel = methods.deepzero(0.4, maskable=lambda path, leaf: True)
    assert_mean(estimates(kernel, 5_000)[0] * 5 / 2, GRADIENT)
    plain = methods.zo_rsn(2, eigenvalue_min=1.0, eigenvalue_max=1.0)
    assert_mean(estimates(plain, 5_000)[0] * 5 / 2, GRADIENT)


@pytest.mark.slow
def test_mean_of_zoha_is_the_newton_direction_of_its_hessian(x64):
    tx = zosah_jax.scale_by_zoha(2, 4, 10**6, 0.5, 1e-4, descent_check=0, key=3)
    x = jnp.asarray(POINT)

    def step(state, _):
        updates, state = tx.update(None, state, x, value_fn=quadratic)
        return state, updates

    updates = jax.jit(lambda: jax.lax.scan(step, tx.init(x), length=10_000)[1])()
    keys = jax.random.split(jax.random.fold_in(jax.random.split(jax.random.key(3))[0], 0), 4)
    looked = np.stack([direction(key, x) for key in keys])
    curvature = [u @ HESSIAN @ u / 2 for u in looked]
    model = reference.gauss_model(None, POINT, None, looked, np.array(curvature), 0.5)
    assert_mean(np.asarray(updates[1:]), np.linalg.solve(model, GRADIENT))


# --- memory ---------------------------------------------------------------------------------------


def bytes_of(function, *args, **jit_options):
    """Peak memory of a compiled function: what it is given, makes and holds in between."""
    found = jax.jit(function, **jit_options).lower(*args).compile().memory_analysis()
    given = found.argument_size_in_bytes + found.output_size_in_bytes
    return given + found.temp_size_in_bytes - found.alias_size_in_bytes


def network(width, layers, rows):
    """A residual network of dense layers with normalisation, and its parameters."""
    keys = jax.random.split(jax.random.key(0), (layers, 2))
    params = [
        {
            "norm": jnp.ones(width),
            "up": jax.random.normal(up, (width, 4 * width)) / width**0.5,
            "down": jax.random.normal(down, (4 * width, width)) / (2 * width**0.5),
        }
        for up, down in keys
    ]
    x = jax.random.normal(jax.random.key(1), (rows, width))

    def loss(params):
        y = x
        for layer in params:
            scaled = y / jnp.sqrt(jnp.mean(y**2, axis=1, keepdims=True) + 1e-6)
            y = y + jax.nn.gelu(scaled * layer["norm"][None] @ layer["up"]) @ layer["down"]
        return jnp.mean(y**2)

    return loss, params


@pytest.mark.parametrize("name", ["mezo", "mezo_bcd", "rspg", "fzoo"])
def test_a_step_has_the_memory_of_a_forward_pass_and_its_update(name):
    loss, params = network(64, 4, 1024)
    update = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    forward = bytes_of(loss, params)
    tx = getattr(zosah_jax, name)(0.1, evaluator=zosah_jax.one_by_one())

    def step(params, state):
        updates, state = tx.update(None, state, params, value_fn=loss)
        return optax.apply_updates(params, updates), state

    one = bytes_of(step, params, tx.init(params), donate_argnums=(0, 1))
    print(name, one, forward, update, one / (forward + update), one / forward)
    assert one <= 1.1 * (forward + update)


# --- parts ----------------------------------------------------------------------------------------


def test_layer_densities_keep_what_scores_highest():
    params = {"a": jnp.ones((6, 5)), "b": jnp.ones((6, 5)), "bias": jnp.ones(5)}

    def f(p):
        return (p["a"] ** 2).sum() + 20 * (p["b"] ** 2).sum() + (p["bias"] ** 2).sum()

    for way in ("common", "fresh"):
        found = extras.zo_grasp_densities(f, params, 0.5, directions=way, key=1)
        assert found.num_evaluations == 2 * 193
        counts = coordinates_per_leaf(found.density, None, params)
        assert counts[0] + counts[1] == 30
        assert counts[2] == 5
    found = extras.zo_grasp_densities(f, params, 0.5, num_directions=3000, key=1)
    assert found.density["b"] > 0.9
    counts = coordinates_per_leaf(found.density, None, params)
    method = methods.deepzero(found.density)
    assert values_per_stage(method, params, exact_problem(params)) == (1 + sum(counts),)


def test_masks_are_distinct_and_even():
    params = {"w": jnp.zeros((5, 8)), "v": jnp.zeros(3)}
    draw = jax.vmap(lambda key: masked_coordinates(key, (3, 10), params))
    address = draw(jax.random.split(jax.random.key(0), 2000))
    index = np.asarray(address.index)[:, 3:]
    assert all(len(set(row)) == 10 for row in index.tolist())
    counts = np.bincount(index.ravel(), minlength=40)
    assert np.all(np.abs(counts - 500) < 6 * (2000 * 0.25 * 0.75) ** 0.5)  # six deviations
    np.testing.assert_array_equal(address.index[:, :3], np.tile([0, 1, 2], (2000, 1)))


def test_random_stop_follows_the_masses_of_the_paper():
    rate = lambda step: 0.5 / (1.0 + step.astype(jnp.float32))  # noqa: E731
    draw = jax.vmap(lambda key: extras.random_stop(key, rate, 4, 1.0))
    found = np.asarray(draw(jax.random.split(jax.random.key(0), 5000)))
    gamma = 0.5 / np.arange(1, 5)
    chance = (gamma - gamma**2) / np.sum(gamma - gamma**2)
    share = np.bincount(found, minlength=5)[1:] / 5000
    assert np.all(np.abs(share - chance) < 5 * np.sqrt(chance / 5000))


def test_two_phases_choose_the_flattest_point_and_count_every_value():
    calls = []

    def f(x):
        jax.debug.callback(lambda _: calls.append(0), x[0])
        return jnp.sum((x - 2) ** 2) / 2

    box = transforms.project(lambda p: jnp.clip(p, 0.0, 1.0))
    out = extras.two_phase(
        f, jnp.zeros(3), 0.2, 30, smoothness=1.0, num_directions=2, prox=box, key=1
    )
    jax.effects_barrier()
    assert out.num_evaluations == len(calls)
    assert np.all((out.stop >= 1) & (out.stop <= 30))
    assert out.chosen == np.argmin(out.gradient_norm)
    np.testing.assert_array_less(out.params, 1 + 1e-6)


def test_proximal_steps_keep_dtypes_and_end_where_they_say():
    x = jnp.array([0.5, -0.02, 3.0], jnp.bfloat16)
    tx = transforms.prox_l1(lambda count: 0.1 * (count + 1).astype(jnp.float32), 1.0)
    zeros, state = jnp.zeros_like(x), tx.init(x)
    updates, state = tx.update(zeros, state, x)
    assert updates.dtype == x.dtype
    np.testing.assert_allclose(np.float32(x + updates), [0.4, 0, 2.9], rtol=1e-2)
    updates, _ = tx.update(zeros, state, x)
    np.testing.assert_allclose(np.float32(x + updates), [0.3, 0, 2.8], rtol=1e-2)
    with pytest.raises(ValueError, match="params"):
        tx.update(zeros, state)
    with pytest.raises(TypeError, match="projection: got int"):
        transforms.project(3)
