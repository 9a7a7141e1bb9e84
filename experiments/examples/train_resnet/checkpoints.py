"""Checkpoints of a run: whole or not there at all, and only of the run that they are asked for."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from experiments.common.errors import InputError
from experiments.common.identity import first_difference, named_leaves
from experiments.common.training import State, spent

History = dict[str, list[float]]


class Checkpoints:
    """The checkpoints of one run, in a folder of its own; the last one is kept.

    Args:
        folder: made at the first `save`.
        identity: what the run is.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]):
        self._folder = folder.resolve()
        self._identity = identity

    def check(self) -> bool:
        """Whether there is a checkpoint to go on from; reads alone.

        Raises:
            InputError: there is one of another run: what differs. Or it cannot be read.
        """
        if not self._folder.exists():
            return False
        with self._manager() as manager:
            last = manager.latest_step()
            if last is None:
                return False
            try:
                about = manager.restore(last, args=ocp.args.Composite(about=ocp.args.JsonRestore()))
                found = about["about"]["identity"]
            except Exception as error:  # whatever orbax meets in a damaged folder
                raise self._unreadable(error) from error
        if (differs := first_difference(found, self._identity)) is not None:
            raise InputError(
                f"checkpoints: got {self._folder} of a run with {differs}. Nothing was changed; "
                "name another folder."
            )
        return True

    def restore(self, like: State) -> tuple[State, History]:
        """The last checkpoint's state and history.

        Args:
            like: a state of the same run.

        Raises:
            InputError: it cannot be read.
        """
        target = dict(named_leaves(like))
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(target), about=ocp.args.JsonRestore()
        )
        with self._manager() as manager:
            try:
                found = manager.restore(manager.latest_step(), args=args)
            except Exception as error:
                raise self._unreadable(error) from error
        leaves = [found["state"][name] for name in target]
        return jax.tree.unflatten(jax.tree.structure(like), leaves), found["about"]["history"]

    def save(self, state: State, history: History) -> None:
        """Keep a state; the one before goes once this one is whole."""
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(dict(named_leaves(state))),
            about=ocp.args.JsonSave({"identity": self._identity, "history": history}),
        )
        with self._manager() as manager:
            manager.save(spent(state), args=args)

    def _manager(self) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
        return ocp.CheckpointManager(self._folder, options=options)

    def _unreadable(self, error: Exception) -> InputError:
        return InputError(
            f"checkpoints: got {self._folder}, which cannot be read ({type(error).__name__}: "
            f"{error}); nothing was changed."
        )
