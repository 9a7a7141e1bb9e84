"""Which evaluator suits an objective: by rule, or by timing the candidates."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zosah_jax.checks import check_count, typed_key
from zosah_jax.evaluate.evaluators import Evaluator, ValueFn, all_at_once, in_chunks
from zosah_jax.evaluate.factored.evaluator import answer_in_chunks, has_factors
from zosah_jax.evaluate.grouped.evaluator import grouped, make_objective_plan, program_of
from zosah_jax.evaluate.grouped.plan import expected_cost
from zosah_jax.evaluate.grouped.program import Program, flops, peak_bytes, result_bytes
from zosah_jax.evaluate.objective import traced
from zosah_jax.permutation import permute
from zosah_jax.probes import CoordinateProbes, Probes
from zosah_jax.pytree import Params, address_of, check_params, dimension, working_dtype

# Copies of the parameters that may be alive at once, in bytes. Measured on a CPU (the table in
# experiments/overhead/README.md): up to about 10k parameters a batch of copies runs as one matrix
# product and is twice as quick as one by one; a network of 50k gets up to five times slower.
_CHUNK_BYTES = 2**18
_LARGEST_CHUNK = 256

# A value of fewer operations than this costs no more than the loop around it (measured on logistic
# regressions: at 1 million operations grouping gains nothing, at 40 million a factor of five).
_WORTH_GROUPING = 4_000_000
_ACCELERATOR_CHUNK = 16  # not measured: enough work to fill a card, little memory


def automatic(memory_limit: int | None = None) -> Evaluator:
    """Evaluator that picks its way by backend, objective and memory; the default.

    Coordinate probes of an objective of more than 4 million operations are grouped (`grouped`)
    where that saves at least a fifth. Else as many probes go at a time as have copies of the
    parameters within 256 KiB (at most 256), so that a small problem runs as a matrix product and a
    network one by one; with convolutions on a CPU, one by one always. Directions of low rank are
    answered as by `factored`, except those scaled by coordinates. Measured on CPUs only.

    Args:
        memory_limit: bytes that copies of the parameters and intermediate results may take, by an
            estimate from the traced objective that knows nothing of XLA's fusion (an upper bound);
            None sets no limit.

    Returns:
        An evaluator.

    Raises:
        TypeError, ValueError: the limit is no positive int. ValueError as it evaluates: the limit
            is below what one probe takes.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> tx = zosah_jax.zosah(1.0, evaluator=zosah_jax.automatic(memory_limit=2**30))
        >>> out = zosah_jax.minimize(lambda x: (x**2).sum(), jnp.ones(4), tx, budget=40)
        >>> bool(out.value < 1e-6)
        True
    """
    check_count("memory_limit", memory_limit, optional=True)
    return Automatic(memory_limit)


@dataclass(frozen=True)
class Automatic:
    """See `automatic`."""

    memory_limit: int | None

    def __call__(self, value_fn: ValueFn, params: Params, probes: Probes) -> jax.Array:
        """Values of the probes."""
        program = program_of(value_fn, params)
        if has_factors(probes) and program.is_pure:
            left = _limit_of_factored(program, params, self.memory_limit)
            return answer_in_chunks(program, params, probes, memory_limit=left)
        chosen = _choose(program, params, probes, self.memory_limit)
        return chosen(value_fn, params, probes)


def _copy_bytes(params: Params) -> int:
    return sum(jnp.size(x) * working_dtype(x).itemsize for x in jax.tree.leaves(params))


def _limit_of_factored(program: Program, params: Params, memory_limit: int | None) -> int | None:
    """What is left for the probes when the parameters, widened, are there once."""
    if memory_limit is None:
        return None
    _check_limit(program, params, memory_limit)
    return memory_limit - _copy_bytes(params)


def _check_limit(program: Program, params: Params, memory_limit: int | None) -> int:
    """Bytes that one probe takes on a copy of the parameters."""
    copy = _copy_bytes(params)
    one = copy + peak_bytes(program)
    if memory_limit is not None and memory_limit < one:
        raise ValueError(
            f"memory_limit: got {memory_limit} bytes, wanted at least {one}: what one probe takes "
            f"(a copy of the parameters, {copy}, and intermediate results, {one - copy})."
        )
    return one


def _choose(
    program: Program, params: Params, probes: Probes, memory_limit: int | None
) -> Evaluator:
    if program.calls_host:  # a batch is one callback, whose calls may run side by side
        return all_at_once()
    on_cpu = jax.default_backend() == "cpu"
    one, copy = _check_limit(program, params, memory_limit), _copy_bytes(params)
    kept = copy + sum(map(result_bytes, program.ops))
    fits = memory_limit is None or kept + one <= memory_limit
    if isinstance(probes, CoordinateProbes) and fits and _is_worth_grouping(program, params):
        return grouped(1 if on_cpu else _ACCELERATOR_CHUNK)
    size = max(1, min(_CHUNK_BYTES // max(copy, 1), _LARGEST_CHUNK))
    if on_cpu and any(op.name == "conv_general_dilated" for op in program.ops):
        size = 1
    if memory_limit is not None:
        size = min(size, memory_limit // one)
    return in_chunks(int(size))


def _is_worth_grouping(program: Program, params: Params) -> bool:
    if not program.is_pure or sum(map(flops, program.ops)) < _WORTH_GROUPING:
        return False
    sizes = tuple(jnp.size(leaf) for leaf in jax.tree.leaves(params))
    return expected_cost(program, make_objective_plan(program, params), sizes) < 0.8


class Tuned(NamedTuple):
    """What `autotune` measured.

    Attributes:
        evaluator: the fastest.
        name: its name among the candidates.
        seconds: median time of a value by each candidate; inf for one that failed for memory.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> one = {"one": zosah_jax.one_by_one()}
        >>> tuned = zosah_jax.evaluate.autotune(lambda x: (x**2).sum(), jnp.ones(4), candidates=one)
        >>> tuned.name, tuned.evaluator == zosah_jax.one_by_one(), tuned.seconds["one"] < 1
        ('one', True, True)
    """

    evaluator: Evaluator
    name: str
    seconds: dict[str, float]


def autotune(
    value_fn: Callable[[Params], Any],
    params: Params,
    *,
    candidates: Mapping[str, Evaluator] | None = None,
    num_probes: int = 32,
    repeats: int = 5,
    key: Any = 0,
) -> Tuned:
    """Time evaluators on an objective, and pick the fastest.

    Each candidate is compiled and answers the same random coordinate probes, in turn, `repeats`
    times. The function is evaluated about len(candidates) * num_probes * (repeats + 1) times.

    Args:
        value_fn: objective, params -> scalar, traceable by JAX.
        params: pytree of real floating arrays.
        candidates: evaluators by name; None: one by one, chunks of 8 and 64, and grouped.
        num_probes: probes of a batch, as many as a step of the method will ask.
        repeats: times that each candidate is measured.
        key: int or typed key; the coordinates follow from it.

    Returns:
        A `Tuned`.

    Raises:
        TypeError, ValueError: an argument is of the wrong kind, by name, or no candidate ran.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> f = lambda x: (x**2).sum()
        >>> candidates = {"one": zosah_jax.one_by_one(), "all": zosah_jax.evaluate.all_at_once()}
        >>> tuned = zosah_jax.evaluate.autotune(f, jnp.ones(8), candidates=candidates, num_probes=4)
        >>> tuned.name in candidates, sorted(tuned.seconds)
        (True, ['all', 'one'])
    """
    check_params(params)
    check_count("num_probes", num_probes)
    check_count("repeats", repeats)
    candidates = _CANDIDATES if candidates is None else dict(candidates)
    probes = _random_probes(typed_key(key), params, num_probes)
    objective = traced(value_fn, params)
    runs, seconds = {}, {name: [] for name in candidates}
    for name, evaluator in candidates.items():
        try:
            run = jax.jit(lambda p, q, evaluator=evaluator: evaluator(objective, p, q))
            runs[name] = run.lower(params, probes).compile()
            jax.block_until_ready(runs[name](params, probes))
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            runs.pop(name, None)
            seconds[name] = [np.inf]
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            jax.block_until_ready(run(params, probes))
            seconds[name].append((time.perf_counter() - start) / num_probes)
    if not runs:
        raise ValueError("candidates: got none that runs in the memory at hand, wanted one.")
    median = {name: float(np.median(times)) for name, times in seconds.items()}
    best = min(median, key=lambda name: median[name])
    return Tuned(candidates[best], best, median)


_CANDIDATES: dict[str, Evaluator] = {
    "one_by_one": in_chunks(1),
    "in_chunks(8)": in_chunks(8),
    "in_chunks(64)": in_chunks(64),
    "grouped": grouped(),
    "grouped(8)": grouped(8),
}


def _random_probes(key: jax.Array, params: Params, count: int) -> CoordinateProbes:
    """Probes of single coordinates, the parameters themselves first."""
    d, dtype = dimension(params), working_dtype(params)
    place = jnp.arange(count, dtype=jnp.uint32) % np.uint32(d)
    address = address_of(params, permute(key, place, d)[:, None])
    offset = jnp.full((count, 1), 1e-3, dtype).at[0].set(0)
    return CoordinateProbes(address, offset)
