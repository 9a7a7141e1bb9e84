"""A run: a network, a method, and steps from values alone until a mark. All of it is pure."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import zosah_jax
from experiments.common.batches import augment, batch_places
from experiments.common.errors import InputError
from experiments.common.image_data import ImageData, Part
from experiments.common.networks import NETWORKS
from zosah_jax.evaluate import Evaluator
from zosah_jax.faces.transformation import MethodTransformation, zeroth_order_states
from zosah_jax.integrations.flax import update_statistics, value_fn
from zosah_jax.method import exact_problem, values_per_stage

_JUDGED_AT_ONCE = 500  # images of the test set


EvaluatorName = Literal["automatic", "one_by_one", "chunks", "grouped"]
ScheduleName = Literal["constant", "cosine"]

EVALUATORS: dict[EvaluatorName, Callable[[int], Evaluator | None]] = {
    "automatic": lambda chunk: None,
    "one_by_one": lambda chunk: zosah_jax.one_by_one(),
    "chunks": zosah_jax.in_chunks,
    "grouped": lambda chunk: zosah_jax.grouped(),
}
"""Name -> constructor(probes in a chunk); None is the library's own choice."""

SCHEDULES: dict[ScheduleName, Callable[[float, int], optax.Schedule]] = {
    "constant": lambda rate, budget: optax.constant_schedule(rate),
    "cosine": optax.cosine_decay_schedule,
}
"""Name -> constructor(learning rate, budget) of a schedule over the values spent."""


@dataclass(frozen=True)
class Setting:
    """What a single run is: all that its result depends on, of the types that JSON knows.

    Attributes:
        dataset: by name.
        network: by name.
        method: by name.
        budget: most values of the loss on a batch.
        points: how often, in equal distances, the run is looked at.
        seed: of the first weights, the method and the batches.
        learning_rate: at the start.
        options: of the method's constructor, pairs of name and value.
        momentum: of optax.trace, over the method's directions; None for none.
        weight_decay: lambda, of which lambda x is added to the direction; None for none.
        schedule: of the learning rate, over the values spent.
        batch_size: images of a batch; None for all.
        batch_steps: steps that a batch is kept for.
        augment: whether batches are cropped and mirrored.
        evaluator: by name.
        chunk: probes in a chunk, where the evaluator takes chunks.
    """

    dataset: str
    network: str
    method: str
    budget: int
    points: int
    seed: int
    learning_rate: float = 1.0
    options: tuple[tuple[str, Any], ...] = ()
    momentum: float | None = None
    weight_decay: float | None = None
    schedule: ScheduleName = "constant"
    batch_size: int | None = None
    batch_steps: int = 1
    augment: bool = False
    evaluator: EvaluatorName = "automatic"
    chunk: int = 1


class State(NamedTuple):
    """All that a run needs to go on, arrays only.

    Attributes:
        params: of the network.
        others: what in it is no parameter: BatchNorm statistics.
        optimizer: state of the transformation; holds the count of values.
        key: typed PRNG key of the batches, never advanced.
        step: number of the coming step, int32.
        rate: learning rate at the start.
        loss: mean of the values of the loss at the points stood on since the last mark.
    """

    params: Any
    others: Any
    optimizer: Any
    key: jax.Array
    step: jax.Array
    rate: jax.Array
    loss: jax.Array


class Passes(NamedTuple):
    """What stands for the state of an optimizer where `estimates` are made of the gradient.

    Attributes:
        moments: of Adam.
        feedback: what noise has taught, if it is asked to.
        spent: passes of the batch so far, uint32.
    """

    moments: Any
    feedback: Any
    spent: jax.Array


class Training(NamedTuple):
    """Runs made ready that differ in seed and learning rate alone, so that they are compiled once.

    Attributes:
        start: (seed, learning rate; None for the setting's) -> the first state.
        dimension: number d of parameters.
        advance: (state, mark) -> state with at least `mark` values spent, or as many as the
            budget lets it.
        judge: (state) -> loss and accuracy on the test set, as floats.
        value: (state, images, labels) -> loss on these images, with their own BatchNorm statistics,
            as a method would be told it.
        settle: (state, images, labels) -> state with the BatchNorm statistics of these images.
    """

    start: Callable[..., State]
    dimension: int
    advance: Callable[[State, int], State]
    judge: Callable[[State], tuple[float, float]]
    value: Callable[[State, jax.Array, jax.Array], jax.Array]
    settle: Callable[[State, jax.Array, jax.Array], State]


def prepare(setting: Setting, data: ImageData) -> Training:
    """Runs of a setting with any seed.

    Raises:
        InputError: an option is out of range; the budget is below one step; the batch is larger
            than the data.
    """
    total, height, width, channels = data.train.images.shape
    if setting.batch_size is not None and setting.batch_size > total:
        raise InputError(f"batch_size: got {setting.batch_size}, wanted at most {total} images.")

    def network(seed: int) -> tuple[Any, Any, Any]:
        shape = (height, width, channels)
        model = NETWORKS[setting.network](shape, data.classes, nnx.Rngs(seed))
        graphdef, params, others = nnx.split(model, nnx.Param, ...)
        return graphdef, nnx.as_pure(params), nnx.as_pure(others)

    def start(seed: int, learning_rate: float | None = None) -> State:
        _, params, others = network(seed)
        optimizer = transformation(setting, seed).init(params)
        rate = setting.learning_rate if learning_rate is None else learning_rate
        return State(
            params,
            others,
            optimizer,
            key=jax.random.key(seed),
            step=jnp.int32(0),
            rate=jnp.float32(rate),
            loss=jnp.float32(jnp.nan),
        )

    try:
        first = start(setting.seed)
    except (TypeError, ValueError) as error:
        raise InputError(f"{setting.method}: {error}") from error
    if (least := int(upcoming(setting, first))) > setting.budget:
        raise InputError(
            f"budget: got {setting.budget}, wanted at least the {least} values of the first step "
            f"of {setting.method}."
        )
    graphdef, train = network(setting.seed)[0], jax.tree.map(jnp.asarray, data.train)
    # the seed is in the state: of the transformation only what all seeds share is compiled
    advance = jax.jit(partial(_advance, setting, transformation(setting, 0), graphdef))
    return Training(
        start=start,
        dimension=sum(leaf.size for leaf in jax.tree.leaves(first.params)),
        advance=lambda state, mark: advance(train, state, jnp.uint32(mark)),
        judge=partial(judge, jax.jit(partial(mistakes, graphdef)), data.test),
        value=jax.jit(partial(value, graphdef)),
        settle=jax.jit(partial(settle, graphdef)),
    )


def transformation(setting: Setting, seed: int) -> optax.GradientTransformationExtraArgs:
    """The method's direction, with weight decay and momentum; the learning rate comes after."""
    method = direction(setting, seed).method
    evaluator = EVALUATORS[setting.evaluator](setting.chunk)
    parts: list[optax.GradientTransformation] = [zosah_jax.as_optax(method, None, evaluator)]
    if setting.weight_decay is not None:
        parts.append(optax.add_decayed_weights(setting.weight_decay))
    if setting.momentum is not None:
        parts.append(optax.trace(setting.momentum))
    return optax.chain(*parts)  # type: ignore[return-value]


def direction(setting: Setting, seed: int) -> MethodTransformation:
    """The method alone, at a learning rate of 1."""
    return getattr(zosah_jax, setting.method)(1.0, **dict(setting.options), key=seed)


def spent(state: State) -> int:
    """Values of the loss asked so far, or passes of the batch made."""
    if isinstance(state.optimizer, Passes):
        return int(state.optimizer.spent)
    return zosah_jax.num_evaluations(state.optimizer)


def upcoming(setting: Setting, state: State) -> jax.Array:
    """Values that the next step asks, uint32."""
    return coming_values(direction(setting, 0), state.params, state.optimizer)


def coming_values(tx: MethodTransformation, params: Any, optimizer: Any) -> jax.Array:
    """Values that the next update of a method asks, uint32; one that looks first, looks once."""
    sizes = np.array(values_per_stage(tx.method, params, exact_problem(params)), np.uint32)
    moves = np.array([stage.moves for stage in tx.method.stages(params)])
    sizes = np.where(moves, sizes, sizes + sizes[moves].max())
    number = tx.method.next_stage(zeroth_order_states(optimizer)[0].method)
    return jnp.asarray(sizes)[number]


def loss_fn(model: nnx.Module, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy of a network on a batch."""
    return jnp.mean(losses_of(model, images, labels))


def losses_of(model: nnx.Module, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy of each image of a batch."""
    logits = model(images)  # type: ignore[operator]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def _advance(
    setting: Setting,
    tx: optax.GradientTransformationExtraArgs,
    graphdef: Any,
    train: Part,
    state: State,
    mark: jax.Array,
) -> State:
    """Steps until the mark is reached or the next step would exceed the budget."""

    def goes_on(carry: tuple[State, jax.Array]) -> jax.Array:
        optimizer = carry[0].optimizer
        count = zosah_jax.num_evaluations(optimizer)
        fits = count + upcoming(setting, carry[0]) <= np.uint32(setting.budget)
        return (count < mark) & fits

    def one_more(carry: tuple[State, jax.Array]) -> tuple[State, jax.Array]:
        before, steps = carry
        after = _step(setting, tx, graphdef, train, before)
        mean = before.loss + (after.loss - before.loss) / (steps + 1)
        return after._replace(loss=jnp.where(steps == 0, after.loss, mean)), steps + 1

    return jax.lax.while_loop(goes_on, one_more, (state, jnp.float32(0)))[0]


def _step(
    setting: Setting,
    tx: optax.GradientTransformationExtraArgs,
    graphdef: Any,
    train: Part,
    state: State,
) -> State:
    """One step from values alone, and a pass that moves the BatchNorm statistics on."""
    batch = batch_of(setting, train, state)
    model = nnx.merge(graphdef, state.params, state.others)
    objective = value_fn(model, loss_fn, *batch)
    zeros = jax.tree.map(jnp.zeros_like, state.params)
    direction, optimizer = tx.update(zeros, state.optimizer, state.params, value_fn=objective)
    count = zosah_jax.num_evaluations(state.optimizer).astype(jnp.float32)
    rate = state.rate * jnp.float32(SCHEDULES[setting.schedule](1.0, setting.budget)(count))
    params = optax.apply_updates(
        state.params, jax.tree.map(lambda leaf: -rate.astype(leaf.dtype) * leaf, direction)
    )
    nnx.update(model, params)
    update_statistics(model, loss_fn, *batch)
    others = nnx.as_pure(nnx.state(model, nnx.Not(nnx.Param)))
    value = zeroth_order_states(optimizer)[0].info.base_value
    return state._replace(
        params=params,
        others=others,
        optimizer=optimizer,
        step=state.step + 1,
        loss=value.astype(jnp.float32),
    )


def batch_of(setting: Setting, train: Part, state: State) -> tuple[jax.Array, jax.Array]:
    """Images and labels of a step: a function of the key and the step."""
    images, labels = (jnp.asarray(array) for array in train)
    number = state.step // setting.batch_steps
    drawing, changing = jax.random.split(state.key)
    if setting.batch_size is not None:
        places = batch_places(drawing, number, setting.batch_size, len(labels))
        images, labels = images[places], labels[places]
    if setting.augment:
        images = augment(jax.random.fold_in(changing, number), images)
    return images, labels


def value(graphdef: Any, state: State, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Loss in training mode, which moves no statistics here."""
    return loss_fn(nnx.merge(graphdef, state.params, state.others), images, labels)


def settle(graphdef: Any, state: State, images: jax.Array, labels: jax.Array) -> State:
    """One pass in training mode that forgets the statistics before it."""
    model = nnx.merge(graphdef, state.params, state.others)
    for _, node in nnx.iter_graph(model):
        if isinstance(node, nnx.BatchNorm):
            node.momentum = 0.0
    update_statistics(model, loss_fn, images, labels)
    return state._replace(others=nnx.as_pure(nnx.state(model, nnx.Not(nnx.Param))))


def mistakes(
    graphdef: Any, state: State, images: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Sum of the loss, and number of wrong answers, in evaluation mode."""
    model = nnx.merge(graphdef, state.params, state.others)
    model.eval()
    logits = model(images)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jnp.sum(loss), jnp.sum(jnp.argmax(logits, axis=-1).astype(labels.dtype) != labels)


def judge(mistakes: Any, test: Part, state: State) -> tuple[float, float]:
    """Mean loss and accuracy on the test set."""
    total, wrong, number = 0.0, 0, len(test.labels)
    for first in range(0, number, _JUDGED_AT_ONCE):
        part = slice(first, first + _JUDGED_AT_ONCE)
        loss, missed = mistakes(state, test.images[part], test.labels[part])
        total, wrong = total + float(loss), wrong + int(missed)
    return total / number, 1 - wrong / number
