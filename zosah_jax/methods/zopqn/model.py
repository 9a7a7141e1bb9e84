r"""The quadratic model, what is not known of it, and how every value paid for corrects it.

Around the current point x, f(x + s) = f(x) + g's + s'Bs / 2. Neither g nor B is known; both are
Gaussian, g with covariance P, and B with

.. math:: \mathrm{cov}(B_{ij}, B_{kl}) = (V_{ik} V_{jl} + V_{il} V_{jk}) / 2 + T M_{ij} M_{kl},

where M = sqrt(W) sqrt(W)' - diag(W), W the size of the diagonal: one correlation that all
coordinates have in common, of variance T.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

SPREAD = 0.3  # sigma: standard deviation of B_ij over sqrt(B_ii B_jj) before anything is seen
_COMMON = 0.3  # standard deviation of the common correlation before anything is seen
_FORGET = 0.3  # most of V that a sweep over all coordinates forgets
_SMALLEST = 1e-3  # least entry of W over its largest: where f is flat, x would run away
_FARTHEST = 100.0  # units


class Model(NamedTuple):
    """A quadratic, and how far it is to be trusted. D coordinates.

    Attributes:
        gradient: g, shape (D,).
        doubt: P, covariance of g, shape (D, D).
        hessian: B, shape (D, D).
        spread: V, shape (D, D).
        scale: W, size of the diagonal of B, shape (D,); 0 where nothing is known.
        correlation: mean of B_ij over sqrt(W_i W_j), scalar.
        correlation_doubt: T, variance of that, scalar.
        surprise: mean square of standardised errors of predicted gradients, scalar.
        seen_at: x at which each coordinate was last measured, rows of shape (D, D).
        seen: derivative that was measured there, shape (D,).
    """

    gradient: jax.Array
    doubt: jax.Array
    hessian: jax.Array
    spread: jax.Array
    scale: jax.Array
    correlation: jax.Array
    correlation_doubt: jax.Array
    surprise: jax.Array
    seen_at: jax.Array
    seen: jax.Array


def empty_model(dim: int, dtype: jax.typing.DTypeLike, correlation: jax.Array | float = 0) -> Model:
    """Model of D coordinates of which none is known."""

    def zeros(*shape: int) -> jax.Array:
        return jnp.zeros(shape, dtype)

    return Model(
        gradient=zeros(dim),
        doubt=zeros(dim, dim),
        hessian=zeros(dim, dim),
        spread=zeros(dim, dim),
        scale=zeros(dim),
        correlation=zeros() + correlation,
        correlation_doubt=zeros() + _COMMON**2,
        surprise=jnp.ones((), dtype),
        seen_at=zeros(dim, dim),
        seen=zeros(dim),
    )


def known(model: Model) -> jax.Array:
    """Which coordinates have been measured, bool, shape (D,)."""
    return model.scale > 0


def meet(
    model: Model,
    index: jax.Array,
    position: jax.Array,
    slope: jax.Array,
    curvature: jax.Array,
    least: jax.Array,
    came: jax.Array,
) -> Model:
    """The model with a coordinate seen for the first time.

    Args:
        model: the model.
        index: the coordinate, int32 scalar.
        position: x, shape (D,).
        slope: derivative along the coordinate; 0 where it is missing.
        curvature: second derivative along it.
        least: size that W has at least, where the curvature is smaller.
        came: whether it was measured now; False changes nothing.

    Returns:
        A `Model`; off its diagonal, B gets the common correlation.
    """
    least = jnp.maximum(least, _SMALLEST * jnp.max(model.scale))
    size = jnp.maximum(jnp.abs(curvature), least)
    row = model.correlation * jnp.sqrt(model.scale) * jnp.sqrt(size)
    row = row.at[index].set(curvature)
    spread = jnp.zeros_like(row).at[index].set(SPREAD * size)

    def bordered(matrix: jax.Array, border: jax.Array) -> jax.Array:
        return matrix.at[index, :].set(border).at[:, index].set(border)

    met = model._replace(
        gradient=model.gradient.at[index].set(slope),
        hessian=bordered(model.hessian, row),
        spread=bordered(model.spread, spread),
        scale=model.scale.at[index].set(size),
        seen_at=model.seen_at.at[index].set(position),
        seen=model.seen.at[index].set(slope),
    )
    return jax.tree.map(lambda new, old: jnp.where(came, new, old), met, model)


def learn_derivative(
    model: Model, index: jax.Array, position: jax.Array, slope: jax.Array, noise: jax.Array
) -> tuple[Model, jax.Array]:
    """The model corrected by one derivative g_i(x): an equation on row i of B, and one on g.

    Since coordinate i was last measured, at x - s, its derivative has changed by (B s)_i.

    Args:
        model: the model, at x.
        index: i, int32 scalar.
        position: x, shape (D,).
        slope: the derivative; NaN changes nothing.
        noise: variance of its error.

    Returns:
        The model, and the square of the standardised error of the prediction (NaN: none).
    """
    dim = position.shape[0]
    step = position - model.seen_at[index]
    along, column = model.spread @ step, model.spread[:, index]
    common = _common_product(model, step)[index]
    share = model.correlation_doubt * common
    reach = step @ along
    own = (model.spread[index, index] * reach + along[index] ** 2) / 2
    variance = own + common * share + 2 * noise
    error = slope - model.seen[index] - model.hessian[index] @ step
    told = jnp.isfinite(slope) & (variance > 0) & (reach > 0)
    gain = jnp.where(told, error / jnp.where(told, variance, 1), 0)
    outer = jnp.outer(column, along)
    model = _correlated(
        model._replace(hessian=model.hessian + gain / 2 * (outer + outer.T)), gain * share
    )
    part = jnp.where(told, min(1, 2 / dim) * own / jnp.where(told, variance, 1), 0)
    learnt = model._replace(
        spread=model.spread - part * jnp.outer(along, along) / jnp.where(told, reach, 1),
        correlation_doubt=model.correlation_doubt - _over(share**2, variance, told),
    )
    squared = jnp.where(told, error * gain, jnp.nan)
    return _seen_at(_gradient_learnt(learnt, index, slope, noise), index, position, slope), squared


def _gradient_learnt(model: Model, index: jax.Array, slope: jax.Array, noise: jax.Array) -> Model:
    """Kalman's correction of g by one of its entries."""
    column = model.doubt[:, index]
    variance = column[index] + noise
    told = jnp.isfinite(slope) & (variance > 0)
    gain = _over(column, variance, told)
    return model._replace(
        gradient=model.gradient + gain * jnp.where(told, slope - model.gradient[index], 0),
        doubt=model.doubt - jnp.outer(gain, column),
    )


def _seen_at(model: Model, index: jax.Array, position: jax.Array, slope: jax.Array) -> Model:
    came = jnp.isfinite(slope)
    return model._replace(
        seen_at=model.seen_at.at[index].set(jnp.where(came, position, model.seen_at[index])),
        seen=model.seen.at[index].set(jnp.where(came, slope, model.seen[index])),
    )


def replace_gradient(model: Model, position: jax.Array, gradient: jax.Array) -> Model:
    """The model with a gradient that is wholly known."""
    return model._replace(
        gradient=gradient,
        doubt=jnp.zeros_like(model.doubt),
        seen_at=jnp.broadcast_to(position, model.seen_at.shape),
        seen=gradient,
    )


def learn_value(
    model: Model, step: jax.Array, change: jax.Array, noise: jax.Array, common: jax.Array
) -> Model:
    """The model corrected by a value: f(x + s) - f(x) = g's + s'Bs / 2, shared by g and B.

    Args:
        model: the model, at x.
        step: s, shape (D,).
        change: the difference of values, finite or not; NaN changes nothing.
        noise: variance of its error.
        common: whether the correlation learns from it. Later than in the first sweep, what a value
            tells beyond the model is the curving of f along s more than anything common.
    """
    along, pull = model.spread @ step, model.doubt @ step
    product = jnp.where(common, _common_product(model, step) @ step / 2, 0)
    share = model.correlation_doubt * product
    variance = step @ pull + (step @ along) ** 2 / 4 + product * share + noise
    told = jnp.isfinite(change) & (variance > 0)
    error = change - predicted_change(model, step)
    gain = _over(jnp.where(told, error, 0), variance, told)
    learnt = model._replace(
        gradient=model.gradient + gain * pull,
        doubt=model.doubt - _over(jnp.outer(pull, pull), variance, told),
        hessian=model.hessian + gain / 2 * jnp.outer(along, along),
        correlation_doubt=model.correlation_doubt - _over(share**2, variance, told),
    )
    return _correlated(learnt, gain * share)


def predicted_change(model: Model, step: jax.Array) -> jax.Array:
    """Change that the model expects of a step: g's + s'Bs / 2."""
    return step @ (model.gradient + model.hessian @ step / 2)


def moved(model: Model, step: jax.Array) -> Model:
    """The model around x + s: the gradient follows B, and its doubt grows by that of B s."""
    along = model.spread @ step
    growth = ((step @ along) * model.spread + jnp.outer(along, along)) / 2
    return model._replace(
        gradient=model.gradient + model.hessian @ step, doubt=_symmetric(model.doubt + growth)
    )


def forgetful(model: Model, squared: jax.Array, part: float, unit: jax.Array) -> Model:
    """The model after a look: V returns to its prior as far as it was surprised; W follows B.

    Args:
        model: the model.
        squared: standardised squared errors of the look, any shape; NaN where there is none.
        part: part of all coordinates that was measured.
        unit: length of a unit along each coordinate, shape (D,).
    """
    count = jnp.sum(jnp.isfinite(squared))
    mean = jnp.nansum(squared) / jnp.maximum(count, 1).astype(squared.dtype)
    surprise = jnp.where(count > 0, 0.7 * model.surprise + 0.3 * mean, model.surprise)
    rate = _FORGET * jnp.minimum(surprise, 1) * part
    prior = jnp.diag(SPREAD * model.scale)
    scale = (model.scale + jnp.abs(jnp.diagonal(model.hessian))) / 2
    scale = jnp.maximum(scale, _SMALLEST * jnp.max(scale))
    return model._replace(
        hessian=_symmetric(model.hessian),
        spread=_symmetric(model.spread + rate * (prior - model.spread)),
        surprise=surprise,
        scale=jnp.maximum(scale, flattest(model.gradient, unit)),
    )


def flattest(slope: jax.Array, unit: jax.Array) -> jax.Array:
    """Least entry of W, positive: that of a curvature that ends the slope within a hundred units.

    Where f is linear nothing else tells a length, and W is the norm of the trust region.
    """
    return jnp.maximum(jnp.abs(slope) / (_FARTHEST * unit), jnp.finfo(slope.dtype).tiny)


def _common_product(model: Model, step: jax.Array) -> jax.Array:
    """M s, shape (D,)."""
    root = jnp.sqrt(model.scale)
    return root * (root @ step) - model.scale * step


def _correlated(model: Model, shift: jax.Array) -> Model:
    """B + shift M."""
    root = jnp.sqrt(model.scale)
    return model._replace(
        hessian=model.hessian + shift * (jnp.outer(root, root) - jnp.diag(model.scale)),
        correlation=model.correlation + shift,
    )


def _over(part: jax.Array, whole: jax.Array, defined: jax.Array) -> jax.Array:
    """Quotient, and 0 where that is not defined."""
    return jnp.where(defined, part / jnp.where(defined, whole, 1), 0)


def _symmetric(matrix: jax.Array) -> jax.Array:
    return (matrix + matrix.T) / 2
