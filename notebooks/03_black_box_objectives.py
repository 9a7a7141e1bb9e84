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
# # Objectives that JAX cannot trace
#
# A simulator written in Fortran, a model behind somebody's address, a device: a function that you
# can call, and nothing more. Calls are slow and noisy, and sometimes they fail. This notebook takes
# two such functions, both real and both small enough to run while you read:
#
# 1. **a chemical simulator**: 20 rate constants of a stiff system of differential equations,
#    calibrated to noisy measurements;
# 2. **a remote classifier**: a neural network behind HTTP, fooled through its probabilities alone.
#
# *The `.py` form of this notebook is the source; `python tests/second_stage/test_notebooks.py`, in
# the root of the repository, writes the `.ipynb` form from it and executes it. It runs from a
# checkout, whose `experiments` it borrows the two functions from.*

# %%
import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import zosah_jax

# an editable install knows the checkout; else look for it above this notebook
ABOVE = [str(p) for p in (Path.cwd(), *Path.cwd().parents) if (p / "experiments").is_dir()]
sys.path += ABOVE[:1]

from experiments.examples.http_attack.client import Remote, served
from experiments.examples.http_attack.experiment import Attack, shortened
from experiments.examples.http_attack.server import held_out
from experiments.examples.reaction_kinetics.model import MINUTES, RATES, concentrations
from experiments.examples.reaction_kinetics.problem import MEASURED, TIMES, UNKNOWN, calibration

VERMILLION, GREY, BLACK = "#D55E00", "#8C8C8C", "#222222"
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
# ## 1. The simulator
#
# POLLU describes the chemistry of polluted air: 25 reactions of 20 species, with time scales from
# nanoseconds to hours. SciPy's LSODA integrates it in about ten milliseconds. The *misfit* of a
# guess is the mean squared difference from 304 measured concentrations, in units of the error of a
# measurement.

# %%
misfit, guess = calibration(seed=0, error=0.05, doubt=0.3)
print(f"{len(guess)} unknowns")
print(f"misfit of the first guess: {misfit(guess):.0f}, of the true ones: {misfit(0 * guess):.2f}")

# %% [markdown]
# An integrator is exact up to its tolerance, and below that its values jump. How large are the
# jumps? `noise_level` reads them off a table of differences of seven values at points that lie
# close together.

# %%
line = [guess + 1e-6 * step for step in range(7)]
level, found = zosah_jax.host.noise_level([misfit(x) for x in line])
print(f"{found}: the misfit is known to about {level:.0e}")

# %% [markdown]
# `minimize` with a `host` does this by itself, and spaces its probes by it. With a `log`, every
# value is on disk as soon as it is there. The run below is stopped on the way, as a crash would,
# and then called again with the same arguments: it goes on where it was.

# %%
folder = tempfile.TemporaryDirectory()
log = Path(folder.name) / "values.jsonl"
options = {"bounds": (-1.5, 1.5), "host": zosah_jax.Host(log=log)}

first = zosah_jax.minimize(misfit, guess, budget=500, callback=lambda p: p.step == 4, **options)
print(first.message, "after", first.num_evaluations, "values")
asked = len(log.read_text().splitlines()) - 1

result = zosah_jax.minimize(misfit, guess, budget=500, **options)
lines = [json.loads(line) for line in log.read_text().splitlines()[1:]]
print(result.message, "after", result.num_evaluations, "values,", len(lines) - asked, "of them new")
print(f"misfit {result.value:.3g}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(12.5, 4.2))
left.plot(result.history.num_evaluations, result.history.best_value, color=VERMILLION, lw=2.5)
left.axhline(misfit(0 * guess), color=GREY, lw=1)
left.set(yscale="log", xlabel="integrations", ylabel="misfit", title="Best misfit so far")


def simulated(logarithms):
    rates = RATES.copy()
    rates[UNKNOWN] *= 10**logarithms
    return concentrations(rates, times)


times, ozone = np.geomspace(TIMES[0], MINUTES, 100), 3
measured = np.exp(misfit.measured[:, list(MEASURED).index(ozone)])
right.plot(TIMES, measured, "o", color=BLACK, label="measured")
right.plot(times, simulated(guess)[:, ozone], color=GREY, label="first guess")
right.plot(times, simulated(result.params)[:, ozone], color=VERMILLION, label="calibrated")
right.set(xscale="log", yscale="log", xlabel="minutes", ylabel="ppm", title="Ozone")
right.legend()
plt.show()
folder.cleanup()

# %% [markdown]
# ## 2. The remote classifier
#
# The next cell starts a web server in a process of its own (FastAPI and uvicorn), with a network
# that reads 8x8 digits. All that we know is its address: an image goes out, ten probabilities come
# back. Which smallest change of a digit makes it read another?
#
# The penalty is the squared size of the change, plus a hinge on how far the server still is from
# misreading. Four requests are under way at a time: any `concurrent.futures.Executor` will do, here
# threads. Pixels stay between 0 and 1.

# %%
images, labels = held_out()
attacks = []
with served() as address, Remote(address) as remote, ThreadPoolExecutor(4) as pool:
    for digit in (3, 5, 9):
        original = images[labels == digit][0]
        attack = Attack(remote, original, digit, weight=1.0)
        host = zosah_jax.Host(executor=pool, timeout=10)
        found = zosah_jax.minimize(
            attack, original, budget=800, bounds=(0, 1), noise=0.0, host=host
        )
        image = shortened(lambda x, d=digit: remote.margin(x, d), original, found.params)
        image = original if image is None else image
        read = int(remote.probabilities(image).argmax())
        attacks.append((digit, original, image, read))
        change = np.linalg.norm(image - original)
        print(f"{digit} is read as {read} after a change of {change:.2f}")
    print(remote.num_questions, "questions")

# %%
figure, axes = plt.subplots(3, len(attacks), figsize=(7, 7))
for column, (digit, original, image, read) in zip(axes.T, attacks, strict=True):
    shown = original, image, image - original
    for ax, picture, title in zip(
        column, shown, (f"a {digit}", f"read as {read}", "change"), strict=True
    ):
        colours = ("RdBu_r", -0.5, 0.5) if title == "change" else ("gray_r", 0, 1)
        ax.imshow(picture.reshape(8, 8), cmap=colours[0], vmin=colours[1], vmax=colours[2])
        ax.set(xticks=[], yticks=[], title=title)
plt.show()

# %% [markdown]
# ## When you hold the loop yourself
#
# `AskTell` gives points and takes values, at any pace: tomorrow, from a queue, by hand. Values that
# never came are None. Its `state` is a pytree of NumPy arrays: pickle it, and set it again on
# another day and another machine.

# %%
solver = zosah_jax.AskTell(guess, bounds=(-1.5, 1.5), noise=level)
for batch in range(3):
    points = solver.ask()
    values = [misfit(x) for x in points]
    values[batch] = None  # lost
    solver.tell(values)
    print(f"{len(points)} points, best misfit so far {solver.best_value:.0f}")
