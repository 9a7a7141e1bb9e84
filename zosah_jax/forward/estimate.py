"""A gradient from losses with noise at the outputs of operations, each example its own."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zosah_jax.evaluate.grouped.program import Slot, Values, flops, places
from zosah_jax.forward import passes
from zosah_jax.forward.passes import Arrays, Noise
from zosah_jax.forward.program import trace
from zosah_jax.forward.sites import Plan, Site, leaf_names, plan
from zosah_jax.pytree import Params, check_params, widen, working_dtype

_OUTWEIGH = 4  # so much more than parameters are values, where a batch is taken in parts
_PARTS = 8  # of a batch, at most: with more the time of each begins to show
_FEWEST = 32  # examples of a part
_LEAST = 2**17  # entries of values below which memory does not matter


class Options(NamedTuple):
    """How noise is made.

    Attributes:
        smoothing: its size over that of what it is added to.
        two_sided: whether losses are compared at opposite noises, or with those of a clean pass.
        num_noises: how many noises a batch.
        direct: most that finding the slope in a site directly may cost, in forward passes.
    """

    smoothing: float
    two_sided: bool
    num_noises: int
    direct: float


class Outline(NamedTuple):
    """What is known of a function and a batch before any number is.

    Attributes:
        plan: what a pass has to do.
        direct: sites whose slope is found directly, entry by entry, in place of noise.
    """

    plan: Plan
    direct: tuple[Site, ...]

    @property
    def noisy(self) -> list[Site]:
        """The other sites."""
        return [site for site in self.plan.sites if site not in self.direct]


class Found(NamedTuple):
    """What the passes found.

    Attributes:
        losses: of the examples, in the clean pass or in the mean of two opposite ones.
        values: of what was read on the way to a site, likewise.
        slopes: of the losses in each site (and copied leaf), a noisy estimate.
        residuals: the same without what was predicted of it.
    """

    losses: jax.Array
    values: Values
    slopes: Arrays
    residuals: Arrays


def outline(losses_fn: Callable[..., Any], params: Params, batch: Any, options: Options) -> Outline:
    """Trace a function for a batch, and decide where noise goes."""
    size = batch_size(batch)
    program = trace(losses_fn, params, batch, size)
    found = plan(program, leaf_names(params))
    whole = sum(flops(op) for op in program.ops)
    direct = [s for s in found.sites if _direct_cost(found, s) <= options.direct * whole]
    return Outline(found, tuple(direct))


def _direct_cost(found: Plan, site: Site) -> int:
    reached, cost = {site.slot}, 0
    for op in found.program.ops:
        if not reached.isdisjoint(places(op)):
            reached.update(op.outputs)
            cost += flops(op)
    return 2 * cost * found.program.components(site.slot)


def direct_passes(known: Outline) -> float:
    """What finding slopes directly costs, in forward passes of the batch."""
    whole = sum(flops(op) for op in known.plan.program.ops)
    return sum(_direct_cost(known.plan, site) for site in known.direct) / whole


def default_chunks(known: Outline) -> int:
    """In how many parts a batch is taken, so that an estimate holds about what one pass does.

    Inputs and outputs of sites are kept until the losses are known, and each part adds to sums as
    large as the parameters.
    """
    found = known.plan
    avals, size = found.program.avals, found.program.size
    slots = {slot for site in found.sites for slot in (site.slot, *site.reads)}
    kept = sum(math.prod(avals[slot].shape) for slot in slots & found.program.tainted)
    summed = sum(math.prod(avals[slot].shape) for slot in found.program.leaves)
    if found.shared or kept < max(_OUTWEIGH * summed, _LEAST):
        return 1
    fits = (n for n in range(_PARTS, 1, -1) if size % n == 0 and size // n >= _FEWEST)
    return next(fits, 1)


def batch_size(batch: Any) -> int:
    """Number of examples of a batch.

    Raises:
        ValueError: its arrays do not agree in it, or there is none.
    """
    sizes = {jnp.shape(leaf)[0] for leaf in jax.tree.leaves(batch) if jnp.ndim(leaf) > 0}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(
            f"batch: got arrays of {sorted(sizes) or 'no'} examples, wanted one array at least, "
            "and the same number of examples, at least one, along the first axis of all."
        )
    return sizes.pop()


def prepared(params: Params, batch: Any) -> tuple[Params, Any]:
    """Parameters in float32 or wider, and a batch of at least two examples (one is doubled)."""
    check_params(params)
    if batch_size(batch) == 1:
        batch = jax.tree.map(lambda x: jnp.repeat(x, 2, 0) if jnp.ndim(x) else x, batch)
    return widen(params), batch


# --- passes ---------------------------------------------------------------------------------------


def explore(
    known: Outline,
    options: Options,
    params: Params,
    batch: Any,
    key: jax.Array,
    predict: Callable[[Values, Arrays], Arrays] | None = None,
) -> Found:
    """Run the passes.

    Args:
        known: of the function and the batch.
        options: of the noise.
        params: in float32 or wider.
        batch: of the size that was traced.
        key: typed PRNG key.
        predict: (values of the clean pass, slopes found directly) -> slopes expected.
    """
    found = known.plan
    whole = not options.two_sided or found.shared or bool(known.direct) or predict is not None
    values = passes.base(found, jax.tree.leaves(params), jax.tree.leaves(batch), whole=whole)
    exact = {site.slot: _direct(found, options, values, site) for site in known.direct}
    expected = {} if predict is None else predict(values, exact)

    def one(key: jax.Array) -> Found:
        return _one(known, options, values, expected, key, whole)

    if not known.noisy and not found.lifted:
        return Found(values[found.program.output], values, exact, {})
    sums = _mean(one, jax.random.split(key, options.num_noises))
    return sums._replace(
        slopes={**sums.slopes, **exact},
        values={**values, **sums.values},
        losses=values[found.program.output] if whole else sums.losses,
    )


def _mean(one: Callable[[jax.Array], Any], keys: jax.Array) -> Any:
    """Mean of a function over keys."""
    if len(keys) == 1:
        return one(keys[0])
    zero = jax.tree.map(
        lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(one, keys[0])
    )

    def add(total: Any, key: jax.Array) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, one(key)), None

    total, _ = jax.lax.scan(add, zero, keys)
    return jax.tree.map(lambda x: x / jnp.asarray(len(keys), x.dtype), total)


def _one(
    known: Outline, options: Options, values: Values, expected: Arrays, key: jax.Array, whole: bool
) -> Found:
    """One noise: a pass, or two opposite ones."""
    found, program = known.plan, known.plan.program
    noise = _noise(known, key)
    signs = noise.signs
    reaches: Arrays = {}

    def reach(slot: Slot, value: jax.Array) -> jax.Array:
        if slot not in reaches:
            reaches[slot] = size_of_noise(options, values[slot] if whole else value)
        return reaches[slot]

    up, before = passes.noisy(found, values, noise, reach)
    acts = {site.slot: _acts(site, values, before, reaches) for site in known.noisy}
    losses, means = up[program.output], {}
    if options.two_sided:
        down, before = passes.noisy(found, values, noise.opposite, reach)
        for site in known.noisy:
            more = _acts(site, values, before, reaches)
            acts[site.slot] = None if more is None else acts[site.slot] | more
        change, losses = (losses - down[program.output]) / 2, (losses + down[program.output]) / 2
        if not whole:
            means = {slot: (up[slot] + down[slot]) / 2 for slot in _reads(known) & up.keys()}
    else:
        change = losses - values[program.output]
    change = jnp.where(jnp.isfinite(change), change, 0)  # a value that did not come says nothing
    for slot, slope in expected.items():
        change = change - passes.summed(program, slot, slope * reaches[slot] * signs[slot])
    slopes, residuals = {}, {}
    for slot, sign in signs.items():
        rest = _weighted(known, slot, change, sign / reaches[slot])
        total = rest + expected[slot] if slot in expected else rest
        mask = acts.get(slot)
        residuals[slot], slopes[slot] = (
            x if mask is None else jnp.where(mask, x, 0) for x in (rest, total)
        )
    return Found(losses, means, slopes, residuals)


def _noise(known: Outline, key: jax.Array) -> Noise:
    program = known.plan.program
    shapes = {site.slot: program.avals[site.slot] for site in known.noisy}
    signs, factors = {}, {}
    for n, (slot, aval) in enumerate(shapes.items()):
        signs[slot] = _rademacher(jax.random.fold_in(key, n), aval.shape, aval.dtype)
    for leaf in known.plan.lifted:
        slot = program.leaves[leaf]
        aval, size = program.avals[slot], program.size
        own = jax.random.split(jax.random.fold_in(key, len(shapes) + leaf), max(1, aval.ndim))
        parts = [
            _rademacher(k, (size, n), aval.dtype) for k, n in zip(own, aval.shape, strict=False)
        ]
        signs[slot] = _outer(parts) if parts else _rademacher(own[0], (size,), aval.dtype)
        factors[slot] = parts
    return Noise(signs, {slot: parts for slot, parts in factors.items() if parts})


def _outer(factors: list[jax.Array]) -> jax.Array:
    """Outer product of the factors of each example."""
    count, product = len(factors), 1.0
    for n, factor in enumerate(factors):
        shape = [1] * count
        shape[n] = factor.shape[1]
        product = product * factor.reshape(-1, *shape)
    return jnp.asarray(product)


def _rademacher(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    """Signs, 32 of each random number: drawing is no small part of a pass."""
    size = math.prod(shape)
    words = jax.random.bits(key, (-(-size // 32), 1), jnp.uint32)
    bits = (words >> jnp.arange(32, dtype=jnp.uint32)[None]) & jnp.uint32(1)
    return (1 - 2 * bits.astype(dtype)).reshape(-1)[:size].reshape(shape)


def size_of_noise(options: Options, value: jax.Array) -> jax.Array:
    """Relative to the root mean square of what it is added to, where that is not zero."""
    wide = value.astype(working_dtype(value))
    size = jnp.sqrt(jnp.mean(wide**2))
    return (options.smoothing * jnp.where(size > 0, size, 1)).astype(value.dtype)


def _acts(site: Site, values: Values, before: Values, reaches: Arrays) -> Any:
    return passes.gates(site, values, before[site.slot], reaches[site.slot])[0]


def _weighted(known: Outline, slot: Slot, weights: jax.Array, value: jax.Array) -> jax.Array:
    program = known.plan.program
    if slot in program.leaves:
        return weights.astype(value.dtype).reshape(-1, *[1] * (value.ndim - 1)) * value
    return passes.weighted(program, slot, weights, value)


def _reads(known: Outline) -> set[Slot]:
    return {slot for site in known.plan.sites for slot in site.reads} - known.plan.chain


def _direct(found: Plan, options: Options, values: Values, site: Site) -> jax.Array:
    """Slope of the losses in a site, entry by entry, from values of what comes after it."""
    program = found.program
    number, value = program.components(site.slot), values[site.slot]
    reach = size_of_noise(options, value)

    def along(row: jax.Array) -> jax.Array:
        rows = jnp.broadcast_to(row, (program.size, number))
        step = reach * passes.unflat(program, site.slot, rows)
        up, down = (passes.after(found, values, site, value + s) for s in (step, -step))
        return (up - down) / (2 * reach.astype(up.dtype))

    slopes = jax.vmap(along, out_axes=1)(jnp.eye(number, dtype=value.dtype))
    return passes.unflat(program, site.slot, slopes.astype(value.dtype))


# --- the gradient ---------------------------------------------------------------------------------


def gradient(known: Outline, found: Found, params: Params) -> Params:
    """Estimate of the gradient of the mean loss, like the parameters.

    Args:
        known: of the function and the batch.
        found: by the passes.
        params: as they came.
    """
    plan, leaves = known.plan, jax.tree.leaves(params)
    sums: list[Any] = [None] * len(leaves)

    def add(leaf: int, part: jax.Array) -> None:
        sums[leaf] = part if sums[leaf] is None else sums[leaf] + part

    for site in plan.sites:
        slope = found.slopes[site.slot]
        slope = slope / jnp.asarray(plan.program.size, slope.dtype)
        parts = passes.transposed(plan, site, found.values, slope)
        for leaf, part in zip(site.leaves, parts, strict=True):
            add(leaf, part)
    for leaf in plan.lifted:
        add(leaf, found.slopes[plan.program.leaves[leaf]].mean(0))
    cast = [x.astype(jnp.result_type(leaf)) for x, leaf in zip(sums, leaves, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(params), cast)
