"""What values along a line say: its curvature, and how far whatever comes after a step leads.

A step v from x leads to x - t v, and with s = <g, v>

    f(x - t v) = f(x) - t s + t^2/2 v'Hv.

Directions drawn at random are alike: all see the curvature tr(H)/d, to which m of them moving at
once along the gradient g add what they do to each other, in the mean

    v'Hv / |v|^2 = tr(H)/d (1 + (m + 1) g'Hg / (|g|^2 tr(H))).

A step by tr(H)/d alone is too long as soon as m is not far below the effective dimension
tr(H) / ||H||, and then diverges. Measured along the steps themselves, the curvature counts that,
for any m: no floor has to stand for it.

What is right for one mini-batch is too long for all. With g' the gradient of the objective and n
the noise of the batch's, g = g' + n, a step of length t along m directions out of d changes f by

    m/d (-t |g'|^2 + t^2/2 a (|g'|^2 + |n|^2)),

which is lowest at t = 1/a times |g'|^2 / (|g'|^2 + |n|^2), and above 0 beyond twice that. A large
network that has learnt something has a noise of many times the gradient, and Newton steps on one
batch after another lead up. That part is measured, too: by the slope that the next batch sees along
the last step.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

_MEMORY = 5  # steps over which curvatures are averaged: as long as the paper's cache, and T
_STEEP = 4  # times the curvature that was expected: then f rose by more than it was to fall
_JUMP = 16  # how far a single value may raise the curvature: it may be absurd
_FORGET = 0.9  # part of what is known of the response that stays from step to step: ten steps
_REMEMBER = 0.97  # the same of the agreement of mini-batches, from period to period: 33 of them
_DISAGREE = 4  # slopes along a step, in units of what it expected, beyond which a value is absurd
_NEAR = 0.01  # of a step, the least distance at which a slope along it is seen above rounding
_ALIKE = 0.02  # part of what a step promised by which values of one batch differ: t is not exact
_LEAST = 0.01  # of the agreement: with none at all, nothing would move, and nothing be seen


class Sample(NamedTuple):
    """A curvature along a line, measured.

    Attributes:
        curvature: v'Hv / |v|^2; inf where a value is missing (NaN would stop jax_debug_nans).
        error: its standard deviation.
    """

    curvature: jax.Array
    error: jax.Array


def sample_along(
    change: jax.Array, slope: jax.Array, length: jax.Array, size: jax.Array, error: jax.Array
) -> Sample:
    """The curvature that one more value tells.

    Args:
        change: f(x - t v) - f(x).
        slope: s = <g, v>.
        length: t.
        size: |v|^2.
        error: standard deviation of a value.

    Example:
        >>> found = sample_along(*map(jnp.asarray, (-0.75, 1.0, 1.0, 1.0, 0.0)))
        >>> float(found.curvature)  # f(x - t) = -t + t^2/4
        0.5
    """
    unit = length**2 * size / 2
    known = (unit > 0) & jnp.isfinite(unit) & jnp.isfinite(change) & jnp.isfinite(slope)
    unit, change, slope, length = (
        jnp.where(known, each, other)
        for each, other in ((unit, 1), (change, 0), (slope, 0), (length, 0))
    )
    found = jnp.where(known, (change + length * slope) / unit, jnp.inf)
    return Sample(found, jnp.where(known, 2**0.5 * error / unit, 0))


def is_known(sample: Sample) -> jax.Array:
    """Whether there is a curvature."""
    return jnp.isfinite(sample.curvature)


def is_steep(curvature: jax.Array, sample: Sample) -> jax.Array:
    """Whether f rose where it was to fall by at least as much, beyond what errors explain."""
    return is_known(sample) & (sample.curvature > _STEEP * curvature + 2 * sample.error)


def remembered(curvature: jax.Array, sample: Sample) -> jax.Array:
    """The curvature after a sample: a mean over some five, less of one that is not sure.

    A curvature that is negative counts as none, one that is far above the mean by itself, and the
    first by its absolute value.

    Args:
        curvature: the mean so far; 0 where there is none.
        sample: what was measured.
    """
    known = jnp.where(curvature > 0, curvature, 1)
    measured = jnp.where(is_known(sample), sample.curvature, curvature)
    doubt = jnp.minimum(sample.error / known, 1 / jnp.finfo(known.dtype).eps)
    share = 1 / (_MEMORY * (1 + doubt**2))
    mean = curvature + share * (jnp.maximum(measured, 0) - curvature)
    steep = jnp.minimum(measured, _JUMP * curvature)
    after = jnp.where(is_steep(curvature, sample), steep, mean)
    return jnp.where(curvature > 0, after, jnp.maximum(jnp.abs(measured), sample.error))


class Response(NamedTuple):
    r"""How the parameters follow the steps: x moves by -(rate v_k + rate inertia v_{k-1} + ...).

    Under a learning rate eta and momentum beta (`optax.trace`), rate = eta, inertia = beta, and in
    the end a step leads eta / (1 - beta) times as far as it says: what is right for a single one
    overshoots 1 / (1 - beta) times. `gain` is that factor.

    Attributes:
        rate: sum of rate_k |v_k|^2, and of |v_k|^2, older ones counting less; shape (2,).
        inertia: the same of rate_k inertia_k and the steps before; shape (2,).
    """

    rate: jax.Array
    inertia: jax.Array


def no_response(dtype: jax.typing.DTypeLike) -> Response:
    """Of a run that has not moved."""
    return Response(jnp.zeros(2, dtype), jnp.zeros(2, dtype))


def with_move(
    response: Response, gram: jax.Array, moved: jax.Array, precise: jax.Array
) -> tuple[Response, jax.Array]:
    """The response after a further move, and how far that went along the last step.

    Args:
        response: before.
        gram: inner products of the last two steps, shape (2, 2).
        moved: minus the move's inner products with them, shape (2,).
        precise: whether a move along each is seen above rounding, bool, shape (2,).

    Returns:
        (response, t): the move was -t times the last step, as far as both explain it; inf if that
        is not seen.
    """
    first, second = gram[0, 0], gram[1, 1]
    determinant = first * second - gram[0, 1] ** 2
    apart = precise[0] & precise[1] & (determinant > 1e-4 * first * second)
    safe = jnp.where(apart, determinant, 1)
    alone = moved[0] / jnp.where(first > 0, first, 1)
    last = jnp.where(apart, (moved[0] * second - moved[1] * gram[0, 1]) / safe, alone)
    older = jnp.where(apart, (moved[1] * first - moved[0] * gram[0, 1]) / safe, 0)

    def added(sums: jax.Array, share: jax.Array, weight: jax.Array, seen: jax.Array) -> jax.Array:
        more = jnp.stack([share * weight, weight])
        return _FORGET * sums + jnp.where(seen & jnp.all(jnp.isfinite(more)), more, 0)

    rate = added(response.rate, last, first, precise[0])
    inertia = added(response.inertia, older, second, apart)
    return Response(rate, inertia), jnp.where(precise[0], last, jnp.inf)


def inertia_of(response: Response) -> jax.Array:
    """What is left of a step in the move after the next, as a part: beta of momentum."""
    rate = _ratio(response.rate, 1)
    return jnp.clip(_ratio(response.inertia, 0) / jnp.where(rate == 0, 1, rate), 0, 0.99)


def rate_of(response: Response) -> jax.Array:
    """How far a move goes along its step, at most as far as it says; 1 where nothing is known."""
    return jnp.clip(_ratio(response.rate, 1), _NEAR, 1)


def gain_of(response: Response) -> jax.Array:
    """How far a step leads in the end, in units of the step; 1 where nothing is known."""
    return jnp.abs(_ratio(response.rate, 1)) / (1 - inertia_of(response))


def with_again(
    agreement: jax.Array,
    slope: jax.Array,
    size: jax.Array,
    went: jax.Array,
    back: jax.Array,
    change: jax.Array,
    expected: jax.Array,
    rounding: jax.Array,
    curvature: jax.Array,
) -> jax.Array:
    """How far the gradient of one mini-batch holds for another, after a further value.

    A step v along the gradient g of one batch led from x to y = x - t v. The next batch, asked one
    step back, has there

        f(y + b v) - f(y) = b <g', v> + (b^2/2 - b t) v'Hv,      b about t,

    g' being its own gradient at x. In the mean <g', v> is what the step is worth, and s = <g, v>
    what it promised: g has the noise of its batch (and of its values), which points along v, and g'
    another. Noise of several times the gradient makes each step longer than the next batch will
    pay for, and a run that follows its batches goes up. The best length for all batches is
    <g', v> / <g, v> times that for one.

    Args:
        agreement: sums of both slopes so far, in units of a gradient squared, older ones counting
            less, shape (2,).
        slope: s.
        size: |v|^2.
        went: t; inf where it was not seen.
        back: b, positive.
        change: f(y + b v) - f(y) of the new batch.
        expected: f(y + b v) of the new batch less f(x) of the old one.
        rounding: of a value. Hardly more than that between the two: the batch is the same.
        curvature: v'Hv / |v|^2.
    """
    known = (size > 0) & (slope > 0)
    for each in (slope, size, went, change, curvature):
        known &= jnp.isfinite(each)
    slope, size, went, change = (
        jnp.where(known, each, other)
        for each, other in ((slope, 1), (size, 1), (went, 0), (change, 0))
    )
    bent = (went - back / 2) * jnp.where(known, curvature, 0) * size
    found = (change / back + bent) / slope
    found = jnp.clip(found, -_DISAGREE, _DISAGREE)
    found = jnp.where(jnp.abs(expected) <= rounding + _ALIKE * slope, 1, found)
    weight = slope**2 / size
    return jnp.where(known, _REMEMBER * agreement + jnp.stack([found * weight, weight]), agreement)


def trust_in(agreement: jax.Array) -> jax.Array:
    """The part of a step that all batches agree on; 1 where nothing is known."""
    return jnp.clip(_ratio(agreement, 1), _LEAST, 1)


def _ratio(sums: jax.Array, unknown: float) -> jax.Array:
    return jnp.where(sums[1] > 0, sums[0] / jnp.where(sums[1] > 0, sums[1], 1), unknown)
