"""An objective as a flat list of operations on numbered slots.

Once flat, it is plain what an operation depends on, what has to be done again when one leaf of the
parameters changes, and what that costs.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax

from zosah_jax.jaxprs import is_closed, is_literal, is_open

Slot = int
Values = dict[Slot, jax.Array]

# Operations that only wrap others. What they add (a name, a derivative rule, rematerialisation)
# means nothing to a forward value.
_WRAPPERS = ("jaxpr", "call_jaxpr", "fun_jaxpr")
_WRAPPING = frozenset(
    """jit pjit closed_call core_call checkpoint remat remat2 custom_jvp_call custom_vjp_call
    custom_vjp_call_jaxpr""".split()  # noqa: SIM905
)
# Operations that must not be done other than once a probe, or cannot be done one by one.
_LEFT_ALONE = frozenset(["pure_callback", "io_callback", "debug_callback", "custom_vmap_call"])


_HOST_CALLS = frozenset(["pure_callback", "io_callback"])


class Op(NamedTuple):
    """One operation.

    Attributes:
        eqn: the equation of the jaxpr: its primitive, parameters, and types of its operands.
        inputs: where its operands lie: slots, or literals.
        outputs: the slots that it fills.
    """

    eqn: Any
    inputs: tuple[Any, ...]
    outputs: tuple[Slot, ...]

    @property
    def name(self) -> str:
        """Name of its primitive."""
        return self.eqn.primitive.name


PRODUCTS = ("dot_general", "conv_general_dilated")


def places(op: Op) -> set[Slot]:
    """Slots that an operation reads."""
    return {place for place in op.inputs if isinstance(place, Slot)}


class Program(NamedTuple):
    """An objective, traced and flat.

    Attributes:
        ops: what its value needs, in an order in which it can be done.
        leaves: slots of the leaves of the parameters.
        constants: values of the slots that nothing computes.
        output: slot (or literal) of the objective's value.
        is_pure: whether its operations may be done any number of times: it calls nothing on the
            host, which would be seen there.
        calls_host: whether it calls a function on the host for its value.
    """

    ops: tuple[Op, ...]
    leaves: tuple[Slot, ...]
    constants: Values
    output: Any
    is_pure: bool
    calls_host: bool


def trace(fun: Callable[..., Any], leaves: Iterable[jax.Array]) -> Program:
    """The program of `fun(*leaves)`, a scalar."""
    closed = jax.make_jaxpr(fun)(*leaves)
    flat = flatten(closed)
    (output,) = flat.outputs
    names = primitives_of(closed.jaxpr)
    is_pure = not closed.effects and _LEFT_ALONE.isdisjoint(names)
    calls_host = not _HOST_CALLS.isdisjoint(names)
    return Program(flat.ops, flat.inputs, flat.constants, output, is_pure, calls_host)


class Flat(NamedTuple):
    """A jaxpr as a list of operations: an objective, or what a loop does in a turn.

    Attributes:
        ops: what its results need, in an order in which it can be done.
        inputs: slots of its operands.
        constants: values of the slots that nothing computes.
        outputs: slots (or literals) of its results.
    """

    ops: tuple[Op, ...]
    inputs: tuple[Slot, ...]
    constants: Values
    outputs: tuple[Any, ...]


def flatten(closed: Any) -> Flat:
    """A closed jaxpr, flat: what only wraps other operations is inlined."""
    flat = _Flattening()
    slots = tuple(flat.slot() for _ in closed.jaxpr.invars)
    outputs = tuple(flat.inline(closed.jaxpr, closed.consts, slots))
    return Flat(_needed(flat.ops, outputs), slots, flat.constants, outputs)


class _Flattening:
    """Gives every value a slot of its own: a jaxpr that is called twice shares its variables."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.constants: Values = {}
        self._slots = 0

    def slot(self) -> Slot:
        self._slots += 1
        return self._slots - 1

    def inline(self, jaxpr: Any, consts: Iterable[Any], operands: Iterable[Any]) -> list[Any]:
        """Append the operations of a jaxpr; its results' slots."""
        place: dict[Any, Any] = dict(zip(jaxpr.invars, operands, strict=True))
        for var, const in zip(jaxpr.constvars, consts, strict=True):
            place[var] = self.slot()
            self.constants[place[var]] = const

        def where(atom: Any) -> Any:
            return atom if is_literal(atom) else place[atom]

        for eqn in jaxpr.eqns:
            inputs = tuple(where(atom) for atom in eqn.invars)
            inner = wrapped(eqn)
            if inner is None:
                outputs = [self.slot() for _ in eqn.outvars]
                self.ops.append(Op(eqn, inputs, tuple(outputs)))
            elif is_closed(inner):
                outputs = self.inline(inner.jaxpr, inner.consts, inputs)
            else:
                outputs = self.inline(inner, (), inputs)
            place.update(zip(eqn.outvars, outputs, strict=True))
        return [where(atom) for atom in jaxpr.outvars]


def scan_parts(eqn: Any) -> tuple[int, int]:
    """How many operands of a scan are constants, and how many its carry; the others are stacked.

    JAX's parameters that say so have changed their names; the shapes have not.
    """
    body = eqn.params["jaxpr"].jaxpr

    def number(outside: Any, inside: Any) -> int:
        pairs = zip(outside, inside, strict=True)
        return sum(len(out.aval.shape) > len(here.aval.shape) for out, here in pairs)

    carry = len(eqn.outvars) - number(eqn.outvars, body.outvars)
    return len(eqn.invars) - carry - number(eqn.invars, body.invars), carry


def wrapped(eqn: Any) -> Any:
    """The jaxpr that an equation only wraps, if it does."""
    if eqn.primitive.name not in _WRAPPING:
        return None
    return next((eqn.params[name] for name in _WRAPPERS if name in eqn.params), None)


def _inner(eqn: Any) -> list[Any]:
    """The jaxprs within an equation: bodies of loops, branches."""
    found = []
    for param in eqn.params.values():
        for part in param if isinstance(param, tuple | list) else (param,):
            if is_closed(part):
                found.append(part.jaxpr)
            elif is_open(part):
                found.append(part)
    return found


def primitives_of(jaxpr: Any) -> set[str]:
    """Names of all primitives of a jaxpr, those within loops and branches included."""
    names = {eqn.primitive.name for eqn in jaxpr.eqns}
    return names.union(*(primitives_of(inner) for eqn in jaxpr.eqns for inner in _inner(eqn)))


def _needed(ops: list[Op], outputs: Iterable[Any]) -> tuple[Op, ...]:
    wanted, kept = {output for output in outputs if isinstance(output, Slot)}, []
    for op in reversed(ops):
        if wanted.intersection(op.outputs):
            kept.append(op)
            wanted.update(places(op))
    return tuple(reversed(kept))


def dependents(program: Program, leaves: Iterable[int]) -> tuple[Op, ...]:
    """The operations whose results change with the leaves of these numbers."""
    changed, ops = {program.leaves[leaf] for leaf in leaves}, []
    for op in program.ops:
        if changed.intersection(places(op)):
            ops.append(op)
            changed.update(op.outputs)
    return tuple(ops)


def first_use(program: Program, leaf: int) -> int:
    """Number of the first operation that reads a leaf; the number of all if none does."""
    slot = program.leaves[leaf]
    uses = (n for n, op in enumerate(program.ops) if slot in places(op))
    return next(uses, len(program.ops))


def operand(place: Any, values: Values) -> Any:
    """Value of an operand."""
    return place.val if is_literal(place) else values[place]


def perform(op: Op, operands: Iterable[Any], **params: Any) -> list[jax.Array]:
    """Results of an operation, with some of its parameters replaced."""
    bound = op.eqn.primitive.get_bind_params({**op.eqn.params, **params})
    functions, bound = bound if isinstance(bound, tuple) else ((), bound)  # before jax 0.9
    with op.eqn.ctx.manager:
        results = op.eqn.primitive.bind(*functions, *operands, **bound)
    return list(results) if op.eqn.primitive.multiple_results else [results]


def run(program: Program, leaves: Iterable[jax.Array]) -> Values:
    """Every value of the program at these leaves."""
    values = {**program.constants, **dict(zip(program.leaves, leaves, strict=True))}
    for op in program.ops:
        results = perform(op, [operand(place, values) for place in op.inputs])
        values.update(zip(op.outputs, results, strict=True))
    return values


def flops(op: Op) -> int:
    """Operations on numbers that it takes, roughly: products exactly, all else by size."""
    size = sum(math.prod(out.aval.shape) for out in op.eqn.outvars)
    if op.name == "dot_general":
        (contracted, _), _ = op.eqn.params["dimension_numbers"]
        shape = op.eqn.invars[0].aval.shape
        return 2 * size * math.prod(shape[axis] for axis in contracted)
    if op.name == "conv_general_dilated":
        kernel = op.eqn.invars[1].aval.shape
        features = kernel[op.eqn.params["dimension_numbers"].rhs_spec[0]]
        return 2 * size * math.prod(kernel) // features
    inside = sum(flops(Op(eqn, (), ())) for inner in _inner(op.eqn) for eqn in inner.eqns)
    return size + int(op.eqn.params.get("length", 1)) * inside


def result_bytes(op: Op) -> int:
    """Memory that an operation's results take."""
    return sum(
        math.prod(out.aval.shape) * getattr(out.aval.dtype, "itemsize", 4) for out in op.eqn.outvars
    )


def peak_bytes(program: Program) -> int:
    """Most memory that results of the program hold at once, before any fusion: an upper bound."""
    last = {slot: n for n, op in enumerate(program.ops) for slot in places(op)}
    live, peak, held = {}, 0, 0
    for n, op in enumerate(program.ops):
        for slot in op.outputs:
            live[slot] = result_bytes(op) // len(op.outputs)
            held += live[slot]
        peak = max(peak, held)
        for slot in places(op):
            if last[slot] == n:
                held -= live.pop(slot, 0)
    return peak
