"""Loops and branches over perturbed matrices: a decoder's stacked layers stay two parts in them."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from zosah_jax.evaluate.factored.perturbed import Perturbed, spread
from zosah_jax.evaluate.grouped.program import Op, perform, scan_parts
from zosah_jax.low_rank import Factors

Body = Callable[[Any], Callable[[Sequence[Any]], list[Any]]]


def _scan(op: Op, operands: Sequence[Any], body_of: Body) -> list[Any]:
    p = op.eqn.params
    consts, init, xs = _parts(operands, *scan_parts(op.eqn))
    body, pieces = body_of(p["jaxpr"]), [_Layers(x) for x in xs]

    def turn(carry: Sequence[Any], here: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        mine = [piece.at(part) for piece, part in zip(pieces, here, strict=True)]
        results = body([*consts, *carry, *mine])
        return results[: len(carry)], results[len(carry) :]

    carry, stacked = jax.lax.scan(
        turn,
        _whole(init),
        [piece.scanned for piece in pieces],
        p["length"],
        p["reverse"],
        p["unroll"],
    )
    return [*carry, *stacked]


class _Layers:
    """What is scanned over: an array, or perturbed matrices stacked along its first axis."""

    def __init__(self, value: Any) -> None:
        self._value = value
        self.scanned: Any = value
        if isinstance(value, Perturbed):
            factors = value.factors
            sides = (factors.left, factors.left_axes), (factors.right, factors.right_axes)
            # axes ascend, so that of the layers is a factor's first
            self.scanned = value.base, [part for part, axes in sides if 0 in axes]

    def at(self, here: Any) -> Any:
        """The layer of a turn."""
        if not isinstance(self._value, Perturbed):
            return here
        factors, (base, parts) = self._value.factors, here
        own = iter(parts)
        left = next(own) if 0 in factors.left_axes else factors.left
        right = next(own) if 0 in factors.right_axes else factors.right
        axes = [tuple(n - 1 for n in axes if n) for axes in (factors.left_axes, factors.right_axes)]
        return Perturbed(
            base, Factors(left, right, axes[0], axes[1], factors.ndim - 1), self._value.dtype
        )


def _while(op: Op, operands: Sequence[Any], body_of: Body) -> list[Any]:
    p = op.eqn.params
    tested, consts, init = _parts(operands, p["cond_nconsts"], p["body_nconsts"])
    goes_on, body = body_of(p["cond_jaxpr"]), body_of(p["body_jaxpr"])
    return jax.lax.while_loop(
        lambda carry: goes_on([*tested, *carry])[0],
        lambda carry: body([*consts, *carry]),
        _whole(init),
    )


def _cond(op: Op, operands: Sequence[Any], body_of: Body) -> list[Any]:
    if op.eqn.params.get("branches_platforms") is not None:
        return perform(op, _whole(operands))
    index, *rest = _whole(operands[:1]) + list(operands[1:])
    branches = [body_of(branch) for branch in op.eqn.params["branches"]]
    return jax.lax.switch(index, [lambda *rest, run=run: run(rest) for run in branches], *rest)


def _parts(operands: Sequence[Any], first: int, second: int) -> tuple[Any, Any, Any]:
    return operands[:first], operands[first : first + second], operands[first + second :]


def _whole(values: Sequence[Any]) -> list[Any]:
    return [jnp.asarray(spread(value)) for value in values]


LOOPS: dict[str, Callable[[Op, Sequence[Any], Body], list[Any]]] = {
    "scan": _scan,
    "while": _while,
    "cond": _cond,
}
