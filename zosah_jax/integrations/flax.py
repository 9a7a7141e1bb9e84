"""Flax models, nnx and linen, trained from values alone.

The trouble with a network as an objective is whatever in it is no parameter: BatchNorm statistics
and the counters of random streams change with every call. An objective that kept the changes would
be another one at each probe, and differences of its values noise. Here all of that is read and
never written while a step looks around, so that all probes of the step see the same batch, the same
dropout masks and the same statistics (common random numbers). After the step a single forward pass
moves it on.

    nnx:    value_fn, update_statistics, and both in train_step; losses_fn for zosah_jax.forward
    linen:  TrainState.value_fn, .apply_gradients(value_fn=...), .update_collections, .train_step
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

try:
    import flax.linen as nn
    from flax import nnx, struct
    from flax.training import train_state
except ModuleNotFoundError as error:  # only Flax itself: what it lacks is its own affair
    if (error.name or "").split(".")[0] != "flax":
        raise
    raise ModuleNotFoundError(
        "zosah_jax.integrations.flax: Flax is not installed, wanted the extra flax "
        "(pip install 'zosah_jax[flax]').",
        name="flax",
    ) from error

from zosah_jax.checks import typed_key
from zosah_jax.pytree import Params

_MODEL_FN = "a callable loss_fn(model, *batch) that returns a real scalar"


# --- nnx -----------------------------------------------------------------------------------------


def value_fn(
    model: nnx.Module, loss_fn: Callable[..., Any], *batch: Any, wrt: Any = nnx.Param
) -> Callable[[Params], Any]:
    r"""Loss of an nnx model as a pure function of its parameters alone.

    .. math:: f(p) = \mathrm{loss}(\mathrm{model}(p, s), \mathrm{batch})

    where s, everything in the model that is no parameter, is closed over as it is now. Every call
    works on a model of its own: calls repeat each other exactly, and leave `model` as it was.

    Args:
        model: any nnx module, in train or eval mode.
        loss_fn: (model, *batch) -> real scalar. It may change the model that it is given, as
            BatchNorm and dropout do in train mode; the changes are dropped.
        *batch: pytrees of arrays, handed on.
        wrt: which variables are parameters, as for `nnx.Optimizer`.

    Returns:
        A function of parameters like `nnx.state(model, wrt)`, of arrays or of Variables: what
        `nnx.Optimizer.update(model, grads, value_fn=...)` wants. Make it within the jitted step.

    Raises:
        TypeError: `model` is no nnx module, or `loss_fn` no callable.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from zosah_jax.integrations.flax import value_fn
        >>> rngs = nnx.Rngs(0)
        >>> model = nnx.Sequential(nnx.Linear(2, 3, rngs=rngs), nnx.Dropout(0.5, rngs=rngs))
        >>> f = value_fn(model, lambda model, x: (model(x) ** 2).mean(), jnp.ones((4, 2)))
        >>> params = nnx.state(model, nnx.Param)
        >>> bool(f(params) == f(params))
        True

    References:
        Flax's `Optimization Cookbook
        <https://flax.readthedocs.io/en/stable/guides/optimization_cookbook.html>`_ (L-BFGS), whose
        closure merges the present variables and so suits models without such state.
    """
    _check_nnx(model, loss_fn)
    graphdef, _, rest = nnx.split(model, wrt, ...)
    rest = nnx.as_pure(rest)  # arrays: Variables would be shared with `model` and written through

    def value(params: Params) -> Any:
        return loss_fn(nnx.merge(graphdef, nnx.as_pure(params), rest), *batch)

    return value


def losses_fn(
    model: nnx.Module, loss_fn: Callable[..., Any], *, wrt: Any = nnx.Param
) -> Callable[..., Any]:
    r"""Losses of the examples as a pure function of parameters and batch, for `zosah_jax.forward`.

    .. math:: (p, \mathrm{batch}) \mapsto \mathrm{loss}(\mathrm{model}(p, s), \mathrm{batch})

    Everything in the model that is no parameter is closed over as it is now, as in `value_fn`.

    Args:
        model: as in `value_fn`.
        loss_fn: (model, *batch) -> losses of the examples, shape (B,). Changes to the model that
            it is given are dropped.
        wrt: as in `value_fn`.

    Returns:
        A function (params, *batch) -> losses, of parameters like `nnx.state(model, wrt)`. Make it
        within the jitted step, and call `update_statistics` after the step if the model has any.

    Raises:
        TypeError: `model` is no nnx module, or `loss_fn` no callable.

    Example:
        >>> import jax, jax.numpy as jnp, optax
        >>> from flax import nnx
        >>> from zosah_jax.forward import value_and_grad
        >>> from zosah_jax.integrations.flax import losses_fn
        >>> model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
        >>> optimizer = nnx.Optimizer(model, optax.sgd(0.3), wrt=nnx.Param)
        >>> @nnx.jit
        ... def step(model, optimizer, key, x, y):
        ...     losses = losses_fn(model, lambda model, x, y: ((model(x) - y) ** 2).sum(-1))
        ...     params = nnx.state(model, nnx.Param)
        ...     loss, estimate = value_and_grad(losses)(params, key, x, y)
        ...     optimizer.update(model, estimate)
        ...     return loss
        >>> x, y = jnp.eye(2), jnp.array([[1.0], [2.0]])
        >>> losses = [step(model, optimizer, jax.random.key(k), x, y) for k in range(50)]
        >>> bool(losses[-1] < 1e-2)
        True
    """
    _check_nnx(model, loss_fn)

    def losses(params: Params, *batch: Any) -> Any:
        return value_fn(model, loss_fn, *batch, wrt=wrt)(params)

    return losses


def update_statistics(
    model: nnx.Module, loss_fn: Callable[..., Any], *batch: Any, wrt: Any = nnx.Param
) -> jax.Array:
    """One forward pass that moves on all of a model that is no parameter.

    BatchNorm statistics take in the batch, and every random stream that the pass draws from
    advances, as in one ordinary call in train mode; the parameters stay. Under `jit`, a model
    without BatchNorm pays only for its counters where the returned loss is not used.

    Args:
        model: as in `value_fn`; changed in place.
        loss_fn: as in `value_fn`.
        *batch: as in `value_fn`.
        wrt: as in `value_fn`.

    Returns:
        The loss of that pass, scalar. No method sees it, and `num_evaluations` does not count it:
        it is one forward pass a step beside the values.

    Raises:
        TypeError: `model` is no nnx module, or `loss_fn` no callable.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> from zosah_jax.integrations.flax import update_statistics
        >>> model = nnx.BatchNorm(1, momentum=0.5, rngs=nnx.Rngs(0))
        >>> x = jnp.array([[1.0], [3.0]])
        >>> loss = update_statistics(model, lambda model, x: model(x).sum(), x)
        >>> float(model.mean[0])
        1.0
    """
    _check_nnx(model, loss_fn)
    graphdef, params, rest = nnx.split(model, wrt, ...)
    moved = nnx.merge(graphdef, nnx.as_pure(params), nnx.as_pure(rest))
    loss = loss_fn(moved, *batch)
    # what `sow` left behind is no state of the model
    nnx.update(model, nnx.state(moved, nnx.Not(nnx.Any(wrt, nnx.Intermediate))))
    return loss


def train_step(
    model: nnx.Module, optimizer: nnx.Optimizer, loss_fn: Callable[..., Any], *batch: Any
) -> jax.Array:
    """A step of an `nnx.Optimizer` from values alone, then `update_statistics`.

    Args:
        model: changed in place.
        optimizer: `nnx.Optimizer(model, tx, wrt=...)`, where `tx` is or holds a transformation of
            this library; changed in place. `num_evaluations(optimizer.opt_state)` reads its count.
        loss_fn: as in `value_fn`.
        *batch: as in `value_fn`.

    Returns:
        The loss after the step, on the same batch and with the same dropout masks, scalar.

    Raises:
        TypeError: `model` is no nnx module, `loss_fn` no callable, or `optimizer` none of nnx.

    Example:
        >>> import jax.numpy as jnp, zosah_jax
        >>> from flax import nnx
        >>> from zosah_jax.integrations.flax import train_step
        >>> model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
        >>> optimizer = nnx.Optimizer(model, zosah_jax.zosah(1.0), wrt=nnx.Param)
        >>> loss_fn = lambda model, x, y: ((model(x) - y) ** 2).mean()
        >>> step = nnx.jit(lambda m, o, x, y: train_step(m, o, loss_fn, x, y))
        >>> x, y = jnp.eye(2), jnp.array([[1.0], [2.0]])
        >>> losses = [step(model, optimizer, x, y) for _ in range(20)]
        >>> bool(losses[-1] < 1e-3), zosah_jax.num_evaluations(optimizer.opt_state)
        (True, 72)
    """
    if not isinstance(optimizer, nnx.Optimizer):
        raise TypeError(f"optimizer: got {type(optimizer).__name__}, wanted an nnx.Optimizer.")
    objective = value_fn(model, loss_fn, *batch, wrt=optimizer.wrt)
    zeros = jax.tree.map(jnp.zeros_like, nnx.state(model, optimizer.wrt))
    optimizer.update(model, zeros, value_fn=objective)
    return update_statistics(model, loss_fn, *batch, wrt=optimizer.wrt)


def _check_nnx(model: Any, loss_fn: Any) -> None:
    if not isinstance(model, nnx.Module):
        kind = "a linen module" if isinstance(model, nn.Module) else type(model).__name__
        raise TypeError(
            f"model: got {kind}, wanted an nnx.Module (for linen there is TrainState here)."
        )
    if not callable(loss_fn):
        raise TypeError(f"loss_fn: got {type(loss_fn).__name__}, wanted {_MODEL_FN}.")


# --- linen ---------------------------------------------------------------------------------------


class TrainState(train_state.TrainState):
    """Flax's `TrainState`, with `value_fn` passed on and the other collections kept.

    The loss of a linen model is written as for `jax.value_and_grad(..., has_aux=True)`:
    `loss_fn(variables, rngs, *batch) -> (value, changed)`, where `changed` is what `apply` returned
    beside its output for `mutable=[...]`, or an empty dict.

    Attributes:
        collections: all of the model's variables but "params", by name ("batch_stats").
        rng: a typed PRNG key, never advanced: the keys of step k follow from it and k.
        streams: names of the random streams that the model draws from in train mode.

    Example:
        >>> import flax.linen as nn, jax, jax.numpy as jnp, zosah_jax
        >>> from zosah_jax.integrations.flax import TrainState
        >>> model, x, y = nn.Dense(1), jnp.eye(2), jnp.array([[1.0], [2.0]])
        >>> variables = model.init(jax.random.key(0), x)
        >>> state = TrainState.create_from(variables, apply_fn=model.apply, tx=zosah_jax.zosah(1.0))
        >>> def loss_fn(variables, rngs, x, y):
        ...     return ((model.apply(variables, x, rngs=rngs) - y) ** 2).mean(), {}
        >>> step = jax.jit(lambda state, x, y: state.train_step(loss_fn, x, y))
        >>> for _ in range(20):
        ...     state, loss = step(state, x, y)
        >>> bool(loss < 1e-3), zosah_jax.num_evaluations(state)
        (True, 72)
    """

    collections: dict[str, Any] = struct.field(pytree_node=True, default_factory=dict)
    rng: Any = struct.field(pytree_node=True, default=None)
    streams: tuple[str, ...] = struct.field(pytree_node=False, default=("dropout",))

    @classmethod
    def create_from(
        cls,
        variables: Any,
        *,
        apply_fn: Callable[..., Any],
        tx: optax.GradientTransformation,
        key: Any = 0,
        streams: tuple[str, ...] = ("dropout",),
    ) -> "TrainState":
        """State of what `model.init` returned: "params" apart from all other collections.

        Raises:
            ValueError: `variables` has no "params".
            TypeError: `key` is neither an int nor a typed PRNG key.
        """
        if "params" not in variables:
            raise ValueError(
                f"variables: got the collections {list(variables)}, wanted 'params' among them "
                "(what model.init returned)."
            )
        others = {name: entries for name, entries in variables.items() if name != "params"}
        return cls.create(
            apply_fn=apply_fn,
            params=variables["params"],
            tx=tx,
            collections=others,
            rng=typed_key(key),
            streams=streams,
        ).replace(step=jnp.zeros((), jnp.int32))

    def rngs(self) -> dict[str, jax.Array]:
        """Keys of the coming step by stream; the same until the step is taken."""
        if self.rng is None:
            return {}
        key = jax.random.fold_in(self.rng, self.step)
        return {name: jax.random.fold_in(key, n) for n, name in enumerate(self.streams)}

    def value_fn(self, loss_fn: Callable[..., Any], *batch: Any) -> Callable[[Params], Any]:
        """Loss as a pure function of the parameters: same collections, same keys at every call."""
        return lambda params: self._loss(loss_fn, params, *batch)[0]

    def apply_gradients(
        self, *, grads: Any = None, value_fn: Callable[[Params], Any] | None = None, **kwargs: Any
    ) -> "TrainState":
        """State after a step of `tx`, which is handed `value_fn`.

        Args:
            grads: pytree like the parameters; None stands for zeros, which this library ignores.
            value_fn: the objective of the parameters alone. None: Flax's own `apply_gradients`.
            **kwargs: further fields to replace.

        Raises:
            ValueError: there are neither `grads` nor `value_fn`.
        """
        if value_fn is None:
            if grads is None:
                raise ValueError("value_fn: got nothing, wanted the objective (or grads).")
            return super().apply_gradients(grads=grads, **kwargs)
        if grads is None:
            grads = jax.tree.map(jnp.zeros_like, self.params)
        tx = optax.with_extra_args_support(self.tx)
        updates, opt_state = tx.update(grads, self.opt_state, self.params, value_fn=value_fn)
        params = optax.apply_updates(self.params, updates)
        return self.replace(step=self.step + 1, params=params, opt_state=opt_state, **kwargs)

    def update_collections(
        self, loss_fn: Callable[..., Any], *batch: Any
    ) -> tuple["TrainState", jax.Array]:
        """State after one forward pass that moves the collections on, and the loss of the pass.

        As `update_statistics` for nnx: not counted by `num_evaluations`.
        """
        value, changed = self._loss(loss_fn, self.params, *batch)
        unknown = set(changed) - set(self.collections)
        if unknown:
            raise ValueError(
                f"loss_fn: got changes to {sorted(unknown)}, wanted some of the collections "
                f"{sorted(self.collections)} that the state holds."
            )
        return self.replace(collections={**self.collections, **changed}), value

    def train_step(
        self, loss_fn: Callable[..., Any], *batch: Any
    ) -> tuple["TrainState", jax.Array]:
        """A step from values alone, then `update_collections` with the keys of the same step.

        Returns:
            The state after, and the loss after the step on the same batch, scalar.
        """
        after = self.apply_gradients(value_fn=self.value_fn(loss_fn, *batch))
        moved, value = after.replace(step=self.step).update_collections(loss_fn, *batch)
        return moved.replace(step=after.step), value

    def _loss(self, loss_fn: Callable[..., Any], params: Params, *batch: Any) -> tuple[Any, Any]:
        result = loss_fn({"params": params, **self.collections}, self.rngs(), *batch)
        if not (isinstance(result, tuple) and len(result) == 2):
            raise TypeError(
                f"loss_fn: got {type(result).__name__}, wanted a pair (value, changed): the loss, "
                "and the collections that apply changed ({} for none)."
            )
        return result
