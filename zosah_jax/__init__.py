"""Optimisation from function values alone: ZO-SAH, the methods it is compared with, and solvers.

`minimize(fun, x0, budget=...)` is the one call, `least_squares` that for vectors of residuals, and
`forward.value_and_grad` trains networks on the losses of examples. `AskTell` is a run that you
drive yourself. The methods are here as optax transformations (`zosah(learning_rate)`,
`scale_by_zosah()`), and as themselves in `zosah_jax.methods`. Further names: `zosah_jax.evaluate`
(how probes are answered), `zosah_jax.transforms` (to end a chain with), `zosah_jax.host`
(objectives outside JAX), `zosah_jax.plot` (pictures of a run),
`zosah_jax.extras`, `zosah_jax.integrations` (Flax, SciPy, Dask).
"""

from zosah_jax import evaluate, extras, forward, host, methods, plot, transforms
from zosah_jax.evaluate.automatic import automatic
from zosah_jax.evaluate.evaluators import in_chunks, one_by_one
from zosah_jax.evaluate.grouped.evaluator import grouped
from zosah_jax.evaluate.sharded import sharded
from zosah_jax.faces.host.ask_tell import AskTell
from zosah_jax.faces.host.settings import Host
from zosah_jax.faces.least_squares import LeastSquaresResult, least_squares
from zosah_jax.faces.minimize import minimize
from zosah_jax.faces.transformation import as_optax, num_evaluations, optimizer, scale_by
from zosah_jax.moved import found as __getattr__  # noqa: F401 (names of 0.1)
from zosah_jax.result import Result, Status

__version__ = "0.2.0"

zosah = optimizer("zosah")
rspg = optimizer("rspg")
mezo = optimizer("mezo")
mezo_bcd = optimizer("mezo_bcd")
hizoo = optimizer("hizoo")
fzoo = optimizer("fzoo")
zoha = optimizer("zoha")
zo_rsn = optimizer("zo_rsn")
deepzero = optimizer("deepzero")
eggroll = optimizer("eggroll")
lozo = optimizer("lozo")
zo_muon = optimizer("zo_muon")
zovh = optimizer("zovh")
zopqn = optimizer("zopqn")
quadratic_regression = optimizer("quadratic_regression")
noisy_regression = optimizer("noisy_regression")
block_newton = optimizer("block_newton")

scale_by_zosah = scale_by("zosah")
scale_by_rspg = scale_by("rspg")
scale_by_mezo = scale_by("mezo")
scale_by_mezo_bcd = scale_by("mezo_bcd")
scale_by_hizoo = scale_by("hizoo")
scale_by_fzoo = scale_by("fzoo")
scale_by_zoha = scale_by("zoha")
scale_by_zo_rsn = scale_by("zo_rsn")
scale_by_deepzero = scale_by("deepzero")
scale_by_eggroll = scale_by("eggroll")
scale_by_lozo = scale_by("lozo")
scale_by_zo_muon = scale_by("zo_muon")
scale_by_zovh = scale_by("zovh")
scale_by_zopqn = scale_by("zopqn")
scale_by_quadratic_regression = scale_by("quadratic_regression")
scale_by_noisy_regression = scale_by("noisy_regression")
scale_by_block_newton = scale_by("block_newton")

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
