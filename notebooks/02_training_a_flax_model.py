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
# # Training a Flax model from values alone
#
# A network is trained here without a gradient: the method may ask for the loss at points of its
# choice, and for nothing else. **Where you can have the gradient, take it**: backpropagation needs
# far fewer passes. This is for losses that have none, and for those who study methods that do
# without.
#
# You will see the one trap of networks as objectives, a training loop in Flax nnx, and what memory
# it takes.
#
# *The `.py` form of this notebook is the source; `python tests/second_stage/test_notebooks.py`, in
# the root of the repository, writes the `.ipynb` form from it and executes it.*

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

import zosah_jax
from zosah_jax.integrations.flax import train_step, value_fn

# Okabe and Ito's colours, which the colour-blind can tell apart
VERMILLION, BLUE, GREEN, GREY = "#D55E00", "#0072B2", "#009E73", "#8C8C8C"
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
    }
)

pixels, labels = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(labels))
images = ((pixels - pixels.mean()) / pixels.std())[order].astype(np.float32)
labels = labels[order].astype(np.int32)
train, test = (images[:-359], labels[:-359]), (images[-359:], labels[-359:])


class Net(nnx.Module):
    """A perceptron with all that moves in train mode: BatchNorm and dropout."""

    def __init__(self, rngs):
        self.hidden = nnx.Linear(64, 16, rngs=rngs)
        self.norm = nnx.BatchNorm(16, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(0.05, rngs=rngs)
        self.last = nnx.Linear(16, 10, rngs=rngs)

    def __call__(self, x):
        return self.last(self.dropout(nnx.relu(self.norm(self.hidden(x)))))


def loss_fn(model, x, y):
    return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()


# %% [markdown]
# ## 1. The trap: a network is another function at every call
#
# In train mode dropout draws a new mask at each call. To a method that takes differences of values
# the masks are noise, and it drowns the differences. `value_fn` closes over everything in the model
# that is no parameter, so that all probes of a step see the same mask and the same statistics
# (*common random numbers*), and the model itself is left as it was. Here is the loss along one
# weight, both ways.

# %%
model = Net(nnx.Rngs(0))
params = nnx.as_pure(nnx.state(model, nnx.Param))
along = jnp.linspace(-0.1, 0.1, 121, dtype=jnp.float32)


def at(t):
    """The parameters with one weight of the last layer moved by t."""
    kernel = params["last"]["kernel"]
    moved = {**params["last"], "kernel": kernel.at[3, 4].add(t)}
    return nnx.State({**params, "last": moved})


objective = value_fn(model, loss_fn, *train)
pure = jax.jit(lambda ts: jax.lax.map(lambda t: objective(at(t)), ts))(along)


@nnx.jit
def call_again(model, t):
    nnx.update(model, at(t))
    return loss_fn(model, *train)


impure = [call_again(model, t) for t in along]

fig, ax = plt.subplots(figsize=(11, 4.4))
ax.plot(along, impure, ".", color=GREY, ms=8)
ax.plot(along, pure, color=VERMILLION)
low, high = min(impure), max(impure)
ax.annotate("the model called again and again", (-0.1, high + 0.004), color="#666666")
ax.annotate("value_fn: one mask for all", (0.02, low - 0.006), color=VERMILLION)
ax.set(xlabel="one weight, moved by", ylabel="training loss", ylim=(low - 0.008, high + 0.008))
ax.set_title("The same loss, with and without common random numbers")
plt.show()

# %% [markdown]
# ## 2. The training loop
#
# The loop is Flax's own: an `nnx.Optimizer` around a transformation, in `nnx.jit`. `train_step`
# takes a step from values alone, then makes one forward pass that moves on what is no parameter:
# the BatchNorm statistics take in the batch, and dropout gets its next mask. That pass is no value:
# the method does not see it.

# %%
model = Net(nnx.Rngs(0))
start = nnx.clone(model)
optimizer = nnx.Optimizer(model, zosah_jax.zosah(1.0, subspace_dim=64), wrt=nnx.Param)


@nnx.jit
def step(model, optimizer):
    return train_step(model, optimizer, loss_fn, *train)


@nnx.jit
def accuracy(model):
    """On the test images, by the model in evaluation mode."""
    model = nnx.clone(model)
    model.eval()
    return (model(test[0]).argmax(-1) == test[1]).mean()


@nnx.jit
def without_statistics(model):
    """The same, had the statistics stayed as they were at the start."""
    stale = nnx.clone(model)
    stale.norm.mean[...], stale.norm.var[...] = jnp.zeros(16), jnp.ones(16)
    return accuracy(stale)


BUDGET = 10_000
history = []
while zosah_jax.num_evaluations(optimizer.opt_state) < BUDGET:
    loss = step(model, optimizer)
    if optimizer.step[...] % 5 == 0:
        spent = zosah_jax.num_evaluations(optimizer.opt_state)
        history.append((spent, loss, accuracy(model), without_statistics(model)))
spent, losses, known, stale = np.array(history, dtype=np.float64).T

d = sum(leaf.size for leaf in jax.tree.leaves(params))
there = spent[np.argmax(known >= 0.9)]
print(f"{d} parameters, {int(optimizer.step[...])} steps, {spent[-1]:,.0f} values")
print(f"test accuracy {accuracy(start):.1%} -> {known[-1]:.1%}")
print(f"90% after {there:,.0f} values, or {there / d:.1f} times the number of parameters")

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6))
left.plot(spent, losses, color=VERMILLION)
left.set(yscale="log", xlabel="function values spent", ylabel="training loss")
left.set_yticks([0.2, 0.5, 1, 2], ["0.2", "0.5", "1", "2"])
left.set_yticks([], minor=True)
left.set_title("The loss, by values alone")
right.plot(spent, 100 * stale, "--", color=BLUE)
right.plot(spent, 100 * known, color=VERMILLION)
right.axhline(90, color=GREY, lw=1)
right.annotate("statistics moved on", (0.55 * BUDGET, 100), color=VERMILLION)
right.annotate(
    "statistics left\nas they were",
    (0.55 * BUDGET, 100 * np.median(stale[len(stale) // 2 :]) - 24),
    color=BLUE,
)
right.set(xlabel="function values spent", ylabel="test accuracy, %", ylim=(0, 108))
right.set_title("The pass for BatchNorm pays")
plt.show()

# %% [markdown]
# Training never reads the statistics (in train mode BatchNorm uses those of the batch), so that the
# loss falls either way. The test does read them.
#
# ## 3. What it takes in memory
#
# Backpropagation keeps the activations of all layers until it comes back to them. A value needs
# none of them once the next layer is computed. So with values, one by one, a deeper network takes
# no more memory for its activations. XLA says what a compiled step needs beside its arguments:


# %%
class Deep(nnx.Module):
    """Many layers of one width."""

    def __init__(self, depth, rngs):
        self.layers = nnx.List([nnx.Linear(64, 64, rngs=rngs) for _ in range(depth)])

    def __call__(self, x):
        for layer in self.layers:
            x = nnx.tanh(layer(x))
        return x


def needs(depth):
    """Memory of a step beside its arguments, in MB: backpropagation, and RSPG one by one."""
    deep = nnx.eval_shape(lambda: Deep(depth, nnx.Rngs(0)))  # shapes alone: nothing is run
    params = nnx.as_pure(nnx.state(deep, nnx.Param))
    x = jax.ShapeDtypeStruct((8192, 64), "float32")
    y = jax.ShapeDtypeStruct((8192,), "int32")
    theirs, ours = optax.sgd(0.1), zosah_jax.rspg(0.1, evaluator=zosah_jax.one_by_one())

    def backpropagation(params, state, x, y):
        grads = jax.grad(value_fn(deep, loss_fn, x, y))(params)
        return theirs.update(grads, state, params)

    def values(params, state, x, y):
        return ours.update(None, state, params, value_fn=value_fn(deep, loss_fn, x, y))

    found = {}
    for step, tx in ((backpropagation, theirs), (values, ours)):
        lowered = jax.jit(step).lower(params, jax.eval_shape(tx.init, params), x, y)
        found[step.__name__] = lowered.compile().memory_analysis().temp_size_in_bytes / 1e6
    return found


DEPTHS = (2, 6, 10)
memory = [needs(depth) for depth in DEPTHS]

# %%
fig, ax = plt.subplots(figsize=(11, 4.4))
for name, color in (("backpropagation", BLUE), ("values", VERMILLION)):
    sizes = [found[name] for found in memory]
    ax.plot(DEPTHS, sizes, "o-", color=color)
    ax.annotate(f" {name}", (DEPTHS[-1], sizes[-1]), color=color, va="center")
ax.set(xlabel="layers of 64 units", ylabel="memory of a step, MB", xticks=DEPTHS)
ax.set(xlim=(0, 1.25 * DEPTHS[-1]), ylim=(0, None))
ax.set_title("A step from values takes the memory of a forward pass")
plt.show()

# %% [markdown]
# With checkpointing (`jax.checkpoint`) backpropagation, too, can be had in less memory, for another
# forward pass. Where it can be had, it is the better choice.
#
# `python -m experiments train_resnet` trains residual networks this way, by any method of the
# library, with checkpoints; `--help` tells how.
