"""`minimize` for any Python function: the host's loop around `AskTell`."""

import math
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import jax
import numpy as np
import optax

from zosah_jax.bounds import bounds_of
from zosah_jax.checks import typed_key
from zosah_jax.drive import PATIENCE
from zosah_jax.faces.host.ask_tell import AskTell
from zosah_jax.faces.host.course import NoisyCourse, WeighedCourse
from zosah_jax.faces.host.evaluator import HostEvaluator, ObjectiveError
from zosah_jax.faces.host.fingerprint import fingerprint
from zosah_jax.faces.host.log import EvaluationLog
from zosah_jax.faces.host.noise import MOST_POINTS, affords, measure_noise
from zosah_jax.faces.host.numbers import copied, in_dtype_of
from zosah_jax.faces.host.pool import num_workers
from zosah_jax.faces.host.program import WHOLE
from zosah_jax.faces.host.settings import Host
from zosah_jax.faces.jitted import check_budget
from zosah_jax.faces.known import known_of, listed
from zosah_jax.faces.progress import Bar, Callback, Progress, says_stop
from zosah_jax.method import Method
from zosah_jax.methods import default_method
from zosah_jax.pytree import Params, as_params
from zosah_jax.result import History, Result, Status, is_success

# A simulator's values are exact to a tolerance of about this, relative to their size. What is below
# it sets the lengths of differences; only what is above makes the default a method for noise.
TOLERANCE = 1e-6


def run(
    fun: Callable[[Params], Any],
    x0: Params,
    method: Method | optax.GradientTransformation | None,
    *,
    budget: int,
    target: float | None,
    bounds: Any,
    noise: Any,
    key: Any,
    callback: Callback | None,
    post: optax.GradientTransformation | None,
    evaluations: Any,
    restarts: int,
    host: Host,
) -> Result:
    """Minimise a Python function; see `minimize`, whose arguments these are."""
    x0 = as_params(x0)
    evaluations = listed(evaluations)
    if evaluations and host.log is not None:
        raise ValueError("evaluations: got some beside a log, which keeps its own; wanted none.")
    given_x0, (x0, _) = x0, known_of(evaluations, x0, bounds)
    given = None if noise is None or isinstance(noise, str) else float(noise)
    level, solver = given or 0.0, None
    rest: Any = {"post": post, "bounds": bounds, "key": key, "evaluations": evaluations}
    choice = partial(default_method, x0, bounded=bounds is not None)
    workers = num_workers(host)
    if method is not None or given is not None:
        chosen = choice(noisy=level > 0, workers=workers) if method is None else method
        solver = AskTell(given_x0, chosen, noise=level, **rest)
        check_budget(budget, solver.num_points)
    with in_dtype_of(x0)():
        x0 = copied(x0)
        box = bounds_of(bounds, x0)
        problem = fingerprint(
            x0,
            box,
            given,
            None if method is None or solver is None else solver.method,
            1.0 if solver is None else solver.learning_rate,
            post,
            typed_key(0 if key is None else key) if solver is None else solver.key,
        )
        if isinstance(noise, str):
            problem["noise"] = "measured, as asked for"
        if method is None and workers > 1:  # a step of some methods asks as many points
            alike = [choice(noisy=n, workers=workers) == choice(noisy=n) for n in (False, True)]
            problem |= {} if all(alike) else {"workers": str(workers)}
    with ExitStack() as stack:
        log = stack.enter_context(EvaluationLog(host.log, problem, budget))
        evaluator = stack.enter_context(HostEvaluator(fun, host, log))
        bar = stack.enter_context(Bar(budget, host.progress))
        users = evaluator.errors = np.geterr()
        stack.enter_context(np.errstate(all="ignore"))
        size = 0.0
        if given is None and _is_measured(solver, log.budget, asked=noise is not None):
            level, size = measure_noise(evaluator.once, x0, box)
        if solver is None:
            noisy = level > TOLERANCE * size
            chosen = choice(noisy=noisy, workers=workers)
            solver = AskTell(given_x0, chosen, noise=level, **rest)
        check_budget(budget - evaluator.num_calls, solver.num_points)
        evaluator.ndims = solver.method.value_ndims
        kind = WeighedCourse if solver.method.weighs_noise else NoisyCourse
        course = kind(solver, level, log.budget) if level else None
        loop = _Run(solver, evaluator, course, budget, target, restarts, bar)
        while loop.goes_on():
            moved = loop.take_batch()
            if callback is not None and moved:
                with np.errstate(**users):
                    stops = says_stop(callback, loop.progress())
                if stops:
                    loop.stop()
        return loop.finish()


def _is_measured(solver: AskTell | None, budget: int, *, asked: bool) -> bool:
    """Whether the noise of a value is measured: of scalars, where that takes few of the values.

    Where the user asks for it, there is noise, and half of the values are few.
    """
    few = budget > 2 * MOST_POINTS if asked else affords(budget)
    if solver is None:
        return few
    fits = solver.num_points + MOST_POINTS < budget
    return few and fits and 0 in solver.method.value_ndims


class _Run:
    """A run between two batches."""

    def __init__(
        self,
        solver: AskTell,
        evaluator: HostEvaluator,
        course: NoisyCourse | None,
        budget: int,
        target: float | None,
        restarts: int,
        bar: Bar,
    ) -> None:
        self.solver, self.evaluator, self.course = solver, evaluator, course
        self.budget, self.target, self.bar = budget, target, bar
        self.restarts = restarts  # that are left
        self.status = Status.RUNNING
        self.history: list[tuple[float, float, int]] = []
        self.batches = 0
        self.knows_value = solver.known_value() is not None  # where the run stands
        self.silent = 0  # successive batches without a value where the run stands

    @property
    def spent(self) -> int:
        return self.evaluator.num_calls

    def goes_on(self) -> bool:
        """Whether there is a next batch, and values left for the end after it."""
        return self.status is Status.RUNNING and self._spare() >= 0

    def _spare(self) -> int:
        """Values that are left beside those of the batch and those that are kept for the end."""
        return self.budget - self.spent - self.solver.num_points - self._reserve()

    def _reserve(self) -> int:
        """Values that are kept for the end: for the last point, or for several looked at again."""
        if self.course is None:
            return 0 if self.knows_value else 1
        return self.course.num_kept() if self.batches else 1

    def take_batch(self) -> bool:
        """Ask, answer, tell; whether the parameters moved."""
        solver, course, moves = self.solver, self.course, self.solver.moves
        points, spare = solver.ask(), self._spare()
        values = self.evaluator(points, "batch", self.batches, spare)
        solver.tell(values, WHOLE if course is None else course.damping(self.spent))
        if course is not None and moves:
            course.go_on(solver, self.spent)
        self.silent = 0 if math.isfinite(solver.value) else self.silent + 1
        nothing = self.batches == 0 and solver.num_missing == len(points)
        if nothing and self.evaluator.first_error is not None:
            raise ObjectiveError(
                "fun: raised at every point of the first batch, wanted a value at some. The first "
                f"traceback:\n\n{self.evaluator.first_error}"
            )
        if nothing or self.silent >= PATIENCE:
            self.status = Status.NOT_FINITE
        if solver.converged and self.restarts:
            self.restarts -= 1
            solver.restart()
        elif solver.converged:
            self.status = Status.CONVERGED
        if self._meets(solver.best_value):
            self.status = Status.TARGET_REACHED
        self.batches += 1
        self._note(solver.value, solver.best_value)
        return moves

    def stop(self) -> None:
        """The callback stops the run, unless the target is met."""
        if self.status is not Status.TARGET_REACHED:
            self.status = Status.STOPPED

    def _meets(self, value: float) -> bool:
        return self.target is not None and value <= self.target

    def _note(self, value: float, best: float) -> None:
        self.history.append((value, best, self.spent))
        self.bar.show(self.spent, best)

    def progress(self) -> Progress:
        solver = self.solver
        return Progress(
            step=solver.step,
            params=solver.best_params,
            value=solver.best_value,
            last_params=solver.params,
            last_value=solver.value,
            num_evaluations=self.spent,
        )

    # --- the end ----------------------------------------------------------------------------------

    def finish(self) -> Result:
        """Spend the values that were kept for the end, and choose the result."""
        solver = self.solver
        best_params, best_value, last_value = solver.best_params, solver.best_value, math.nan
        if self.status is Status.RUNNING:
            self.status = Status.BUDGET_SPENT
            if self.course is None:
                best_params, best_value, last_value = self._look_at_the_last(best_params)
        ended = (Status.BUDGET_SPENT, Status.STOPPED, Status.CONVERGED)
        if self.course is not None and self.status in ended:
            best_params, best_value, last_value = self._look_again(self.course)
        if self.status is Status.BUDGET_SPENT and self._meets(best_value):
            self.status = Status.TARGET_REACHED
        values, best, spent = zip(*self.history, strict=True)
        return Result(
            params=best_params,
            value=np.asarray(best_value),
            last_params=solver.params,
            last_value=np.asarray(last_value),
            success=bool(is_success(self.status, best_value, self.target is not None)),
            status=self.status,
            num_evaluations=self.spent,
            history=History(np.asarray(values), np.asarray(best), np.asarray(spent)),
            state=solver.method_state(),
        )

    def _look_at_the_last(self, best_params: Params) -> tuple[Params, float, float]:
        """Best point, its value, and the value at the last point, which is asked if unknown."""
        solver, best_value = self.solver, self.solver.best_value
        known = solver.known_value()
        if known is not None:
            return best_params, best_value, known
        (value,) = self._fresh([solver.params], 1)
        if value < best_value:
            best_params, best_value = jax.tree.map(_widened, solver.params), value
        self._note(value, best_value)
        return best_params, best_value, value

    def _look_again(self, course: NoisyCourse) -> tuple[Params, float, float]:
        """The candidate whose fresh values are smallest, their mean, and that of the last point.

        The smallest of many noisy values says little of its point.
        """
        solver = self.solver
        candidates = course.candidates(solver)
        looks = min(course.num_looks(), (self.budget - self.spent) // len(candidates))
        if looks == 0:
            candidates, looks = candidates[:1], 1
        seen = self._fresh(candidates, looks)
        best_params, best_value = solver.best_params, solver.best_value
        if len(candidates) > 1 and np.isfinite(seen).any():
            winner = course.winner(seen, looks)
            best_params, best_value = jax.tree.map(_widened, candidates[winner]), seen[winner]
        elif seen[0] < best_value:
            best_params, best_value = jax.tree.map(_widened, candidates[0]), seen[0]
        self._note(seen[0], best_value)
        return best_params, best_value, seen[0]

    def _fresh(self, points: list[Params], looks: int) -> list[float]:
        """Mean of fresh values of each point; NaN where all are missing."""
        asked = [jax.tree.map(_widened, point) for point in points] * looks
        spare = self.budget - self.spent - len(asked)
        values = self.evaluator(asked, "last", self.batches, spare)
        merit = self.solver.merit(values).reshape(looks, len(points)).T
        return [_mean(of_one[np.isfinite(of_one)]) for of_one in merit]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _widened(leaf: np.ndarray) -> np.ndarray:
    return leaf.astype(np.result_type(leaf.dtype, np.float32))
