"""The protocol of a method: a pure state machine that asks for values and is told them.

    state, params, problem --ask--> batch --answer--> values --tell--> outcome

A method never calls the objective: an evaluator answers (`evaluate/`), a driver (`drive.py`) joins
the two, and the faces (`faces/`) run the driver for their users. No method imports a face.

A *stage* is one batch with a static number of points, so that it compiles once. A method whose
steps differ in shape (ZO-SAH samples more points at the first step of a period), or that looks
before it moves (ZOHA, ZO-PQN), has several; its state says which one comes next.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from zosah_jax.bounds import Bounds
from zosah_jax.checks import is_typed_key, typed_key
from zosah_jax.probes import CoordinateUpdate
from zosah_jax.pytree import Params, working_dtype

State = Any  # a method's own state: a pytree of arrays


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Problem:
    """What is known of the objective beside its values.

    Attributes:
        bounds: lower and upper bounds of the parameters, or None.
        noise: standard deviation of the noise of a value, scalar in the working dtype; 0 where
            values are as exact as their dtype.
        value_shape: shape of a value: () for a scalar, (k,) for k residuals or losses (static).
    """

    bounds: Bounds | None
    noise: jax.Array
    value_shape: tuple[int, ...] = field(default=(), metadata={"static": True})


def exact_problem(params: Params) -> Problem:
    """Problem without bounds and noise whose values are scalars."""
    return Problem(None, jnp.zeros((), working_dtype(params)))


class Known(NamedTuple):
    """Values that are there before a run begins; all finite.

    Attributes:
        points: coordinates in one vector each, in the order of `jax.tree.leaves`, shape (n, d).
        values: at them, shape (n,).
    """

    points: Any
    values: Any


class Batch(NamedTuple):
    """What a stage asks.

    Attributes:
        probes: n points, `Probes`, described by how they differ from `origin`.
        plan: whatever `tell` needs of how they were chosen; a pytree of arrays.
        origin: what the probes differ from; None: the parameters. A method that owns its x sets it.
    """

    probes: Any  # Probes
    plan: Any = None
    origin: Params | None = None


class Outcome(NamedTuple):
    """What a method makes of a batch of values.

    Attributes:
        state: the method's next state.
        step: pytree like the parameters in the working dtype, in the direction of a gradient (a
            learning rate with its minus sign comes after), or a `CoordinateUpdate`. None from a
            stage that does not move, and from a method that owns its x (see `Method.position`).
        value: value of the objective at the parameters before the step, or the method's estimate
            of it, scalar; NaN where it is not known.
    """

    state: State
    step: Params | CoordinateUpdate | None
    value: jax.Array


class Stage(NamedTuple):
    """One batch of a method.

    Attributes:
        ask: (state, params, problem) -> Batch. Deterministic; within the bounds, as far as the
            description of its probes can say so.
        tell: (state, params, problem, batch, values) -> Outcome. `values` has the shape
            (n, *problem.value_shape); a value that is not finite is missing.
        moves: whether the parameters may move after it (static). One update of an optimizer runs
            stages until the first that moves, so that schedules and momentum count steps.
    """

    ask: Callable[[State, Params, Problem], Batch]
    tell: Callable[[State, Params, Problem, Batch, jax.Array], Outcome]
    moves: bool = True


@dataclass(frozen=True, eq=False)
class Method(ABC):
    """A zeroth-order method: a frozen, hashable value, its options.

    Two methods of one class with equal options are equal, whoever made them, so that nothing is
    compiled twice because a constructor was called twice. Arrays among the options count by their
    contents, functions by their identity.

    A method with a single stage defines `init`, `ask` and `tell`; one with several defines
    `stages` and `next_stage`, too.

    Attributes:
        key: an int or a typed PRNG key; all that is random follows from it.

    Example:
        >>> from dataclasses import replace
        >>> import jax.numpy as jnp, zosah_jax
        >>> method = zosah_jax.methods.mezo(smoothing=1e-2)
        >>> isinstance(method, zosah_jax.methods.Method), method == replace(method, key=0)
        (True, True)
        >>> state, x = method.init(jnp.ones(3), jax.random.key(0)), jnp.ones(3)
        >>> batch = method.ask(state, x, exact_problem(x))  # two points; then `tell`
        >>> len(batch.probes)
        2
    """

    key: Any = field(default=0, kw_only=True)

    value_ndims: ClassVar[tuple[int, ...]] = (0,)
    """Numbers of axes of the values that it takes: 0 scalars, 1 vectors."""
    learning_rate_option: ClassVar[str | None] = None
    """The option that is to be the learning rate of the optax form, where it must know it."""
    default_learning_rate: ClassVar[float | None] = None
    """The learning rate of the optax form where the user names none."""

    weighs_noise: ClassVar[bool] = False
    """Whether its model counts with the noise of values: then what it stands at is the result, and
    not the point of the least value; and nothing around it changes its lengths or its steps."""

    keeps_bits: ClassVar[bool] = True
    """Whether its runs are compiled as ever, so that they are the same to the last bit. Where not,
    what does little work is compiled with little effort (`faces/compiling.py`)."""

    def __post_init__(self) -> None:
        """Refuse options that are out of range; what depends on the parameters waits for `init`."""
        typed_key(self.key)

    @abstractmethod
    def init(self, params: Params, key: jax.Array) -> State:
        """The state before the first stage; evaluates nothing.

        Args:
            params: where the run begins.
            key: typed PRNG key; a face passes the method's own, or the one that a run was given.
        """

    def ask(self, state: State, params: Params, problem: Problem) -> Batch:
        """What the only stage asks, of a method with a single one."""
        raise TypeError(f"{type(self).__name__} has several stages; see `stages`.")

    def tell(
        self, state: State, params: Params, problem: Problem, batch: Batch, values: jax.Array
    ) -> Outcome:
        """What the only stage makes of its values, of a method with a single one."""
        raise TypeError(f"{type(self).__name__} has several stages; see `stages`.")

    def stages(self, params: Params) -> tuple[Stage, ...]:
        """The stages that can come for parameters of these shapes."""
        del params
        return (Stage(self.ask, self.tell),)

    def next_stage(self, state: State) -> jax.Array:
        """Number of the stage that comes next, int32 scalar."""
        del state
        return jnp.zeros((), jnp.int32)

    def informed(self, state: State, params: Params, problem: Problem, known: Known) -> State:
        """The first state of a run whose user has values already.

        A method that keeps points takes them up. Any other begins at the best of them, and that is
        all.

        Args:
            state: of `init`.
            params: the best of the points.
            problem: what is known of the objective beside them.
            known: the values.
        """
        del params, problem, known
        return state

    def position(self, state: State) -> tuple[Params, jax.Array] | None:
        """Where a method that owns its x stands, in float32 or wider, and the value there.

        The value is not finite where it is not known.

        None of a method that starts from the parameters that it is given. One that needs to know
        where it stands keeps x in its state, so that nothing is lost where the parameters are
        rounded (bfloat16) or follow more slowly (a learning rate below 1).
        """
        del state
        return None

    def converged(self, state: State) -> jax.Array | None:
        """Whether there is nothing more to gain, bool scalar: the run ends. None: it never says."""
        del state
        return None

    def merit(self, values: jax.Array) -> jax.Array:
        """What the method minimises of each value, shape (n,): of a scalar, the value itself."""
        return values

    def options(self) -> dict[str, Any]:
        """The options by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and _identity(self) == _identity(other)  # type: ignore[arg-type]

    def __hash__(self) -> int:
        return hash((type(self), _identity(self)))


def state_where(condition: jax.Array, yes: Any, no: Any) -> Any:
    """One state or the other, named tuples with the same `key`."""
    chosen = jax.tree.map(
        lambda y, n: jnp.where(condition, y, n), yes._replace(key=None), no._replace(key=None)
    )
    return chosen._replace(key=no.key)


def without_key(method: Method) -> Method:
    """The method with key 0: what a program that takes the key as an argument depends on."""
    return replace(method, key=0)


def values_per_stage(method: Method, params: Params, problem: Problem) -> tuple[int, ...]:
    """Number of values that each stage asks; only shapes matter, and nothing is computed."""
    state = jax.eval_shape(method.init, params, jax.eval_shape(partial(jax.random.key, 0)))
    stages = method.stages(params)
    return tuple(len(jax.eval_shape(stage.ask, state, params, problem).probes) for stage in stages)


def _identity(method: Method) -> tuple[Any, ...]:
    return tuple(_comparable(value) for value in method.options().values())


def _comparable(value: Any) -> Any:
    """An option as something that compares and hashes by its contents."""
    if value is None or isinstance(value, str | bool | int | float):
        return type(value), value
    if is_typed_key(value):
        return str(jax.random.key_impl(value)), _comparable(np.asarray(jax.random.key_data(value)))
    if isinstance(value, np.ndarray | np.generic | jax.Array) and not isinstance(
        value, jax.core.Tracer
    ):
        array = np.asarray(value)
        return array.shape, str(array.dtype), array.tobytes()
    if isinstance(value, partial):
        return partial, value.func, _comparable(value.args), _comparable(value.keywords)
    if isinstance(value, dict | list | tuple):
        leaves, treedef = jax.tree.flatten(value)
        return treedef, tuple(_comparable(leaf) for leaf in leaves)
    return value
