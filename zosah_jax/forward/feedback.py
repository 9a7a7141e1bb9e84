"""Slopes expected of a site, learnt from what noise said so far: less is left to noise.

The slope of a loss in one site follows from that in a later one, nearly linearly: which way is
learnt by regression of what noise tells, and never taken from the parameters. What was expected is
subtracted before noise is asked and added after, so that the mean of the estimate stays the same.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.evaluate.grouped.program import Slot, Values, flops, places
from zosah_jax.forward import passes
from zosah_jax.forward.estimate import Found, Options, Outline, size_of_noise
from zosah_jax.forward.passes import Arrays
from zosah_jax.forward.sites import Plan, Site

_MOST_COST = 1.0  # of the products of a link, in forward passes


class Link(NamedTuple):
    """A site whose slope is expected from that in a later one.

    Attributes:
        site: the site.
        source: the later one.
    """

    site: Site
    source: Site


def links(known: Outline) -> list[Link]:
    """For each noisy site the nearest later one that it leads to and that can be afforded.

    In the order in which slopes become known: from the end.
    """
    plan, found = known.plan, []
    whole = sum(flops(op) for op in plan.program.ops) / plan.program.size
    ready = {site.slot: site for site in known.direct}
    for site in reversed(known.noisy):
        later = _reached(plan, site.slot)
        number = plan.program.components(site.slot)
        for source in sorted(s for s in ready if s in later):
            if 4 * number * plan.program.components(source) <= _MOST_COST * whole:
                found.append(Link(site, ready[source]))
                ready[site.slot] = site
                break
    return found


def _reached(plan: Plan, slot: Slot) -> set[Slot]:
    reached = {slot}
    for op in plan.program.ops:
        if not reached.isdisjoint(places(op)):
            reached.update(op.outputs)
    return reached - {slot}


def initial(known: Outline) -> list[jax.Array]:
    """Matrices of the links: nothing is expected."""
    program = known.plan.program
    return [
        jnp.zeros(
            (program.components(link.source.slot), program.components(link.site.slot)),
            program.avals[link.site.slot].dtype,
        )
        for link in links(known)
    ]


class Expectation:
    """What is expected in a batch, and what is to be learnt from how it came."""

    def __init__(self, known: Outline, options: Options, matrices: list[jax.Array]) -> None:
        self._known, self._options, self._matrices = known, options, matrices
        self._links = links(known)
        self._acts: dict[Slot, Any] = {}
        self._slopes: Arrays = {}

    def __call__(self, values: Values, exact: Arrays) -> Arrays:
        """Slopes expected in the noisy sites, from those found directly."""
        program, expected = self._known.plan.program, {}
        self._slopes = dict(exact)
        for (site, source), matrix in zip(self._links, self._matrices, strict=True):
            reach = size_of_noise(self._options, values[site.slot])
            _, self._acts[site.slot] = passes.gates(site, values, values[site.slot], reach)
            rows = passes.flat(program, source.slot, self._slopes[source.slot]) @ matrix
            expected[site.slot] = self._gated(site.slot, passes.unflat(program, site.slot, rows))
            self._slopes[site.slot] = expected[site.slot]
        return expected

    def _gated(self, slot: Slot, slopes: jax.Array) -> jax.Array:
        acts = self._acts[slot]
        return slopes if acts is None else slopes * acts.astype(slopes.dtype)

    def gradients(self, found: Found) -> list[jax.Array]:
        """Of half the mean square of what was not expected, in the matrices."""
        program, gradients = self._known.plan.program, []
        for site, source in self._links:
            rest = self._gated(site.slot, found.residuals[site.slot])
            before = passes.flat(program, source.slot, self._slopes[source.slot])
            after = passes.flat(program, site.slot, rest)
            gradients.append(-(before.T @ after) / jnp.asarray(program.size, after.dtype))
        return gradients
