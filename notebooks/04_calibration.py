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
# # Calibrating a simulator, and how far to trust it
#
# A simulator has constants that nobody knows, and there are measurements. Each run of it tells not
# one number but many: a *residual* for every measurement. `zosah_jax.least_squares` uses them all.
# It measures a Jacobian once, by a run for each constant, and corrects it with every run after
# that; in the end it says how well the constants are known.
#
# Four things, in a minute:
#
# 1. a fit, and what it costs;
# 2. confidence regions, and whether they hold;
# 3. outliers, and a loss that forgives them;
# 4. a sensor that failed.
#
# *The `.py` form of this notebook is the source; `python tests/second_stage/test_notebooks.py`, in
# the root of the repository, writes the `.ipynb` form from it and executes it.*

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy.integrate import odeint
from scipy.stats import f

import zosah_jax

VERMILLION, BLUE, GREEN, GREY, BLACK = "#D55E00", "#0072B2", "#009E73", "#8C8C8C", "#222222"
plt.rcParams.update(
    {
        "figure.dpi": 70,  # keeps the file small; 200 for a talk
        "figure.constrained_layout.use": True,
        "font.size": 13,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
    }
)

# %% [markdown]
# ## 1. The simulator, and a fit
#
# A substance A turns into B, and B into C. The rates of the two reactions are unknown, and so is
# how much A there was. Two sensors report B and C at 15 times, with an error of 0.03. SciPy
# integrates the equations, so JAX sees nothing of them: `host=Host()` says that this is any Python
# function.
#
# Residuals are in units of the error of a measurement.

# %%
TIMES, ERROR = np.linspace(0.4, 9, 15), 0.03
TRUTH = np.array([0.8, 0.35, 1.0])  # two rates, and the amount
GUESS = np.array([0.3, 1.0, 0.5])
BOUNDS = (0.01, 10.0)


def simulated(x, times=TIMES):
    first, second, amount = x

    def slope(y, _):
        return [-first * y[0], first * y[0] - second * y[1], second * y[1]]

    return odeint(slope, [amount, 0, 0], np.append(0, times))[1:, 1:]  # B and C


def measurements(seed):
    return simulated(TRUTH) + ERROR * np.random.default_rng(seed).normal(size=(len(TIMES), 2))


def fit(measured, **options):
    def residuals(x):
        return (simulated(x) - measured) / ERROR

    host = zosah_jax.Host()
    return zosah_jax.least_squares(residuals, GUESS, budget=60, bounds=BOUNDS, host=host, **options)


measured = measurements(0)
found = fit(measured)
print(f"{found.message}, after {found.num_evaluations} simulations")
print(f"sum of squares {found.value:.1f} for {measured.size} measurements")
for name, value, deviation in zip(
    ("first rate", "second rate", "amount"),
    found.params,
    np.sqrt(np.diag(found.covariance)),
    strict=True,
):
    print(f"{name:12s} {value:.3f} ± {deviation:.3f}")

# %% [markdown]
# ## 2. Confidence regions
#
# `covariance` is the sum of squares over the degrees of freedom, times the inverse of J'J, as
# SciPy's `curve_fit` has it. It draws an ellipse for two constants, and, carried through the
# simulator, a band for every prediction.
#
# Do they hold? A hundred experiments like this one tell: each is fitted anew. Their estimates
# should scatter as the ellipse says, and about 95 of their ellipses should hold the truth (90 to
# 99, as chance has it).

# %%
PAIR = [0, 1]  # the two rates
REACH = 2 * f.ppf(0.95, 2, 2 * len(TIMES) - len(TRUTH))  # of Fisher's distribution


def ellipse(found):
    """Points around the estimate."""
    turn = np.linspace(0, 2 * np.pi, 200)
    root = np.linalg.cholesky(found.covariance[np.ix_(PAIR, PAIR)])
    return found.params[PAIR, None] + np.sqrt(REACH) * root @ np.array([np.cos(turn), np.sin(turn)])


def holds(found):
    off = found.params[PAIR] - TRUTH[PAIR]
    distance = off @ np.linalg.solve(found.covariance[np.ix_(PAIR, PAIR)], off)
    return distance <= REACH


others = [fit(measurements(seed)) for seed in range(1, 101)]
held = sum(holds(other) for other in others)
print(f"{held} of {len(others)} ellipses hold the truth")
print(f"{np.mean([other.num_evaluations for other in others]):.1f} simulations a fit")

# %%
LATER = np.linspace(0.05, 14, 120)


def band(found):
    """The prediction for B and C, and its standard deviation."""
    middle = simulated(found.params, LATER)
    steps = 1e-4 * np.eye(3)
    slopes = np.array([(simulated(found.params + s, LATER) - middle) / 1e-4 for s in steps])
    return middle, np.sqrt(np.einsum("ats,ab,bts->ts", slopes, found.covariance, slopes))


figure, (left, right) = plt.subplots(1, 2, figsize=(12.5, 4.6))
estimates = np.array([other.params for other in others])
left.plot(*estimates[:, PAIR].T, ".", color=GREY, ms=5, label="estimates of other experiments")
left.plot(*ellipse(found), color=VERMILLION, lw=2.5, label="95 % region of the first")
left.plot(*found.params[PAIR], "o", color=VERMILLION)
left.plot(*TRUTH[PAIR], "P", color=BLACK, ms=11, label="truth")
left.set(xlabel="first rate", ylabel="second rate", title="Where the rates may be")
left.legend(loc="upper left", fontsize=11)
low, high = left.get_ylim()
left.set_ylim(low, high + 0.35 * (high - low))

middle, deviation = band(found)
for column, (name, colour) in enumerate((("B", BLUE), ("C", GREEN))):
    right.plot(TIMES, measured[:, column], "o", color=colour, ms=5)
    right.plot(LATER, middle[:, column], color=colour, lw=2, label=name)
    edges = (middle[:, column] + sign * 1.96 * deviation[:, column] for sign in (-1, 1))
    right.fill_between(LATER, *edges, color=colour, alpha=0.25, lw=0)
right.axvspan(TIMES[-1], LATER[-1], color=GREY, alpha=0.12, lw=0)
right.set(xlabel="time", ylabel="concentration", title="What is predicted, and how surely")
right.set_xlim(0, LATER[-1])
right.legend(loc="center right")
plt.show()

# %% [markdown]
# ## 3. Outliers
#
# Three samples are mixed up. Squares give them all the say; `loss="cauchy"` gives a residual less
# say the larger it is. The names are SciPy's, and a loss of your own may be a function of JAX
# operations. Since residuals are in units of the error, a loss knows what is large.

# %%
mixed = measured.copy()
mixed[[3, 8, 12], 0] += [0.5, -0.35, 0.45]
fits = {loss: fit(mixed, loss=loss) for loss in ("linear", "cauchy")}
for loss, one in fits.items():
    off = np.abs(one.params / TRUTH - 1).max()
    print(f"{loss:8s} {one.params.round(3)}, off by at most {100 * off:.1f} %")

# %% [markdown]
# ## 4. A sensor that failed
#
# The sensor of B went out for good after a third of the time, and now and then a reading of C was
# lost. Put NaN where a residual is missing: it has no weight, and the rest counts as before. (A run
# that failed as a whole may raise, or return None.)

# %%
failed = measured.copy()
failed[5:, 0] = np.nan
failed[[2, 9], 1] = np.nan
part = fit(failed)
print(f"{np.isnan(failed).sum()} of {failed.size} readings are missing")
print(f"{part.message}, after {part.num_evaluations} simulations")
print(f"{part.params.round(3)}, with all readings {found.params.round(3)}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(12.5, 4.4))
left.plot(TIMES, mixed[:, 0], "o", color=BLACK, label="B, three mixed up")
for (loss, one), colour in zip(fits.items(), (GREY, VERMILLION), strict=True):
    left.plot(LATER, simulated(one.params, LATER)[:, 0], color=colour, lw=2.2, label=loss)
left.set(xlabel="time", ylabel="concentration", title="Outliers", xlim=(0, 10))
left.legend()

for column, (name, colour) in enumerate((("B", BLUE), ("C", GREEN))):
    there = ~np.isnan(failed[:, column])
    right.plot(TIMES[there], failed[there, column], "o", color=colour)
    lost = measured[~there, column]
    right.plot(TIMES[~there], lost, "o", color=colour, mfc="none", alpha=0.6)
    right.plot(LATER, simulated(part.params, LATER)[:, column], color=colour, lw=2, label=name)
right.plot([], [], "o", color=GREY, mfc="none", label="never read")
right.set(xlabel="time", ylabel="concentration", title="Readings that are missing", xlim=(0, 10))
right.legend()
plt.show()
