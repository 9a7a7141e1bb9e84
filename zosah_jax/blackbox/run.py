"""`minimize` for any Python callable: the host's loop around `AskTell`."""

import math
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import jax
import numpy as np
import optax

from zosah_jax.blackbox.answers import Answers, ObjectiveError
from zosah_jax.blackbox.ask_tell import AskTell
from zosah_jax.blackbox.candidates import NoisyCourse
from zosah_jax.blackbox.checkpoint import Arrays, Checkpoints, from_arrays, to_arrays
from zosah_jax.blackbox.journal import Journal
from zosah_jax.blackbox.noise import MOST_POINTS, measure_noise
from zosah_jax.blackbox.problem import problem_of
from zosah_jax.checks import check_count, check_number
from zosah_jax.minimize import PATIENCE, History, Result, Status
from zosah_jax.params import Params

_LAST = -1  # the round of the value that is kept for the last point
_SECONDS_BETWEEN_CHECKPOINTS = 10.0


@dataclass(frozen=True)
class Progress:
    """What a callback is told after a step.

    Attributes:
        step: steps taken.
        params: where the run stands now.
        value: value where it stood before the step; NaN if it was missing.
        best_params: the point with the smallest value.
        best_value: that value.
        num_evaluations: values spent, retries included.
    """

    step: int
    params: Params
    value: float
    best_params: Params
    best_value: float
    num_evaluations: int


def minimize_blackbox(
    fun: Callable[[Params], Any],
    x0: Params,
    tx: optax.GradientTransformation | None = None,
    *,
    budget: int,
    target: float | None = None,
    bounds: Any = None,
    key: Any = None,
    noise: float | Literal["estimate"] = "estimate",
    executor: Executor | None = None,
    max_workers: int | None = None,
    timeout: float | None = None,
    retries: int = 2,
    max_pending: int | None = None,
    callback: Callable[[Progress], Any] | None = None,
    progress: bool = False,
    log: str | Path | None = None,
    checkpoint: str | Path | None = None,
    seconds_between_checkpoints: float = _SECONDS_BETWEEN_CHECKPOINTS,
) -> Result:
    """Minimise a Python function that JAX cannot trace, from at most `budget` of its values.

    The counterpart of `minimize` for simulators, remote models and devices. `fun` is called with a
    pytree like `x0` of NumPy arrays. A batch of calls runs in parallel on any executor. A value
    that raised, timed out, is NaN or infinite after its retries is missing: it has weight zero in
    what the method fits.

    With `log`, every value is on disk as soon as it is there. Called again with the same problem
    and log, the run goes on where it was, asks nothing that was logged, and ends with the same
    bits. A `checkpoint` folder (which holds the log, too, unless that is given) saves it from going
    through all of the log again.

    Args:
        fun: objective, params -> real scalar; None or NaN where it has no value.
        x0: pytree of real floating arrays. Arithmetic is in its dtypes, also in float64.
        tx: a transformation of this library, or an optax chain around one; None: `zosah()`.
        budget: most calls of `fun`, retries, the noise estimate and the last point included.
        target: stop at a value of at most this.
        bounds: (lower, upper), each a number or a pytree like `x0`; no point outside is asked.
        key: int or typed key that replaces the transformation's own; None keeps that.
        noise: standard deviation of a value, by which step lengths are chosen. "estimate": measured
            at `x0` by 7 or 14 values, where 14 are less than a twentieth of the budget (see
            `noise_level`). 0: values are as exact as their dtype. With noise, a twentieth of the
            budget (at most 32 values) is kept to look again at the points that may be the best,
            and where `tx` is None, its steps are damped as the budget is spent.
        executor: any `concurrent.futures.Executor`; it is not shut down. None: this thread.
        max_workers: processes of an own pool instead, begun by `spawn`; it is rebuilt when a worker
            dies or hangs.
        timeout: seconds after which a call is given up and its value is missing. A call that runs
            cannot be stopped from outside: a thread runs on and keeps its worker, and so does a
            process of an `executor`; processes of our own (`max_workers`) are killed.
        retries: how often a point is asked again whose value is missing: the call raised, was given
            up, or returned None or no finite number. 0 where that would happen again.
        max_pending: most calls that are handed to the executor at a time. None: what suits it.
        callback: called with a `Progress` after each step; the run stops when it returns True or
            raises StopIteration.
        progress: whether to show a bar (tqdm).
        log: file for every value, JSON lines.
        checkpoint: folder for checkpoints (orbax).
        seconds_between_checkpoints: how often, at least.

    Returns:
        A `Result` of NumPy arrays. `best_params` and `best_value` are of all values, not only of
        those where the run stood; with a target, `params` is the point that met it.

    Raises:
        ObjectiveError: the objective raised at every point of the first step; with its traceback.
        ValueError: an argument is out of its range; the budget is below what one step takes; the
            log or checkpoint is of another problem (`OtherProblem`).
        TypeError: an argument is of the wrong kind, or `fun` returned no real scalar.
        RuntimeError: the executor takes no calls.

    Example:
        >>> import numpy as np, zosah_jax
        >>> def simulator(x):
        ...     if x[0] < -2:
        ...         raise FloatingPointError("no steady state")
        ...     return float(((x - np.arange(6.0)) ** 2).sum())
        >>> out = zosah_jax.minimize_blackbox(simulator, np.zeros(6), budget=200, bounds=(-3, 4))
        >>> bool(abs(out.best_value - 1) < 1e-6), out.num_evaluations <= 200, out.message
        (True, True, 'budget spent')
    """
    check_count("budget", budget)
    if target is not None:
        check_number("target", target)
    if noise != "estimate":
        check_number("noise", noise)
        if not 0 <= noise < math.inf:
            raise ValueError(f"noise: got {noise}, wanted a standard deviation or 'estimate'.")
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: got {type(callback).__name__}, wanted a callable or None.")
    solver = AskTell(x0, tx, bounds=bounds, key=key)
    first = sum(solver.sizes)
    if budget < first + 1:
        raise ValueError(
            f"budget: got {budget}, wanted at least {first + 1}: the first step takes {first} "
            "values, and the last point one."
        )
    log_path, folder = _paths(log, checkpoint)
    problem = {} if log_path is None else problem_of(solver, noise)
    problem["tx"] = "the library's choice" if tx is None else "given"
    with ExitStack() as stack:
        checkpoints = None if folder is None else stack.enter_context(Checkpoints(folder, problem))
        journal = stack.enter_context(Journal(log_path, problem, budget))
        answers = stack.enter_context(
            Answers(fun, executor, max_workers, timeout, retries, max_pending, journal)
        )
        bar = stack.enter_context(_Bar(budget, progress))
        run = _Run(solver, answers, budget, target, bar)
        run.damped, run.planned = tx is None, journal.budget
        if checkpoints is not None:
            run.resume(checkpoints)
        if solver.step == 0:
            run.measure_noise(noise)
        saved = time.monotonic()
        while run.goes_on():
            run.take_step()
            if callback is not None and run.status is Status.RUNNING and _stops(callback, run):
                run.status = Status.STOPPED
            if checkpoints is not None and time.monotonic() - saved >= seconds_between_checkpoints:
                run.save(checkpoints)
                saved = time.monotonic()
        return run.finish()


def _paths(log: Any, checkpoint: Any) -> tuple[Path | None, Path | None]:
    folder = None if checkpoint is None else Path(checkpoint)
    if folder is None:
        return None if log is None else Path(log), None
    return folder / "values.jsonl" if log is None else Path(log), folder / "steps"


def _stops(callback: Callable[[Progress], Any], run: "_Run") -> bool:
    try:
        return callback(run.progress()) is True
    except StopIteration:
        return True


class _Bar:
    """tqdm's bar over the budget, or nothing."""

    def __init__(self, budget: int, shown: bool) -> None:
        self._bar = None
        if shown:
            try:
                from tqdm.auto import tqdm
            except ImportError as error:
                raise ImportError(
                    "progress: wanted tqdm, which is not installed: pip install 'zosah_jax[tqdm]'."
                ) from error
            self._bar = tqdm(total=budget, unit="value")

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, spent: int, best: float) -> None:
        if self._bar is not None:
            self._bar.update(spent - self._bar.n)
            self._bar.set_postfix_str(f"best {best:.6g}", refresh=False)


class _Run:
    """A run between two steps."""

    def __init__(
        self, solver: AskTell, answers: Answers, budget: int, target: float | None, bar: _Bar
    ) -> None:
        self.solver, self.answers, self.budget, self.target = solver, answers, budget, target
        self.bar = bar
        self.status = Status.RUNNING
        self.value = math.nan  # where the run stood before the last step
        self.history: list[tuple[float, float, int]] = []
        self.silent = 0  # successive steps without a base value
        self.damped = False  # whether noise damps the steps
        self.planned = budget  # what the course under noise goes by
        self.course = NoisyCourse((solver.params, solver.params))

    @property
    def spent(self) -> int:
        return self.answers.num_calls

    def goes_on(self) -> bool:
        """Whether there is a next step, and a value left for the last point after it."""
        return self.status is Status.RUNNING and self._spare() >= 0

    def _spare(self) -> int:
        """Values that are left beside those of the rest of the step and of the last point."""
        rest = sum(self.solver.sizes[self.solver.round :])
        return self.budget - self.spent - rest - self.course.reserve(self.budget, self._gain())

    def _gain(self) -> float:
        """What the last step but one brought, as its value is known by now; NaN at first."""
        return self.history[-2][0] - self.history[-1][0] if len(self.history) > 1 else math.nan

    def measure_noise(self, noise: Any) -> None:
        """Set the noise level, measured where it was not given."""
        if noise == "estimate":
            spare = self._spare()
            if spare >= MOST_POINTS:  # as when the log was begun
                spare += self.planned - self.budget

            def values(points: list[Params], number: int) -> np.ndarray:
                return self.answers(points, -1, number, 0)

            noise = measure_noise(values, self.solver.params, self.solver.box, spare)
        self.course.begin(self.solver, float(noise))

    def take_step(self) -> None:
        """Ask, answer, tell, until the step is taken or the target met."""
        step, missing, asked = self.solver.step, 0, 0
        before = self.solver.params
        while self.solver.step == step and self.status is Status.RUNNING:
            points, round_ = self.solver.ask(), self.solver.round
            values = self.answers(points, step, round_, self._spare())
            self.solver.tell(values)
            missing, asked = missing + int(np.isnan(values).sum()), asked + len(values)
            if self._meets(self.solver.best_value):
                self.status = Status.TARGET_REACHED
                self.value = self.solver.best_value
        if self.status is Status.RUNNING:
            value = float(self.solver.info.base_value)
            gain = self.value - value if self.damped else None
            self.course.go_on(self.solver, before, self.spent, self.planned, gain)
            self.value = value
            self.silent = 0 if math.isfinite(self.value) else self.silent + 1
            lost = step == 0 and missing == asked
            if lost and self.answers.first_traceback is not None:
                raise ObjectiveError(
                    "fun: raised at every point of the first step, wanted a value at some. The "
                    f"first traceback:\n\n{self.answers.first_traceback}"
                )
            if lost or self.silent >= PATIENCE:
                self.status = Status.NOT_FINITE
        self._note(self.value)

    def _meets(self, value: float) -> bool:
        return self.target is not None and value <= self.target

    def _note(self, value: float) -> None:
        self.history.append((value, self.solver.best_value, self.spent))
        self.bar.show(self.spent, self.solver.best_value)

    def progress(self) -> Progress:
        return Progress(
            step=self.solver.step,
            params=self.solver.params,
            value=self.value,
            best_params=self.solver.best_params,
            best_value=self.solver.best_value,
            num_evaluations=self.spent,
        )

    # --- across a crash ---------------------------------------------------------------------------

    def save(self, checkpoints: Checkpoints) -> None:
        more: Arrays = to_arrays(self.course.means, "mean")
        more["history"] = np.asarray(self.history, np.float64).reshape(-1, 3)
        about = {
            "spent": self.spent,
            "silent": self.silent,
            "status": int(self.status),
            "noise": self.course.noise,
            "half": self.course.half,
            "since": self.course.since,
            "first traceback": self.answers.first_traceback,
        }
        self.solver.save_to(checkpoints, self.solver.step, more, about)

    def resume(self, checkpoints: Checkpoints) -> None:
        found = self.solver.load_from(checkpoints)
        if found is None:
            return
        arrays, about = found
        means = from_arrays(arrays, "mean", self.course.means)
        self.course = NoisyCourse(means, about["noise"], about["half"], about["since"])
        self.history = [(v, b, int(n)) for v, b, n in arrays["history"].tolist()]
        self.value = self.history[-1][0] if self.history else math.nan
        self.answers.num_calls, self.silent = about["spent"], about["silent"]
        self.status = Status(about["status"])
        self.answers.first_traceback = about["first traceback"]

    # --- the end ----------------------------------------------------------------------------------

    def finish(self) -> Result:
        """Spend the values that were kept for the end, unless the target is met."""
        solver = self.solver
        params, value = solver.params, self.value
        best_params, best_value = solver.best_params, solver.best_value
        if self.status is Status.TARGET_REACHED:
            params = best_params
        else:
            candidates = self.course.candidates(solver)
            value, *others = self._look_again(candidates)
            if others:  # the smallest of many noisy values says little of its point
                seen = [value, *others]
                if np.isfinite(seen).any():
                    winner = int(np.nanargmin(seen))
                    best_params, best_value = candidates[winner], seen[winner]
            elif value < best_value:
                best_params, best_value = params, value
            if self._meets(best_value):
                self.status, params, value = Status.TARGET_REACHED, best_params, best_value
            elif self.status is Status.RUNNING:
                self.status = Status.BUDGET_SPENT
            self.history.append((value, best_value, self.spent))
            self.bar.show(self.spent, best_value)
        values, best, spent = zip(*self.history, strict=True)
        like = solver.params
        return Result(
            params=jax.tree.map(lambda new, old: new.astype(old.dtype), params, like),
            value=np.asarray(value),
            best_params=best_params,
            best_value=np.asarray(best_value),
            num_evaluations=self.spent,
            history=History(np.asarray(values), np.asarray(best), np.asarray(spent)),
            status=self.status,
            state=solver.state.optimizer,
        )

    def _look_again(self, candidates: list[Params]) -> list[float]:
        """Mean of fresh values of each point; NaN where all are missing."""
        left = self.budget - self.spent
        looks = min(self.course.num_looks(self.budget, self._gain()), left // len(candidates))
        if looks == 0:
            candidates, looks = candidates[:1], 1
        points = candidates * looks
        values = self.answers(points, self.solver.step, _LAST, left - len(points))
        by_point = values.reshape(looks, len(candidates)).T
        return [
            float(v[np.isfinite(v)].mean()) if np.isfinite(v).any() else math.nan for v in by_point
        ]
