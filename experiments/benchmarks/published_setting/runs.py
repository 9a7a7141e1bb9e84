"""The work in slices of time: every run gets a chunk of values in turn, and is kept after it."""

import hashlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from experiments.benchmarks.published_setting.entries import ENTRIES
from experiments.benchmarks.published_setting.store import Kept, Store
from experiments.common import image_data
from experiments.common.clock import Clock
from experiments.common.identity import fingerprint, identity, named_leaves
from experiments.common.image_data import ImageData, Part
from experiments.common.training import Setting, State, Training, prepare, spent, upcoming

JUDGED = 2_000  # training images, always the same ones, whose loss is followed
_SEED = 1_234  # of their choice
DIVERGED = 100.0  # a training loss that no network of these has while it learns
_NO_END = 2**31  # values: a run ends by its plan, after a whole step, and may go on to a later end
_TOLD = 300  # letters of an error
_DIGEST_BYTES = 8
_COLUMNS = (
    *("spent", "steps", "loss", "accuracy"),
    *("compiling", "seconds", "look", "place", "digest"),
)


class Plan(NamedTuple):
    """What is to be done.

    Attributes:
        datasets: by name, those that are there.
        networks: by name.
        methods: names of entries.
        seeds: of the weights, the methods and the batches.
        batch_size: images of a value.
        budget: values of a run.
        chunk: values between looks.
        seconds: of the slice.
    """

    datasets: tuple[str, ...]
    networks: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    batch_size: int
    budget: int
    chunk: int
    seconds: float


class Cell(NamedTuple):
    """A run, by its names."""

    seed: int
    network: str
    dataset: str
    method: str

    @property
    def group(self) -> str:
        """The file in which it is kept."""
        return f"{self.network}-{self.dataset}-{self.seed}"

    def __str__(self) -> str:
        """For people."""
        return f"{self.network}, {self.dataset}, {self.method}, seed {self.seed}"


def cells(plan: Plan) -> list[Cell]:
    """All runs, in the order in which they take turns."""
    return [
        Cell(seed, network, dataset, method)
        for seed in plan.seeds
        for method in ENTRIES
        if method in plan.methods
        for network in plan.networks
        for dataset in plan.datasets
    ]


def setting(cell: Cell, plan: Plan) -> Setting:
    """All that the run depends on."""
    entry = ENTRIES[cell.method]
    return Setting(
        dataset=cell.dataset,
        network=cell.network,
        method=entry.method,
        budget=_NO_END,
        points=1,
        seed=cell.seed,
        learning_rate=entry.learning_rate,
        options=tuple(entry.options.items()),
        momentum=entry.momentum,
        batch_size=plan.batch_size,
        batch_steps=entry.batch_steps,
    )


def place() -> str:
    """Where this process runs, as it is told in tables."""
    device = jax.devices()[0]
    cores = f", {os.cpu_count()} cores" if device.platform == "cpu" else ""
    return f"{device.device_kind}{cores}, jax {jax.__version__}"


@contextmanager
def full_precision() -> Iterator[None]:
    """Whole float32 in all threads: differences of losses are lost in TF32."""
    before = jax.config.values["jax_default_matmul_precision"]
    jax.config.update("jax_default_matmul_precision", "highest")
    try:
        yield
    finally:
        jax.config.update("jax_default_matmul_precision", before)


def work(plan: Plan, data_dir: Path | None, folder: Path) -> dict[Cell, dict[str, list[Any]]]:
    """A slice of the plan; what is done is kept after every chunk.

    Args:
        plan: what is to be done.
        data_dir: where the data lie.
        folder: of what is kept.

    Returns:
        The history of every run, of this slice and those before.

    Raises:
        InputError: data or what is kept cannot be used.
    """
    with full_precision(), ExitStack() as stack:
        one = _Slice(plan, data_dir, Store(folder), stack)
        one.work()
        return one.histories


class _Slice:
    """A slice as it goes on."""

    def __init__(self, plan: Plan, data_dir: Path | None, store: Store, stack: ExitStack) -> None:
        self._plan, self._store, self._clock = plan, store, Clock(plan.seconds)
        data = {name: image_data.load(name, data_dir) for name in plan.datasets}
        prints = {name: fingerprint(one) for name, one in data.items()}
        self._judged = {name: _judged(one.train) for name, one in data.items()}
        self._data = {name: _on_device(one) for name, one in data.items()}
        self._cells, self._place = cells(plan), place()
        self._identities = {
            cell: identity(setting(cell, plan), prints[cell.dataset]) for cell in self._cells
        }
        self.histories: dict[Cell, dict[str, list[Any]]] = {}
        for cell in self._cells:
            kept = store.get(cell.group, cell.method, self._identities[cell])
            self.histories[cell] = kept.history if kept else {name: [] for name in _COLUMNS}
        self._over = {cell for cell in self._cells if self._is_over(cell)}
        self._states: dict[Cell, State] = {}
        self._compiled: set[tuple[str, str, str]] = set()
        self._told: set[Cell] = set()
        self._judges: dict[tuple[str, str], Training] = {}
        self._made: dict[tuple[str, str, str], Future[Training]] = {}
        self._pool = ThreadPoolExecutor(os.cpu_count())
        stack.callback(self._pool.shutdown, cancel_futures=True)
        # compiled beside each other and beside the work, but where they share its processors
        self._ahead = jax.default_backend() != "cpu"
        for cell in self._cells if self._ahead else ():
            if cell not in self._over:
                self._ask(cell)

    def work(self) -> None:
        """Chunks in turn until the time or the plan is over; one at least."""
        done = sum(min(self._spent(cell), self._plan.budget) for cell in self._cells)
        whole = self._plan.budget * len(self._cells)
        with tqdm(total=whole, initial=done, unit="value", smoothing=0) as bar:
            worked = False
            while (cell := self._next(bar.write, worked)) is not None:
                worked, before = True, self._spent(cell)
                left = f"{max(self._clock.left(), 0):.0f} s left of the slice"
                bar.set_description(f"{cell} ({left})")
                try:
                    self._chunk(cell)
                except jax.errors.JaxRuntimeError as error:  # of memory, mostly: others go on
                    bar.write(f"{cell}: left out of this slice, as it failed: {error}"[:_TOLD])
                    self._over.add(cell)
                    continue
                bar.update(min(self._spent(cell), self._plan.budget) - before)
                bar.set_postfix(loss=self.histories[cell]["loss"][-1])

    def _next(self, tell: Callable[[str], None], worked: bool) -> Cell | None:
        """The run that is furthest behind, of those whose next step fits into the slice."""
        waiting = [cell for cell in self._cells if cell not in self._over]
        order = self._plan.seeds.index
        waiting.sort(key=lambda cell: (order(cell.seed), self._spent(cell)))
        ready = [cell for cell in waiting if not self._ahead or self._ask(cell).done()]
        for cell in ready or waiting:
            if self._clock.left() <= 0:
                break
            if (seconds := self._expected(cell)) < self._clock.left():
                return cell
            if cell not in self._told:
                tell(f"{cell}: left out of this slice, as it takes some {seconds:.0f} s.")
                self._told.add(cell)
        return None if worked or not waiting else waiting[0]

    def _expected(self, cell: Cell) -> float:
        """Seconds of the next chunk, as far as is known here; a step is never cut."""
        method = ENTRIES[cell.method].method

        def is_near(other: Cell) -> bool:
            return other.network == cell.network and ENTRIES[other.method].method == method

        pace = self._pace(lambda other: other == cell) or self._pace(is_near)
        values = max(self._plan.chunk, int(upcoming(setting(cell, self._plan), self._state(cell))))
        known = [
            seconds
            for other, history in self.histories.items()
            if other.network == cell.network
            for seconds, where in zip(history["compiling"], history["place"], strict=True)
            if where == self._place
        ]
        to_come = not self._ahead and _program(cell) not in self._compiled
        return values * pace + to_come * max(known, default=0.0)

    def _pace(self, like: Callable[[Cell], bool]) -> float:
        """Seconds of a value here, of runs of a kind; 0 where there is none."""
        found = [
            seconds / values
            for cell, history in self.histories.items()
            if like(cell)
            for seconds, values, where in zip(
                history["seconds"], np.diff([0, *history["spent"]]), history["place"], strict=True
            )
            if where == self._place
        ]
        return statistics.median(found) if found else 0.0

    def _chunk(self, cell: Cell) -> None:
        """Values until the next mark, a look, and all of it kept."""
        training, state, history = self._ask(cell).result(), self._state(cell), self.histories[cell]
        mark = (spent(state) // self._plan.chunk + 1) * self._plan.chunk
        asked = time.perf_counter()
        jax.block_until_ready(training.advance(state, 0))  # no step: compiles where it is new
        begun = time.perf_counter()
        state = jax.block_until_ready(training.advance(state, mark))
        ended = time.perf_counter()
        loss, accuracy = self._look(cell, state)
        arrays = _arrays(state)
        row = {
            "spent": spent(state),
            "steps": int(state.step),
            "loss": loss if np.isfinite(loss) else None,
            "accuracy": accuracy,
            "compiling": round(begun - asked, 4) if _program(cell) not in self._compiled else 0.0,
            "seconds": round(ended - begun, 4),
            "look": round(time.perf_counter() - ended, 4),
            "place": self._place,
            "digest": _digest(arrays),
        }
        grown = {name: [*history[name], row[name]] for name in _COLUMNS}
        self._store.put(cell.group, cell.method, Kept(self._identities[cell], grown, arrays))
        self.histories[cell], self._states[cell] = grown, state
        self._compiled.add(_program(cell))
        if self._is_over(cell):
            self._over.add(cell)

    def _look(self, cell: Cell, state: State) -> tuple[float, float]:
        """Loss on the judged training images, and accuracy with their BatchNorm statistics.

        A network is judged by one program, whatever the method is.
        """
        own = self._ask(cell).result()
        training = self._judges.setdefault((cell.network, cell.dataset), own)
        bare = state._replace(optimizer=())
        images, labels = self._judged[cell.dataset]
        settled = training.settle(bare, images, labels)
        return float(training.value(bare, images, labels)), training.judge(settled)[1]

    # --- what is made ready

    def _ask(self, cell: Cell) -> "Future[Training]":
        """The run's program, asked for now if it was not."""
        if _program(cell) not in self._made:
            self._made[_program(cell)] = self._pool.submit(self._ready, cell)
        return self._made[_program(cell)]

    def _ready(self, cell: Cell) -> Training:
        training = prepare(setting(cell, self._plan), self._data[cell.dataset])
        if self._ahead:
            with suppress(jax.errors.JaxRuntimeError):  # the run's first chunk meets it again
                training.advance(training.start(cell.seed), 0)  # compiles, and takes no step
        return training

    def _state(self, cell: Cell) -> State:
        """Where the run stands."""
        if cell not in self._states:
            like = self._ask(cell).result().start(cell.seed)
            kept = self._store.get(cell.group, cell.method, self._identities[cell])
            self._states[cell] = like if kept is None else _state_of(like, kept.arrays)
        return self._states[cell]

    def _spent(self, cell: Cell) -> int:
        return self.histories[cell]["spent"][-1] if self.histories[cell]["spent"] else 0

    def _is_over(self, cell: Cell) -> bool:
        losses = self.histories[cell]["loss"]
        lost = bool(losses) and (losses[-1] is None or losses[-1] > DIVERGED)
        return lost or self._spent(cell) >= self._plan.budget


def _on_device(data: ImageData) -> ImageData:
    train, test = (Part(*map(jnp.asarray, part)) for part in (data.train, data.test))  # type: ignore[arg-type]
    return data._replace(train=train, test=test)


def _judged(train: Part) -> tuple[jax.Array, jax.Array]:
    chosen = np.random.default_rng(_SEED).permutation(len(train.labels))[:JUDGED]
    return jnp.asarray(train.images[chosen]), jnp.asarray(train.labels[chosen])


def _program(cell: Cell) -> tuple[str, str, str]:
    """What runs that differ in their seeds share."""
    return cell.network, cell.dataset, cell.method


def _arrays(state: State) -> dict[str, np.ndarray]:
    return {
        name: np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
        for name, leaf in named_leaves(state)
    }


def _state_of(like: State, arrays: dict[str, np.ndarray]) -> State:
    leaves = [
        jax.random.wrap_key_data(jnp.asarray(arrays[name]), impl=jax.random.key_impl(leaf))
        if _is_key(leaf)
        else jnp.asarray(arrays[name])
        for name, leaf in named_leaves(like)
    ]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _digest(arrays: dict[str, np.ndarray]) -> str:
    """Of every bit of a state."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for name, array in arrays.items():
        digest.update(name.encode() + array.tobytes())
    return digest.hexdigest()
