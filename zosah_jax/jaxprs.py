"""What the parts of a jaxpr are.

Their types are in `jax.extend.core`. It is imported here alone, and at the first question: it
imports Pallas, which takes a tenth of the time that JAX takes to import.
"""

from collections.abc import Callable, Sequence
from typing import Any


def is_literal(atom: Any) -> bool:
    """Whether an operand is a constant that is written into the equation, no variable."""
    from jax.extend.core import Literal

    return isinstance(atom, Literal)


def is_open(param: Any) -> bool:
    """Whether a parameter of an equation is a jaxpr without its constants."""
    from jax.extend.core import Jaxpr

    return isinstance(param, Jaxpr)


def is_closed(param: Any) -> bool:
    """Whether a parameter of an equation is a jaxpr with its constants."""
    from jax.extend.core import ClosedJaxpr

    return isinstance(param, ClosedJaxpr)


def close(jaxpr: Any, constants: Sequence[Any]) -> Any:
    """A jaxpr with constants in the places of its own."""
    from jax.extend.core import ClosedJaxpr

    return ClosedJaxpr(jaxpr, constants)


def function(jaxpr: Any, constants: Sequence[Any]) -> Callable[..., list[Any]]:
    """A jaxpr with constants, as a function of its other inputs."""
    from jax.extend.core import jaxpr_as_fun

    return jaxpr_as_fun(close(jaxpr, constants))
