"""The methods: frozen, hashable values, one file or folder each (see `zosah_jax.method`).

The published ones stay what their papers say; `zopqn`, `quadratic_regression`, `block_newton`,
`noisy_regression`, `noisy_descent` and `least_squares` (which takes vectors of residuals) are this
library's own.
"""

# The constructors are classes; here they have the names of the optax forms.
from zosah_jax.method import Method
from zosah_jax.methods.block_newton.solver import BlockNewton as block_newton
from zosah_jax.methods.deepzero import DeepZero as deepzero
from zosah_jax.methods.eggroll import EGGROLL as eggroll
from zosah_jax.methods.fzoo import FZOO as fzoo
from zosah_jax.methods.hizoo import HiZOO as hizoo
from zosah_jax.methods.least_squares.solver import LeastSquares as least_squares
from zosah_jax.methods.lozo import LOZO as lozo
from zosah_jax.methods.mezo import MeZO as mezo
from zosah_jax.methods.mezo_bcd import MeZOBCD as mezo_bcd
from zosah_jax.methods.noisy_descent import NoisyDescent as noisy_descent
from zosah_jax.methods.noisy_regression.solver import MOST_PARAMETERS as MOST_NOISY
from zosah_jax.methods.noisy_regression.solver import NoisyRegression as noisy_regression
from zosah_jax.methods.noisy_regression.state import num_asked
from zosah_jax.methods.quadratic_regression.solver import MOST_PARAMETERS as MOST_EXACT
from zosah_jax.methods.quadratic_regression.solver import (
    QuadraticRegression as quadratic_regression,
)
from zosah_jax.methods.rspg import RSPG as rspg
from zosah_jax.methods.zo_muon import ZOMuon as zo_muon
from zosah_jax.methods.zo_rsn import ZORSN as zo_rsn
from zosah_jax.methods.zoha import ZOHA as zoha
from zosah_jax.methods.zopqn.state import LARGEST_DENSE
from zosah_jax.methods.zopqn.zopqn import ZOPQN as zopqn
from zosah_jax.methods.zosah.zosah import ZOSAH as zosah
from zosah_jax.methods.zovh import ZoVH as zovh
from zosah_jax.pytree import Params, dimension

__all__ = [
    "METHODS",
    "Method",
    "block_newton",
    "deepzero",
    "default_method",
    "eggroll",
    "fzoo",
    "hizoo",
    "least_squares",
    "lozo",
    "mezo",
    "mezo_bcd",
    "noisy_descent",
    "noisy_regression",
    "quadratic_regression",
    "rspg",
    "zo_muon",
    "zo_rsn",
    "zoha",
    "zopqn",
    "zosah",
    "zovh",
]

METHODS: dict[str, type[Method]] = {
    "zosah": zosah,
    "rspg": rspg,
    "mezo": mezo,
    "mezo_bcd": mezo_bcd,
    "hizoo": hizoo,
    "fzoo": fzoo,
    "zoha": zoha,
    "zo_rsn": zo_rsn,
    "deepzero": deepzero,
    "eggroll": eggroll,
    "lozo": lozo,
    "zo_muon": zo_muon,
    "zovh": zovh,
    "zopqn": zopqn,
    "quadratic_regression": quadratic_regression,
    "noisy_regression": noisy_regression,
    "block_newton": block_newton,
    "noisy_descent": noisy_descent,
}
"""Every method of scalars by name: what the exam of the tests and the experiments run over."""


_MOST_POINTS = 8  # of a regression's step; more were not measured


def default_method(
    params: Params, *, noisy: bool, bounded: bool = False, workers: int = 1
) -> Method:
    """The method that a run takes where the user names none; the same in every face.

    `quadratic_regression` needs the fewest values where they are exact, and the parameters few or
    bounded; `zopqn` where they are some hundred and free; `block_newton` beyond, where no dense
    model fits. Under noise it is `noisy_regression`, and beyond 50 parameters `noisy_descent`.

    Args:
        params: where the run begins; only its size matters.
        noisy: whether values have noise beyond their rounding.
        bounded: whether parameters have bounds.
        workers: values that can be had at a time, for which regressions ask as many points, at most
            8. (The others ask several in any case.)

    Example:
        >>> import numpy as np, zosah_jax
        >>> default_method = zosah_jax.methods.default_method
        >>> [type(default_method(np.zeros(d), noisy=False)).__name__ for d in (9, 200, 3000)]
        ['QuadraticRegression', 'ZOPQN', 'BlockNewton']
        >>> [type(default_method(np.zeros(d), noisy=True)).__name__ for d in (12, 3000)]
        ['NoisyRegression', 'NoisyDescent']
    """
    d = dimension(params)
    points = max(1, min(workers, _MOST_POINTS))
    if noisy and d > MOST_NOISY:
        return noisy_descent(num_pairs=max(1, points // 4))
    if noisy:
        return noisy_regression(num_points=points if points > num_asked(d) else None)
    if d > LARGEST_DENSE:
        return block_newton()
    if bounded or d <= MOST_EXACT:
        return quadratic_regression(num_points=points)
    return zopqn()
