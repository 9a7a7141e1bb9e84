# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # ZO-SAH in pictures
#
# Suppose that you can ask a function for its *values* and for nothing else: it is a simulator, a
# remote model, a machine. **ZO-SAH** ([Kim et al., 2025](https://arxiv.org/abs/2507.06125)) takes
# Newton steps all the same. It takes them in pairs of coordinates, where a Hessian has only three
# numbers, and it fits those three numbers to values that are, for the most part, already paid
# for.
#
# This is ten minutes of pictures for a reader who knows optax and not the paper.
#
# *The `.py` form of this notebook is the source; `python tests/second_stage/test_notebooks.py`, in
# the root of the repository, writes the `.ipynb` form from it and executes it.*

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from sklearn.datasets import load_breast_cancer

import zosah_jax
from zosah_jax.methods.zosah.reading import Reading

jax.config.update("jax_enable_x64", True)  # keeps rounding out of the pictures

# Okabe and Ito's colours, which the colour-blind can tell apart
VERMILLION, BLUE, GREEN, GREY, BLACK = "#D55E00", "#0072B2", "#009E73", "#8C8C8C", "#222222"
plt.rcParams.update(
    {
        "figure.dpi": 70,  # keeps the file small; 200 for a talk
        "figure.constrained_layout.use": True,
        "font.size": 13,
        "axes.titlesize": 14,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "lines.linewidth": 2.4,
        "contour.linewidth": 1.0,
    }
)


def arrow(ax, start, step, color):
    """Draw a step as an arrow, in the units of the axes."""
    style = {"arrowstyle": "-|>", "color": color, "lw": 2.4, "mutation_scale": 17}
    ax.annotate("", start + step, start, arrowprops={**style, "shrinkA": 0, "shrinkB": 0}, zorder=5)


# %% [markdown]
# ## 1. The idea: six values, one Newton step
#
# Our example is logistic regression on scikit-learn's breast-cancer data: 31 weights $w$, and a
# loss $f(w)$. ZO-SAH draws pairs of coordinates. Here is one pair, the other 29 weights held
# still. In it the method asks for six values:
#
# - one at the present point $x$,
# - two **forward probes** $x + \epsilon e_i$, which give the slope,
# - three **fresh samples** at the radius $l$, which give the curvature.
#
# A quadratic $\frac12\theta^\top A\,\theta + b^\top\theta + c$ in two variables has six
# coefficients, so the six values fix it. Its minimum is the Newton step, $-A^{-1}b$.

# %%
data = load_breast_cancer()
labels, features = data.target, (data.data - data.data.mean(0)) / data.data.std(0)
features = np.column_stack([features, np.ones(len(features))])
signed = jnp.asarray(features * (2 * labels - 1)[:, None])
D = features.shape[1]


def loss(w):
    """Logistic loss with a small ridge: convex, smooth, and no quadratic."""
    return jnp.logaddexp(0, -signed @ w).mean() + 5e-4 * w @ w


x = jnp.zeros(D)
tx = zosah_jax.scale_by_zosah(subspace_dim=2, smoothing=0.5, radius=1.0, key=1)
updates, state = jax.jit(lambda s: tx.update(None, s, x, value_fn=loss))(tx.init(x))

# The state is a plain pytree: all that is drawn is read from it.
sah = jax.tree.map(np.asarray, state.method._replace(key=None))
pair = sah.subspaces.index[0]
probes, samples = sah.cache.previous.offset[0], sah.cache.fresh.offset[0]
slope, hessian = sah.info.gradient[0], sah.hessian[0][[[0, 1], [1, 2]]]
step = -np.asarray(updates)[pair]

true_slope = np.asarray(jax.jit(jax.grad(loss))(x))[pair]
true_hessian = np.asarray(jax.jit(jax.hessian(loss))(x))[np.ix_(pair, pair)]
true_step = -np.linalg.solve(true_hessian, true_slope)
print(f"weights {pair}, {zosah_jax.num_evaluations(state)} values")
print(f"fitted A {hessian.round(3).tolist()}, true Hessian {true_hessian.round(3).tolist()}")

# %%
ticks = np.linspace(-2, 2, 81)
theta = np.stack(np.meshgrid(ticks, ticks), axis=-1)
on_slice = jax.jit(jax.vmap(jax.vmap(lambda t: loss(x.at[pair].set(t)))))(theta)


def quadratic(b, a):
    """The model on the grid, without its constant."""
    return theta @ b + np.einsum("...i,ij,...j", theta, a, theta) / 2


models = (
    ("true slope and Hessian", true_slope, true_hessian, true_step, BLUE, "--"),
    ("fitted to the six values", slope, hessian, step, VERMILLION, "-"),
)
names = [f"weight of '{data.feature_names[place]}'" for place in pair]
fig, (left, right) = plt.subplots(1, 2, figsize=(12, 5.7), sharex=True, sharey=True)
for ax in (left, right):
    ax.contourf(ticks, ticks, on_slice, 12, cmap="Greys", alpha=0.5)
    ax.plot(0, 0, "o", ms=11, color=BLACK, zorder=6)
    ax.set(xlabel=names[0], aspect="equal", xticks=range(-2, 3), yticks=range(-2, 3))
left.set(ylabel=names[1], title="Six values in a pair of coordinates ...")
left.plot(*probes.T, "s", ms=12, color=BLUE)
left.plot(*samples.T, "^", ms=13, color=VERMILLION)
left.annotate("$x$", (0, 0), (-18, 8), textcoords="offset points", fontsize=17)
left.annotate("forward probes:\nslope", (0.62, 0.12), color=BLUE)
left.annotate("fresh samples:\ncurvature", (-1.8, 0.18), color=VERMILLION)
lowest = max(quadratic(b, a).min() for _, b, a, *_ in models)
for label, b, a, there, color, line in models:
    levels = lowest + np.array([0.02, 0.1, 0.3])
    right.contour(
        ticks, ticks, quadratic(b, a), levels, colors=color, linestyles=line, linewidths=2
    )
    right.plot([], [], line, color=color, label=label)
    arrow(right, np.zeros(2), there, color)
right.legend(loc="upper left", frameon=True, framealpha=0.85, edgecolor="none")
right.set_title("... fix a quadratic and its Newton step")
plt.show()

# %% [markdown]
# Grey is the loss. The probes are drawn far apart so that you can see them; at the default
# lengths (chosen from the floating-point precision) the two quadratics are hard to tell apart.
#
# ZO-SAH does this in $m/2$ pairs at once, and moves in all of them together.

# %% [markdown]
# ## 2. Eigenvalues: away from saddles, and never too far
#
# A Newton step goes to where the slope of the quadratic vanishes: that may be a minimum, or a
# saddle. So ZO-SAH takes the *absolute value* of each eigenvalue $\lambda$ of $A$, which points
# the step downhill, and lifts it to a *floor* $\kappa$, which keeps the step short where the
# function is almost straight. Here is a function with two minima (stars) and a saddle between
# them (cross).


# %%
def wells(p):
    """Minima at (0, -1) and (0, 1), a saddle at the origin, straight in y at |y| = 0.577."""
    return p[0] ** 2 / 2 - p[1] ** 2 / 2 + p[1] ** 4 / 4


@jax.jit
def first_steps(points, floor):
    """ZO-SAH's step from each point, and the plain Newton step with the same fitted quadratic."""
    absolute = Reading(floor="paper")
    tx = zosah_jax.scale_by_zosah(eigenvalue_floor=floor, reading=absolute)

    def one(point):
        updates, state = tx.update(None, tx.init(point), point, value_fn=wells)
        sah = state.method
        hessian = sah.hessian[0][jnp.array([[0, 1], [1, 2]])]
        plain = jnp.linalg.solve(hessian, sah.info.gradient[0])
        return -updates, jnp.zeros(2).at[sah.subspaces.index[0]].set(-plain)

    return jax.lax.map(one, points)


KAPPA = 0.5
starts = [[x, y] for x, y in ((0.55, 0.14), (1.1, 0.37))]
starts = np.array([[i * x, j * y] for x, y in starts for i in (-1, 1) for j in (-1, 1)])
ys = np.linspace(-1.5, 1.5, 401)
points = np.concatenate([starts, np.column_stack([np.full_like(ys, 0.5), ys])])
bare, _ = map(np.asarray, first_steps(points, 1e-9))
floored, plain = map(np.asarray, first_steps(points, KAPPA))

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(12, 5.2), width_ratios=(1, 1.15))
across, up = np.linspace(-1.5, 1.5, 80), np.linspace(-1.5, 1.5, 80)
left.contour(across, up, wells(np.meshgrid(across, up)), 9, colors="#C9C9C9", linestyles="-")
for start, wrong, good in zip(starts, plain, floored, strict=False):
    arrow(left, start, wrong, BLUE)
    arrow(left, start, good, VERMILLION)
left.plot(*starts.T, "o", ms=8, color=BLACK, zorder=6)
left.plot(0, 0, "X", ms=13, color=BLACK, zorder=7)
left.plot([0, 0], [-1, 1], "*", ms=19, color=GREEN, mec="white", zorder=7)
left.plot([], [], color=BLUE, label="plain Newton")
left.plot([], [], color=VERMILLION, label="ZO-SAH")
left.legend(loc="upper center", ncols=2, frameon=True, framealpha=1, edgecolor="none")
left.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), xlabel="$x$", ylabel="$y$", aspect="equal")
left.set_title("Newton goes to the saddle, ZO-SAH away")

for steps, color, line in ((bare, GREY, "-"), (floored, VERMILLION, "-"), (plain, BLUE, "--")):
    in_y = steps[len(starts) :, 1]
    in_y = np.where(np.abs(in_y) > 3, np.nan, in_y)  # do not join the two sides of a pole
    right.plot(ys, in_y, line, color=color)
right.annotate("plain\nNewton", (-0.44, 1.5), color=BLUE)
right.annotate(r"with $|\lambda|$", (0.44, 0.95), color="#666666", ha="right")
right.annotate(rf"with $\max(|\lambda|, {KAPPA})$", (0.76, 0.72), color=VERMILLION)
right.axhline(0, color=BLACK, lw=0.8)
right.plot(0, 0, "X", ms=13, color=BLACK, zorder=7)
right.plot([-1, 1], [0, 0], "*", ms=19, color=GREEN, mec="white", zorder=7)
right.set(xlim=(-1.5, 1.75), ylim=(-2, 2), xlabel="$y$", ylabel="step in $y$")
right.set_title(r"$|\lambda|$ sets the sign right, the floor the length")
plt.show()

# %% [markdown]
# Between the two poles the plain Newton step has the wrong sign. With the absolute value the sign
# is right, but where the curvature vanishes the step is still endless; the floor caps it. Here
# the floor is absolute, as in the paper. By default this library measures it against the largest
# eigenvalue of all pairs, so that it needs no tuning to the scale of $f$.

# %% [markdown]
# ## 3. The cache: what it saves, and what it keeps
#
# Fresh samples are asked for only when the coordinates change, every $T$ steps (`period`). In
# between, the quadratic is fitted to the forward probes of the two steps before, which had to be
# paid for anyway. `num_evaluations` reads what was paid from the state.


# %%
def walk(tx, fun, start, num_steps):
    """Points that an optimiser visits, their values, evaluations spent by then, states after."""

    def one(carry, _):
        x, state = carry
        updates, after = tx.update(None, state, x, value_fn=fun)
        seen = x, fun(x), zosah_jax.num_evaluations(state) + 1, after
        return (optax.apply_updates(x, updates), after), seen

    return jax.lax.scan(one, (start, tx.init(start)), length=num_steps)[1]


@jax.jit
def train(key, period):
    return walk(zosah_jax.zosah(1.0, period=period, key=key), loss, jnp.zeros(D), 61)


T, SEEDS = 10, 8
keys = jax.random.split(jax.random.key(0), SEEDS)
cached, afresh = ([train(key, period) for key in keys] for period in (T, 1))

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6))
price = {name: np.diff(runs[0][2])[:20] for name, runs in (("T", cached), ("1", afresh))}
saved = 1 - price["T"].sum() / price["1"].sum()
fresh = price["T"] == price["T"].max()
left.bar(np.arange(20), price["T"], color=np.where(fresh, VERMILLION, "#F2B48C"), width=0.8)
left.plot([-0.5, 19.5], price["1"][[0, 0]], "--", color=BLUE)
left.annotate("new samples at every step", (0, price["1"][0] + 1), color=BLUE)
left.annotate("cached values", (1.6, price["T"][1] + 1), color="#B04E00")
left.set(xlabel="step", ylabel="values asked in the step", xticks=range(0, 20, 5))
left.set_ylim(top=1.2 * price["1"].max())
left.set_title(f"The cache saves {saved:.0%} of the values")
for runs, color, line, label in (
    (afresh, BLUE, "--", "new pairs and samples at every step"),
    (cached, VERMILLION, "-", f"cached, new pairs every {T} steps"),
):
    values, spent = np.stack([run[1] for run in runs]), runs[0][2]
    right.fill_between(spent, *np.quantile(values, [0, 1], 0), color=color, alpha=0.15, lw=0)
    right.plot(spent, np.median(values, 0), line, color=color, label=label)
right.set(yscale="log", xlabel="values asked in all", ylabel="loss $f$", xlim=(0, 1100))
right.set_title("... and steadies the joint step")
right.set_ylim(top=1e5)
right.legend(loc="upper right")
plt.show()

# %% [markdown]
# The right-hand picture (median and range of eight seeds) shows more than a saving. Fresh samples
# give each pair its own curvature almost exactly. But all pairs move at once, the features of
# this data set are strongly correlated, and exact $2\times2$ blocks know nothing of the other
# pairs: together they overshoot. Cached values were taken along joint moves, and have felt them.
#
# That is also the catch. An old value $f(x_{k-1} + \epsilon e_i)$ differs from $f(x_k)$ by what
# *every* pair's move did, not by this pair's alone. The paper leaves open what to do about it.
# Fitted **raw**, the others' moves pass for curvature. This library fits them **centred**: each
# old value relative to its own step's base value, $f(x_{k-1} + \epsilon e_i) - f(x_{k-1})$, where
# what the others did cancels to first order. To compare the two, both readings ride along the
# same path.


# %%
@jax.jit
def follow(path, key):
    """Hessians that the raw reading fits along a given path, and the steps it would take there."""
    tx = zosah_jax.zosah(1.0, period=T, key=key, reading=Reading(cached="paper"))

    def one(state, x):
        step, state = tx.update(None, state, x, value_fn=loss)
        return state, (state[0].method.hessian, step)

    return jax.lax.scan(one, tx.init(path[0]), path)[1]


@jax.jit
def judge(path, pairs, fitted, steps):
    """Error of each fitted block, and each step's length in units of the best along its line."""
    slopes, truth = (jax.lax.map(of(loss), path) for of in (jax.grad, jax.hessian))
    blocks = jax.vmap(lambda h, pair: h[pair[:, :, None], pair[:, None, :]])(truth, pairs)
    fitted = fitted[..., jnp.array([[0, 1], [1, 2]])]
    size = jnp.linalg.norm
    error = size(fitted - blocks, axis=(2, 3)) / size(blocks, axis=(2, 3))
    curvature = jnp.einsum("ki,kij,kj->k", steps, truth, steps)
    return error, -curvature / jnp.einsum("ki,ki->k", slopes, steps)


verdicts = {"centred (default)": [], "raw (paper)": []}
for key, (points, _, _, states) in zip(keys, cached, strict=True):
    path, moves = np.asarray(points)[:-1], np.diff(points, axis=0)
    pairs, fits = map(np.asarray, (states[0].method.subspaces.index, states[0].method.hessian))
    for name, fitted, steps in (
        ("centred (default)", fits[:-1], moves),
        ("raw (paper)", *follow(path, key)),
    ):
        verdicts[name].append(judge(path, pairs[:-1], fitted, steps))

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(12, 4.8))
right.axhspan(2, 30, color="#EEEEEE")
right.annotate("too far: $f$ rises", (9.2, 2.4), ha="right", color="#555555")
right.axhline(1, color=BLACK, lw=0.8)
right.annotate("best length", (9.2, 1.08), ha="right", color="#555555")
for (name, runs), color, line in zip(
    verdicts.items(), (VERMILLION, BLUE), ("o-", "s--"), strict=True
):
    for ax, part in ((left, 0), (right, 1)):
        seen = np.stack([run[part] for run in runs])
        seen = seen.reshape(SEEDS, -1, T, *seen.shape[2:])
        low, middle, high = np.quantile(
            np.moveaxis(seen, 2, 0).reshape(T, -1), [0.25, 0.5, 0.75], 1
        )
        ax.fill_between(range(T), low, high, color=color, alpha=0.13, lw=0)
        ax.plot(range(T), middle, line, color=color, label=name)
        ax.set(yscale="log", xlabel="step of the period (0: fresh samples)", xticks=range(T))
left.set(ylabel="relative error of a fitted block", title="Raw fits are swamped ...")
left.legend(loc="upper left")
right.set(ylabel="length of the joint step (best: 1)", ylim=(1e-3, 20))
right.set_title("... and their steps crawl")
plt.show()

# %% [markdown]
# Medians and quartiles. Left: no cached fit *is* its block's Hessian (an error of 1 is as bad as
# zero), but raw fits are off by another factor of ten to a hundred, as curvature that is not
# there. Right: what that does to the joint step, whose length is measured in units of the best
# one along its direction, $-g^\top v\,/\,v^\top H v$. The fresh fit is nearly exact, and too
# bold. Centred, the next steps stay within a factor of about two of the best length, because the
# curvature that they fit is the one that the last joint moves met. Raw, they shrink to nothing.

# %% [markdown]
# ## 4. A race on Rosenbrock's banana
#
# With two coordinates there is one pair, and ZO-SAH is a Newton method. RSPG, the classic that
# the paper compares with, takes $f(x + \mu u) - f(x)$ along one random direction $u$ as an
# estimate of the gradient. ZO-SAH runs with its default settings and learning rate 1, RSPG with
# the best of five learning rates, at the edge of what is stable: now and then a run is thrown
# off.


# %%
def rosenbrock(p):
    return 100 * (p[1] - p[0] ** 2) ** 2 + (1 - p[0]) ** 2


x0 = jnp.array([-1.2, 1.0])
keys = jax.random.split(jax.random.key(0), 5)
rates = 1e-4 * 2.0 ** jnp.arange(5)


@jax.jit
def run_zosah(keys):
    return jax.lax.map(
        lambda key: walk(zosah_jax.zosah(1.0, key=key), rosenbrock, x0, 150)[:3], keys
    )


@jax.jit
def run_rspg(rates, keys):
    def one(rate, key):
        return walk(zosah_jax.rspg(rate, key=key), rosenbrock, x0, 25_000)[:3]

    return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(rates, keys)


def spent_at(values, spent, target=1e-6):
    """Evaluations spent when the target was first met, for each run; infinite where it was not."""
    met = values <= target
    at = np.take_along_axis(spent, met.argmax(-1)[..., None], -1)[..., 0]
    return np.where(met.any(-1), at, np.inf)


sah = [np.asarray(part) for part in run_zosah(keys)]
every_rate = [np.asarray(part) for part in run_rspg(rates, keys)]
best = np.median(spent_at(*every_rate[1:]), axis=1).argmin()
rspg = [part[best] for part in every_rate]
needed = {name: np.median(spent_at(*runs[1:])) for name, runs in (("ZO-SAH", sah), ("RSPG", rspg))}
print(f"best learning rate of RSPG: {rates[best]:.0e}")
for name, count in needed.items():
    print(f"{name}: {count:.0f} values to f <= 1e-6 (median of five seeds)")

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(12, 5))
across, up = np.linspace(-1.7, 1.7, 160), np.linspace(-3.6, 2, 160)
height = np.log10(rosenbrock(np.meshgrid(across, up)) + 1e-3)
left.contour(across, up, height, np.linspace(-1, 3.2, 8), colors="#C9C9C9", linestyles="-")
for runs, color, name, marker in ((rspg, BLUE, "RSPG", ""), (sah, VERMILLION, "ZO-SAH", "o")):
    points, values, spent = runs
    typical = spent_at(values, spent).argsort()[len(keys) // 2]
    left.plot(*points[typical].T, marker=marker, ms=5, lw=1.8, color=color)
    left.plot([], [], marker=marker, color=color, label=name)
    for one, count in zip(values, spent, strict=True):
        right.plot(count, np.minimum.accumulate(one), color=color, lw=1.4)
left.plot(*x0, "o", ms=10, color=BLACK)
left.plot(1, 1, "*", ms=20, color=GREEN, mec="white", zorder=7)
left.set(xlim=(-1.7, 1.7), ylim=(-3.6, 2), xlabel="$x_1$", ylabel="$x_2$")
left.set_title("Newton steps leap along the valley ...")
left.legend(loc="lower left")
right.set(xscale="log", yscale="log", ylim=(1e-7, 50), xlim=(5, 6e4))
right.axhline(1e-6, color=GREY, lw=1)
right.annotate("target", (5.5, 1.3e-6), color="#666666")
right.set(xlabel="values asked", ylabel="best $f$ so far")
right.set_title(f"... and need {needed['RSPG'] / needed['ZO-SAH']:.0f} times fewer values")
plt.show()

# %% [markdown]
# ## 5. In your own code: an optax chain, a pytree, a budget
#
# `scale_by_zosah` is an optax transformation like any other, except that `update` wants the
# objective, as `value_fn`. So it chains with clipping, momentum and schedules, and takes any
# pytree of parameters. `minimize` runs such a chain until a budget of function values is spent.

# %%
x_data = np.linspace(-1, 1, 40)
y_data = np.sin(4 * x_data)
rng = np.random.default_rng(1)
network = {
    "hidden": {"kernel": 2 * rng.normal(size=(1, 8)), "bias": np.linspace(-2, 2, 8)},
    "output": {"kernel": rng.normal(size=(8, 1)) / 3, "bias": np.zeros(1)},
}


def predict(params, x):
    hidden = jnp.tanh(x[:, None] @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    return (hidden @ params["output"]["kernel"] + params["output"]["bias"])[:, 0]


def squared_error(params):
    return jnp.mean((predict(params, x_data) - y_data) ** 2)


# %%
after = optax.chain(
    optax.clip(1.0),
    optax.trace(0.5),
    optax.scale_by_schedule(optax.cosine_decay_schedule(0.5, 400)),
)
zosah = zosah_jax.methods.zosah()
result = zosah_jax.minimize(squared_error, network, zosah, budget=5_000, post=after)
print(f"{result.message}: error {result.value:.1e} after {result.num_evaluations} values")

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(12, 4.4))
fine = np.linspace(-1, 1, 200)
left.plot(x_data, y_data, "o", ms=6, color=GREY, label="data")
left.plot(fine, predict(network, fine), "--", color=BLUE, label="before")
left.plot(fine, predict(result.params, fine), color=VERMILLION, label="after")
left.set(xlabel="$x$", ylabel="$y$", title="A small network, trained without a gradient")
left.set(xticks=(-1, 0, 1), ylim=(-1.2, 1.6))
left.legend(loc="upper center", ncols=3)
right.plot(result.history.num_evaluations, result.history.value, color=VERMILLION)
right.set(yscale="log", xlabel="values asked", ylabel="mean squared error")
right.set_title("ZO-SAH in a chain with momentum")
plt.show()

# %% [markdown]
# And this is all that the optimiser remembers between steps. None of it grows with the number of
# parameters: $m$ is at most 16 unless you ask for more.

# %%
WHAT = {
    "key": "fixes the draws of all pairs",
    "step": "k, number of the coming step",
    "period": "T",
    "subspaces": "coordinates of each pair W_j",
    "cache.previous": "probes of the last step",
    "cache.before": "probes of the step before",
    "cache.fresh": "samples of the switching step",
    "hessian": "(a11, a12, a22) of each pair, as last fitted",
    "info": "diagnostics",
}
groups = {}
for path, leaf in jax.tree.leaves_with_path(result.state):
    name = jax.tree_util.keystr(path, simple=True, separator=".")
    group = next((start for start in WHAT if name.startswith(start)), name)
    groups.setdefault(group, []).append(f"{name.removeprefix(group).lstrip('.')}{leaf.shape}")
for group, leaves in groups.items():
    print(f"{group:21}{WHAT.get(group, ''):46}{' '.join(leaves)}")

# %% [markdown]
# Where to go next: the README has the ten lines of a training loop, `reading="paper"` makes
# `zosah` what the paper says, and `experiments/` runs these comparisons on real data.
