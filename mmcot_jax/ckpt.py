"""Checkpoints of one stage: what is trained, its optimizer, the step, and the place in the data.

The frozen weights are not in here; they are imported again. A step counts once it is whole: it
is written beside and renamed, so a run killed at any moment resumes from the step before.
"""

import pathlib
from types import TracebackType
from typing import Any, ClassVar, NamedTuple

import jax
import orbax.checkpoint as ocp

from mmcot_jax.types import TrainState


class Restored(NamedTuple):
    """Where a run goes on."""

    state: TrainState
    data: dict[str, Any]
    """What the data stream's `get_state` gave."""


class Checkpoints:
    """The last `keep` checkpoints in a folder; a context that ends when all is written.

    Every process of a run makes one and calls the same methods in the same order.
    """

    _writing: "ClassVar[Checkpoints | None]" = None
    """Whose last step may still be being written. Orbax counts what is written over all folders and
    names its barriers by that count, so two written at once wait for each other's."""

    def __init__(self, folder: str | pathlib.Path, keep: int = 3):
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            cleanup_tmp_directories=True,
            # on a shared disk one process may not see yet what another does
            single_host_load_and_broadcast=True,
        )
        self._folder = pathlib.Path(folder).absolute()
        handlers = {"state": ocp.StandardCheckpointHandler(), "data": ocp.JsonCheckpointHandler()}
        self._manager = ocp.CheckpointManager(self._folder, options=options, item_handlers=handlers)

    def __enter__(self) -> "Checkpoints":
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Wait for what is being written."""
        if Checkpoints._writing is self:
            Checkpoints._writing = None
        self._manager.close()

    def latest(self) -> int | None:
        """The last step saved or being saved, None where there is none."""
        return self._manager.latest_step()

    def save(self, step: int, state: TrainState, data: dict[str, Any]) -> None:
        """Write `state` after `step` updates; `data` is the place of the next batch, plain JSON.

        Returns when the arrays are copied to the host, so `state` may be donated right after;
        the writing goes on behind. A step already saved is left as it is.
        """
        if step == self.latest():
            return
        if Checkpoints._writing not in (None, self):
            Checkpoints._writing.wait()
        Checkpoints._writing = self
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(data))
        self._manager.save(step, args=items)

    def restore(self, like: TrainState) -> Restored | None:
        """The last whole step, its arrays put on the shards of `like`; None where there is none.

        `like` holds a `jax.ShapeDtypeStruct` with its sharding for every array.

        Raises:
            ValueError: the checkpoint has other arrays than `like`; all of them are named.
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
        """Until all that was saved is on disk."""
        self._manager.wait_until_finished()

    def _check(self, step: int, like: TrainState) -> None:
        there = _arrays(self._manager.item_metadata(step)["state"].tree)
        here = _arrays(like)
        faults = [
            f"{name} is {there.get(name, 'missing')} there and {here.get(name, 'missing')} here"
            for name in sorted({*there, *here})
            if there.get(name) != here.get(name)
        ]
        if faults:
            raise ValueError(
                f"the checkpoint {self._folder / str(step)} is of another model: "
                f"{'; '.join(faults)}: take its config, or another workdir"
            )


def _arrays(tree: Any) -> dict[str, str]:
    """Path -> "float32[2 3]" for each array, alike for a tree and for what a folder says of one."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: hasattr(x, "shape"))
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): (
            f"{leaf.dtype}[{' '.join(map(str, leaf.shape))}]"
        )
        for path, leaf in leaves
        if hasattr(leaf, "shape")
    }
