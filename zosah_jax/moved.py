"""Names of 0.1 that moved: they still work, with a `DeprecationWarning` that says where they are.

`minimize_blackbox` and the names of `MOVED` are here until 0.3. What is gone for good says what to
take instead.
"""

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any

import optax

from zosah_jax.faces.host.settings import Host
from zosah_jax.faces.minimize import minimize
from zosah_jax.pytree import Params
from zosah_jax.result import Result

MOVED = {
    "METHODS": "methods.METHODS",
    "AskTellState": "host.AskTellState",
    "History": "result.History",
    "HostFunction": "host.HostFunction",
    "LayerDensities": "extras.LayerDensities",
    "ObjectiveError": "host.ObjectiveError",
    "OtherProblem": "host.ProblemMismatchError",
    "Progress": "host.Progress",
    "Tuned": "evaluate.Tuned",
    "TwoPhaseResult": "extras.TwoPhaseResult",
    "ZerothOrderState": "faces.transformation.ZerothOrderState",
    "all_at_once": "evaluate.all_at_once",
    "autotune": "evaluate.autotune",
    "fill_masked": "transforms.fill_masked",
    "host_function": "host.host_function",
    "noise_level": "host.noise_level",
    "project": "transforms.project",
    "prox_l1": "transforms.prox_l1",
    "random_stop": "extras.random_stop",
    "split_blocks": "blocks.split_blocks",
    "two_phase": "extras.two_phase",
    "zo_grasp_densities": "extras.zo_grasp_densities",
}
"""Where the top-level names of 0.1 are now, within `zosah_jax`."""
GONE = {
    "PAPER_READING": 'zosah_jax.zosah(reading=...), see its "reading"',
    "as_transformation": "zosah_jax.as_optax(method, learning_rate)",
}
"""Names that are gone, and what to take instead."""


def found(name: str) -> Any:
    """What a name of 0.1 at the top level stands for.

    Raises:
        AttributeError: it is none, or it is gone for good; with what to take instead.
    """
    if name == "minimize_blackbox":
        return minimize_blackbox
    if name not in MOVED:
        instead = f"; wanted {GONE[name]}" if name in GONE else ""
        raise AttributeError(f"module 'zosah_jax' has no attribute {name!r}{instead}")
    place = f"zosah_jax.{MOVED[name]}"
    warnings.warn(
        f"zosah_jax.{name} is {place} now; the old name goes with 0.3.",
        DeprecationWarning,
        stacklevel=3,
    )
    module, _, last = place.rpartition(".")
    return getattr(import_module(module), last)


def minimize_blackbox(
    fun: Callable[[Params], Any],
    x0: Params,
    tx: optax.GradientTransformation | None = None,
    *,
    budget: int,
    target: float | None = None,
    bounds: Any = None,
    key: Any = None,
    noise: Any = "estimate",
    callback: Callable[[Any], Any] | None = None,
    **host: Any,
) -> Result:
    """The call of 0.1 for a Python function: `minimize(fun, x0, tx, host=Host(...))`.

    Args:
        fun: as of `minimize`.
        x0: as of `minimize`.
        tx: its `method`.
        budget: as of `minimize`.
        target: as of `minimize`.
        bounds: as of `minimize`.
        key: as of `minimize`.
        noise: as of `minimize`.
        callback: as of `minimize`.
        **host: of `Host`. `checkpoint` is gone: a log alone resumes.

    Returns:
        A `Result`, whose `params` and `value` are the best, and `last_params` what was `params`.
    """
    warnings.warn(
        "zosah_jax.minimize_blackbox is zosah_jax.minimize(..., host=zosah_jax.Host(...)) now; the "
        "old name goes with 0.3.",
        DeprecationWarning,
        stacklevel=2,
    )
    if gone := {"checkpoint", "seconds_between_checkpoints"} & set(host):
        raise TypeError(f"{min(gone)}: is gone, wanted log= alone, which resumes as well.")
    return minimize(
        fun, x0, tx, budget=budget, target=target, bounds=bounds, key=key, noise=noise,
        callback=callback, host=Host(**host),
    )  # fmt: skip
