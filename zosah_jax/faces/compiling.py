"""How much effort XLA spends on a program: little on one that computes little.

A method's own algebra is many small operations, each done a few hundred times. Compiling them takes
seconds where running them takes milliseconds, and optimising them saves microseconds. Objectives
are another matter. So what a face compiles apart from the objective, and a run whose objective does
little work in all its budget, is compiled quickly; but not of published methods, whose runs are to
be the same to the last bit, which depends on what a compiler makes of a sum (`Method.keeps_bits`).
"""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp

from zosah_jax.evaluate.grouped.program import Op, flops, primitives_of

# Code that is not optimised does about 3e8 operations a second on one core; the second or more that
# quick compilation saves is worth more than this number of them.
LITTLE_WORK = 1e8

# Measured on ZO-PQN's run in two dimensions: 3.3 s by default, 1.2 s without the fusion emitters
# (the older code generator of XLA's CPU backend, which jaxlib has up to 0.11.0), 0.7 s also without
# optimisation by LLVM.
_QUICK = {"xla_cpu_use_fusion_emitters": False, "xla_backend_optimization_level": 0}


def quick_options() -> dict[str, Any] | None:
    """Options of `jax.jit` under which it compiles quickly; None where the backend has none."""
    return _known(jax.default_backend()) or None


@cache
def _known(backend: str) -> dict[str, Any]:
    """Those of the options that this version of XLA knows."""
    if backend != "cpu":
        return {}
    return {name: value for name, value in _QUICK.items() if _is_known({name: value})}


def _is_known(option: dict[str, Any]) -> bool:
    try:
        jax.jit(lambda x: x + 1, compiler_options=option).lower(jnp.zeros(())).compile()
    except Exception:  # XLA's errors have no type of their own that is stable
        return False
    return True


def is_little_work(jaxpr: Any, times: int) -> bool:
    """Whether a program does little in so many runs; a loop of unknown length may do much."""
    if "while" in primitives_of(jaxpr):
        return False
    return times * sum(flops(Op(eqn, (), ())) for eqn in jaxpr.eqns) <= LITTLE_WORK
