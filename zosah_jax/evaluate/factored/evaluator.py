"""The factored evaluator: probes along directions of low rank share the product with the matrix."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.checks import check_count
from zosah_jax.evaluate.evaluators import Evaluator, InChunks, ValueFn
from zosah_jax.evaluate.factored.perturbed import Perturbed, spread
from zosah_jax.evaluate.factored.rules import interpret
from zosah_jax.evaluate.grouped.evaluator import program_of
from zosah_jax.evaluate.grouped.program import Flat, Program, peak_bytes, trace
from zosah_jax.low_rank import Factors, LowRank, combine_factors
from zosah_jax.probes import DirectionProbes, Probes
from zosah_jax.pytree import Params, widen

# Bytes of intermediate results that a chunk of probes may have. Measured on two cores: networks of
# 2,000 to 3 million parameters are quickest at 1 to 16 MiB, where a chunk fits the caches.
_CHUNK_BYTES = 2**23
_ACCELERATOR_CHUNK_BYTES = 2**31  # not measured: enough work to fill a card
_LARGEST_CHUNK = 256


def factored(chunk: int | None = None) -> Evaluator:
    r"""Evaluator of directions of low rank that takes the product with each matrix once for all.

    A probe moves a matrix W by s left right' (`low_rank.LowRank`), and the product with what it
    multiplies is

    .. math:: x (W + s \, L R') = x W + s \, (x L) R'

    so no probe needs a copy of W, and the products x W of a chunk of probes are one product. This
    is done to any objective, unchanged: it is traced, and its operations are carried out on the
    two parts apart wherever a rule is known. There are rules for products with any axes
    contracted, casts, transposes, reshapes, slices, embeddings, sums, multiples, loops over
    stacked layers and branches; for all else the matrix is formed, once a probe.

    Parameters narrower than float32 are widened, as ever. Where the objective casts a matrix to
    bfloat16, the product with W is taken in bfloat16, those with the factors in float32, and their
    sum is rounded once: a perturbation that is lost in a rounded W is not lost here.

    Other probes, directions that are scaled by coordinates (HiZOO's), and objectives that call
    functions on the host are answered one by one.

    Args:
        chunk: probes that are answered together (static). None: as many as have intermediate
            results within 8 MiB on a CPU and 2 GiB on an accelerator, by an estimate, at most 256;
            where there are convolutions, one on a CPU.

    Returns:
        An evaluator. Values agree with those of `one_by_one` to rounding, not to the last bit.

    Raises:
        TypeError, ValueError: `chunk` is no positive int.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> f = lambda p: jnp.sum((jnp.ones((2, 4)) @ p["w"] - 1) ** 2)
        >>> tx = zosah_jax.rspg(
        ...     0.02, 4, directions="low_rank", evaluator=zosah_jax.evaluate.factored()
        ... )
        >>> out = zosah_jax.minimize(f, {"w": jnp.zeros((4, 8))}, tx, budget=1500)
        >>> bool(out.value < 1e-3)
        True

    References:
        Sarkar et al., `Evolution Strategies at the Hyperscale <https://arxiv.org/abs/2511.16652>`_,
        2025 (EGGROLL).
    """
    check_count("chunk", chunk, optional=True)
    return Factored(chunk)


@dataclass(frozen=True)
class Factored:
    """See `factored`."""

    chunk: int | None

    def __call__(self, value_fn: ValueFn, params: Params, probes: Probes) -> jax.Array:
        """Values of the probes."""
        program = program_of(value_fn, params) if has_factors(probes) else None
        if program is None or not program.is_pure:
            return InChunks(1)(value_fn, params, probes)
        return answer_in_chunks(program, params, probes, self.chunk)


def has_factors(probes: Probes) -> bool:
    """Whether probes move matrices by products of factors."""
    if not isinstance(probes, DirectionProbes) or probes.scaling is not None:
        return False
    return isinstance(probes.distribution, LowRank)


def answer_in_chunks(
    program: Program,
    params: Params,
    probes: Any,
    chunk: int | None = None,
    memory_limit: int | None = None,
) -> jax.Array:
    """Values of probes that have factors.

    Args:
        program: the objective.
        params: the parameters.
        probes: `DirectionProbes` of a `LowRank` distribution.
        chunk: probes that are answered together; None: as `factored` says.
        memory_limit: bytes that a chunk may take; None: no limit of its own.
    """
    answer = _answer(program, params)
    size = _chunk(program, answer, probes, memory_limit) if chunk is None else chunk
    if size >= len(probes):
        return jax.vmap(answer)(probes)
    return jax.lax.map(answer, probes, batch_size=size if size > 1 else None)


def _answer(program: Program, params: Params) -> Callable[[Any], jax.Array]:
    """The value of a single probe."""
    leaves = jax.tree.leaves(widen(params))
    flat = Flat(program.ops, program.leaves, program.constants, (program.output,))

    def point(leaf: jax.Array, move: Factors | jax.Array) -> Any:
        if isinstance(move, Factors):
            return Perturbed(leaf, move, np.dtype(leaf.dtype))
        return leaf + move

    def answer(probe: Any) -> jax.Array:
        moves = combine_factors(probe.key, probe.scale, leaves, probe.distribution)
        (value,) = interpret(flat, list(map(point, leaves, moves)))
        return jnp.asarray(spread(value))

    return answer


def _chunk(program: Program, answer: Any, probes: Any, memory_limit: int | None) -> int:
    """Probes that are answered together."""
    on_cpu = jax.default_backend() == "cpu"
    if on_cpu and any(op.name == "conv_general_dilated" for op in program.ops):
        return 1
    arrays, treedef = jax.tree.flatten(jax.tree.map(lambda x: x[0], probes))
    of_one = trace(lambda *arrays: answer(jax.tree.unflatten(treedef, arrays)), arrays)
    most = _CHUNK_BYTES if on_cpu else _ACCELERATOR_CHUNK_BYTES
    most = most if memory_limit is None else min(most, memory_limit)
    size = min(max(1, most // max(peak_bytes(of_one), 1)), _LARGEST_CHUNK, len(probes))
    return _evenly(len(probes), size)


def _evenly(count: int, size: int) -> int:
    """A size at most this one that leaves nothing over, if there is one that is not far off.

    What is left over would be compiled as a batch of its own.
    """
    divisors = (n for n in range(size, size // 2, -1) if count % n == 0)
    return next(divisors, size)
