"""Every mechanism of ZO-PQN, how it is turned off, and where the library has it."""

from dataclasses import replace
from math import inf
from typing import Any, NamedTuple

from experiments.benchmarks.zopqn_ablation.settings import Settings


class Mechanism(NamedTuple):
    """What can be turned off.

    Attributes:
        off: what replaces it, for tables.
        settings: fields of `Settings` at which it does nothing.
        where: file, function and constant in `zosah_jax/methods/zopqn`.
    """

    off: str
    settings: dict[str, Any]
    where: str


def without(names: tuple[str, ...]) -> Settings:
    """The method with some mechanisms turned off."""
    given: dict[str, Any] = {}
    for name in names:
        given |= MECHANISMS[name].settings
    return replace(Settings(), **given)


def _off(off: str, where: str, **settings: Any) -> Mechanism:
    return Mechanism(off, settings, where)


MECHANISMS: dict[str, Mechanism] = {
    # --- coordinates that are not yet known
    "two sides of a new coordinate": _off(
        "a forward difference; the largest curvature so far in place of its own",
        "measure.py: ask_new, tell_new",
        two_sided=False,
    ),
    "steps within the first sweep": _off(
        "all coordinates are measured, then the first step",
        "measure.py: first_batch; policy.py: after_trial",
        steps_within=False,
    ),
    "patience in the first sweep": _off(
        "a refused step is followed by new coordinates at once",
        "policy.py: _PATIENCE (first_sweep)",
        patience=1,
    ),
    "wider differences where noise drowns them": _off(
        "first differences keep their length",
        "measure.py: tell_new, _DROWNED; state.py: widening",
        drowned=0.0,
    ),
    "units of coordinates": _off("units of 1", "state.py: unit_of", own_units=False),
    # --- the belief about B
    "common factor of curvatures": _off(
        "no such mode", "model.py: _COMMON, modes (first)", factor=0.0
    ),
    "common correlation": _off(
        "no such mode; B starts diagonal",
        "model.py: _COMMON, modes (second), correlation",
        correlation=0.0,
    ),
    "drift of the factor": _off(
        "the factor only becomes more certain", "model.py: drifted", drifting=False
    ),
    "learnt rate of that drift": _off(
        "the drift stays at 0.3²", "model.py: forgetful, _RATE, drift, factor", drift_rate=0.0
    ),
    "modes learn from derivatives": _off(
        "from values of the first sweep alone",
        "model.py: learn_derivative, learn_gradient (share, modes)",
        factors_from_slopes=False,
        drifting=False,  # what nothing teaches would become less and less certain
    ),
    "modes learn from values": _off(
        "from derivatives alone", "model.py: learn_value (common)", factors_from_values=False
    ),
    "B learns from single derivatives": _off(
        "g alone does", "model.py: learn_derivative (hessian)", rows=False
    ),
    "B learns a whole gradient as a pair": _off(
        "one derivative after another, as from a batch",
        "model.py: learn_gradient; measure.py: tell_whole (together)",
        secant=False,
    ),
    "learning from the value of a step": _off(
        "it decides whether the step is taken, no more",
        "trial.py: _tried; model.py: learn_value",
        values=False,
    ),
    "B learns from the value of a step": _off(
        "g alone does", "model.py: learn_value (hessian)", hessian_from_values=False
    ),
    "V shrinks by what was learnt": _off(
        "V stays its prior",
        "model.py: learn_derivative, learn_gradient (spread)",
        certain=False,
    ),
    "V forgets": _off("V only shrinks", "model.py: forgetful, _FORGET", forget=0.0),
    "V forgets by surprise": _off(
        "V forgets at a constant rate",
        "model.py: forgetful (rate)",
        forget_by_surprise=False,
    ),
    # --- the metric W
    "W follows the diagonal of B": _off(
        "W stays as first measured", "model.py: forgetful (scale)", renewed_scale=False
    ),
    "least W over the largest": _off("none", "model.py: _SMALLEST", smallest=0.0),
    "least W by slope": _off("none", "model.py: flattest, _FARTHEST", farthest=inf),
    "least W by the error of a value": _off("none", "measure.py: tell_new (least)", least_bend=0.0),
    # --- what is measured next
    "the carried gradient": _off(
        "whole gradients, secant pairs from the first sweep on",
        "state.py: _LIVING, living, is_carried",
        living=0.0,
    ),
    "the secant pairs": _off(
        "the gradient is carried throughout (d from 14)",
        "secants.py; state.py: _LIVING",
        living=inf,
    ),
    "batches of 8": _off("32 or all", "state.py: BATCHES", few=0),
    "batches of 32": _off("8 or all", "state.py: BATCHES", many=0),
    "batches": _off("whole gradients, carried all the same", "state.py: BATCHES", few=0, many=0),
    "size of a batch by its promise": _off(
        "always 8", "policy.py: _most_promising (rates)", by_promise=False
    ),
    "coordinates of a batch by their worth": _off(
        "those measured longest ago", "measure.py: ask_known, worth_of", by_worth=False
    ),
    "least curvature in a worth": _off("none", "measure.py: worth_of (1e-2)", flattest_worth=0.0),
    "a step after a good step": _off(
        "derivatives in between",
        "trial.py: farther_still, _AS_PROMISED, _TOO_SHORT, _AT_THE_RIM",
        again=False,
    ),
    "curving in the doubt of g": _off("none", "model.py: moved, CURVING", curving=0.0),
    "modes in the doubt of g": _off("none", "model.py: moved (modes)", doubted_modes=False),
    "whole gradients when surprised": _off(
        "batches go on", "policy.py: _SURPRISE, _DISTRUST, distrust", surprising=inf
    ),
    "ten of them": _off("one", "policy.py: _DISTRUST, distrust", distrust=0),
    "surprise is gathered": _off(
        "that of the last look alone", "model.py: forgetful (0.7, 0.3)", surprise_rate=1.0
    ),
    "recheck of a curvature": _off("none", "recheck.py; state.py: RECHECK, suspect", recheck=inf),
    "most that an error counts": _off(
        "errors count as they are", "model.py: learn_derivative (100)", most_surprising=inf
    ),
    "long differences": _off(
        "twice, not six times, sqrt(error / curvature)", "measure.py: _LONG", difference=2.0
    ),
    "differences corrected by B": _off(
        "as they are", "measure.py: _derivatives (bias)", corrected=False
    ),
    # --- secant pairs
    "model or pairs by evidence": _off(
        "always the pairs",
        "secants.py: _weighed, evidence, believed, _MODEL_BETTER, _RATE, _MOST_CERTAIN",
        model_better=-inf,
    ),
    "evidence is gathered": _off(
        "that of the last pair alone", "secants.py: _RATE", evidence_rate=1.0
    ),
    "most that a pair counts as evidence": _off(
        "as it is", "secants.py: _MOST_CERTAIN", most_certain=inf
    ),
    "prior of the pairs by the newest": _off(
        "by the first", "secants.py: learn_pair (size, prior, rest)", renewed_prior=False
    ),
    "noise of a pair": _off(
        "a pair counts wherever it is not flat", "secants.py: learn_pair (doubt)", pair_doubt=0.0
    ),
    "another trial along the line": _off(
        "none", "trial.py: _line, _ELSEWHERE, _FARTHEST; state.py: along", elsewhere=inf
    ),
    "parabola after a refused step": _off(
        "the trust region of the pairs shrinks to 0.4 of the step",
        "trial.py: _line (cut)",
        parabola=False,
    ),
    # --- the trust region
    "first radius": _off("none", "plan.py: _FIRST_RADIUS", first_radius=1e8),
    "trust region of the model": _off("none", "plan.py: trust_radius; trial.py", bounded=False),
    "trust region of the pairs": _off("none", "trial.py: reach", pairs_bounded=False),
    "trust regions grow": _off("they only shrink", "trial.py: farther", grows=0.0),
    "least radius": _off("none", "trial.py: least", least_radius=False),
    "all anew after ten refused steps": _off("never", "policy.py: _STUBBORN", stubborn=inf),
}
"""By name. A number is turned off at the value at which what it does is gone."""
