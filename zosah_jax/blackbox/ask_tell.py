"""Ask and tell: the loop is the user's, the points come from any transformation of this library."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from zosah_jax.blackbox.checkpoint import Arrays, Checkpoints, from_arrays, raw, to_arrays
from zosah_jax.blackbox.numbers import as_value, in_dtype_of
from zosah_jax.blackbox.problem import problem_of
from zosah_jax.blackbox.steps import ask, kinds_of, round_sizes, tell
from zosah_jax.box import Box, box_of
from zosah_jax.checks import typed_key
from zosah_jax.minimize import reseeded
from zosah_jax.params import Params, check_params, widen, working_dtype
from zosah_jax.recommended import default_method
from zosah_jax.transform import Info, is_zeroth_order, zeroth_order_states


class AskTellState(NamedTuple):
    """All that an `AskTell` knows: a pytree of arrays.

    Attributes:
        params: where the run stands.
        optimizer: state of the transformation.
        told: values of the rounds of the present step that were told, a tuple of arrays.
        asked: whether points were asked that are still to be told, bool.
        step: steps taken, int32.
        num_evaluations: values told, missing ones included, int64.
        best_params: the point with the smallest value told.
        best_value: that value; inf before there is one.
    """

    params: Params
    optimizer: Any
    told: tuple[jax.Array, ...]
    asked: np.ndarray
    step: np.ndarray
    num_evaluations: np.ndarray
    best_params: Params
    best_value: np.ndarray


class AskTell:
    """A run that is driven from outside: ask for points, evaluate them anywhere, tell the values.

    A step of the transformation is one batch, or several where its method looks again within it;
    the parameters move when the last batch of a step is told. All of the transformation takes part:
    what optax chains around a method acts on its updates as ever. Arithmetic is in the dtypes of
    `x0`: float64 arrays are float64 here, whatever `jax_enable_x64` says.

    Args:
        x0: pytree of real floating arrays (NumPy's, JAX's, or Python floats, which are float64).
        tx: a transformation of this library, or an optax chain around one. None: `zosah()`,
            which bears noise and values that do not come; `zopqn()` needs fewer of exact values.
        bounds: (lower, upper), each a number or a pytree like `x0`: every point asked and every
            point that the run stands at is within them. None: no bounds.
        key: int or typed key that replaces the transformation's own; None keeps that.
        noise: standard deviation of the noise of a value; methods that choose their step lengths
            choose them by it. 0: rounding alone.

    Attributes:
        x0: as given, NumPy arrays.
        box: the bounds, or None.
        precise: context manager in which JAX keeps the dtypes of `x0`.

    Raises:
        ValueError: `x0` is outside the bounds, the bounds are crossed, or `tx` asks no values.
        TypeError: an argument is of the wrong kind, by name.

    Example:
        >>> import numpy as np, zosah_jax
        >>> solver = zosah_jax.AskTell(np.array([-1.2, 1.0]), zosah_jax.zosah(1.0))
        >>> while solver.num_evaluations < 300:
        ...     points = solver.ask()
        ...     values = [100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2 for x in points]
        ...     values[-1] = None  # one that did not come
        ...     solver.tell(values)
        >>> bool(solver.best_value < 1e-6)
        True
    """

    def __init__(
        self,
        x0: Params,
        tx: optax.GradientTransformation | None = None,
        *,
        bounds: Any = None,
        key: Any = None,
        noise: float = 0.0,
    ) -> None:
        check_params(x0)
        self._tx = default_method() if tx is None else tx
        if not isinstance(self._tx, optax.GradientTransformation):
            raise TypeError(f"tx: got {type(tx).__name__}, wanted an optax transformation or None.")
        self.precise = in_dtype_of(x0)
        self.x0 = x0 = jax.tree.map(np.asarray, x0)
        with self.precise():
            self.box = box_of(bounds, x0)
            x0 = jax.tree.map(jnp.array, x0)
            self._dtype = working_dtype(x0)
            state = reseeded(self._tx.init(x0), None if key is None else typed_key(key))
            if not zeroth_order_states(state):
                raise ValueError(
                    "tx: got a transformation that asks for no function values, wanted one of this "
                    "library's, or an optax chain around one."
                )
            self._state = AskTellState(
                params=x0,
                optimizer=state,
                told=(),
                asked=np.asarray(False),
                step=np.asarray(0, np.int32),
                num_evaluations=np.asarray(0, np.int64),
                best_params=widen(x0),
                best_value=np.asarray(np.inf, self._dtype),
            )
        self._points: list[Params] | None = None
        self._begin_step(None)
        if noise:
            self.set_noise(noise)
        self._start = self._kinds, self._sizes, self._state

    # --- what it knows ----------------------------------------------------------------------------

    @property
    def params(self) -> Params:
        """Where the run stands, NumPy arrays in the dtypes of `x0`."""
        return _numpy(self._state.params)

    @property
    def best_params(self) -> Params:
        """The point with the smallest value told, NumPy arrays; `x0` before there is one."""
        return _numpy(self._state.best_params)

    @property
    def best_value(self) -> float:
        """The smallest value told; inf before there is one."""
        return float(self._state.best_value)

    @property
    def num_evaluations(self) -> int:
        """Values told, missing ones included."""
        return int(self._state.num_evaluations)

    @property
    def step(self) -> int:
        """Steps taken."""
        return int(self._state.step)

    @property
    def round(self) -> int:
        """Batches of the present step that were told."""
        return len(self._state.told)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of points of each batch of the present step."""
        return self._sizes

    @property
    def info(self) -> Info:
        """What was seen at the last step: the value where it stood, and how many were missing."""
        return zeroth_order_states(self._state.optimizer)[0].info

    @property
    def state(self) -> AskTellState:
        """All of it, a pytree of arrays: keep it, and set it again on another day.

        Raises:
            ValueError: set to a state of another problem: other shapes, dtypes or method.
        """
        return self._state

    @state.setter
    def state(self, state: AskTellState) -> None:
        check_like(state._replace(told=()), self._state._replace(told=()))
        self._state = state
        self._points = None
        self._begin_step(state.told)

    # --- the two moves ----------------------------------------------------------------------------

    def ask(self) -> list[Params]:
        """The points of the next batch, each a pytree like `x0` of NumPy arrays, float32 or wider.

        Asked again before the values are told, it answers the same.
        """
        if self._points is None:
            with self.precise():
                stacked = ask(self._tx, self._kinds, self.round, *self._dynamic())
            leaves, treedef = jax.tree.flatten(stacked)
            arrays = [np.array(leaf) for leaf in leaves]  # the user's own, to write to
            self._points = [
                jax.tree.unflatten(treedef, [leaf[i, ...] for leaf in arrays])
                for i in range(self._sizes[self.round])
            ]
            self._state = self._state._replace(asked=np.asarray(True))
        return [jax.tree.map(np.copy, point) for point in self._points]

    def tell(self, values: Sequence[Any] | np.ndarray) -> None:
        """Take the values of the batch that was asked, in its order.

        Args:
            values: a real number a point; None, NaN or an infinity where it is missing.

        Raises:
            ValueError: nothing was asked since the last `tell`, or another number of values.
            TypeError: a value is no real scalar.
        """
        if not self._state.asked:
            raise ValueError("tell: got values, wanted a call of ask() before them.")
        expected = self._sizes[self.round]
        given = [as_value(value) for value in values]
        if len(given) != expected:
            raise ValueError(f"values: got {len(given)} of them, wanted {expected}, one a point.")
        told = np.asarray(given, self._dtype)
        self._remember(told)
        answers = (*self._state.told, told)
        if len(answers) < len(self._sizes):
            self._state = self._state._replace(told=answers, asked=np.asarray(False))
        else:
            with self.precise():
                params, optimizer, kinds = tell(
                    self._tx, self._kinds, *self._dynamic()[:2], answers, self.box
                )
            self._state = self._state._replace(
                params=params,
                optimizer=optimizer,
                told=(),
                asked=np.asarray(False),
                step=self._state.step + np.int32(1),
            )
            self._enter(kinds)
        self._points = None

    def set_noise(self, noise: float) -> None:
        """Set the standard deviation of a value, which step lengths are chosen by.

        Methods whose state has no field `noise`, and lengths that the user gave, stay as they are.
        """
        nodes, treedef = jax.tree.flatten(self._state.optimizer, is_leaf=is_zeroth_order)
        for number, node in enumerate(nodes):
            if is_zeroth_order(node) and "noise" in getattr(node.method, "_fields", ()):
                with self.precise():
                    level = jnp.asarray(noise, node.method.noise.dtype)
                nodes[number] = node._replace(method=node.method._replace(noise=level))
        self._state = self._state._replace(optimizer=jax.tree.unflatten(treedef, nodes))
        self._points = None

    def move_to(self, params: Params) -> None:
        """Go on from other parameters, within the bounds; between two steps.

        Raises:
            ValueError: in the middle of a step; other shapes or dtypes.
        """
        if self.round or self._state.asked:
            raise ValueError("move_to: got parameters within a step, wanted them between two.")
        with self.precise():
            params = jax.tree.map(jnp.asarray, params)
            check_like(params, self._state.params)
            params = params if self.box is None else self.box.project(params)
        self._state = self._state._replace(params=params)
        self._points = None

    def program(self) -> tuple[str, list[np.ndarray]]:
        """What the first step computes, as text, and what it starts from.

        The same for the same method and options, and different where any constant differs.
        """
        kinds, sizes, start = self._start
        with self.precise():
            values = tuple(np.zeros(size, self._dtype) for size in sizes)
            traced = partial(tell, self._tx, kinds)
            closed = jax.make_jaxpr(traced)(start.params, start.optimizer, values, self.box)
        constants = [*closed.consts, *jax.tree.leaves(start.optimizer)]
        return re.sub("0x[0-9a-f]+", "", str(closed)), [raw(leaf) for leaf in constants]

    # --- on disk ----------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write the state to a folder, through orbax; the newest few are kept.

        Raises:
            OtherProblem: the folder holds the states of another problem.
            ImportError: orbax is not installed.
        """
        with Checkpoints(Path(folder), problem_of(self)) as checkpoints:
            checkpoints.newest()
            self.save_to(checkpoints, checkpoints.next_number(), {}, {})

    def load(self, folder: str | Path) -> bool:
        """Go on from the newest state in a folder, written here or on another machine.

        A damaged one is passed over, with a warning.

        Returns:
            Whether there was one.

        Raises:
            OtherProblem: the folder holds the states of another problem.
            ImportError: orbax is not installed.
        """
        with Checkpoints(Path(folder), problem_of(self)) as checkpoints:
            return self.load_from(checkpoints) is not None

    def save_to(
        self, checkpoints: Checkpoints, number: int, more: Arrays, about: dict[str, Any]
    ) -> None:
        """Write the state, and more beside it, as a checkpoint."""
        arrays = {**to_arrays(self._state._replace(told=()), "state"), **more}
        arrays |= to_arrays(self._state.told, "told")
        checkpoints.save(number, arrays, {**about, "rounds": self.round})

    def load_from(self, checkpoints: Checkpoints) -> tuple[Arrays, dict[str, Any]] | None:
        """Go on from the newest checkpoint; what was written beside the state, or None."""
        found = checkpoints.newest()
        if found is None:
            return None
        arrays, about = found
        with self.precise():
            state = from_arrays(arrays, "state", self._state._replace(told=()))
        told = tuple(arrays[f"told{number:04d}"] for number in range(about["rounds"]))
        self.state = state._replace(told=told)
        return arrays, about

    # --- behind them ------------------------------------------------------------------------------

    def _dynamic(self) -> tuple[Any, Any, tuple[jax.Array, ...], Box | None]:
        return self._state.params, self._state.optimizer, self._state.told, self.box

    def _begin_step(self, told: tuple[jax.Array, ...] | None) -> None:
        with self.precise():
            kinds = kinds_of(self._tx, *self._dynamic()[:2])
        self._enter(kinds)
        if told is not None:
            got = [np.shape(values) for values in told]
            if len(got) >= len(self._sizes) or got != [(n,) for n in self._sizes[: len(got)]]:
                raise ValueError(f"state: got told values of shapes {got}, wanted {self._sizes}.")

    def _enter(self, kinds: Sequence[jax.Array]) -> None:
        self._kinds = tuple(int(kind) for kind in kinds)
        leaves, treedef = jax.tree.flatten(self._dynamic()[:2])
        shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
        with self.precise():
            self._sizes = round_sizes(self._tx, self._kinds, treedef, shapes)

    def _remember(self, told: np.ndarray) -> None:
        state = self._state._replace(num_evaluations=self._state.num_evaluations + len(told))
        finite = np.where(np.isfinite(told), told, np.inf)
        least = int(np.argmin(finite))
        if finite[least] < state.best_value:
            best = self.ask()[least]
            with self.precise():
                state = state._replace(
                    best_params=jax.tree.map(jnp.asarray, best), best_value=finite[least]
                )
        self._state = state


def check_like(state: Any, wanted: Any) -> None:
    """Refuse a state whose structure, shapes or dtypes are not those of another.

    Raises:
        ValueError: with the first difference.
    """
    if jax.tree.structure(state) != jax.tree.structure(wanted):
        raise ValueError("state: got one of another structure, wanted that of this x0 and tx.")
    have, want = jax.tree.leaves_with_path(state), jax.tree.leaves(wanted)
    for (path, leaf), other in zip(have, want, strict=True):
        if (leaf.shape, leaf.dtype) != (other.shape, other.dtype):
            raise ValueError(
                f"state: got {leaf.dtype}{list(leaf.shape)} at {jax.tree_util.keystr(path)}, "
                f"wanted {other.dtype}{list(other.shape)} as for this x0 and tx."
            )


def _numpy(tree: Params) -> Params:
    return jax.tree.map(np.array, tree)
