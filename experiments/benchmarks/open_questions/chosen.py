"""What is learnt online: whether fresh samples pay, and which coordinates are coupled."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from experiments.benchmarks.open_questions.general import diagonal_of, dimension_of, matrix_of

LOOK_AGAIN = 8  # periods without fresh samples, at most, before one with them
LARGEST = 4096  # parameters whose coupling is learnt; C then takes 64 MiB in float32
_TIE = 1e-3  # couplings, relative to 1, that differ by less are alike


class Isotropy(NamedTuple):
    """What is known of it.

    Attributes:
        condition: of the fitted blocks: largest over smallest eigenvalue of all; infinite where
            one is not positive or none was fitted. It rises at once and falls by halves (of its
            logarithm).
        blind: periods begun without fresh samples since the last with them, int32.
    """

    condition: jax.Array
    blind: jax.Array


def unknown_isotropy(dtype: jax.typing.DTypeLike) -> Isotropy:
    """Before the first fit."""
    return Isotropy(jnp.full((), jnp.inf, dtype), jnp.zeros((), jnp.int32))


def is_isotropic(seen: Isotropy, most: float) -> jax.Array:
    """Whether the coming period does without fresh samples, bool scalar."""
    known = jnp.isfinite(seen.condition)
    return known & (seen.condition <= most) & (seen.blind < LOOK_AGAIN)


def after_fit(seen: Isotropy, eigenvalues: jax.Array) -> Isotropy:
    """What is known after another fit, by its eigenvalues, shape (J, s)."""
    least, largest = jnp.min(eigenvalues), jnp.max(eigenvalues)
    now = jnp.where(least > 0, largest / jnp.where(least > 0, least, 1), jnp.inf)
    halfway = jnp.sqrt(now * seen.condition)
    fallen = jnp.where(jnp.isfinite(halfway), halfway, now)
    return seen._replace(condition=jnp.maximum(now, fallen))


def round_hessian(hessian: jax.Array) -> jax.Array:
    """Unknowns of a I for every W_j, a the mean curvature of the last fit; shape of `hessian`."""
    at = diagonal_of(dimension_of(hessian))
    mean = jnp.mean(hessian[:, at])
    return jnp.zeros_like(hessian).at[:, at].set(mean)


def with_blocks(coupling: jax.Array, place: jax.Array, hessian: jax.Array) -> jax.Array:
    """C with the blocks that were fitted to fresh samples.

    Those of other steps are no blocks of the Hessian: what they are fitted to holds what the moves
    of the other subspaces did, too.

    Args:
        coupling: C, shape (d, d).
        place: places of the coordinates of each W_j, int of shape (J, s).
        hessian: unknowns of each A, shape (J, n).

    Returns:
        C, shape (d, d).
    """
    return coupling.at[place[:, :, None], place[:, None, :]].set(matrix_of(hessian))


def with_secant(
    coupling: jax.Array, place: jax.Array, move: jax.Array, change: jax.Array, least: jax.Array
) -> jax.Array:
    """C with the least change that explains a secant pair.

    With r = y - C s in V, Powell's symmetric update

        C += (r s' + s r') / s's - (r's) s s' / (s's)^2,

    s's at least `least` m: a move that is lost in the noise of the gradient teaches nothing.

    Args:
        coupling: C, shape (d, d).
        place: places of the coordinates of each W_j, int of shape (J, s).
        move: s, shape (J, s).
        change: y, shape (J, s), NaN where it is missing.
        least: squared length of a move of a coordinate below which it is noise.

    Returns:
        C, shape (d, d).
    """
    at, s, y = place.reshape(-1), move.reshape(-1), change.reshape(-1)
    inner = coupling[at[:, None], at[None, :]]
    rest = y - jnp.matmul(inner, s, precision="highest")
    rest = jnp.where(jnp.isfinite(rest), rest, 0)
    length = jnp.maximum(s @ s, least * len(s))
    length = jnp.where(length > 0, length, jnp.inf)
    both = rest[:, None] * s[None, :] / length
    along = (rest @ s) / length**2
    inner = both + both.T - along * s[:, None] * s[None, :]
    return coupling.at[at[:, None], at[None, :]].add(inner)


def matched(coupling: jax.Array, first: jax.Array, ties: jax.Array, dim: int) -> jax.Array:
    """Groups of coupled coordinates: to the next that is free, its strongest partners.

    The strength of i and j is |C_ij| / sqrt(|C_ii C_jj|), at most 1. A group begins with the first
    of `first` that is in none yet, and grows by the free coordinate with the strongest coupling to
    any in it, s - 1 times.

    Args:
        coupling: C, shape (d, d).
        first: m distinct places, uint32, in random order.
        ties: random numbers from 0 to 1, shape (d,): they decide between like strengths.
        dim: s.

    Returns:
        Places, uint32 of shape (m/s, s), distinct.
    """
    size = jnp.sqrt(jnp.abs(jnp.diagonal(coupling)))

    def strength(place: jax.Array) -> jax.Array:
        both = size[place] * size
        found = jnp.abs(coupling[place]) / jnp.where(both > 0, both, jnp.inf)
        return jnp.minimum(found, 1) + _TIE * ties

    def grown(free: jax.Array, nothing: None) -> tuple[jax.Array, jax.Array]:
        del nothing
        begin = first[jnp.argmax(free[first])]
        group, reach, free = [begin], strength(begin), free.at[begin].set(False)
        for _ in range(dim - 1):
            partner = jnp.argmax(jnp.where(free, reach, -1)).astype(jnp.uint32)
            reach, free = jnp.maximum(reach, strength(partner)), free.at[partner].set(False)
            group.append(partner)
        return free, jnp.stack(group)

    return jax.lax.scan(grown, jnp.ones(len(size), bool), length=len(first) // dim)[1]
