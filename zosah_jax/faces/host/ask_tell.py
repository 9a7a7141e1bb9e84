"""Ask and tell: the loop is the user's, the points come from any method."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from zosah_jax.bounds import bounds_of, projected
from zosah_jax.checks import check_number, check_static_count, typed_key
from zosah_jax.drive import After
from zosah_jax.faces.host.numbers import as_value, copied, in_dtype_of
from zosah_jax.faces.host.program import WHOLE, Damping, Told, program_of
from zosah_jax.faces.host.state import AskTellState, check_like, raw, restored
from zosah_jax.faces.known import known_of
from zosah_jax.faces.restarts import restart
from zosah_jax.faces.transformation import taken_apart
from zosah_jax.method import Batch, Method, Problem
from zosah_jax.methods import default_method
from zosah_jax.pytree import Params, as_params, widen, working_dtype

_UNKNOWN = -1


class AskTell:
    """A run that is driven from outside: ask for points, evaluate them anywhere, tell the values.

    The parameters move when the values of a stage that moves are told; methods that look before
    they move have further stages. Arithmetic is in the dtypes of `x0`: float64 arrays are float64
    here, whatever `jax_enable_x64` says. The objective is never traced.

    Args:
        x0: pytree of real floating arrays (NumPy's, JAX's, or Python floats, which are float64).
        method: a method (`zosah_jax.methods`) or its optax form, whose learning rate then counts.
            None: the library's choice, as in `minimize`.
        post: an optax transformation or chain that comes after the method's step: momentum, decay,
            a projection.
        bounds: (lower, upper), each a number or a pytree like `x0`: every point asked and every
            point that the run stands at is within them. None: no bounds.
        key: int or typed key that replaces the method's own; None keeps that.
        noise: standard deviation of the noise of a value; methods that choose their own lengths
            choose them by it. 0: rounding alone. May be set again as an attribute.
        evaluations: pairs (x, f) of values that are there already, as in `minimize`.
        batch: how many values you can have at a time, P (static): the library's choice asks by it,
            as `minimize` does by the workers of its host. A method that you name has options of
            its own (`num_points`, `subspace_dim`).

    Attributes:
        x0: as given, NumPy arrays.
        method: the method.
        learning_rate: a number or a schedule of it.
        bounds: a `zosah_jax.bounds.Bounds`, or None.
        key: the typed key that the run began with.
        converged: whether the method finds nothing more to gain.

    Raises:
        ValueError: `x0` is outside the bounds, the bounds are crossed, `noise` is negative.
        TypeError: an argument is of the wrong kind, by name.

    Example:
        >>> import numpy as np, zosah_jax
        >>> solver = zosah_jax.AskTell(np.array([-1.2, 1.0]), zosah_jax.methods.zosah())
        >>> while solver.num_evaluations < 300:
        ...     points = solver.ask()
        ...     values = [100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2 for x in points]
        ...     if solver.step == 3:
        ...         values[-1] = None  # one that did not come
        ...     solver.tell(values)
        >>> bool(solver.best_value < 1e-6)
        True
    """

    def __init__(
        self,
        x0: Params,
        method: Method | optax.GradientTransformation | None = None,
        *,
        post: optax.GradientTransformation | None = None,
        bounds: Any = None,
        key: Any = None,
        noise: float = 0.0,
        evaluations: Any = None,
        batch: int = 1,
    ) -> None:
        with np.errstate(all="ignore"):  # longdoubles may be beyond float64
            x0 = as_params(x0)
        _check(post, noise)
        _check_batch(method, batch)
        x0, known = known_of(evaluations, x0, bounds)
        self._context = in_dtype_of(x0)
        self.x0 = copied(x0)
        with self._context():
            if method is None:
                bounded = bounds is not None
                self.method = default_method(
                    self.x0, noisy=noise > 0, bounded=bounded, workers=batch
                )
                rate = 1.0
            else:
                self.method, rate, _ = taken_apart(method)
            self.bounds = bounds_of(bounds, self.x0)
            start = projected(self.bounds, jax.tree.map(jnp.array, self.x0))
            self.learning_rate = rate
            after = After(rate if callable(rate) else None, post)
            self._whole = after == After() and bool(rate == 1)
            self._dtype = working_dtype(start)
            self._rate = jnp.asarray(1.0 if callable(rate) else rate, self._dtype)
            self.key = typed_key(self.method.key if key is None else key)
            self._program = program_of(self.method, after, start, self.bounds)
            self._params = start
            self._ndims = self.method.value_ndims
            self._value_size = 0 if self._ndims == (0,) else _UNKNOWN
            self._level = jnp.asarray(noise, self._dtype)
            begun = self._program.begin(start, self.key, self._problem(), known)
            self._state, self._after, stage = begun
            self._stage = int(stage)
            self._best_params = copied(widen(start))
        self._best_value = math.inf if known is None else float(known.values.min())
        self._value = math.nan
        self._step = self._num_evaluations = self._num_missing = 0
        self.noise = float(noise)
        self.converged = self._asked = False
        self._batch: Batch | None = None
        self._points: list[Params] = []

    # --- what it knows ----------------------------------------------------------------------------

    @property
    def params(self) -> Params:
        """Where the run stands, NumPy arrays in the dtypes of `x0`."""
        return copied(self._params)

    @property
    def best_params(self) -> Params:
        """The point with the smallest value told, in float32 or wider; `x0` before there is one."""
        return copied(self._best_params)

    @property
    def best_value(self) -> float:
        """The smallest value told; inf before there is one."""
        return self._best_value

    @property
    def value(self) -> float:
        """Value where the run stood at the last batch told; NaN where it is not known."""
        return self._value

    @property
    def num_evaluations(self) -> int:
        """Values told, missing ones included."""
        return self._num_evaluations

    @property
    def num_missing(self) -> int:
        """Values of the last batch told that were missing."""
        return self._num_missing

    @property
    def num_points(self) -> int:
        """Number of points of the present batch."""
        return self._program.sizes[self._stage]

    @property
    def moves(self) -> bool:
        """Whether the parameters move when the values of the present batch are told."""
        return self._program.moves[self._stage]

    @property
    def step(self) -> int:
        """Moves taken."""
        return self._step

    @property
    def noise(self) -> float:
        """Standard deviation of the noise of a value; setting it changes what is asked next."""
        return self._noise

    @noise.setter
    def noise(self, noise: float) -> None:
        _check(None, noise)
        with self._context():
            self._noise, self._level = float(noise), jnp.asarray(noise, self._dtype)

    def known_value(self) -> float | None:
        """The value where the run stands now, if the method knows it without asking; else None."""
        position = self.method.position(self._state) if self._whole and not self.noise else None
        if position is None:
            return None
        value = float(position[1])
        return value if math.isfinite(value) else math.nan

    def merit(self, values: Sequence[Any]) -> np.ndarray:
        """What the method minimises of each value, shape (n,), in float64."""
        given = [as_value(value, self._ndims) for value in values]
        if not self._value_shape():
            return np.asarray(given)
        with self._context():
            return np.asarray(self.method.merit(jnp.asarray(self._stacked(given))), np.float64)

    def method_state(self) -> Any:
        """The method's state, a pytree of JAX arrays."""
        return self._state

    # --- the two moves ----------------------------------------------------------------------------

    def ask(self) -> list[Params]:
        """The points of the next batch, each a pytree like `x0` of NumPy arrays, float32 or wider.

        Asked again before the values are told, it answers the same.
        """
        if self._batch is None:
            with self._context():
                ask = self._program.asks[self._stage]
                self._batch, stacked = ask(self._state, self._params, self._problem())
                leaves, treedef = jax.tree.flatten(stacked)
                arrays = [np.asarray(leaf) for leaf in leaves]
            self._points = [
                jax.tree.unflatten(treedef, [array[i, ...] for array in arrays])
                for i in range(self.num_points)
            ]
        self._asked = True
        return [copied(point) for point in self._points]  # the user's own, to write to

    def tell(self, values: Sequence[Any] | np.ndarray, damping: Damping = WHOLE) -> None:
        """Take the values of the batch that was asked, in its order.

        Args:
            values: a real number a point (of a method that takes them, a vector of one length);
                None, NaN, an infinity or a masked value where it is missing.
            damping: how much of the step is taken; all of it.

        Raises:
            ValueError: nothing was asked since the last `tell`, another number of values, or an
                array where a number is wanted.
            TypeError: a value is no real number.
        """
        if not self._asked:
            raise ValueError("tell: got values, wanted a call of ask() before them.")
        given = [as_value(value, self._ndims) for value in values]
        if len(given) != self.num_points:
            raise ValueError(
                f"values: got {len(given)} of them, wanted {self.num_points}, one a point."
            )
        self._learn_size(given)
        if self._batch is None:  # a state that was kept between the two
            self.ask()
        with self._context():
            stacked = self._stacked(given)
            told = self._program.tells[self._stage](
                self._state,
                self._params,
                self._after,
                self._problem(),
                self._batch,
                stacked,
                self._rate,
                np.asarray(damping, self._dtype),
            )
            merit = np.asarray(told.merit)
            # a scalar is its own merit, in the precision that it came in
            exact = np.asarray(given) if stacked.ndim == 1 else merit
            self._note(told, np.where(np.isfinite(merit), exact, np.inf))

    def restart(self) -> None:
        """Begin again at another point; the best one and all counts stay.

        It is drawn between two finite bounds, else around `x0`, as `minimize` says.
        """
        with self._context():
            start = projected(self.bounds, jax.tree.map(jnp.array, self.x0))
            params, key = restart(start, self.bounds, self.key, np.uint32(self._num_evaluations))
            begun = self._program.begin(params, key, self._problem(), None)
            self._params, (self._state, self._after, stage) = params, begun
            self._stage, self._batch = int(stage), None
        self.converged = self._asked = False

    def _note(self, told: Told, merit: np.ndarray) -> None:
        least = int(np.argmin(merit))
        if merit[least] < self._best_value:
            self._best_params, self._best_value = self._points[least], float(merit[least])
        self._num_evaluations += len(merit)
        self._num_missing = int(np.isinf(merit).sum())
        self._value = float(told.value)
        self._step += self.moves
        self._params, self._state, self._after = told.params, told.state, told.after
        self._stage = int(told.stage)
        self.converged = bool(told.converged)
        self._asked, self._batch = False, None

    def _problem(self) -> Problem:
        return Problem(self.bounds, self._level, self._value_shape())

    def _value_shape(self) -> tuple[int, ...]:
        if self._value_size == _UNKNOWN:  # nobody knows before the first value
            return () if 0 in self._ndims else (1,)
        return (self._value_size,) if self._value_size else ()

    def _learn_size(self, values: list[Any]) -> None:
        """Learn how many numbers a value is from the first batch, and hold later ones to it."""
        sizes = {np.size(value) if np.ndim(value) else 0 for value in values if not _absent(value)}
        if not sizes:
            return
        if self._value_size == _UNKNOWN and len(sizes) == 1:
            (self._value_size,) = sizes
        if sizes != {self._value_size}:
            raise ValueError(
                f"values: got ones of {sorted(sizes - {self._value_size})} numbers, wanted "
                f"{max(self._value_size, 0) or 'one length'} as before (0: a scalar)."
            )

    def _stacked(self, values: list[Any]) -> np.ndarray:
        shape = self._value_shape()
        if shape:
            values = [np.broadcast_to(value, shape) for value in values]
        return np.asarray(values, self._dtype)  # what is beyond the dtype is infinite: missing

    # --- its state --------------------------------------------------------------------------------

    @property
    def state(self) -> AskTellState:
        """All of it, a pytree of NumPy arrays: keep it, and set it again on another day.

        Raises:
            ValueError: set to a state of another problem: other shapes, dtypes or method.
        """
        return AskTellState(
            params=copied(self._params),
            method=jax.tree.map(raw, self._state),
            after=jax.tree.map(raw, self._after),
            stage=np.asarray(self._stage, np.int32),
            asked=np.asarray(self._asked),
            step=np.asarray(self._step, np.int64),
            num_evaluations=np.asarray(self._num_evaluations, np.int64),
            best_params=copied(self._best_params),
            best_value=np.asarray(self._best_value, np.float64),
            value=np.asarray(self._value, np.float64),
            num_missing=np.asarray(self._num_missing, np.int64),
            value_size=np.asarray(self._value_size, np.int64),
        )

    @state.setter
    def state(self, state: AskTellState) -> None:
        check_like(state, self.state)
        stage, size = int(state.stage), int(state.value_size)
        if not 0 <= stage < len(self._program.sizes):
            raise ValueError(f"state: got stage {stage}, wanted one of {len(self._program.sizes)}.")
        with self._context():
            self._params = jax.tree.map(jnp.array, state.params)
            self._state = jax.tree.map(restored, state.method, self._state)
            self._after = jax.tree.map(restored, state.after, self._after)
        self._stage, self._asked, self._value_size = stage, bool(state.asked), size
        self._step, self._num_evaluations = int(state.step), int(state.num_evaluations)
        self._best_params, self._best_value = copied(state.best_params), float(state.best_value)
        self._value, self._num_missing = float(state.value), int(state.num_missing)
        self._batch = None


def _check(post: Any, noise: Any) -> None:
    if post is not None and not isinstance(post, optax.GradientTransformation):
        raise TypeError(f"post: got {type(post).__name__}, wanted an optax transformation or None.")
    check_number("noise", noise)
    if not 0 <= noise < math.inf:
        raise ValueError(f"noise: got {noise}, wanted a standard deviation, 0 or more.")


def _check_batch(method: Any, batch: Any) -> None:
    check_static_count("batch", batch)
    if method is not None and batch != 1:
        raise ValueError(
            f"batch: got {batch} with a method, wanted it without: name the method's own option, "
            "as num_points."
        )


def _absent(value: Any) -> bool:
    """Whether nothing came at all; a vector may lack parts of it."""
    return isinstance(value, float) and math.isnan(value)
