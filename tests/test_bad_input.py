"""Errors name the argument, what came and what is wanted."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zosah_jax
import zosah_jax as peer
from zosah_jax import (
    as_optax,
    automatic,
    grouped,
    in_chunks,
    methods,
    minimize,
    rspg,
    scale_by_zosah,
    sharded,
    zosah,
)
from zosah_jax.evaluate import autotune
from zosah_jax.extras import zo_grasp_densities

X = np.ones(4, np.float32)


def one_device():
    return jax.sharding.Mesh(np.array(jax.devices()[:1]), ("probes",))


def four_devices():
    """Shape of a mesh; nothing is run on it."""
    return jax.sharding.Mesh(np.array(4 * jax.devices()[:1]), ("probes",))


def explicit():
    return jax.make_mesh((1,), ("probes",), axis_types=(jax.sharding.AxisType.Explicit,))


def f(x):
    return jnp.sum(x**2)


def updated(*args, make=scale_by_zosah, **extra):
    tx = make()
    return jax.eval_shape(lambda: tx.update(X, tx.init(X), *args, **extra))


def with_value(value):
    return lambda: updated(X, value_fn=lambda x: value)


def started(params, **options):
    return lambda: scale_by_zosah(**options).init(params)


def made(make, *args, **options):
    return lambda: make(*args, **options)


def spent(budget, method=None, x0=X, fun=f, **options):
    return lambda: minimize(fun, x0, method, budget=budget, **options)


def relu(x):
    return jnp.maximum(x, 0)


CASES = {
    # params
    "params None": (lambda: updated(None, value_fn=f), ValueError, "params", "None"),
    "params left out": (lambda: updated(value_fn=f), ValueError, "params", "None"),
    "params None at the start": (started(None), ValueError, "params", "None"),
    "integer params": (started({"w": X, "n": jnp.arange(2)}), TypeError, "params", "int32", "'n'"),
    "complex params": (started(jnp.ones(2, jnp.complex64)), TypeError, "params", "complex64"),
    "an int among params": (started({"w": X, "n": 3}), TypeError, "params", "int32", "'n'"),
    "a name among params": (started({"w": X, "act": "relu"}), TypeError, "params", "str", "'act'"),
    "bytes among params": (started([X, b"relu"]), TypeError, "params", "bytes", "[1]"),
    "a function among params": (
        started({"w": X, "act": [relu]}),
        TypeError,
        "params",
        "function",
        "['act'][0]",
    ),
    "a PRNG key among params": (
        started({"w": X, "key": jax.random.key(0)}),
        TypeError,
        "params",
        "key",
        "['key']",
    ),
    "bool params": (started([X, True]), TypeError, "params", "bool", "[1]"),
    "no leaves": (started({}), ValueError, "params", "without leaves"),
    "no elements": (started({"w": jnp.zeros((0, 3))}), ValueError, "params", "without elements"),
    "x0 None": (spent(50, x0=None), ValueError, "None"),
    "x0 of ints": (spent(50, x0=jnp.arange(3)), TypeError, "int32"),
    "x0 empty": (spent(50, x0=()), ValueError, "without leaves"),
    "a name in x0": (spent(50, x0={"w": X, "act": "relu"}), TypeError, "params", "str", "'act'"),
    "an int in x0": (spent(50, x0={"w": X, "n": 3}), TypeError, "params", "int32", "'n'"),
    "a function in x0": (
        spent(50, x0={"w": X, "act": relu}, host=zosah_jax.Host()),
        TypeError,
        "params",
        "function",
        "'act'",
    ),
    # value_fn
    "value_fn left out": (lambda: updated(X), ValueError, "value_fn", "nothing"),
    "value_fn a number": (
        lambda: updated(X, value_fn=3.0),
        TypeError,
        "value_fn",
        "float",
        "callable",
    ),
    "value of shape (4,)": (with_value(X), ValueError, "value_fn", "(4,)", "scalar"),
    "value of shape (1,)": (with_value(X[:1]), ValueError, "value_fn", "(1,)", "scalar"),
    "integer value": (with_value(jnp.array(1)), TypeError, "value_fn", "int32", "float"),
    "bool value": (with_value(jnp.array(True)), TypeError, "value_fn", "bool", "float"),
    "complex value": (with_value(jnp.array(1j)), TypeError, "value_fn", "complex64", "float"),
    "value with an auxiliary": (
        with_value((jnp.array(1.0), X)),
        TypeError,
        "value_fn",
        "tuple",
        "scalar",
    ),
    "no value": (with_value(None), TypeError, "value_fn", "None", "scalar"),
    "fun not callable": (spent(50, fun=3), TypeError, "fun", "int", "callable"),
    "fun of integers": (spent(50, fun=lambda x: jnp.array(1)), TypeError, "int32", "float"),
    # dimensions
    "subspace_dim odd": (started(X, subspace_dim=3), ValueError, "subspace_dim", "3", "even"),
    "subspace_dim 0": (started(X, subspace_dim=0), ValueError, "subspace_dim", "0", "2"),
    "subspace_dim -2": (started(X, subspace_dim=-2), ValueError, "subspace_dim", "-2", "2"),
    "subspace_dim above d": (started(X, subspace_dim=6), ValueError, "subspace_dim", "6", "d = 4"),
    "subspace_dim 2.0": (started(X, subspace_dim=2.0), TypeError, "subspace_dim", "2.0", "int"),
    "one parameter": (started(X[:1]), ValueError, "params", "1", "at least 2"),
    "period 0": (made(zosah, 1.0, period=0), ValueError, "period", "0", "at least 1"),
    "period -1": (made(zosah, 1.0, period=-1), ValueError, "period", "-1", "at least 1"),
    "period 2.5": (made(zosah, 1.0, period=2.5), TypeError, "period", "2.5", "int"),
    "period True": (made(zosah, 1.0, period=True), TypeError, "period", "True", "int"),
    "num_directions 0": (made(rspg, 0.1, 0), ValueError, "num_directions", "0", "at least 1"),
    "num_directions 1.5": (made(rspg, 0.1, 1.5), TypeError, "num_directions", "1.5", "int"),
    "num_directions None": (made(rspg, 0.1, None), TypeError, "num_directions", "None", "int"),
    # lengths and weights
    **{
        f"{make.__name__} {name} {value}": (
            made(make, 1.0, **{name: value}),
            error,
            name,
            str(value),
            "positive number",
        )
        for make, names in (
            (zosah, ("smoothing", "radius", "eigenvalue_floor", "ridge")),
            (rspg, ("smoothing",)),
        )
        for name in names
        for value, error in (
            (0.0, ValueError),
            (-1, ValueError),
            (float("nan"), ValueError),
            (float("inf"), ValueError),
            ("auto", TypeError),
        )
    },
    "smoothing a vector": (
        made(zosah, 1.0, smoothing=X),
        TypeError,
        "smoothing",
        "positive number",
    ),
    "smoothing the name of a dtype": (
        made(zosah, 1.0, smoothing="f4"),
        TypeError,
        "smoothing",
        "'f4'",
        "positive number",
    ),
    "reading unknown": (
        made(zosah, 1.0, reading="x"),
        ValueError,
        "reading",
        "'x'",
        "'measured'",
        "'paper'",
    ),
    "learning_rate None": (made(zosah, None), TypeError, "learning_rate", "None", "schedule"),
    # the peers
    **{
        f"{make.__name__} {name} {value}": (made(make, 1.0, **{name: value}), error, name, said)
        for make, name, value, error, said in (
            (peer.mezo, "num_samples", 0, ValueError, "at least 1"),
            (peer.mezo, "smoothing", None, TypeError, "positive number"),
            (peer.mezo_bcd, "block_order", "sideways", ValueError, "'reshuffled'"),
            (peer.mezo_bcd, "blocks", "atom", ValueError, "'leaf'"),
            (peer.fzoo, "num_directions", 1, ValueError, "at least 2"),
            (peer.fzoo, "distribution", "uniform", ValueError, "'rademacher'"),
            (peer.hizoo, "scaling", "root", ValueError, "'inverse_root'"),
            (peer.hizoo, "hessian_smoothing", 0.0, ValueError, "positive number"),
            (peer.zoha, "hessian", "dense", ValueError, "'gauss'"),
            (peer.zoha, "descent_check", -1, ValueError, "at least 1"),
            (peer.zoha, "period", 0, ValueError, "at least 1"),
            (peer.zo_rsn, "differences", "backward", ValueError, "'central'"),
            (peer.deepzero, "density", 1.5, ValueError, "at most 1"),
            (peer.deepzero, "maskable", 3, TypeError, "callable"),
        )
    },
    "densities of another tree": (
        lambda: peer.deepzero(1.0, {"a": 0.5}).init({"b": X}),
        ValueError,
        "density",
    ),
    "more dimensions than there are": (
        lambda: peer.zo_rsn(1.0, 5).init(X),
        ValueError,
        "subspace_dim",
        "5",
        "d = 4",
    ),
    "nothing to mask": (
        lambda: zo_grasp_densities(f, X),
        ValueError,
        "params",
        "maskable",
    ),
    # key and evaluator
    "key 1.5": (made(zosah, 1.0, key=1.5), TypeError, "key", "1.5", "int or a typed key"),
    "key None": (made(rspg, 1.0, key=None), TypeError, "key", "None", "int or a typed key"),
    "key of old style": (
        made(rspg, 1.0, key=np.zeros(2, np.uint32)),
        TypeError,
        "key",
        "typed key",
    ),
    "two keys": (
        made(zosah, 1.0, key=jax.random.split(jax.random.key(0))),
        ValueError,
        "key",
        "(2,)",
    ),
    "method a number": (made(as_optax, 3), TypeError, "method", "int", "zosah_jax.methods"),
    "method its class": (made(as_optax, methods.zosah), TypeError, "method", "wanted a method"),
    "evaluator": (made(rspg, 1.0, evaluator=4), TypeError, "evaluator", "int"),
    "in_chunks 0": (made(in_chunks, 0), ValueError, "size", "0", "at least 1"),
    "in_chunks 2.0": (made(in_chunks, 2.0), TypeError, "size", "2.0", "int"),
    "chunk 0": (made(grouped, 0), ValueError, "chunk", "0", "at least 1"),
    "max_groups 1.5": (made(grouped, max_groups=1.5), TypeError, "max_groups", "1.5", "int"),
    "memory_limit 0": (made(automatic, 0), ValueError, "memory_limit", "0", "at least 1"),
    # meshes
    "mesh a list": (made(sharded, [1]), TypeError, "mesh", "list", "Mesh"),
    "explicit mesh": (lambda: sharded(explicit()), ValueError, "mesh", "explicit", "Auto"),
    "no such axis": (lambda: sharded(one_device(), "rows"), ValueError, "axis", "'rows'", "probes"),
    "chunk undivided": (
        lambda: sharded(four_devices(), chunk=6),
        ValueError,
        "chunk",
        "6",
        "multiple of the 4",
    ),
    "chunk and evaluator": (
        lambda: sharded(one_device(), chunk=1, evaluator=in_chunks(1)),
        ValueError,
        "chunk",
        "evaluator",
    ),
    "evaluator a name": (
        lambda: sharded(one_device(), evaluator="grouped"),
        TypeError,
        "evaluator",
        "str",
    ),
    # blocks
    "blocks unknown": (made(scale_by_zosah, blocks="row"), ValueError, "blocks", "'row'", "layer"),
    "block_order unknown": (
        made(scale_by_zosah, blocks="leaf", block_order="up"),
        ValueError,
        "block_order",
        "'up'",
        "cyclic",
    ),
    "block too small": (
        started({"w": X, "b": X[:2]}, subspace_dim=4, blocks="leaf"),
        ValueError,
        "blocks",
        "'b'",
        "2 parameters",
        "at least 4",
    ),
    "blocks of numbers": (started({"w": X}, blocks={"w": 3}), TypeError, "blocks", "names"),
    "blocks of another tree": (started({"w": X}, blocks={"v": "x"}), ValueError, "blocks", "like"),
    # minimize
    "budget 0": (spent(0), ValueError, "budget", "0", "at least 1"),
    "budget -5": (spent(-5), ValueError, "budget", "-5", "at least 1"),
    "budget 10.5": (spent(10.5), TypeError, "budget", "10.5", "int"),
    "budget None": (spent(None), TypeError, "budget", "None", "int"),
    "budget below a step": (spent(5, rspg(0.1, 4)), ValueError, "budget", "5", "at least 6"),
    "budget below a switching step": (
        spent(11, zosah(1.0, 4)),
        ValueError,
        "budget",
        "got 11",
        "at least 12",
        "takes 11",
    ),
    "budget of 33 bits": (spent(2**32, rspg(0.1)), ValueError, "budget", "4294967296", "2**32"),
    "target a word": (spent(50, target="low"), TypeError, "target", "'low'", "number"),
    "method a word": (spent(50, "zosah"), TypeError, "method", "str", "zosah_jax.methods"),
    "method of gradients": (spent(50, optax.sgd(0.1)), TypeError, "method", "optax", "post="),
    "noise negative": (spent(50, noise=-1.0), ValueError, "noise", "-1.0", "standard deviation"),
    "noise infinite": (spent(50, noise=np.inf), ValueError, "noise", "inf", "standard deviation"),
    "noise a word": (spent(50, noise="low"), TypeError, "noise", "'low'", "number"),
    "noise to be measured": (
        spent(50, noise="estimate"),
        ValueError,
        "noise",
        "'estimate'",
        "host",
    ),
    "callback no callable": (spent(50, callback=3), TypeError, "callback", "int", "callable"),
    "post no transformation": (spent(50, rspg(0.1), post=3), TypeError, "post", "int", "optax"),
    "host no Host": (spent(50, host=True), TypeError, "host", "bool", "zosah_jax.Host"),
    "fun that JAX cannot trace": (
        spent(50, fun=lambda x: float(x[0])),
        TypeError,
        "fun",
        "trace",
        "host=zosah_jax.Host()",
    ),
    "fun of NumPy": (
        spent(50, fun=lambda x: np.asarray(x).sum()),
        TypeError,
        "fun",
        "trace",
        "host=zosah_jax.Host()",
    ),
    "no candidates": (lambda: autotune(f, X, candidates={}), ValueError, "candidates", "none"),
    "key a word": (spent(50, key="i4"), TypeError, "key", "'i4'", "int or a typed key"),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_by_name(case):
    call, error, *parts = CASES[case]
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert type(caught.value) is error
    assert not [part for part in parts if part not in message], message
    assert "wanted" in message
    assert "got" in message


def test_least_budget_is_enough():
    assert minimize(f, X, rspg(0.1, 4), budget=6).num_evaluations == 6


def test_checks_that_need_a_value_are_left_out_where_it_is_traced():
    def started(number, count):
        zo = zosah(number, 2, count, number, number, number, ridge=number, key=count)
        peer = rspg(number, smoothing=number, key=count)
        return [tx.update(X, tx.init(X), X, value_fn=f) for tx in (zo, peer)]

    jax.eval_shape(started, jnp.array(-0.1), jnp.array(-1, jnp.int32))


@pytest.mark.parametrize("make", [rspg, zosah])
def test_a_traced_dimension_names_static_args(make):
    dimension = {"num_directions": 2} if make is rspg else {"subspace_dim": 2}
    (name,) = dimension
    tx = optax.inject_hyperparams(make)(learning_rate=0.1, **dimension)
    with pytest.raises(TypeError, match=f"{name}: got .*wanted .*static_args"):
        jax.eval_shape(lambda x: tx.update(x, tx.init(x), x, value_fn=f), X)


def test_a_traced_budget_is_refused_by_name():
    with pytest.raises(TypeError, match="budget: got a traced value, wanted"):
        jax.eval_shape(lambda budget: minimize(f, X, budget=budget), jnp.array(50))


def test_a_traced_start_still_gets_the_least_budget():
    with pytest.raises(ValueError, match="budget: got 3, wanted at least 6"):
        jax.eval_shape(lambda x: minimize(f, x, rspg(0.1, 4), budget=3), X)


def test_without_the_helper_hidden_parameters_are_named():
    tx = optax.masked(zosah_jax.scale_by_rspg(), {"a": True, "b": False})
    params = {"a": X, "b": X}
    with pytest.raises(ValueError, match=r"params: .*MaskedNode.*fill_masked"):
        tx.update(params, tx.init(params), params, value_fn=lambda p: f(p["a"]) + f(p["b"]))
