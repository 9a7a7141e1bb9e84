"""The plane of the block's step p and the kept directions q_j: its Hessian, and the step in it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.bounds import projected
from zosah_jax.linear_algebra import eigh
from zosah_jax.method import Batch, Problem, state_where
from zosah_jax.methods.block_newton.state import (
    HORIZONS,
    PLANE,
    TRIAL,
    BlockNewtonState,
    block_step,
    value_error,
    weights,
    with_next_block,
)
from zosah_jax.probes import PointProbes
from zosah_jax.pytree import flattened, unflattened

_REFRESHED = 0.3  # of the last step's length is a difference along a kept direction
_SHRINK = 0.3  # of alpha where nothing was lower
_TOLD = 10.0  # errors of a value that the slope along alpha p is at least: less says nothing
_LARGEST_SHARE = 1.5  # alpha at most: p is too long more often than too short
_CHANGE = 3.0  # factor by which a step may change alpha
_CLIP = 4.0  # alpha that a step goes along p at most: what was measured at alpha holds near it
_FAR = 10.0  # times the longer of the last step and alpha p is a step long at most
_LEAST_CURVATURE = 1e-2  # of the largest in the plane: flat and hollow directions are limited
_ABSURD = 10.0  # times what H allows is a curvature at most, or a value there says nothing
_DOUBT = 0.3  # part of the promise by which a step was off, for the plane to be measured again


class Step(NamedTuple):
    """A step in the plane.

    Attributes:
        share: c, along p and the q_j, shape (1 + J,).
        slope: g'p and g'q_j, shape (1 + J,).
        promised: change of f by the plane's model.
        point: where it leads, one vector, shape (d,).
        straight: whether no bound changed it.
    """

    share: jax.Array
    slope: jax.Array
    promised: jax.Array
    point: jax.Array
    straight: jax.Array


# --- what is asked --------------------------------------------------------------------------------


def ask_refresh(state: BlockNewtonState) -> Batch:
    """Both sides of x along each kept direction."""
    length = _beyond(state, _REFRESHED * state.length)
    moves = length[:, None] * state.kept
    return _at(state, jnp.concatenate([moves, -moves]), length)


def ask_plane(state: BlockNewtonState) -> Batch:
    """Ask x + alpha p, and that with as long a step along each kept direction."""
    p = block_step(state)
    beyond = _beyond(state, state.share * _norms(state, p[None])[0])
    moves = (state.share * p)[None] + beyond[:, None] * state.kept
    return _at(state, jnp.concatenate([(state.share * p)[None], moves]), beyond)


def ask_trial(state: BlockNewtonState, problem: Problem) -> Batch:
    """The plane's minimum, as far as one may go."""
    directions = _directions(state)
    size, slope = _norms(state, directions), _slopes(state, directions[0])
    share = _newton(state, size, slope)
    promised = slope @ share + share @ state.plane @ share / 2
    here = flattened(state.x)
    wanted = here + share @ directions
    point = projected(problem.bounds, unflattened(state.x, wanted))
    end = flattened(point)
    plan = Step(share, slope, promised, end, jnp.all(end == wanted))
    one = jax.tree.map(lambda leaf: leaf[None], point)
    return Batch(PointProbes(one), plan, state.x)


def _at(state: BlockNewtonState, moves: jax.Array, plan: jax.Array) -> Batch:
    points = flattened(state.x)[None] + moves
    return Batch(
        PointProbes(jax.vmap(lambda one: unflattened(state.x, one))(points)), plan, state.x
    )


# --- what is learnt -------------------------------------------------------------------------------


def tell_refresh(
    state: BlockNewtonState, problem: Problem, length: jax.Array, values: jax.Array
) -> BlockNewtonState:
    """g'q_j and q_j'H q_j anew; a direction whose values are missing or absurd is dropped.

    In the norm of w the diagonal of H is 1, and so no curvature is above d.
    """
    del problem
    up, down = jnp.split(values - state.value, 2)
    b = jnp.where(length > 0, length, 1)
    slope, bend = (up - down) / (2 * b), (up + down) / b**2
    most = _ABSURD * state.kept.shape[1] * _norms(state, state.kept) ** 2
    there = (length > 0) & jnp.isfinite(slope) & (jnp.abs(bend) <= most)
    both = there[:, None] & there[None]
    matrix = jnp.where(both, state.matrix, 0)
    diagonal = jnp.where(there, bend, 0)
    return state._replace(
        kept=jnp.where(there[:, None], state.kept, 0),
        kept_slope=jnp.where(there, slope, 0),
        matrix=matrix - jnp.diag(jnp.diagonal(matrix)) + jnp.diag(diagonal),
        doubtful=jnp.zeros((), bool),
        stage=jnp.full_like(state.stage, PLANE),
    )


def tell_plane(
    state: BlockNewtonState, problem: Problem, beyond: jax.Array, values: jax.Array
) -> BlockNewtonState:
    """Measure p'Hp, and p'H q_j by what the two together change beyond each of them.

    In the norm of w p'Hp is at most m |p|^2; and (p'H q)^2 is at most p'Hp q'Hq. Where f(x + alpha
    p) is missing or absurd, the step is a part of alpha p, and nothing is known of the plane.
    """
    del problem
    alpha, along, slope = state.share, values[0], _slopes(state, block_step(state))
    bend = 2 * (along - state.value - alpha * slope[0]) / alpha**2
    b = jnp.where(beyond > 0, beyond, 1)
    alone = b * state.kept_slope + b**2 * jnp.diagonal(state.matrix) / 2
    mixed = (values[1:] - along - alone) / (alpha * b)
    most = jnp.sqrt(jnp.abs(bend * jnp.diagonal(state.matrix)))
    there = (beyond > 0) & (jnp.abs(mixed) <= _ABSURD * most)
    mixed = jnp.where(there, jnp.clip(mixed, -most, most), 0)
    most = _ABSURD * len(state.block) * jnp.abs(slope[0])  # |p|^2 = |g'p|
    sane = jnp.isfinite(bend) & (bend <= most)
    shorter = _SHRINK * alpha
    bend = jnp.where(sane, bend, jnp.abs(slope[0]) / shorter)
    mixed = jnp.where(sane, mixed, 0)
    return state._replace(
        along=jnp.where(sane, along, jnp.inf),
        plane=jnp.block([[bend[None, None], mixed[None]], [mixed[:, None], state.matrix]]),
        share=jnp.where(sane, alpha, shorter),
        stage=jnp.full_like(state.stage, TRIAL),
    )


def tell_trial(
    state: BlockNewtonState, problem: Problem, step: Step, values: jax.Array
) -> BlockNewtonState:
    """Move to the step's end, or to x + alpha p, if either is lower; else shrink alpha."""
    value, p = values[0], block_step(state)
    lower = (value < state.value) & (value <= state.along)
    instead = state.along < state.value
    only_p = jnp.zeros_like(step.share).at[0].set(state.share)
    share = jnp.where(lower, step.share, only_p)
    here = flattened(state.x)
    # where f(x + alpha p) was asked: within the bounds
    wanted = here + state.share * p
    nearer = projected(problem.bounds, unflattened(state.x, wanted))
    point = jnp.where(lower, step.point, flattened(nearer))
    off = jnp.abs(value - state.value - step.promised) > _DOUBT * jnp.abs(step.promised)
    straight = jnp.where(lower, step.straight, jnp.all(flattened(nearer) == wanted))
    doubtful = ~straight | off | ~jnp.isfinite(value)

    moved = point - here
    w = weights(state.curvature)
    # q_j <- r_j q_j + step lies in the plane, so that all that is asked of it follows
    mix = jnp.tile(share[None], (len(state.kept), 1)).at[:, 1:].add(jnp.diag(_fading(state)))
    alpha = jnp.clip(
        share[0], state.share / _CHANGE, jnp.minimum(_LARGEST_SHARE, _CHANGE * state.share)
    )
    after = state._replace(
        x=unflattened(state.x, point),
        value=jnp.where(lower, value, state.along),
        share=jnp.where(share[0] > 0, alpha, state.share),
        kept=_fading(state)[:, None] * state.kept + moved[None],
        kept_slope=mix @ (step.slope + state.plane @ share),
        matrix=mix @ state.plane @ mix.T,
        doubtful=doubtful,
        length=jnp.sqrt(jnp.sum(w * moved**2)),
    )
    return state_where(lower | instead, with_next_block(after), _failed(state, problem))


def _failed(state: BlockNewtonState, problem: Problem) -> BlockNewtonState:
    """Nothing was lower: a smaller part of p in the next block, and the plane measured anew.

    Not smaller than what values can tell of: near an optimum that is all of p.
    """
    slope = jnp.abs(_slopes(state, block_step(state))[0])
    tiny = jnp.finfo(slope.dtype).tiny
    least = jnp.minimum(_TOLD * value_error(state, problem) / jnp.maximum(slope, tiny), 1)
    share = jnp.maximum(_SHRINK * state.share, least)
    return with_next_block(state._replace(share=share, doubtful=jnp.ones((), bool)))


# --- the plane ------------------------------------------------------------------------------------


def _newton(state: BlockNewtonState, size: jax.Array, slope: jax.Array) -> jax.Array:
    """The minimum of the plane's model, in units of the directions' lengths, as far as one may go.

    Eigenvalues are taken by their size, and at least as a part of the largest.
    """
    there = size > 0
    unit = jnp.where(there, size, 1)
    both = there[:, None] & there[None]
    scaled = jnp.where(both, state.plane / (unit[:, None] * unit[None]), 0)
    eigenvalues, vectors = eigh(scaled)
    bent = jnp.abs(eigenvalues)
    tiny = jnp.finfo(bent.dtype).tiny
    bent = jnp.maximum(bent, _LEAST_CURVATURE * jnp.max(bent) + tiny)
    z = -vectors @ ((vectors.T @ jnp.where(there, slope / unit, 0)) / bent)
    far = _FAR * jnp.maximum(state.length, state.share * size[0])
    z = z * jnp.minimum(1, far / jnp.maximum(jnp.linalg.norm(z), tiny))
    share = jnp.where(jnp.isfinite(z), z, 0) / unit
    return share * jnp.minimum(1, _CLIP * state.share / jnp.maximum(jnp.abs(share[0]), tiny))


def _directions(state: BlockNewtonState) -> jax.Array:
    """The block's p and the q_j, shape (1 + J, d)."""
    return jnp.concatenate([block_step(state)[None], state.kept])


def _norms(state: BlockNewtonState, directions: jax.Array) -> jax.Array:
    """Lengths in the norm of w."""
    return jnp.sqrt(jnp.sum(weights(state.curvature)[None] * directions**2, axis=1))


def _slopes(state: BlockNewtonState, p: jax.Array) -> jax.Array:
    """Slopes g'p and g'q_j."""
    along = jnp.sum(state.slope * p[state.block])
    return jnp.concatenate([along[None], state.kept_slope])


def _beyond(state: BlockNewtonState, length: jax.Array) -> jax.Array:
    """b_j, so that b_j q_j is of a length; 0 for a direction that is none, shape (J,)."""
    size = _norms(state, state.kept)
    there = size > 0
    return jnp.where(there, length / jnp.where(there, size, 1), 0)


def _fading(state: BlockNewtonState) -> jax.Array:
    """r_j: what is left of a kept direction after one block."""
    part = len(state.block) / state.kept.shape[1]
    return jnp.asarray(np.exp(-part / np.array(HORIZONS)), state.kept.dtype)
