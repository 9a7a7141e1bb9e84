"""Convolutions in forward passes: noise that is an outer product, and kernels as matrices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from forward_models import B, conv, early_convolution, estimates, normal

from zosah_jax.forward import factors, products, taps, value_and_grad
from zosah_jax.forward.estimate import Options, default_chunks, outline, prepared
from zosah_jax.forward.program import trace

SIZE = 4
CASES = {
    "one axis": ((6, 2), (3, 2, 4), ("NWC", "WIO", "NWC"), {"padding": "SAME"}),
    "strides": ((7, 6, 2), (3, 2, 2, 3), ("NHWC", "HWIO", "NHWC"), {"strides": (2, 3)}),
    "channels first": ((2, 5, 6), (3, 2, 2, 3), ("NCHW", "OIHW", "NCHW"), {"padding": "SAME"}),
    "examples last": ((5, 6, 2), (3, 3, 2, 3), ("HWCN", "HWIO", "HWNC"), {"padding": "SAME"}),
    "holes": ((4, 5, 2), (2, 3, 2, 3), ("NHWC", "HWIO", "NHWC"), {
        "lhs_dilation": (2, 1), "rhs_dilation": (1, 2), "padding": ((1, 2), (-1, 3)),
    }),
    "three axes": ((3, 4, 3, 2), (2, 2, 2, 2, 2), ("NDHWC", "DHWIO", "NDHWC"), {}),
}  # fmt: skip


def convolved(spec, options):
    strides = options.get("strides", (1,) * (len(spec[0]) - 2))
    rest = {"padding": "VALID", **options, "strides": None}
    del rest["strides"]

    def convolve(x, w):
        return jax.lax.conv_general_dilated(x, w, strides, dimension_numbers=spec, **rest)

    return convolve


def example(name):
    """The program of a convolution, its operation, and operands as they enter it."""
    shape, kernel, spec, options = CASES[name]
    if spec[1][0] == "O":
        kernel = (kernel[-1], kernel[-2], *kernel[:-2])
    convolve, x, w = convolved(spec, options), normal(0, SIZE, *shape), normal(1, *kernel)
    place = spec[0].index("N")

    def losses(w, x):
        out = convolve(jnp.moveaxis(x, 0, place), w)
        return jnp.moveaxis(out, spec[2].index("N"), 0).reshape(x.shape[0], -1).sum(1)

    program = trace(losses, w, (x,), SIZE)
    (op,) = (op for op in program.ops if op.name == "conv_general_dilated")
    return convolve, program, op, jnp.moveaxis(x, 0, place), w


@pytest.mark.parametrize("name", CASES)
def test_noise_of_a_kernel_is_an_outer_product(name, x64):
    convolve, program, op, x, w = example(name)
    spec = op.eqn.params["dimension_numbers"]
    parts = [normal(2 + n, SIZE, size) for n, size in enumerate(w.shape)]
    found = factors.convolved(program, op, x, parts)
    for n in range(SIZE):
        kernel = functools.reduce(jnp.multiply.outer, [part[n] for part in parts])
        wanted = convolve(jax.lax.index_in_dim(x, n, spec.lhs_spec[0]), kernel)
        got = jax.lax.index_in_dim(found, n, spec.out_spec[0])
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("few", [0, 16])
@pytest.mark.parametrize("name", CASES)
def test_convolution_as_one_product_and_its_transpose(name, few, x64, monkeypatch):
    monkeypatch.setattr(taps, "_FEW", few)  # along one axis after the other, or at once
    convolve, _, op, x, w = example(name)
    assert taps.applies(op)
    one = functools.partial(taps.convolved, op, x)
    np.testing.assert_allclose(one(w), convolve(x, w), rtol=1e-9, atol=1e-9)
    back = normal(9, *convolve(x, w).shape)
    found, wanted = (
        jax.linear_transpose(f, w)(back)[0] for f in (one, functools.partial(convolve, x))
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(5,), (3, 5)])
def test_product_by_rows_and_its_transpose(shape, x64):
    x, w = normal(0, SIZE, *shape), normal(1, 5, 2)
    program = trace(lambda w, x: (x @ w).reshape(x.shape[0], -1).sum(1), w, (x,), SIZE)
    (op,) = (op for op in program.ops if op.name == "dot_general")
    assert products.applies(op)
    one = functools.partial(products.multiplied, op, x)
    np.testing.assert_allclose(one(w), x @ w, rtol=1e-12)
    back = normal(2, *(x @ w).shape)
    wanted = jnp.tensordot(x.reshape(-1, 5), back.reshape(-1, 2), (0, 0))
    np.testing.assert_allclose(jax.linear_transpose(one, w)(back)[0], wanted, rtol=1e-12)


def test_what_is_no_product_of_rows():
    w, x = jnp.ones((2, 5)), jnp.ones((SIZE, 5))
    for losses in (
        lambda w, x: jnp.einsum("bi,oi->b", x, w),
        lambda w, x: jnp.einsum("bi,bij->b", x, jnp.einsum("bi,oj->bij", x, w)),
    ):
        ops = trace(losses, w, (x,), SIZE).ops
        assert not any(products.applies(op) for op in ops)


def test_an_outer_product_has_the_error_of_independent_signs(x64):
    """Of which each entry's variance is the squared length of the rest of the gradient."""
    losses = lambda w, x: (conv(x, w) * jnp.cos(x.sum(3, keepdims=True))).sum((1, 2, 3))  # noqa: E731
    w, x = normal(0, 2, 2, 1, 2), normal(4, B, 5, 5, 1)
    _, found = estimates(losses, w, (x,), smoothing=1e-2, direct=0.0)
    slopes = jax.jacobian(losses)(w, x)
    wanted = (w.size - 1) * jnp.square(slopes).sum() / B**2
    np.testing.assert_allclose(found.var(0).sum(), wanted, rtol=0.1)


def test_no_kernel_for_each_example_and_no_convolution_by_groups():
    losses, params, batch, _ = early_convolution()
    with jax.numpy_rank_promotion("allow"):
        step = jax.jit(value_and_grad(losses)).lower(params, 0, batch).compile().as_text()
    convolutions = [line for line in step.splitlines() if " convolution(" in line]
    assert all("feature_group_count" not in line for line in convolutions)


def test_a_batch_is_taken_in_parts_where_values_outweigh_parameters():
    def parts(width, size, losses=lambda p, x: jnp.tanh(x @ p["w"]).sum(1)):
        params, x = {"w": jnp.ones((1, width))}, jnp.ones((size, 1))
        wide, data = prepared(params, (x,))
        return default_chunks(outline(losses, wide, data, Options(1e-2, False, 1, 0.0)))

    assert [parts(2048, n) for n in (1, 31, 66, 97, 128, 512, 1437)] == [1, 1, 2, 1, 4, 8, 3]
    assert [parts(width, 128) for width in (1023, 1024)] == [1, 4]
    normed = lambda p, x: jnp.square(x @ p["w"] - (x @ p["w"]).mean(0, keepdims=True)).sum(1)  # noqa: E731
    assert parts(2048, 128, normed) == 1
    narrow = lambda p, x: jnp.tanh(jnp.tile(x, (1, 64)) @ p["w"].reshape(64, -1)).sum(1)  # noqa: E731
    assert [parts(64 * width, 128, narrow) for width in (32, 1024)] == [1, 1]


def test_parts_of_a_batch_are_the_default(x64):
    losses = lambda p, x: jnp.square(jnp.tanh(x @ p)).sum(1)  # noqa: E731
    w, x = normal(0, 1, 1024), normal(1, 128, 1)
    found = [value_and_grad(losses, chunk=chunk)(w, 0, x)[1] for chunk in (None, 32, 128, 500)]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[2], found[3])
    assert jnp.abs(found[0] - found[2]).max() > 0
