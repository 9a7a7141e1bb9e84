"""The runs whose trajectories are kept: every published method, as documented and as published."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

import zosah_jax

STEPS = 24
KEPT = [1, 2, 3, 4, 5, 6, 9, 13, 18, 24]  # steps after which the point is kept
_DRAW = np.random.default_rng(0)
_ROWS, _START, _SHELLS = (0.3 * _DRAW.normal(size=(24, 11)), *_DRAW.normal(size=(2, 11)))
PAPER = {"reading": "paper"}
# Probes so long that the last bit of a value changes the points by far less than 1e-12.
LONG = {"smoothing": 0.2, "radius": 0.3}
GROUPS = [[0, 5], [1, 6], [2, 7], [3, 8], [4, 9]]


def smooth(x):
    """Logistic loss and a quartic bowl."""
    rows = jnp.asarray(_ROWS[:, : x.size])
    return jnp.mean(jnp.log1p(jnp.exp(-rows @ x))) + jnp.sum(x**2 / 4 + x**4 / 40)


def holed(x):
    """The same with a seventh of its values missing."""
    return jnp.where(jnp.cos(66 * jnp.asarray(_SHELLS[: x.size]) @ x) > 0.9, jnp.nan, smooth(x))


def rate(step):
    """A schedule."""
    return 0.3 * 0.9 ** step.astype(float)


# name of the run -> (method, arguments after the learning rate, learning rate, objective, d)
RUNS = {
    "zosah": ("zosah", {**LONG, "subspace_dim": 6}, 0.1, smooth, 11),
    "zosah_holed": ("zosah", {**LONG, "subspace_dim": 6}, 0.1, holed, 11),
    "zosah_pair": ("zosah", LONG, 0.3, smooth, 2),
    "zosah_paper": ("zosah", {**LONG, **PAPER, "subspace_dim": 6}, 0.1, smooth, 11),
    "zosah_paper_holed": ("zosah", {**LONG, **PAPER, "subspace_dim": 6}, 0.1, holed, 11),
    "zosah_groups": ("zosah", {**LONG, "subspace_dim": 4, "groups": GROUPS}, 0.1, smooth, 10),
    "zosah_blocks": ("zosah", {**LONG, "subspace_dim": 2, "blocks": "leaf"}, 0.1, smooth, 11),
    "zosah_schedule": ("zosah", {**LONG, "subspace_dim": 4}, rate, smooth, 11),
    "rspg": ("rspg", {"num_directions": 3, "smoothing": 0.1}, 0.1, smooth, 11),
    "rspg_holed": ("rspg", {"num_directions": 3, "smoothing": 0.1}, 0.1, holed, 11),
    "mezo": ("mezo", {"smoothing": 0.1}, 0.05, smooth, 11),
    "mezo_samples": ("mezo", {"num_samples": 3, "smoothing": 0.1}, 0.05, holed, 11),
    "mezo_bcd": ("mezo_bcd", {"blocks": "leaf", "smoothing": 0.1}, 0.05, smooth, 11),
    "mezo_bcd_random": (
        "mezo_bcd",
        {"blocks": "leaf", "block_order": "random", "num_samples": 2, "smoothing": 0.1},
        0.05,
        holed,
        11,
    ),
    "hizoo": ("hizoo", {"smoothing": 0.1}, 0.05, smooth, 11),
    "hizoo_hessian": (
        "hizoo", {"smoothing": 0.1, "scaling": "hessian", "updated_by": "old"}, 0.05, holed, 11,
    ),
    "fzoo": ("fzoo", {"smoothing": 0.1}, 0.2, smooth, 11),
    "fzoo_paper": ("fzoo", {"smoothing": 0.1, "normalisation": "paper"}, 0.02, holed, 11),
    "zoha": ("zoha", {"smoothing": 0.1, "period": 4}, 0.3, smooth, 11),
    "zoha_holed": ("zoha", {"smoothing": 0.1, "period": 4}, 0.3, holed, 11),
    "zoha_diag": ("zoha", {"smoothing": 0.1, "period": 4, "hessian": "diag"}, 0.3, smooth, 11),
    "zoha_power": (
        "zoha", {"smoothing": 0.1, "period": 4, "hessian": "power", "descent_check": 2}, 0.3,
        smooth, 11,
    ),
    "zoha_unchecked": (
        "zoha", {"smoothing": 0.1, "period": 4, "descent_check": 0}, rate, smooth, 11,
    ),
    "zo_rsn": ("zo_rsn", {"smoothing": 0.1}, 0.3, smooth, 11),
    "zo_rsn_forward": ("zo_rsn", {"smoothing": 0.1, "differences": "forward"}, 0.3, holed, 11),
    "deepzero": ("deepzero", {"density": 0.4, "mask_period": 3, "smoothing": 0.1}, 0.3, smooth, 11),
    "zosah_dense": (
        "zosah", {"smoothing": 0.2, "subspace_dim": 4, "basis": "dense", "period": 5}, 0.5,
        smooth, 11,
    ),
    "zosah_low_rank": (
        "zosah", {"smoothing": 0.2, "subspace_dim": 4, "basis": "low_rank", "period": 5}, 0.5,
        smooth, 11,
    ),
    "eggroll": ("eggroll", {"smoothing": 0.1}, 0.2, smooth, 11),
    "eggroll_holed": ("eggroll", {"smoothing": 0.1, "shaping": "difference"}, 0.05, holed, 11),
    "lozo": ("lozo", {"rank": 1, "smoothing": 0.1, "period": 4}, 0.05, smooth, 11),
    "zo_muon": (
        "zo_muon", {"rank": 1, "smoothing": 0.1, "period": 4, "vector_rate": 0.5}, 0.05, smooth, 11,
    ),
    "zovh": ("zovh", {}, 0.003, smooth, 11),
    "zovh_paper": ("zovh", {"damping": 1.0, "reading": "paper"}, 0.003, holed, 11),
    "deepzero_holed": ("deepzero", {"smoothing": 0.1}, 0.3, holed, 11),
}  # fmt: skip


def start(d):
    """Where every run begins: a tree of three leaves, one of them a matrix (where d allows)."""
    flat = jnp.asarray(_START[:d])
    if d < 9:
        return flat
    return {"a": flat[:3], "b": flat[3:9].reshape(2, 3), "c": flat[9:]}


def run(name):
    """Points, flat, and values spent, after each of the steps that are kept."""
    method, options, learning_rate, f, d = RUNS[name]
    tx = getattr(zosah_jax, method)(learning_rate, key=5, **options)
    x0 = start(d)

    def step(carry, _):
        x, state = carry
        updates, state = tx.update(None, state, x, value_fn=lambda x: f(ravel_pytree(x)[0]))
        x = optax.apply_updates(x, updates)
        return (x, state), (ravel_pytree(x)[0], zosah_jax.num_evaluations(state))

    walk = jax.jit(lambda x: jax.lax.scan(step, (x, tx.init(x)), length=STEPS)[1])
    points, counts = walk(x0)
    kept = np.array(KEPT) - 1
    return np.asarray(points)[kept], np.asarray(counts)[kept]
