"""Optimisation from function values alone: ZO-SAH, the methods it is compared with, and solvers.

`minimize(fun, x0, budget=...)` is the one call, `least_squares` that for vectors of residuals, and
`forward.value_and_grad` trains networks on the losses of examples. `AskTell` is a run that you
drive yourself. The methods are here as optax transformations (`zosah(learning_rate)`,
`scale_by_zosah()`), and as themselves in `zosah_jax.methods`. Further names: `zosah_jax.evaluate`
(how probes are answered), `zosah_jax.transforms` (to end a chain with), `zosah_jax.host`
(objectives outside JAX), `zosah_jax.plot` (pictures of a run),
`zosah_jax.extras`, `zosah_jax.integrations` (Flax, SciPy, Dask).

A name is imported as it is first used: who calls `minimize` waits for nothing else.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # where each name is, for those who read the source; `_PLACES` says it to Python
    from zosah_jax import evaluate, extras, forward, host, methods, plot, transforms
    from zosah_jax.evaluate import automatic, grouped, in_chunks, one_by_one, sharded
    from zosah_jax.faces.host.ask_tell import AskTell
    from zosah_jax.faces.host.settings import Host
    from zosah_jax.faces.least_squares import LeastSquaresResult, least_squares
    from zosah_jax.faces.minimize import minimize
    from zosah_jax.faces.optimizers import (
        block_newton,
        deepzero,
        eggroll,
        fzoo,
        hizoo,
        lozo,
        mezo,
        mezo_bcd,
        noisy_descent,
        noisy_regression,
        quadratic_regression,
        rspg,
        scale_by_block_newton,
        scale_by_deepzero,
        scale_by_eggroll,
        scale_by_fzoo,
        scale_by_hizoo,
        scale_by_lozo,
        scale_by_mezo,
        scale_by_mezo_bcd,
        scale_by_noisy_descent,
        scale_by_noisy_regression,
        scale_by_quadratic_regression,
        scale_by_rspg,
        scale_by_zo_muon,
        scale_by_zo_rsn,
        scale_by_zoha,
        scale_by_zopqn,
        scale_by_zosah,
        scale_by_zovh,
        zo_muon,
        zo_rsn,
        zoha,
        zopqn,
        zosah,
        zovh,
    )
    from zosah_jax.faces.transformation import as_optax, num_evaluations
    from zosah_jax.result import Result, Status

__version__ = "0.2.0"

__all__ = [
    "AskTell",
    "Host",
    "LeastSquaresResult",
    "Result",
    "Status",
    "as_optax",
    "automatic",
    "block_newton",
    "deepzero",
    "eggroll",
    "evaluate",
    "extras",
    "forward",
    "fzoo",
    "grouped",
    "hizoo",
    "host",
    "in_chunks",
    "least_squares",
    "lozo",
    "methods",
    "mezo",
    "mezo_bcd",
    "minimize",
    "noisy_descent",
    "noisy_regression",
    "num_evaluations",
    "one_by_one",
    "plot",
    "quadratic_regression",
    "rspg",
    "scale_by_block_newton",
    "scale_by_deepzero",
    "scale_by_eggroll",
    "scale_by_fzoo",
    "scale_by_hizoo",
    "scale_by_lozo",
    "scale_by_mezo",
    "scale_by_mezo_bcd",
    "scale_by_noisy_descent",
    "scale_by_noisy_regression",
    "scale_by_quadratic_regression",
    "scale_by_rspg",
    "scale_by_zo_muon",
    "scale_by_zo_rsn",
    "scale_by_zoha",
    "scale_by_zopqn",
    "scale_by_zosah",
    "scale_by_zovh",
    "sharded",
    "transforms",
    "zo_muon",
    "zo_rsn",
    "zoha",
    "zopqn",
    "zosah",
    "zovh",
]

_PLACES = {
    "AskTell": "faces.host.ask_tell",
    "Host": "faces.host.settings",
    "LeastSquaresResult": "faces.least_squares",
    "Result": "result",
    "Status": "result",
    "as_optax": "faces.transformation",
    "automatic": "evaluate",
    "grouped": "evaluate",
    "in_chunks": "evaluate",
    "least_squares": "faces.least_squares",
    "minimize": "faces.minimize",
    "num_evaluations": "faces.transformation",
    "one_by_one": "evaluate",
    "sharded": "evaluate",
}
_METHODS = "faces.optimizers"


def __getattr__(name: str) -> Any:
    """A public name or a module, imported now; else what a name of 0.1 stands for."""
    if name not in _PLACES and find_spec(f"zosah_jax.{name}"):
        return import_module(f"zosah_jax.{name}")
    if name not in __all__:
        return import_module("zosah_jax.moved").found(name)
    module = import_module(f"zosah_jax.{_PLACES.get(name, _METHODS)}")
    globals()[name] = value = getattr(module, name)  # asked once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
