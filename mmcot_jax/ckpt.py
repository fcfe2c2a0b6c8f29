"""Checkpoints of one stage: trained weights, optimizer state, step, and position in the data.

Frozen weights are not saved; they are imported again. A checkpoint is written to a temporary folder
and renamed, so a run killed at any moment resumes from the last complete one.
"""

import json
import pathlib
from typing import Any, ClassVar, NamedTuple

import jax
import orbax.checkpoint as ocp

from mmcot_jax.types import TrainState


class Restored(NamedTuple):
    """A restored checkpoint."""

    state: TrainState
    data: dict[str, Any]
    """The `data` that was saved with it."""


class Checkpoints:
    """The last `keep` checkpoints in a folder; a context that waits for unfinished writes.

    Every process of a run makes one and calls the same methods in the same order.
    """

    _writing: "ClassVar[Checkpoints | None]" = None
    """The instance whose last save may be unfinished. Orbax names its barriers by a count of saves
    in all folders, so two saves at once would wait for each other's barriers."""

    def __init__(self, folder: str | pathlib.Path, keep: int = 3):
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            cleanup_tmp_directories=True,
            # on a shared disk one process may not yet see what another wrote
            single_host_load_and_broadcast=True,
        )
        self._folder = pathlib.Path(folder).absolute()
        handlers = {"state": ocp.StandardCheckpointHandler(), "data": ocp.JsonCheckpointHandler()}
        self._manager = ocp.CheckpointManager(self._folder, options=options, item_handlers=handlers)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        """Waits for unfinished writes."""
        if Checkpoints._writing is self:
            Checkpoints._writing = None
        self._manager.close()

    def latest(self) -> int | None:
        """The last step saved or being saved, or None."""
        return self._manager.latest_step()

    def save(self, step: int, state: TrainState, data: dict[str, Any]) -> None:
        """Saves `state` after `step` updates, with `data`, plain JSON: the position in the data.

        Returns once the arrays are on the host, so `state` may be donated right after; writing
        continues in the background. A step that is saved already is left as it is.
        """
        if step == self.latest():
            return
        if Checkpoints._writing not in (None, self):
            Checkpoints._writing.wait()
        Checkpoints._writing = self
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(data))
        self._manager.save(step, args=items)

    def restore(self, like: TrainState) -> Restored | None:
        """Restores the last complete step, or returns None if there is none.

        `like` holds a `jax.ShapeDtypeStruct` with its sharding for every array.

        Raises:
            ValueError: the checkpoint has other arrays than `like`; lists all differences.
        """
        self.wait()
        step = self.latest()
        if step is None:
            return None
        self._check(step, like)
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(like), data=ocp.args.JsonRestore()
        )
        restored = self._manager.restore(step, args=items)
        return Restored(restored["state"], restored["data"])

    def wait(self) -> None:
        """Waits until all saves are on disk."""
        self._manager.wait_until_finished()

    def _check(self, step: int, like: TrainState) -> None:
        saved = _arrays(self._manager.item_metadata(step)["state"].tree)
        wanted = _arrays(like)
        faults = [
            f"{name} is {saved.get(name, 'missing')} there and {wanted.get(name, 'missing')} here"
            for name in sorted({*saved, *wanted})
            if saved.get(name) != wanted.get(name)
        ]
        if faults:
            raise ValueError(
                f"the checkpoint {self._folder / str(step)} is of another model: "
                f"{'; '.join(faults)}: take its config, or another workdir"
            )


def _arrays(tree: Any) -> dict[str, str]:
    """{path: "float32[2 3]"} of the arrays of a tree, or of the metadata of a saved one."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): (
            f"{leaf.dtype}[{' '.join(map(str, leaf.shape))}]"
        )
        for path, leaf in leaves
        if hasattr(leaf, "shape")
    }


def saved_steps(folder: pathlib.Path) -> list[int]:
    """Returns the steps that a folder of checkpoints holds, in order."""
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit())


def read_data(folder: pathlib.Path, step: int) -> dict[str, Any] | None:
    """Returns the `data` of a checkpoint without its arrays; None if it cannot be read."""
    try:
        found = json.loads((folder / str(step) / "data" / "metadata").read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
