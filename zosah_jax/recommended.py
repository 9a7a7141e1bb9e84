"""The method that is taken where the user names none."""

from functools import cache

import optax

from zosah_jax.params import Params, dimension
from zosah_jax.pqn.options import LARGEST_DENSE
from zosah_jax.pqn.transformation import zopqn
from zosah_jax.sah.transformation import zosah


def recommended(x0: Params, bounded: bool = False) -> optax.GradientTransformation:
    """The transformation that `minimize` takes where the user names none.

    ZO-PQN keeps every value at work and needs the fewest of them, but its model is dense: beyond
    the coordinates that it holds at a time ZO-SAH is taken, and within bounds, where less is known
    of ZO-PQN.
    """
    few = dimension(x0) <= LARGEST_DENSE
    return default_method("zopqn" if few and not bounded else "zosah")


@cache  # one object, so that calls do not compile again; late, so that imports start no backend
def default_method(name: str = "zosah") -> optax.GradientTransformation:
    """A method of the library with its defaults."""
    return {"zosah": zosah, "zopqn": zopqn}[name](1.0)
