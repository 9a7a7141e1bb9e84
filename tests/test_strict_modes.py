"""JAX's strict modes, in which users look for faults of their own, and platforms not at hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from counting import OF_EACH_KIND
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import zosah_jax
from zosah_jax.checks import is_typed_key
from zosah_jax.faces.transformation import zeroth_order_states
from zosah_jax.methods import METHODS

of_every_method = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in METHODS]
)
KINDS = (
    "zosah",
    "zopqn",
    "quadratic_regression",
    "mezo",
)  # by coordinates, of its own x, at random
CENTRE = np.arange(4.0, dtype=np.float32)


def bowl(x):
    return jnp.sum((x - jnp.asarray(CENTRE, x.dtype)) ** 2)


def make(name):
    return getattr(zosah_jax, name)(0.01 if name == "zovh" else 0.1)  # its steps are over 0.1


def update(tx, x, state, f=bowl):
    updates, state = tx.update(x, state, x, value_fn=f)
    return optax.apply_updates(x, updates), state


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.xdist_group(n)) for n in ("zosah", "zopqn", "mezo")],
)
@pytest.mark.parametrize("what", ["update", "minimize", "vmap"])
def test_no_traced_value_leaks(name, what):
    tx, x = make(name), jnp.zeros(4)

    def run(x):
        return zosah_jax.minimize(bowl, x, tx, budget=60)

    with jax.checking_leaks():
        if what == "update":
            jax.eval_shape(functools.partial(update, tx), x, tx.init(x))
        elif what == "minimize":
            jax.eval_shape(run, x)
        else:
            jax.eval_shape(jax.vmap(run), jnp.zeros((2, 4)))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in OF_EACH_KIND]
)
def test_nothing_is_nan_where_no_value_is(name):
    check_nan(name)


def check_nan(name):
    """Under `jax_debug_nans` a run goes on until a value of the user's own is NaN."""
    with jax.debug_nans(True):
        tx, x = make(name), jnp.zeros(4)
        state, step = tx.init(x), jax.jit(functools.partial(update, tx))
        while zosah_jax.num_evaluations(state) < 60:
            x, state = step(x, state)
            (seen,) = zeroth_order_states(state)
            assert np.isfinite(seen.info.base_value)
        if name in OF_EACH_KIND:  # the loop around is the same for all
            found = zosah_jax.minimize(bowl, jnp.zeros(4), tx, budget=60)
            assert found.value < bowl(jnp.zeros(4))
    assert bowl(x) < bowl(jnp.zeros(4))


@pytest.mark.parametrize(
    ("name", "x64"),
    [
        pytest.param(name, x64, marks=pytest.mark.xdist_group(name))
        for x64, names in ((False, METHODS), (True, KINDS))
        for name in names
    ],
)
def test_an_update_lowers_for_accelerators(name, x64):
    with jax.enable_x64(x64):
        tx, x = make(name), jnp.zeros(4, float if x64 else jnp.float32)

        def step(x):
            x, state = update(tx, x, tx.init(x))
            leaves = jax.tree.leaves(state)
            return x, [jax.random.key_data(leaf) if is_typed_key(leaf) else leaf for leaf in leaves]

        exported = jax.export.export(jax.jit(step), platforms=["cuda", "tpu"])(x)
        assert exported.platforms == ("cuda", "tpu")
        assert exported.out_avals[0].dtype == x.dtype


@of_every_method
@pytest.mark.parametrize("x64", [False, True], ids=["float32", "float64"])
def test_no_dtype_is_promoted_by_chance(name, x64):
    """Leaves of any dtype, in JAX's strict and in its standard way; the state is alike in both."""
    with jax.enable_x64(x64):
        x = {
            "half": jnp.zeros((), jnp.float16),
            "brain": jnp.zeros((1, 2), jnp.bfloat16),
            "single": jnp.zeros(2, jnp.float32),
            "default": jnp.zeros(3, float if x64 else jnp.float32),
        }

        def f(x):
            parts = [jnp.sum((leaf.astype(jnp.float32) - 1) ** 2) for leaf in jax.tree.leaves(x)]
            return sum(parts[1:], parts[0])

        tx, seen = make(name), []
        for promotion, ranks in (("strict", "raise"), ("standard", "allow")):
            with jax.numpy_dtype_promotion(promotion), jax.numpy_rank_promotion(ranks):
                state = jax.eval_shape(tx.init, x)
                out = jax.eval_shape(functools.partial(update, tx, f=f), x, state)
                assert describe(out) == describe((x, state))
                seen.append(describe(out))
        assert seen[0] == seen[1]
        assert not any(jnp.result_type(leaf) == jnp.bfloat16 for leaf in jax.tree.leaves(state))


def describe(tree):
    return [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]


@of_every_method
def test_minimize_is_strict_too(name):
    """In two stages of a run: what the loop carries, and what it returns."""
    x = {"brain": jnp.zeros((1, 2), jnp.bfloat16), "single": jnp.zeros(3)}

    def run(x):
        return zosah_jax.minimize(
            lambda x: bowl(jnp.append(x["single"], x["brain"][0, 0])), x, make(name), budget=99
        )

    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        out = jax.eval_shape(run, x)
    assert describe(out.last_params) == describe(x)
    assert {leaf.dtype for leaf in jax.tree.leaves(out.params)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", [pytest.param("zosah", marks=pytest.mark.xdist_group("zosah"))])
def test_without_jit_it_is_the_same_run(name):
    x0 = np.zeros(4, np.float32)
    ends = []
    for mode in (functools.partial(jax.disable_jit, False), jax.disable_jit):
        with mode():
            ends.append(zosah_jax.minimize(bowl, x0, make(name), budget=10))
    assert ends[0].num_evaluations == ends[1].num_evaluations
    np.testing.assert_allclose(ends[0].params, ends[1].params, rtol=1e-2)
    assert ends[1].value < bowl(x0)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.xdist_group(n)) for n in KINDS])
def test_keys_of_the_new_style_by_default_change_nothing(name):
    """Under `jax_enable_custom_prng`, `PRNGKey` makes typed keys: they are taken, too."""
    ends = []
    for enabled in (False, True):
        with jax.enable_custom_prng(enabled):
            key = jax.random.PRNGKey(3) if enabled else jax.random.key(3)
            assert is_typed_key(key)
            ends.append(zosah_jax.minimize(bowl, jnp.zeros(4), make(name), budget=60, key=key))
    np.testing.assert_array_equal(ends[0].last_params, ends[1].last_params)
    assert ends[1].value < bowl(jnp.zeros(4))


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.xdist_group(n)) for n in KINDS])
def test_data_may_be_on_an_explicit_mesh(name):
    """Types that carry their sharding: data that is shared out, parameters that are everywhere."""
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        shared = NamedSharding(mesh, PartitionSpec("batch"))
        data = jax.device_put(np.eye(4, dtype=np.float32)[:, :4], shared)
        assert jax.typeof(data).sharding.spec == PartitionSpec("batch", None)
        out = zosah_jax.minimize(
            lambda x: jnp.mean((data @ x - 1) ** 2), jnp.zeros(4), make(name), budget=60
        )
    assert out.value < 1


@pytest.mark.parametrize("mode", ["float64", "debug_nans", "custom_prng", "strict"])
def test_residuals_and_forward_passes_in_these_modes(mode):
    way = {
        "float64": functools.partial(jax.enable_x64, True),
        "debug_nans": functools.partial(jax.debug_nans, True),
        "custom_prng": functools.partial(jax.enable_custom_prng, True),
        "strict": functools.partial(jax.numpy_dtype_promotion, "strict"),
    }[mode]
    with way():
        fit = zosah_jax.least_squares(lambda x: x - CENTRE.astype(x.dtype), jnp.ones(4), budget=12)
        losses_fn = lambda w, x: jnp.square(x @ w - 1)  # noqa: E731
        estimate = jax.jit(zosah_jax.forward.value_and_grad(losses_fn))
        loss, gradient = estimate(jnp.zeros(3), 0, jnp.eye(3))
    dtype = np.float64 if mode == "float64" else np.float32
    assert fit.value < 1e-9
    assert fit.params.dtype == gradient.dtype == dtype
    assert float(loss) == 1


def test_the_host_runs_in_strict_modes():
    def on_the_host(x):
        return float(((x - CENTRE) ** 2).sum())

    for mode in (
        functools.partial(jax.numpy_dtype_promotion, "strict"),
        functools.partial(jax.numpy_rank_promotion, "raise"),
        functools.partial(jax.debug_nans, True),
    ):
        with mode():
            out = zosah_jax.minimize(
                on_the_host,
                np.zeros(4),
                zosah_jax.methods.zosah(),
                budget=40,
                host=zosah_jax.Host(),
                noise=0.0,
            )
        assert out.value < 1e-3
        assert not jax.config.jax_enable_x64
