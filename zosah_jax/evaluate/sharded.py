"""Probes answered by many devices: each answers its share, and only the values travel."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh
from jax.sharding import PartitionSpec as P

from zosah_jax.checks import check_count
from zosah_jax.evaluate.evaluators import Evaluator, ValueFn, in_chunks
from zosah_jax.probes import Probes, split_shared
from zosah_jax.pytree import Params, widen


def sharded(
    mesh: Mesh,
    axis: str | tuple[str, ...] | None = None,
    *,
    chunk: int | None = None,
    evaluator: Evaluator | None = None,
) -> Evaluator:
    """Evaluator that shares the probes out over the devices of a mesh.

    Each device holds the parameters and what the objective closes over, or along the other axes of
    the mesh as much of them as the user has put there (JAX partitions the objective along these
    axes itself). It answers its share; the values are gathered, and `tell` runs everywhere alike.
    The parameters must lie on the mesh, e.g. by `jax.device_put(params, NamedSharding(mesh, P()))`;
    with several processes (`jax.distributed`) the mesh is made of `jax.devices()`, all of them.

    One by one, and grouped, the values do not depend on the number of devices to the last bit (on
    one kind of device), and nor does the run. What a division leaves over is answered by the first
    devices: every probe exactly once.

    Args:
        mesh: a mesh of devices whose axes are of type Auto (`jax.make_mesh` makes explicit ones
            unless told: `axis_types=(AxisType.Auto,)`).
        axis: axes over which probes are shared out; None: all axes of the mesh.
        chunk: probes that the mesh answers together, on copies of the parameters, a multiple of the
            number of devices. None: one by one on each device.
        evaluator: how each device answers its share, instead of `chunk`; along directions of low
            rank, `evaluate.factored` or `automatic` take one product with the weights for all.

    Returns:
        An evaluator.

    Raises:
        TypeError, ValueError: an argument is of the wrong kind, the mesh has no such axis, or its
            size does not divide `chunk`.

    Example:
        >>> import jax, jax.numpy as jnp, numpy as np, zosah_jax
        >>> mesh = jax.sharding.Mesh(np.array(jax.devices()), ("probes",))
        >>> tx = zosah_jax.zosah(1.0, evaluator=zosah_jax.sharded(mesh))
        >>> out = zosah_jax.minimize(lambda x: (x**2).sum(), jnp.ones(4), tx, budget=40)
        >>> bool(out.value < 1e-6)
        True
    """
    axes = _checked_axes(mesh, axis)
    devices = math.prod(mesh.shape[name] for name in axes)
    check_count("chunk", chunk, optional=True)
    if chunk is not None and evaluator is not None:
        raise ValueError("chunk: got one and an evaluator too, wanted one of them.")
    if chunk is not None and chunk % devices:
        raise ValueError(
            f"chunk: got {chunk}, wanted a multiple of the {devices} devices along {axes}."
        )
    if evaluator is not None and not callable(evaluator):
        raise TypeError(f"evaluator: got {type(evaluator).__name__}, wanted an evaluator or None.")
    local = evaluator if chunk is None else in_chunks(chunk // devices)

    return Sharded(mesh, axes, local)


@dataclass(frozen=True)
class Sharded:
    """See `sharded`.

    Attributes:
        mesh: the devices.
        axes: axes over which probes are shared out.
        local: how each device answers its share; None: one by one.
    """

    mesh: Mesh
    axes: tuple[str, ...]
    local: Evaluator | None

    traces_itself: ClassVar[bool] = True

    def __call__(self, value_fn: ValueFn, params: Params, probes: Probes) -> jax.Array:
        """Values of the probes."""
        axes, local = self.axes, self.local
        devices = math.prod(self.mesh.shape[name] for name in axes)
        share, left = divmod(len(probes), devices)

        def answer(params: Params, probes: Any) -> jax.Array:
            # Whole probes in and whole values out: were they laid out over the mesh, what comes
            # before and after would be partitioned too, and round otherwise.
            device = jax.lax.axis_index(axes)
            mine = _share(probes, device, share, share * devices, len(probes))
            values = _answer_share(value_fn, params, mine, local, device < left, left > 0)
            gathered = jax.lax.all_gather(values, axes)
            even = gathered[:, :share].reshape(-1, *values.shape[1:])
            return jnp.concatenate([even, gathered[:left, share]])

        run = jax.shard_map(
            answer,
            mesh=self.mesh,
            in_specs=(P(), P()),
            out_specs=P(),
            axis_names=set(axes),
            check_vma=False,
        )
        return run(params, probes)


def _share(probes: Any, device: jax.Array, share: int, even: int, count: int) -> Any:
    """A device's probes: its share, and one of those left over (any probe if there is none)."""
    own = device * share + jnp.arange(share)
    last = jnp.minimum(even + device, count - 1)
    places = jnp.concatenate([own, last[None]])
    return jax.tree.map(lambda x: x[places], probes)


def _answer_share(
    value_fn: ValueFn,
    params: Params,
    probes: Any,
    local: Evaluator | None,
    is_asked: jax.Array,
    any_left: bool,
) -> jax.Array:
    """Values of a device's probes, of the last only if it is asked; NaN otherwise."""
    share = len(probes) - 1
    if local is None:
        return _first_ones(value_fn, params, probes, share + is_asked.astype(jnp.int32))
    first, last = jax.tree.map(lambda x: x[:-1], probes), jax.tree.map(lambda x: x[-1:], probes)
    none = _missing(value_fn, params, 1)
    values = local(value_fn, params, first) if share else none[:0]
    if any_left:
        none = jax.lax.cond(is_asked, lambda: local(value_fn, params, last), lambda: none)
    return jnp.concatenate([values, none])


def _first_ones(value_fn: ValueFn, params: Params, probes: Any, count: jax.Array) -> jax.Array:
    """Values of the first `count` probes, one by one; NaN for the others.

    The number of turns is not known to the compiler: a loop of one turn that it knew would be
    compiled without a loop, and round otherwise.
    """
    each, whole = split_shared(probes)

    def turn(number: jax.Array, values: jax.Array) -> jax.Array:
        probe = whole(jax.tree.map(lambda x: x[number], each))
        return values.at[number].set(value_fn(probe.apply(params)))

    blank = _missing(value_fn, params, len(probes))
    return jax.lax.fori_loop(0, count, turn, blank)


def _missing(value_fn: ValueFn, params: Params, count: int) -> jax.Array:
    """Missing values, in the shape that the objective's have."""
    value = jax.eval_shape(value_fn, widen(params))
    return jnp.full((count, *value.shape), jnp.nan, value.dtype)


def _checked_axes(mesh: Mesh, axis: str | tuple[str, ...] | None) -> tuple[str, ...]:
    if not isinstance(mesh, Mesh):
        raise TypeError(f"mesh: got {type(mesh).__name__}, wanted a jax.sharding.Mesh.")
    if AxisType.Explicit in mesh.axis_types:
        raise ValueError(
            "mesh: got explicit axes, wanted Auto ones: "
            "jax.make_mesh(shape, names, axis_types=(jax.sharding.AxisType.Auto,) * len(names))."
        )
    axes = mesh.axis_names if axis is None else (axis,) if isinstance(axis, str) else tuple(axis)
    for name in axes:
        if name not in mesh.axis_names:
            raise ValueError(f"axis: got {name!r}, wanted one of the mesh's: {mesh.axis_names}.")
    return axes
