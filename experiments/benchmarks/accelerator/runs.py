"""A network on CIFAR-10 by estimates of the gradient and by methods of the library."""

import time
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.common.clock import Clock
from experiments.common.estimates import ESTIMATES, prepare
from experiments.common.image_data import ImageData
from experiments.common.training import Setting, State, Training, spent


class Way(NamedTuple):
    """A way to train.

    Attributes:
        label: in words.
        rates: learning rates that are tried.
        options: of the estimate or of the method.
        momentum: over its directions.
        batch: images of a value, where they are not those of a pass.
    """

    label: str
    rates: tuple[float, ...]
    options: tuple[tuple[str, Any], ...] = ()
    momentum: float | None = None
    batch: int | None = None


PLAIN = (  # runs on CIFAR-10 of networks that are no residual ones: task, variant
    *(("cifar10_deep", "feedback"), ("cifar10_deep", "noise")),
    *(("cifar10_deep", "backpropagation"), ("cifar10", "feedback")),
)

# Options as they are in train_resnet (RSPG) and resnet_comparison (DeepZero); five rates each, for
# RSPG far below that of digits, as its error grows with the number of parameters.
METHODS = {
    "forward_feedback": Way("forward passes, with feedback", (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)),
    "backpropagation": Way("backpropagation", (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)),
    "rspg": Way("RSPG, q = 4", (1e-4, 3e-4, 1e-3, 3e-3, 1e-2), (("num_directions", 4),)),
    "deepzero": Way(
        *("DeepZero, density 0.01", (0.1, 0.3, 1.0, 3.0, 10.0)),
        *((("density", 0.01), ("mask_period", 1)), 0.9, 128),
    ),
    "forward": Way("forward passes, noise alone", (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)),
}
"""By the name that `estimates.prepare` knows, in the order in which they are run."""

_TRIED = 0.1  # part of the passes that a learning rate is tried for
_LAST = 0.05  # part of the passes at the end of such a run, over whose losses it is judged
_SHARE = 75.0  # seconds that a run may take


@dataclass(frozen=True)
class Ready:
    """Runs of a way, compiled.

    Attributes:
        way: how it trains.
        setting: what is run, at a learning rate of 1.
        training: the runs.
        data: images.
        unit: images of a pass, over those of a value.
        compiling: seconds that it took to get here.
    """

    way: Way
    setting: Setting
    training: Training
    data: ImageData
    unit: float
    compiling: float

    def longer(self, passes: int) -> "Ready":
        """The same with another number of passes."""
        setting = replace(self.setting, budget=int(passes * self.unit))
        return replace(self, setting=setting, training=prepare(setting, self.data))

    def run(self, seed: int, rate: float, clock: Clock, share: float = np.inf) -> dict[str, Any]:
        """A run, looked at in equal distances, until its passes are spent or its time is.

        Returns:
            `history`: passes, seconds (those of the looks are not counted), mean loss of the
            batches, and loss and accuracy on the test set; `stopped`: whether time ended it.
        """
        state, seconds, stopped = self.training.start(seed, rate), 0.0, False
        history: dict[str, list[float]] = {
            name: [] for name in ("passes", "seconds", "loss", "test_loss", "test_accuracy")
        }
        budget, points = self.setting.budget, self.setting.points
        for mark in np.linspace(0, budget, points + 1)[1:].astype(int):
            last, begin = spent(state), time.perf_counter()
            state = jax.block_until_ready(self.training.advance(state, int(mark)))
            if spent(state) == last:
                break  # the next step would exceed the budget
            seconds += time.perf_counter() - begin
            loss, accuracy = self.training.judge(state)
            entry = (spent(state) / self.unit, seconds, float(state.loss), loss, accuracy)
            for name, value in zip(history, entry, strict=True):
                history[name].append(value)
            stopped = seconds > share or clock.left() < 0
            if stopped:
                break
        return {"history": history, "stopped": stopped}

    def tried(self, seed: int, rate: float) -> float:
        """Mean loss of the batches at the end of a short run; infinite if it diverged."""
        short = self  # the steps of a method would be compiled anew for another budget
        if self.setting.method in ESTIMATES:
            short = self.longer(int(_TRIED * self.setting.budget / self.unit))
        state = self.training.start(seed, rate)
        for part in (_TRIED - _LAST, _TRIED):
            state = short.training.advance(state, int(part * self.setting.budget))
        return float(state.loss) if np.isfinite(state.loss) else np.inf


def ready(
    method: str, network: str, batch: int, passes: int, points: int, data: ImageData
) -> Ready:
    """Runs of a way, compiled by steps that are none."""
    way, begin = METHODS[method], time.perf_counter()
    own = way.batch or batch
    setting = Setting(
        dataset="cifar10",
        network=network,
        method=method,
        budget=passes * batch // own,
        points=points,
        seed=0,
        options=way.options,
        momentum=way.momentum,
        schedule="cosine",
        batch_size=own,
        evaluator="one_by_one",
    )
    training = prepare(setting, data)
    state: State = training.advance(training.start(0), 0)
    training.judge(state)
    return Ready(way, setting, training, data, batch / own, time.perf_counter() - begin)


def tuned_run(made: Ready, seed: int, tuning_seed: int, clock: Clock) -> dict[str, Any]:
    """Every learning rate for a tenth of the passes, and the best for all, on another seed."""
    begin = time.perf_counter()
    tried = {rate: made.tried(tuning_seed, rate) for rate in made.way.rates}
    rate = min(tried, key=lambda rate: tried[rate])
    tuning = time.perf_counter() - begin
    share = min(_SHARE, clock.left())
    return {
        "dimension": made.training.dimension,
        "values_a_pass": made.unit,
        "compiling_seconds": made.compiling,
        "tuning_seconds": tuning,
        "tried": {f"{rate:g}": loss for rate, loss in tried.items()},
        "learning_rate": rate,
        **made.run(seed, rate, clock, share),
    }
