"""Probes answered by many devices: each answers its share, and only the values travel."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from zosah_jax.checks import check_count
from zosah_jax.evaluate import Evaluator, ValueFn, in_chunks
from zosah_jax.params import Params, working_dtype
from zosah_jax.probes import Probes


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
    The parameters must lie on the mesh, e.g. `jax.device_put(params, NamedSharding(mesh, P()))`;
    with several processes (`jax.distributed`) the mesh is made of `jax.devices()`, all of them.

    One by one, the values do not depend on the number of devices to the last bit, and nor does the
    run. What a division leaves over is answered by the first devices: every probe exactly once.

    Args:
        mesh: a mesh of devices.
        axis: axes over which probes are shared out; None: all axes of the mesh.
        chunk: probes that the mesh answers together, on copies of the parameters, a multiple of the
            number of devices. None: one by one on each device.
        evaluator: how each device answers its share, instead of `chunk`.

    Returns:
        An evaluator.

    Raises:
        TypeError, ValueError: an argument is of the wrong kind, the mesh has no such axis, or its
            size does not divide `chunk`.

    Example:
        >>> import jax, jax.numpy as jnp, zosah_jax
        >>> mesh = jax.make_mesh((jax.device_count(),), ("probes",))
        >>> tx = zosah_jax.zosah(1.0, evaluator=zosah_jax.sharded(mesh))
        >>> out = zosah_jax.minimize(lambda x: (x**2).sum(), jnp.ones(4), tx, budget=40)
        >>> bool(out.best_value < 1e-6)
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
    local = evaluator or in_chunks(1 if chunk is None else chunk // devices)

    def evaluate(value_fn: ValueFn, params: Params, probes: Probes) -> jax.Array:
        share, left = divmod(len(probes), devices)
        cut = share * devices
        even = jax.tree.map(lambda x: x[:cut], probes)
        rest = jax.tree.map(lambda x: jnp.concatenate([x[cut:], x[: devices - left]]), probes)
        is_asked = jnp.arange(devices) < left

        def answer(params: Params, even: Any, rest: Any, is_asked: jax.Array) -> Any:
            none = jnp.zeros(0, working_dtype(params))
            values = local(value_fn, params, even) if share else none
            if not left:
                return values, none
            last = jax.lax.cond(
                is_asked[0],
                lambda: in_chunks(1)(value_fn, params, rest),
                lambda: jnp.full(1, jnp.nan, working_dtype(params)),
            )
            return values, last

        run = jax.shard_map(
            answer,
            mesh=mesh,
            in_specs=(P(), P(axes), P(axes), P(axes)),
            out_specs=P(axes),
            axis_names=set(axes),
            check_vma=False,
        )
        values, last = run(params, even, rest, is_asked)
        return jnp.concatenate([values, last[:left]])

    return evaluate


def _checked_axes(mesh: Mesh, axis: str | tuple[str, ...] | None) -> tuple[str, ...]:
    if not isinstance(mesh, Mesh):
        raise TypeError(f"mesh: got {type(mesh).__name__}, wanted a jax.sharding.Mesh.")
    axes = mesh.axis_names if axis is None else (axis,) if isinstance(axis, str) else tuple(axis)
    for name in axes:
        if name not in mesh.axis_names:
            raise ValueError(f"axis: got {name!r}, wanted one of the mesh's: {mesh.axis_names}.")
    return axes
