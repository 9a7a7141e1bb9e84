"""The steps of ZO-PQN: look (measure derivatives), recheck, try (the minimum of the model).

A look measures derivatives: of coordinates not yet met (forward and backward, for the curvature
too), or of those of which the model is least certain, 8, 32 or all D. It does not move. A recheck,
after a look at 8 or 32, measures a curvature where a derivative was not as predicted. A trial
asks for the value where the model is smallest within the trust region, and moves there if it is
lower.
After a trial comes what promises the largest decrease a value: a look and a trial, or another trial
at once, after a refusal or where the step was too short.
After 8 values a coordinate, or at once for less than 14 coordinates, the gradient no longer lives
on: each accepted step is followed by a look at all D, and steps are those of the secant pairs
(`secants.py`), continued along their line by a further trial where a parabola says so.
"""

from functools import partial

from zosah_jax.method import Method, Round
from zosah_jax.pqn.look import Look, ask_look, tell_look
from zosah_jax.pqn.options import BATCHES, Options
from zosah_jax.pqn.recheck import ask_recheck, tell_recheck
from zosah_jax.pqn.state import initial_state
from zosah_jax.pqn.trial import ask_trial, tell_trial


def zopqn_method(options: Options) -> Method:
    """ZO-PQN by the protocol of `method.py`."""
    looks = [
        Look(first=True),
        Look(),
        *(Look(batch=size) for size in BATCHES),
        Look(whole=True),
    ]
    kinds = [
        Round(partial(ask_look, options, look), partial(tell_look, options, look)) for look in looks
    ]
    trial = Round(partial(ask_trial, options), partial(tell_trial, options))
    recheck = Round(partial(ask_recheck, options), partial(tell_recheck, options))
    return Method(
        partial(initial_state, options),
        tuple((kind,) for kind in [*kinds, trial, recheck]),
        lambda s: s.kind,
    )
